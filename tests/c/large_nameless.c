/* The tests of large.c, in an anonymous channel. */
#define NAMELESS
#include "large.c"
