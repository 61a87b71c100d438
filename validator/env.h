#ifndef BPFCOMPAT_ENV_H
#define BPFCOMPAT_ENV_H

#include <stdbool.h>

#include "report.h"

/* Make the guest what a BPF loader expects: file systems, console, memory limit. Failures are told in the hello frame. */
void env_setup(void);

/* Open the report's serial port, raw. Returns a descriptor or -errno. */
int env_report_port(void);

/* What this guest says of itself, as one frame. 0 or -errno. */
int env_hello(struct report *report);

/* True when the kernel says which LSMs are active and `bpf` is not among them. */
bool env_bpf_lsm_inactive(void);

/* Never returns. */
void env_power_off(void) __attribute__((noreturn));

#endif
