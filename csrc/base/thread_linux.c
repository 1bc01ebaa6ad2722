#include "base/thread.h"

#include <sys/syscall.h>
#include <unistd.h>

_Thread_local uint32_t rip_this_thread;

uint32_t rip_thread_ask(void) {
    rip_this_thread = (uint32_t)syscall(SYS_gettid);
    return rip_this_thread;
}

void rip_thread_forget(void) { rip_this_thread = 0; }
