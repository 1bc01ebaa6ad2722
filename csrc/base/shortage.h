/* What a call needed that failed for want of it: what rip_last_shortage says in this thread. */
#ifndef RIP_SHORTAGE_H
#define RIP_SHORTAGE_H

#include "base/common.h"

/* bytes 0: a file could not be made at all. */
void rip_note_shortage(uint64_t bytes, uint64_t free);
void rip_note_shortage_of_tables(void); /* that was for them */

#endif
