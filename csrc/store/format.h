/* What every file of ours begins with. A change here changes RIP_ABI. */
#ifndef RIP_FORMAT_H
#define RIP_FORMAT_H

#include "base/common.h"

#define RIP_MAGIC UINT64_C(0x00637069676e6972) /* "ringipc\0" read as a little-endian word */

enum rip_file {
    RIP_FILE_CONTROL = 1,
    RIP_FILE_LANE = 2,
    RIP_FILE_CLAIMS = 3,
    RIP_FILE_SYNC = 4,
    RIP_FILE_REMOVED = 5,     /* an extent that is none any more */
    RIP_FILE_INCOMPLETE = 256 /* it is not complete yet, and has no name; plus the member that makes it */
};

struct rip_identity {
    uint64_t magic;
    uint32_t abi;
    uint32_t file;  /* enum rip_file */
    uint64_t size;  /* of the whole file or extent, bytes */
    uint64_t of[2]; /* a lane: its id; claims: the group's id and the lane's */
};

/* Of every file that is called control: a word that says that it has been removed. */
#define RIP_REMOVED_AT 128
/* Of one without a name: where the next extent will be (extent.h). */
#define RIP_USED_AT 152

static_assert(sizeof(struct rip_identity) == 40, "ABI");

#endif
