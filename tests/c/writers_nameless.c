/* The tests of writers.c, in an anonymous channel. */
#define NAMELESS
#include "writers.c"
