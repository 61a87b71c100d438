#ifndef BPFCOMPAT_COMMAND_H
#define BPFCOMPAT_COMMAND_H

#include "report.h"

#define COMMAND_WORDS 512

/* The project's own loader: what to run, below FILES_ROOT/root, where and for how long. */
struct command {
	char *argv[COMMAND_WORDS + 1];
	char *env[COMMAND_WORDS + 1];
	char *cwd;
	unsigned int timeout_s;
};

/* One line of the spec: `arg WORD`, `env NAME=VALUE`, `cwd PATH`, `timeout SECONDS`. NULL, or why not. */
const char *command_setting(struct command *command, const char *value);

/* Run it with the object in its reach, end whatever it left behind, and tell as one frame what came of it. NULL, or why it
 * could not even be tried.
 */
const char *command_run(struct command *command, struct report *report, const char *object, size_t size);

#endif
