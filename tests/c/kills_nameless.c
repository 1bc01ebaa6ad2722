/* The tests of kills.c, in an anonymous channel. */
#define NAMELESS
#include "kills.c"
