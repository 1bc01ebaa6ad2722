/* Runs a child one machine instruction at a time. Between any two instructions another process can act, or the child
 * can be killed. Such a test is deterministic. It tests the order of the instructions in the program, not how a
 * processor reorders them. */
#ifndef STEPS_H
#define STEPS_H

#include "check.h"

#include <sys/ptrace.h>
#include <sys/user.h>

/* Returns 0 if a process may not trace its child (some containers), or if stepping breaks atomic operations: a
 * store-exclusive fails if a trap comes after its load-exclusive. */
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

/* In the child: stops it here. The parent goes on then. */
static inline void stop_here(void) { raise(SIGSTOP); }

static inline void traceable(void) { CHECK_IS(ptrace(PTRACE_TRACEME, 0, NULL, NULL), 0); }

/* Waits until the child is in stop_here. Returns 1, or 0 if the child has ended, which must be without an error. */
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

/* Lets the child run to its next stop_here or to its end. Returns as await_stop. */
static inline int run_on(pid_t child) {
    CHECK_IS(ptrace(PTRACE_CONT, child, NULL, NULL), 0);
    return await_stop(child);
}

/* Resumes the child with a ptrace request, and waits for its next stop. Returns 1, or 0 if that is a stop_here. */
static inline int resume(pid_t child, enum __ptrace_request how) {
    int status;
    CHECK_IS(ptrace(how, child, NULL, NULL), 0);
    CHECK_IS(waitpid(child, &status, 0), child);
    CHECK(WIFSTOPPED(status));
    CHECK(WSTOPSIG(status) == SIGTRAP || WSTOPSIG(status) == SIGSTOP);
    return WSTOPSIG(status) == SIGTRAP;
}

/* Runs one instruction of the child, which may be a system call. Returns as resume. */
static inline int step(pid_t child) { return resume(child, PTRACE_SINGLESTEP); }

#define MAX_STEPS (1u << 17)

/* A point in the run of a child: the number of system calls since its stop_here, and the number of instructions since
 * the last one; the address of the next instruction, and how often the child has come to that address since the call.
 * Calls for memory are not counted: whether malloc needs one depends on what was allocated before. */
struct moment {
    unsigned calls, steps, visits;
    unsigned long long at;
};

#if defined(__x86_64__)
/* Does a system call change only the child's private memory, or its own mapping of a file? */
static inline int is_for_memory(unsigned long long call, unsigned long long mapped) {
    return call == SYS_brk || call == SYS_munmap || call == SYS_madvise || (call == SYS_mmap && (int)mapped == -1);
}
#endif

/* Runs the child to its next system call that counts. Returns 1 before that call, or 0 if it comes to a stop_here. */
static inline int run_to_call(pid_t child) {
    while (resume(child, PTRACE_SYSCALL)) {
#if defined(__x86_64__)
        struct user_regs_struct registers;
        CHECK_IS(ptrace(PTRACE_GETREGS, child, NULL, &registers), 0);
        if (is_for_memory(registers.orig_rax, registers.r8)) {
            CHECK(resume(child, PTRACE_SYSCALL)); /* stops after the call */
            continue;
        }
#endif
        return 1;
    }
    return 0;
}

/* Runs the child until after its next system call that counts. Returns as resume. */
static inline int run_past_call(pid_t child) { return run_to_call(child) && resume(child, PTRACE_SYSCALL); }

#if defined(__x86_64__)
static unsigned long long path[MAX_STEPS]; /* the addresses of a child's instructions since its last system call */
#endif

/* As step, and counts in *now. */
static inline int step_counting(pid_t child, struct moment *now) {
#if defined(__x86_64__)
    struct user_regs_struct registers;
    CHECK_IS(ptrace(PTRACE_GETREGS, child, NULL, &registers), 0);
    long code = ptrace(PTRACE_PEEKTEXT, child, registers.rip, NULL);
    CHECK(now->steps < MAX_STEPS);
    path[now->steps++] = registers.rip;
    if ((code & 0xffff) == 0x050f && !is_for_memory(registers.rax, registers.r8)) { /* syscall */
        now->calls++;
        now->steps = 0;
    }
#else
    (void)now; /* never called: can_step returns 0 */
#endif
    return step(child);
}

/* Notes in *now where the child is, after step_counting. */
static inline void note_address(pid_t child, struct moment *now) {
#if defined(__x86_64__)
    struct user_regs_struct registers;
    CHECK_IS(ptrace(PTRACE_GETREGS, child, NULL, &registers), 0);
    now->at = registers.rip;
    now->visits = 0;
    for (unsigned i = 0; i < now->steps; i++) {
        now->visits += path[i] == now->at;
    }
#else
    (void)child, (void)now;
#endif
}

/* Sets a breakpoint of the processor, or removes it (address 0). Returns 1, or 0 if this machine allows none. */
static inline int set_breakpoint(pid_t child, unsigned long long address) {
#if defined(__x86_64__)
    return ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[0]), address) == 0 &&
           ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[7]), address ? 1L : 0L) == 0;
#else
    (void)child, (void)address;
    return 0;
#endif
}

/* Runs the child to where moment.at is its next instruction for the (visits + 1)th time. Returns as resume. */
static inline int run_to_address(pid_t child, struct moment moment) {
    int more = 1;
    for (unsigned i = 0; i <= moment.visits && more; i++) {
        more = resume(child, PTRACE_CONT);
    }
    CHECK(set_breakpoint(child, 0));
    return more;
}

/* Runs the child from its stop_here to this moment. Returns 1, or 0 if it came to its next stop_here before. */
static inline int run_to(pid_t child, struct moment moment) {
    int more = 1;
    for (unsigned i = 0; i < moment.calls && more; i++) {
        more = run_past_call(child);
    }
    /* Stepping is a hundred times slower than a breakpoint, which stops before the instruction. */
    if (more && moment.steps > moment.visits && set_breakpoint(child, moment.at)) {
        return run_to_address(child, moment);
    }
    for (unsigned i = 0; i < moment.steps && more; i++) {
        more = step(child);
    }
    return more;
}

#endif
