/* The same in a channel without a name. */
#define NAMELESS
#include "claims.c"
