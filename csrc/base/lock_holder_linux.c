/* Finds the process that has a table lock, to report it to people who wait for the lock. The kernel reports no pid for
 * a lock of an open file description. But /proc/<pid>/fdinfo lists for each file descriptor the locks of its open file
 * description. */
#include "base/byte_lock.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Returns 1 if file descriptor fd of process pid has the lock. text: how /proc describes the lock. */
static int fd_has_lock(const char *pid, const char *fd, const char *text) {
    char path[560], line[256];
    int has = 0;
    snprintf(path, sizeof path, "/proc/%s/fdinfo/%s", pid, fd);
    FILE *info = fopen(path, "re");
    while (info && !has && fgets(line, sizeof line, info)) {
        has = strncmp(line, "lock:", 5) == 0 && strstr(line, text) != NULL;
    }
    if (info) {
        fclose(info);
    }
    return has;
}

static int process_has_lock(const char *pid, const char *text) {
    char path[300];
    int has = 0;
    snprintf(path, sizeof path, "/proc/%s/fdinfo", pid);
    DIR *directory = opendir(path);
    if (!directory) { /* the process has ended, or is another user's */
        return 0;
    }
    for (const struct dirent *entry; !has && (entry = readdir(directory)) != NULL;) {
        has = entry->d_name[0] != '.' && fd_has_lock(pid, entry->d_name, text);
    }
    closedir(directory);
    return has;
}

int32_t rip_lock_holder(int fd) {
    struct stat file;
    char text[80];
    int32_t holder = 0;
    DIR *processes = fstat(fd, &file) == 0 ? opendir("/proc") : NULL;
    if (!processes) {
        return 0;
    }
    /* "lock:  1: OFDLCK ADVISORY  WRITE -1 00:1b:19697 0 0": no pid; device and inode; first and last byte */
    snprintf(text, sizeof text, " WRITE -1 %02x:%02x:%llu 0 ", major(file.st_dev), minor(file.st_dev),
             (unsigned long long)file.st_ino);
    for (const struct dirent *entry; !holder && (entry = readdir(processes)) != NULL;) {
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && process_has_lock(entry->d_name, text)) {
            holder = (int32_t)strtol(entry->d_name, NULL, 10);
        }
    }
    closedir(processes);
    return holder;
}
