#ifndef BPFCOMPAT_LEFTOVERS_H
#define BPFCOMPAT_LEFTOVERS_H

#include <stdbool.h>

/* Remember what the kernel holds before the first probe: nothing, or programs that it loads for itself. */
void leftovers_mark(void);

/* After a probe: false if a link of its lives on, so that the next one would not be alone. */
bool leftovers_unlinked(void);

/* After the last one.  False if a program lives on that no link holds: a filter, a route, a map's entry. */
bool leftovers_unloaded(void);

#endif
