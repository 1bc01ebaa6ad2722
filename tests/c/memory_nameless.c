/* The tests of memory.c, in an anonymous channel. */
#define NAMELESS
#include "memory.c"
