#ifndef BPFCOMPAT_EVENTS_H
#define BPFCOMPAT_EVENTS_H

#include <bpf/libbpf.h>

#include "report.h"

#define EVENTS_KEPT 32
#define EVENT_BYTES 256

/* What comes out of a ring buffer or a perf event array: all are counted, the first are kept. */
struct events {
	struct ring_buffer *ring;
	struct perf_buffer *perf;
	unsigned long long count, lost;
	unsigned int kept;
	struct {
		size_t len;
		unsigned char data[EVENT_BYTES];
	} first[EVENTS_KEPT];
	bool cut;
	int err;
	const char *reason;
};

void events_open(struct events *events, struct bpf_object *obj, const char *name);
void events_take(struct events *events);
void events_close(struct events *events);

/* As an element of an array. */
void events_tell(struct json *json, const struct events *events);

/* Forget what bpf_trace_printk() has written, and tell what it has written since. */
void trace_clear(void);
void trace_tell(struct json *json, const char *key);

#endif
