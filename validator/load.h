#ifndef BPFCOMPAT_LOAD_H
#define BPFCOMPAT_LOAD_H

#include <bpf/libbpf.h>

#include "work.h"

/* One probe each, to be run in a process of its own; the answer is a frame. 0 or -errno when it could not be said. */
int load_open(struct work *work, unsigned int unused);
int load_declared(struct work *work, unsigned int unused);
int load_whole(struct work *work, unsigned int unused);
int load_program(struct work *work, unsigned int index);

/* The object, freshly opened, with nothing declared but its Kconfig values; NULL and errno. */
struct bpf_object *load_open_object(const struct work *work);

#endif
