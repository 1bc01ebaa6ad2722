/* Mapped files in a channel's directory: make, open, check, remove. */
#ifndef RIP_MAPPING_H
#define RIP_MAPPING_H

#include "channel/layout.h"

struct rip_mapping {
    void *at;
    uint64_t size;
    uint64_t allocated; /* bytes, by who makes it: no others may be written */
    uint64_t offset;    /* of an extent in its file */
    int fd;             /* -1 once it is not needed */
};

/* Is it a name? One plain part of a path, or another user's: "~<uid>/<part>". 1: one of ours, 0: of another user's, -EINVAL or
 * -ENAMETOOLONG. */
int rip_name_check(const char *name);
/* <base>/ringipc-<uid>/<channel> as a directory descriptor. make: 1 makes what is not there. -EPERM: somebody else has made it. */
int rip_dir_open(const char *channel, int make);
/* Opens the directory, which is ours, to those for whom the files in it are. */
int rip_dir_share(int dir, struct rip_access access);
/* Removes all lanes and claims in it, and the bells too if bells; the lock of its control file must be held. */
int rip_dir_sweep(int dir, int pollfds);
void rip_dir_clear(int dir); /* all files of ours; the lock must be held */
/* Removes the channel's directory if it is empty, and the user's if that is empty then: 0, -ENOENT, or -ENOTEMPTY and
 * the like. Whoever is just about to make a file in it makes it anew. */
int rip_dir_leave(const char *channel);

/* What rip_last_shortage says from now on in this thread: bytes 0 where a file could not be made at all. */
void rip_note_shortage(uint64_t bytes, uint64_t free);
void rip_note_shortage_of_tables(void);                   /* that was for them */
int rip_allocate(int fd, uint64_t offset, uint64_t size); /* all of these bytes, whatever signals come */
/* Begins a file of size bytes; it has no name yet, and nothing of it is allocated. */
int rip_mapping_create(int dir, uint64_t size, uint32_t mode, struct rip_mapping *out);
/* Allocates its first end bytes, and maps it for reading and writing if that is not done yet. */
int rip_mapping_allocate(struct rip_mapping *mapping, uint64_t end);
int rip_mapping_map(struct rip_mapping *mapping, int write);
/* Makes the kernel do now what it would do at the first use of each page: 0, -ENOMEM, or, where a use would end in
 * SIGBUS, -ENOSPC for writing and -EBADMSG for reading. Linux before 5.14 cannot, and 0 says nothing there. */
int rip_populate(void *at, uint64_t size, int write);
/* Gives it its name, whole: -EEXIST if the name is taken. */
int rip_mapping_link(int dir, const struct rip_mapping *mapping, const char *name);
/* Checks identity and size, and maps it. alone: nothing follows it in the file. write: 1 for writing too. */
int rip_mapping_adopt(int fd, enum rip_file file, int alone, int write, struct rip_mapping *out);
/* Is it one, and of such a file? 0, -EBADMSG, -EPROTONOSUPPORT or -EPROTOTYPE. */
int rip_identity_check(const struct rip_identity *identity, enum rip_file file);
/* The same for a file that has a name. */
int rip_mapping_open(int dir, const char *name, enum rip_file file, int write, struct rip_mapping *out);
void rip_mapping_close_fd(struct rip_mapping *mapping); /* the mapping is enough from here on */
void rip_mapping_close(struct rip_mapping *mapping);

#endif
