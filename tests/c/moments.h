/* Kills a process after every instruction that changes what others see: the contents of a channel's files, or
 * which files exist. */
#ifndef MOMENTS_H
#define MOMENTS_H

#include "steps.h"

#define MAX_MOMENTS 1000u
#define MAX_CALLS 10000u

/* ---- what others see ---- */

#define FILES 12u

struct view {
    const void *mapped[FILES]; /* control, lane-0, ...; NULL: does not exist */
    uint64_t at[FILES];
    size_t size[FILES];
    unsigned char seen[FILES][offsetof(struct rip_control, lanes) + 5 * sizeof(struct rip_lane_entry)];
    int directory;
};

/* Opens file i of the channel for reading. Returns its file descriptor, or -1 if it does not exist; *at: where it
 * starts (an extent). */
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

/* Maps the files that exist now. Returns 1 if they are not the same files as before. */
static int map_files(struct view *view, const char *channel) {
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
            /* the header and the first descriptors of a lane; claims; of control the tables and the first cursors */
            size_t most = i ? sizeof(struct rip_lane) + 8 * sizeof(struct rip_desc) : sizeof view->seen[0];
            size_t there = (size_t)st.st_size - at;
            view->size[i] = there < most ? there : most;
            view->mapped[i] = mmap(NULL, view->size[i], PROT_READ, MAP_SHARED, fd, (off_t)at);
            view->at[i] = at;
            CHECK(view->mapped[i] != MAP_FAILED);
            close(fd);
        }
    }
    return changed;
}

/* Returns 1 if the contents of the mapped files have changed. */
static int contents_changed(struct view *view) {
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
    void (*prepare)(void); /* runs before the victim starts */
    int (*victim)(void);   /* calls stop_here once: it is killed at some moment after that */
    void (*check)(void);   /* runs after the kill: checks, and removes the channel */
    /* NULL, or runs while the victim is in stop_here; then the victim calls stop_here a second time */
    void (*meanwhile)(void);
};

static const struct play *play;

static int victim(void *argument) {
    (void)argument;
    traceable();
    return play->victim();
}

static pid_t start_victim(void) {
    play->prepare();
    pid_t child = spawn(victim, NULL);
    CHECK(await_stop(child));
    if (play->meanwhile) {
        play->meanwhile();
        CHECK(run_on(child));
    }
    return child;
}

static int has_changed(struct view *view) {
    int files = map_files(view, play->channel);
    return contents_changed(view) || files;
}

/* Runs the victim from one system call to the next. Marks in busy the calls after which others see a change
 * before the next call. Returns the number of calls. */
static unsigned find_busy(unsigned char busy[MAX_CALLS]) {
    static struct view view;
    unsigned calls = 0;
    pid_t child = start_victim();
    has_changed(&view);
    for (; run_to_call(child); calls++) {
        CHECK(calls < MAX_CALLS);
        busy[calls] = (unsigned char)has_changed(&view);
        if (!resume(child, PTRACE_SYSCALL)) { /* stops after it */
            break;
        }
        has_changed(&view);
    }
    kill_and_wait(child);
    play->check();
    return calls + 1;
}

/* Steps through the busy parts, and records the moments after which others see a change. Returns their
 * number. */
static unsigned find_moments(struct moment moments[MAX_MOMENTS]) {
    static struct view view;
    unsigned char busy[MAX_CALLS] = {0};
    unsigned count = 0;
    struct moment now = {0};
    pid_t child = start_victim();
    kill_and_wait(child);
    /* a first run without a result: it binds the functions of libc, so that every child executes the same
     * instructions */
    play->check();
    unsigned calls = find_busy(busy);
    child = start_victim();
    has_changed(&view);
    for (int more = 1; more;) {
        int changed;
        if (busy[now.calls]) {
            more = step_counting(child, &now);
            /* only a system call creates or removes a file */
            changed = now.steps == 0 ? has_changed(&view) : contents_changed(&view);
        } else {
            more = run_past_call(child);
            now.calls++;
            changed = has_changed(&view);
        }
        if (more && changed) {
            CHECK(count < MAX_MOMENTS && now.calls < MAX_CALLS);
            note_address(child, &now);
            moments[count++] = now;
        }
    }
    kill_and_wait(child);
    play->check();
    CHECK(count > 0);
    CHECK_IS(now.calls, calls); /* otherwise moments were missed */
    return count;
}

static void kill_at_every_moment(const struct play *of) {
    struct moment moments[MAX_MOMENTS];
    play = of;
    unsigned count = find_moments(moments);
    for (unsigned i = 0; i < count; i++) {
        pid_t child = start_victim();
        run_to(child, moments[i]); /* if it stops earlier, at a stop_here, it is killed there */
        kill_and_wait(child);
        play->check();
    }
}

#endif
