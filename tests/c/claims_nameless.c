/* The tests of claims.c, in an anonymous channel. */
#define NAMELESS
#include "claims.c"
