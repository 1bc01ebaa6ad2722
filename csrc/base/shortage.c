#include "base/shortage.h"

static _Thread_local struct rip_shortage want;

void rip_note_shortage(uint64_t bytes, uint64_t free) { want = (struct rip_shortage){.bytes = bytes, .free = free}; }

void rip_note_shortage_of_tables(void) { want.for_tables = 1; }

struct rip_shortage rip_last_shortage(void) { return want; }
