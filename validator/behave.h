#ifndef BPFCOMPAT_BEHAVE_H
#define BPFCOMPAT_BEHAVE_H

#include "work.h"

/* Take one line of the spec that speaks of a behaviour test; false when it speaks of none, or not as wire.md says. */
bool behave_take(const char *name, const char *value);

/* How many tests the spec declares. */
unsigned int behave_count(void);

/* One test, to be run in a process of its own; what came is a frame. 0 or -errno when it could not be said. */
int behave_test(struct work *work, unsigned int index);

#endif
