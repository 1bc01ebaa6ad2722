/* The tests of kept.c, in an anonymous channel. */
#define NAMELESS
#include "kept.c"
