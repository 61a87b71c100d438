#ifndef BPFCOMPAT_STIMULUS_H
#define BPFCOMPAT_STIMULUS_H

#include <stdbool.h>
#include <sys/types.h>

#include "report.h"
#include "test.h"

#define OUTPUT_KEPT (16u << 10)

/* What a command writes: its first bytes. */
struct output {
	int fd;
	size_t len;
	bool cut;
	char data[OUTPUT_KEPT];
};

/* A stimulus under way, and what is known of it. */
struct stimulus {
	pid_t pid;
	int results; /* the pipe by which its process tells what came of each step */
	struct output out, err;
	int told[LIST_MAX + 2]; /* 0 or a positive errno: being set up, each step, and exec() if that failed */
	unsigned int count;
	bool over;
	int status; /* of wait(), when it is over */
};

/* Start a test's steps and command in a process of their own, which cannot reach the report. 0 or -errno. */
int stimulus_start(struct stimulus *stimulus, const struct test *test);

/* Wait at most this long for news, and take them; true when its process has ended. */
bool stimulus_step(struct stimulus *stimulus, int milliseconds);

/* Kill every process that it left, however it hides, and take what they still said. */
void stimulus_end(struct stimulus *stimulus);

#endif
