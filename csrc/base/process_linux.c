#include "base/file.h"
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PIPEFS_MAGIC 0x50495045

static _Atomic uint32_t pid_namespace; /* 0: not known */

/* A process stays in its pid namespace; only its children can be in another one. */
uint32_t rip_pid_namespace(void) {
    struct stat st;
    uint32_t known = atomic_load_explicit(&pid_namespace, memory_order_relaxed); /* relaxed: it is one word */
    if (known == 0 && stat("/proc/self/ns/pid", &st) == 0) {
        known = (uint32_t)st.st_ino;
        atomic_store_explicit(&pid_namespace, known, memory_order_relaxed);
    }
    return known;
}

void rip_process_forget(void) { atomic_store_explicit(&pid_namespace, 0, memory_order_relaxed); }

static int is_ours(int32_t pid) {
    char path[32];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    return stat(path, &st) == 0 && st.st_uid == geteuid();
}

int rip_process_signal(int32_t pid, int number, int32_t value, rip_is_target *is_target, void *target) {
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0) {
        return errno == ESRCH ? 0 : -errno;
    }
    siginfo_t info = {.si_signo = number, .si_code = SI_QUEUE};
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_int = value;
    if (is_target(target) && is_ours(pid)) {
        syscall(SYS_pidfd_send_signal, fd, number, &info, 0);
    }
    close(fd);
    return 0;
}

/* The process may have ended, and its pid may be used again. So the pipe is checked before it is opened. */
int rip_process_open_pipe(int32_t pid, uint32_t number, uint32_t inode) {
    char path[48];
    struct stat st;
    struct statfs fs;
    snprintf(path, sizeof path, "/proc/%d/fd/%u", (int)pid, (unsigned)number);
    int there = open(path, O_PATH | O_CLOEXEC); /* O_PATH: the pipe itself is not opened */
    if (there < 0) {
        return -errno;
    }
    int is = fstat(there, &st) == 0 && S_ISFIFO(st.st_mode) && (uint32_t)st.st_ino == inode &&
             fstatfs(there, &fs) == 0 && fs.f_type == PIPEFS_MAGIC;
    int end = is ? rip_file_open_again(there, O_RDWR | O_NONBLOCK) : -ENOENT;
    close(there);
    return end;
}
