/* Other processes: sending them signals, and opening their pipes. */
#ifndef RIP_PROCESS_H
#define RIP_PROCESS_H

#include "base/common.h"

/* Returns the inode of the pid namespace of this process, or 0 if it is unknown. A pid has a meaning in its namespace
 * only. */
uint32_t rip_pid_namespace(void);
/* In a forked child: its pid namespace may be another one. */
void rip_process_forget(void);

/* Returns 1 if the process that has the pid is still the one that the caller means. */
typedef int rip_is_target(void *target);
/* Sends the process a signal that carries value. is_target is called while this process has a pidfd of the process with
 * that pid, so the pid cannot be used again between the check and the signal. Only processes of this user get the
 * signal: if several users share a channel, none of them can make another user's process send a signal that it may not
 * send itself. Returns 0 (also if there is no such process), or a negative errno, as -EMFILE, if the signal could not
 * be sent now. */
int rip_process_signal(int32_t pid, int number, int32_t value, rip_is_target *is_target, void *target);
/* Opens a pipe of another process for reading and writing. number: its file descriptor in that process; inode: of the
 * pipe. Returns a file descriptor, -ENOENT if that number is not this pipe any more, or another negative errno. */
int rip_process_open_pipe(int32_t pid, uint32_t number, uint32_t inode);

#endif
