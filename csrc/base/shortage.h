/* How much space a failed call needed: what rip_last_shortage returns in this thread. */
#ifndef RIP_SHORTAGE_H
#define RIP_SHORTAGE_H

#include "base/common.h"

/* Records what is needed now, and how much is free. bytes 0: no file could be created at all. */
void rip_note_shortage(uint64_t bytes, uint64_t free);
/* Marks what was recorded last as needed for the tables. */
void rip_note_shortage_of_tables(void);

#endif
