/* The same in a channel without a name. */
#define NAMELESS
#include "kills.c"
