#ifndef BPFCOMPAT_WORK_H
#define BPFCOMPAT_WORK_H

#include <stdbool.h>
#include <stddef.h>

#include "report.h"

#define GROUPS_MAX 64
#define ALTERNATIVES_MAX 64

/* What children tell their parent; everything else they say goes into frames. */
struct shared {
	unsigned int seq;
	unsigned int programs;
	bool opened;
	int chosen[GROUPS_MAX]; /* of each declared group of variants, or -1 */
	int trial; /* how the last load on trial ended: 0 or -errno */
	size_t log_left; /* bytes of verifier log that this report may still carry */
};

/* One probe: the object's bytes, how far to go, and where to say what came of it. */
struct work {
	struct report report;
	struct shared *shared;
	const char *object;
	size_t size;
	size_t log_max;
	bool attach;
};

#endif
