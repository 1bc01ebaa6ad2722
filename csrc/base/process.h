/* Other processes, by what only the operating system can say and do. */
#ifndef RIP_PROCESS_H
#define RIP_PROCESS_H

#include "base/common.h"

/* In which namespace this process's pid means something, or 0. */
uint32_t rip_pid_namespace(void);

/* Is the process still the one that is meant? A pid is not given away as long as its process lives. */
typedef int rip_is_it(void *whom);
/* Sends it a signal with a value. is_it is asked once this process has got hold of one with its pid. Only processes of this user get
 * one: where several users share a channel none can have another one's processes send signals to whom it cannot send them itself.
 * 0, or -EMFILE and the like: it could not be sent now. */
int rip_process_signal(int32_t pid, int number, int32_t value, rip_is_it *is_it, void *whom);
/* Opens a pipe of another process for reading and writing, by the number of its descriptor there, if that is still this one: a
 * descriptor, or a negative errno. */
int rip_process_open_pipe(int32_t pid, uint32_t number, uint32_t inode);

#endif
