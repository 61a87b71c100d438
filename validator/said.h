#ifndef BPFCOMPAT_SAID_H
#define BPFCOMPAT_SAID_H

#include <bpf/libbpf.h>

#include "report.h"

/* What libbpf and the verifier say in this process. Each probe runs in a process of its own, so there is one of each. */

/* Route libbpf's messages here and make the buffer for the verifier's; once is enough for all children. 0 or -errno. */
int said_start(void);

/* Forget libbpf's messages so far. */
void said_clear(void);

/* What libbpf loads next is no second attempt, though it may lie where something lay before: its own errno counts. */
void said_forget_attempt(void);

/* Forget what libbpf said of other programs, and of relocations: from here on, one is asked alone. */
void said_of_one(const struct bpf_object *obj, const struct bpf_program *prog);

/* How many messages libbpf has sent since said_start(). */
unsigned int said_count(void);
struct text said_by_libbpf(void);

/* Words of our own, among libbpf's. */
void said_add(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Let the verifier explain a failure into our buffer instead of one that libbpf grows without bound. */
void said_listen(struct bpf_object *obj);
struct text said_by_verifier(void);

/* Ask the verifier for its counts when this program is loaded. */
void said_count_for(const struct bpf_program *prog);

/* Its counts, in its words, and how many microseconds it took; nothing and -1 if the kernel was never asked. */
struct text said_counts(const struct bpf_program *prog, long long *usec);

/* True when a program of this object came before the verifier, so that all of them are relocated. */
bool said_reached_verifier(const struct bpf_object *obj);

/* Keep what libbpf says of CO-RE relocations: of one program and no other, or of all (NULL). */
void said_keep_relocations(const char *program);
struct text said_of_relocations(void);

#endif
