#include "store/handle.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/futex.h"
#include "base/process.h"
#include "base/thread.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((cold)) int rip_handle_refusal(const struct rip_handle *handle) {
    return handle->state == RIP_FORKED ? -ECHILD : -ESHUTDOWN;
}

int rip_handle_begin_close(struct rip_handle *handle) {
    handle->state = handle->state == RIP_OPEN ? RIP_LEAVING : handle->state;
    return handle->state == RIP_FORKED ? -ECHILD : 0;
}

/* ---- all handles of this process ---- */

static pthread_mutex_t handles_lock = PTHREAD_MUTEX_INITIALIZER;
static struct rip_handle *handles;
static pthread_once_t once = PTHREAD_ONCE_INIT;

void rip_handle_list(struct rip_handle *handle) {
    handle->listed = 1;
    handle->prev = NULL;
    handle->next = handles;
    if (handles) {
        handles->prev = handle;
    }
    handles = handle;
}

static void unlist(struct rip_handle *handle) {
    if (!handle->listed) {
        return;
    }
    handle->listed = 0;
    if (handle->prev) {
        handle->prev->next = handle->next;
    } else {
        handles = handle->next;
    }
    if (handle->next) {
        handle->next->prev = handle->prev;
    }
}

static void before_fork(void) { pthread_mutex_lock(&handles_lock); }

static void in_parent(void) { pthread_mutex_unlock(&handles_lock); }

/* A file descriptor that the child inherits would keep the parent's locks after the parent's death. */
static void in_child(void) {
    struct rip_handle *handle = handles;
    handles = NULL;
    while (handle) {
        struct rip_handle *next = handle->next;
        handle->listed = 0;
        handle->state = RIP_FORKED;
        handle->forked(handle);
        handle = next;
    }
    rip_fence_forget();
    rip_thread_forget();
    rip_process_forget();
    rip_clock_forget();
    rip_memory_forget();
    pthread_mutex_unlock(&handles_lock);
}

static void install(void) { pthread_atfork(before_fork, in_parent, in_child); }

void rip_fork_hold(void) {
    pthread_once(&once, install);
    pthread_mutex_lock(&handles_lock);
}

void rip_fork_allow(void) { pthread_mutex_unlock(&handles_lock); }

void rip_handle_close_in_child(struct rip_handle *handle) {
    /* The last file descriptor of its open file description: the kernel releases the locks of this handle. */
    rip_mapping_close_fd(&handle->mapping);
    if (handle->dir >= 0) {
        close(handle->dir);
        handle->dir = -1;
    }
}

void rip_handle_close_files(struct rip_handle *handle) {
    rip_fork_hold();
    unlist(handle);
    rip_handle_close_in_child(handle);
    rip_fork_allow();
}

void rip_handle_unmap(struct rip_handle *handle) {
    rip_handle_close_files(handle);
    rip_mapping_close(&handle->mapping);
    free(handle->extents);
    handle->extents = NULL;
}

/* A lock lives as long as its open file description, and a mapping keeps the description alive too. A mapping that a
 * forked child inherits would keep the locks after the death of the parent. So the locks are on another open file
 * description than the one that is mapped. */
int rip_handle_dup(const struct rip_handle *handle) { return rip_file_open_again(handle->mapping.fd, O_RDWR); }

void rip_handle_reopen_in_child(struct rip_handle *handle) {
    int fd = rip_file_open_again(handle->mapping.fd, O_RDWR);
    rip_mapping_close_fd(&handle->mapping);
    handle->mapping.fd = fd; /* or a negative errno */
    handle->member = RIP_NO_MEMBER;
    rip_handle_list(handle);
}
