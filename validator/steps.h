#ifndef BPFCOMPAT_STEPS_H
#define BPFCOMPAT_STEPS_H

/* Do one step of a stimulus, `name` or `name:argument`; 0 or a positive errno. */
int step_do(const char *text);

#endif
