#ifndef BPFCOMPAT_TEST_H
#define BPFCOMPAT_TEST_H

#include <stdbool.h>

#define TESTS_MAX 64
#define LIST_MAX 64

struct list {
	unsigned int count;
	char *of[LIST_MAX + 1]; /* ends in NULL */
};

/* One behaviour test as the spec tells it: what to do while the object is attached, and what to bring back. What came
 * is right or wrong on the host only.
 */
struct test {
	char *name;
	unsigned int milliseconds;
	struct list programs; /* that are attached; all if none is named */
	struct list steps;
	struct list argv;
	struct list readings;
	struct list events;
	bool trace;
	char *run; /* the program for BPF_PROG_RUN, or NULL */
	char *input, *context; /* hex */
	unsigned int repeat;
};

#endif
