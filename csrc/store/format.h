/* The identity with which every file and extent begins. A change here changes RIP_ABI. */
#ifndef RIP_FORMAT_H
#define RIP_FORMAT_H

#include "base/common.h"

#define RIP_MAGIC UINT64_C(0x00637069676e6972) /* "ringipc\0" read as a little-endian word */

enum rip_file {
    RIP_FILE_CONTROL = 1,
    RIP_FILE_LANE = 2,
    RIP_FILE_CLAIMS = 3,
    RIP_FILE_SYNC = 4,
    RIP_FILE_REMOVED = 5,     /* a removed extent */
    RIP_FILE_LARGE = 6,       /* an extent for messages that are longer than the capacity of their lane */
    RIP_FILE_INCOMPLETE = 256 /* not complete, without a name; plus the index of the member that creates it */
};

struct rip_identity {
    uint64_t magic;
    uint32_t abi;
    uint32_t file;  /* enum rip_file */
    uint64_t size;  /* of the whole file or extent, bytes */
    uint64_t of[2]; /* lane: its id; claims: the ids of the group and of the lane; large: the id of the
                     * lane, and a number */
};

/* The offset, in every control file, of a word that says that the file has been removed. */
#define RIP_REMOVED_AT 128
/* The offset, in an anonymous control file, of the word `used`: where the next extent will be (extent.h). */
#define RIP_USED_AT 152

static_assert(sizeof(struct rip_identity) == 40, "ABI");

#endif
