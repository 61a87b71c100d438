#ifndef BPFCOMPAT_RELOCATED_H
#define BPFCOMPAT_RELOCATED_H

#include "work.h"

/* True for objects of several programs that libbpf relocates before it hands anything of them to the kernel. */
bool relocated_is_worth_it(const struct work *work);

/* Ask everything of the object, `probe_maps` included, and end this process; return if that cannot be done so. */
void relocated_probe(struct work *work, void (*probe_maps)(void));

#endif
