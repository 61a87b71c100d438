#ifndef BPFCOMPAT_ENV_H
#define BPFCOMPAT_ENV_H

#include <stdbool.h>

#include "report.h"

/* Make the guest what a BPF loader expects: file systems, console, memory limit. Failures are told in the hello frame. */
void env_setup(void);

/* Open the second serial port, raw: what a thawed guest waits at. Returns a descriptor or -errno. */
int env_serial_port(void);

/* What this guest says of itself, as one frame. 0 or -errno. */
int env_hello(struct report *report);

/* Tell this sysctl too, in the hello frame. 0 or -EINVAL. */
int env_also_tell(const char *name);

/* Say that user space runs: one byte to QEMU's debug console, by port I/O. */
void env_pulse(void);

/* Say on the console that all is said: a kernel may write its words there later than it spoke them. */
void env_mark_console(void);

/* Drop what a probe has pinned, or the next one would find it. */
void env_unpin(void);

/* A thawed guest has its template's clock and random state. 0 or -1 and errno. */
#define SEED_HEX 64
int env_set_clock(unsigned long long ns);
int env_seed(const char *hex);

/* True when the kernel says which LSMs are active and `bpf` is not among them. */
bool env_bpf_lsm_inactive(void);

/* Of a process that is to run what others wrote: ports, and the capabilities by which it and all that it starts would
 * reach QEMU or the validator.
 */
void env_withhold(void);

/* Never returns. */
void env_power_off(void) __attribute__((noreturn));

#endif
