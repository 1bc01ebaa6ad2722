#include "base/names.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *rip_name_parse(const char *name, uid_t *user) {
    *user = geteuid();
    if (name[0] == '~') {
        char *end;
        unsigned long number = strtoul(name + 1, &end, 10);
        if (name[1] < '0' || name[1] > '9' || *end != '/' || number >= UINT32_MAX) {
            return NULL;
        }
        *user = (uid_t)number;
        name = end + 1;
    }
    int is_descriptor = strncmp(name, "fd:", 3) == 0;
    return is_descriptor || name[0] == '\0' || name[0] == '.' || name[0] == '~' || strchr(name, '/') ? NULL : name;
}

int rip_name_check(const char *name) {
    uid_t user;
    if (strlen(name) > RIP_MAX_CHANNEL_NAME) {
        return -ENAMETOOLONG;
    }
    return rip_name_parse(name, &user) ? user == geteuid() : -EINVAL;
}

int rip_name_fd(const char *name) {
    if (strncmp(name, "fd:", 3) != 0) {
        return -ENOENT;
    }
    char *end;
    long fd = name[3] >= '0' && name[3] <= '9' ? strtol(name + 3, &end, 10) : -1;
    return fd < 0 || *end || fd > INT_MAX ? -EINVAL : (int)fd;
}

int rip_is_group_name(const char *name) { return name[0] != '\0' && strlen(name) <= RIP_MAX_GROUP_NAME; }
