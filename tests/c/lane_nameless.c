/* The tests of lane.c, in an anonymous channel. */
#define NAMELESS
#include "lane.c"
