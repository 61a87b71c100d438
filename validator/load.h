#ifndef BPFCOMPAT_LOAD_H
#define BPFCOMPAT_LOAD_H

#include <bpf/libbpf.h>

#include "work.h"

/* Opens the object for all probes after it. One frame. 0 or -errno when it could not be said. */
int load_open(struct work *work);

int load_declared(struct work *work, unsigned int unused);
int load_whole(struct work *work, unsigned int unused);
int load_program(struct work *work, unsigned int index);

/* The object, freshly opened, with nothing declared but its Kconfig values; NULL and errno. */
struct bpf_object *load_open_object(const struct work *work);

/* The same in two halves: what comes before bpf_object__load(), and what is told after it. */
void load_whole_before(const struct bpf_object *obj, void (*at_types)(void));
int load_whole_after(struct work *work, struct bpf_object *obj, int err);
struct bpf_program *load_program_before(struct bpf_object *obj, unsigned int index);
int load_program_after(struct work *work, struct bpf_object *obj, struct bpf_program *prog, bool autoload, int err);

#endif
