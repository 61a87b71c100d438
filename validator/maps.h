#ifndef BPFCOMPAT_MAPS_H
#define BPFCOMPAT_MAPS_H

#include "work.h"

/* Which maps the whole object created; `loaded` tells whether it did. One frame. */
int maps_tell(struct work *work, const struct bpf_object *obj, bool loaded);

/* The object did not load: create all its maps without its programs. One frame. 0 or -errno when it could not be said. */
int maps_together(struct work *work, unsigned int unused);

/* One map alone, from an object of which nothing else is created or loaded. One frame. */
int maps_alone(struct work *work, unsigned int index);

#endif
