#ifndef BPFCOMPAT_SAID_H
#define BPFCOMPAT_SAID_H

#include <bpf/libbpf.h>

#include "report.h"

/* What libbpf and the verifier say in this process. Each probe runs in a process of its own, so there is one of each. */

/* Route libbpf's messages here and make the buffer for the verifier's. 0 or -errno. */
int said_start(void);

/* Forget libbpf's messages so far. */
void said_clear(void);

/* How many messages libbpf has sent since said_start(). */
unsigned int said_count(void);
struct text said_by_libbpf(void);

/* Words of our own, among libbpf's. */
void said_add(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Let the verifier explain a failure into our buffer instead of one that libbpf grows without bound. */
void said_listen(struct bpf_object *obj);
struct text said_by_verifier(void);

/* True when the kernel took this program at the last attempt, whatever libbpf tripped over afterwards. */
bool said_accepted(const struct bpf_program *prog);

#endif
