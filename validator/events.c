/* What attached programs send to user space by themselves: ring buffers, perf buffers, bpf_trace_printk(). */
#include "events.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "reading.h"

#define ROUND 4096 /* events that are taken at once: a program that sends because we read must not hold us */
#define PERF_PAGES 16
#define TRACING "/sys/kernel/tracing/"
#define TRACE_MARK "bpf_trace_printk: "
#define TRACE_ROOM (2u << 20) /* more than the kernel keeps: 1408 KiB a processor */
#define TRACE_KEPT (16u << 10)

static void keep(struct events *events, const void *data, size_t len)
{
	events->count++;
	if (events->kept == EVENTS_KEPT) {
		events->cut = true;
		return;
	}
	events->cut = events->cut || len > EVENT_BYTES;
	len = len > EVENT_BYTES ? EVENT_BYTES : len;
	memcpy(events->first[events->kept].data, data, len);
	events->first[events->kept++].len = len;
}

static int from_ring(void *context, void *data, size_t len)
{
	struct events *events = context;

	keep(events, data, len);
	return events->count % ROUND ? 0 : -EINTR;
}

static void from_perf(void *context, int cpu, void *data, __u32 len)
{
	(void)cpu;
	keep(context, data, len);
}

static void lost_by_perf(void *context, int cpu, __u64 count)
{
	struct events *events = context;

	(void)cpu;
	events->lost += count;
}

static void refuse(struct events *events, int err, const char *reason)
{
	events->err = err;
	events->reason = reason;
}

void events_open(struct events *events, struct bpf_object *obj, const char *name)
{
	struct bpf_map *map = bpf_object__find_map_by_name(obj, name);
	int type = map ? (int)bpf_map__type(map) : -1;

	memset(events, 0, sizeof(*events));
	if (type == BPF_MAP_TYPE_RINGBUF)
		events->ring = ring_buffer__new(bpf_map__fd(map), from_ring, events, NULL);
	else if (type == BPF_MAP_TYPE_PERF_EVENT_ARRAY)
		events->perf = perf_buffer__new(bpf_map__fd(map), PERF_PAGES, from_perf, lost_by_perf, events, NULL);
	else
		refuse(events, map ? EINVAL : ENOENT, map ? "neither a ring buffer nor a perf event array" :
							    "the object has no map of this name");
	if (!events->err && !events->ring && !events->perf)
		refuse(events, errno, "the buffer cannot be mapped");
}

void events_take(struct events *events)
{
	if (events->ring)
		ring_buffer__consume(events->ring);
	if (events->perf)
		perf_buffer__consume(events->perf);
}

void events_close(struct events *events)
{
	ring_buffer__free(events->ring);
	perf_buffer__free(events->perf);
}

void events_tell(struct json *json, const struct events *events)
{
	json_open(json, NULL, '{');
	json_number(json, "errno", events->err);
	json_string(json, "reason", events->reason);
	json_number(json, "count", events->count);
	json_number(json, "lost", events->lost);
	json_bool(json, "cut", events->cut);
	json_open(json, "first", '[');
	for (unsigned int i = 0; i < events->kept; i++)
		json_hex(json, NULL, events->first[i].data, events->first[i].len);
	json_close(json, ']');
	json_close(json, '}');
}

void trace_clear(void)
{
	int fd = open(TRACING "trace", O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
}

static size_t read_trace(char *into, size_t room)
{
	int fd = open(TRACING "trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	size_t len = 0;
	ssize_t got;

	if (fd < 0)
		return 0;
	while (len < room && (got = read(fd, into + len, room - len)) > 0)
		len += got;
	close(fd);
	return len;
}

/* Only the words: process, processor and time before them differ from run to run. */
static size_t only_words(char *trace, size_t len)
{
	char *at = trace, *end = trace + len;
	size_t kept = 0;

	while (at < end) {
		char *newline = memchr(at, '\n', end - at), *next = newline ? newline + 1 : end;
		char *mark = memmem(at, next - at, TRACE_MARK, sizeof(TRACE_MARK) - 1);

		if (mark) {
			mark += sizeof(TRACE_MARK) - 1;
			memmove(trace + kept, mark, next - mark);
			kept += next - mark;
		}
		at = next;
	}
	return kept;
}

void trace_tell(struct json *json, const char *key)
{
	char *room = malloc(TRACE_ROOM);
	size_t len = room ? only_words(room, read_trace(room, TRACE_ROOM)) : 0;
	bool cut = !room || len > TRACE_KEPT;

	json_text(json, key, (struct text){ room, cut && room ? TRACE_KEPT : len, cut });
	free(room);
}
