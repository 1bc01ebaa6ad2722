/* The tests of processes.c, in an anonymous channel. */
#define NAMELESS
#include "processes.c"
