/* Kills a process after every instruction that changes what others see: the files of a channel, or which there are. */
#ifndef MOMENTS_H
#define MOMENTS_H

#include "steps.h"

#define MAX_MOMENTS 1000u
#define MAX_CALLS 10000u

/* ---- what others see ---- */

#define FILES 12u

struct view {
    const void *mapped[FILES]; /* control, lane-0, ...; NULL: not there */
    uint64_t at[FILES];
    size_t size[FILES];
    unsigned char seen[FILES][offsetof(struct rip_control, cursors) + 4 * RIP_MAX_LANES * sizeof(struct rip_cursor)];
    int directory;
};

/* The files of the channel, for reading: each is opened from offset *at on; -1 if there is none. */
static int open_file(const char *channel, unsigned i, uint64_t *at) {
    static const char *const names[FILES] = {"control",    "lane-0",     "lane-1",     "lane-2",    "lane-3",
                                             "claims-1-0", "claims-2-0", "claims-1-1", "claims-2-1"};
    if (strcmp(channel, MEMORY) != 0) {
        *at = 0;
        return names[i] ? open(path_of(channel, names[i]), O_RDONLY | O_CLOEXEC) : -1;
    }
    struct rip_identity identity = {0};
    uint64_t end = memory_end();
    *at = 0;
    for (unsigned k = 0; k < i; k++) {
        *at = memory_next(*at, end, &identity);
        if (*at == 0) {
            return -1;
        }
    }
    return dup(MEMORY_FD);
}

/* Maps what is there now: 1 if it is not what was there before. */
static int look_at_files(struct view *view, const char *channel) {
    int changed = view->directory != exists(channel, NULL);
    view->directory = exists(channel, NULL);
    for (unsigned i = 0; i < FILES; i++) {
        uint64_t at;
        int fd = open_file(channel, i, &at);
        changed |= (fd >= 0) != (view->mapped[i] != NULL) || (fd >= 0 && view->at[i] != at);
        if (view->mapped[i]) {
            munmap((void *)(uintptr_t)view->mapped[i], view->size[i]);
            view->mapped[i] = NULL;
        }
        if (fd >= 0) {
            struct stat st;
            CHECK_IS(fstat(fd, &st), 0);
            size_t most =
                i ? 512 : sizeof view->seen[0]; /* a lane's header, the control file's tables and first cursors */
            view->size[i] = (size_t)st.st_size < most ? (size_t)st.st_size : most;
            view->mapped[i] = mmap(NULL, view->size[i], PROT_READ, MAP_SHARED, fd, (off_t)at);
            view->at[i] = at;
            CHECK(view->mapped[i] != MAP_FAILED);
            close(fd);
        }
    }
    return changed;
}

/* 1 if something else lies in them than before. */
static int look_into_files(struct view *view) {
    int changed = 0;
    for (unsigned i = 0; i < FILES; i++) {
        if (view->mapped[i] && memcmp(view->seen[i], view->mapped[i], view->size[i]) != 0) {
            memcpy(view->seen[i], view->mapped[i], view->size[i]);
            changed = 1;
        }
    }
    return changed;
}

/* ---- killing ---- */

struct play {
    const char *channel;
    void (*prepare)(void);   /* the world before */
    int (*victim)(void);     /* stops itself once, where it may be killed from */
    void (*check)(void);     /* the world afterwards, and its end */
    void (*meanwhile)(void); /* may be NULL; what comes before a second stop, where it may be killed from then */
};

static const struct play *play;

static int victim(void *argument) {
    (void)argument;
    traceable();
    return play->victim();
}

static pid_t begin(void) {
    play->prepare();
    pid_t child = spawn(victim, NULL);
    CHECK(await_stop(child));
    if (play->meanwhile) {
        play->meanwhile();
        CHECK(run_on(child));
    }
    return child;
}

static int see(struct view *view) {
    int files = look_at_files(view, play->channel);
    return look_into_files(view) || files;
}

/* Runs the victim from one system call to the next, and notes behind which of them others see something new before the next one. */
static void find_busy(unsigned char busy[MAX_CALLS]) {
    static struct view view;
    pid_t child = begin();
    see(&view);
    for (unsigned calls = 0; resume(child, PTRACE_SYSCALL); calls++) { /* before it */
        CHECK(calls < MAX_CALLS);
        busy[calls] = (unsigned char)see(&view);
        if (!resume(child, PTRACE_SYSCALL)) { /* behind it */
            break;
        }
        see(&view);
    }
    kill_and_wait(child);
    play->check();
}

/* Then steps through what is busy, and notes where exactly they do. */
static unsigned find_moments(struct moment moments[MAX_MOMENTS]) {
    static struct view view;
    unsigned char busy[MAX_CALLS] = {0};
    unsigned count = 0;
    struct moment now = {0, 0};
    pid_t child = begin();
    kill_and_wait(child);
    play->check(); /* once for nothing: now the functions of libc are bound, and each child takes the same steps */
    find_busy(busy);
    child = begin();
    see(&view);
    for (int more = 1; more;) {
        int changed;
        if (busy[now.calls]) {
            more = step_counting(child, &now);
            changed =
                now.steps == 0 ? see(&view) : look_into_files(&view); /* only a system call makes or removes a file */
        } else {
            more = resume(child, PTRACE_SYSCALL) && resume(child, PTRACE_SYSCALL);
            now.calls++;
            changed = see(&view);
        }
        if (more && changed) {
            CHECK(count < MAX_MOMENTS && now.calls < MAX_CALLS);
            moments[count++] = now;
        }
    }
    kill_and_wait(child);
    play->check();
    CHECK(count > 0);
    return count;
}

static void kill_at_every_moment(const struct play *of) {
    struct moment moments[MAX_MOMENTS];
    play = of;
    unsigned count = find_moments(moments);
    for (unsigned i = 0; i < count; i++) {
        pid_t child = begin();
        run_to(child, moments[i]); /* if it has come further, that is as good */
        kill_and_wait(child);
        play->check();
    }
}

#endif
