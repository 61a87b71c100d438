#ifndef BPFCOMPAT_WORK_H
#define BPFCOMPAT_WORK_H

#include <stdbool.h>
#include <stddef.h>

#include "report.h"

#define MAPS_MOST 10000 /* the most that a report may tell of */
#define GROUPS_MAX 64
#define ALTERNATIVES_MAX 64

struct bpf_object;

/* What children tell their parent; everything else they say goes into frames. */
struct shared {
	unsigned int seq;
	int chosen[GROUPS_MAX]; /* of each declared group of variants, or -1 */
	int trial; /* how the last load on trial ended: 0 or -errno */
	size_t log_left; /* bytes of verifier log that this report may still carry */
	bool opened;
	bool relocated; /* loading the whole told the CO-RE relocations of all programs that are loaded by default */
	bool maps_told;
	bool program_asked; /* the only program of the object, by the process that loaded the whole */
	bool created[MAPS_MOST]; /* by map: nothing is left to ask of it */
};

/* One question: in a process of its own, the answer is a frame. 0 or -errno when it could not be said. */
struct work;
typedef int (*probe_fn)(struct work *work, unsigned int index);

/* One probe: the object's bytes, how far to go, and where to say what came of it. */
struct work {
	struct report report;
	struct shared *shared;
	const char *object;
	size_t size;
	bool attach;
	/* Opened once and never loaded by the process that holds it: each probe's process has a copy of its own. */
	struct bpf_object *opened;
	unsigned int programs;
	unsigned int maps;
	/* Several guests may share an object: each asks every shards-th program, and the first all that is asked once. */
	unsigned int shard;
	unsigned int shards;
	/* Start a process for one question: true in it; false in its parent, when the process is gone again. */
	bool (*begin)(const char *phase, unsigned int index);
};

static inline bool work_is_first(const struct work *work)
{
	return !work->shard;
}

static inline bool work_has(const struct work *work, unsigned int program)
{
	return program % work->shards == work->shard;
}

#endif
