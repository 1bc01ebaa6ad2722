/* The number of a thread: it tells the threads of one process apart. */
#ifndef RIP_THREAD_H
#define RIP_THREAD_H

#include "base/common.h"

#define RIP_THREAD_BITS 22 /* Linux gives no greater number to a thread (PID_MAX_LIMIT) */

extern _Thread_local uint32_t rip_this_thread; /* 0: not known yet */

/* Asks the kernel for the number of this thread, and keeps it. */
uint32_t rip_thread_ask(void);
/* In a forked child: forgets the number that this thread had in the parent. */
void rip_thread_forget(void);

/* Returns the number of this thread, from 1. */
static inline uint32_t rip_thread(void) { return RIP_LIKELY(rip_this_thread) ? rip_this_thread : rip_thread_ask(); }

#endif
