/* Runs a child one machine instruction at a time, so that another process can do something, or the child can be killed, between
 * any two. What such a test finds it finds every time. It sees the order in which instructions are executed, not what a processor
 * makes of it. */
#ifndef STEPS_H
#define STEPS_H

#include "check.h"

#include <sys/ptrace.h>
#include <sys/user.h>

/* 0 where a process may not trace its child (some containers), or where stepping breaks atomic operations: a pair of load-exclusive
 * and store-exclusive never succeeds with a trap in between. */
static inline int can_step(void) {
#if defined(__x86_64__)
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : 1);
    }
    int status;
    CHECK_IS(waitpid(child, &status, 0), child);
    return status == 0;
#else
    return 0;
#endif
}

/* In the child: the parent goes on when we are stopped here. */
static inline void stop_here(void) { raise(SIGSTOP); }

static inline void traceable(void) { CHECK_IS(ptrace(PTRACE_TRACEME, 0, NULL, NULL), 0); }

/* Waits for the child's stop_here; 0 if it ended instead, and then it must have ended well. */
static inline int await_stop(pid_t child) {
    int status;
    CHECK_IS(waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) {
        CHECK_IS(WEXITSTATUS(status), 0);
        return 0;
    }
    CHECK(WIFSTOPPED(status));
    CHECK_IS(WSTOPSIG(status), SIGSTOP);
    return 1;
}

/* Lets it run to its next stop_here, or its end. */
static inline int run_on(pid_t child) {
    CHECK_IS(ptrace(PTRACE_CONT, child, NULL, NULL), 0);
    return await_stop(child);
}

/* Takes the child's next stop after a request: 1, or 0 if it came to a stop_here. */
static inline int resume(pid_t child, enum __ptrace_request how) {
    int status;
    CHECK_IS(ptrace(how, child, NULL, NULL), 0);
    CHECK_IS(waitpid(child, &status, 0), child);
    CHECK(WIFSTOPPED(status));
    CHECK(WSTOPSIG(status) == SIGTRAP || WSTOPSIG(status) == SIGSTOP);
    return WSTOPSIG(status) == SIGTRAP;
}

/* One instruction, which may be a system call. */
static inline int step(pid_t child) { return resume(child, PTRACE_SINGLESTEP); }

/* A point in a child's life: so many system calls after its stop_here, and so many instructions after the last of these. Quicker to come
 * back to than by instructions alone. */
struct moment {
    unsigned calls, steps;
};

/* As step, and keeps count. */
static inline int step_counting(pid_t child, struct moment *now) {
#if defined(__x86_64__)
    struct user_regs_struct registers;
    CHECK_IS(ptrace(PTRACE_GETREGS, child, NULL, &registers), 0);
    long code = ptrace(PTRACE_PEEKTEXT, child, registers.rip, NULL);
    now->steps++;
    if ((code & 0xffff) == 0x050f) { /* syscall */
        now->calls++;
        now->steps = 0;
    }
#else
    (void)now; /* can_step says no */
#endif
    return step(child);
}

/* Brings a child there from its stop_here; 0 if it came to the next one before. */
static inline int run_to(pid_t child, struct moment moment) {
    int more = 1;
    for (unsigned i = 0; i < 2 * moment.calls && more; i++) {
        more = resume(child, PTRACE_SYSCALL); /* before it, behind it */
    }
    for (unsigned i = 0; i < moment.steps && more; i++) {
        more = step(child);
    }
    return more;
}

#endif
