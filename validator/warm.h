#ifndef BPFCOMPAT_WARM_H
#define BPFCOMPAT_WARM_H

/* Do once what every probe would do first, so that a frozen guest has it behind it. Failures are no news: the probe that
 * needs what failed will say so itself.
 */
void warm_up(void);

/* libbpf asks the kernel what it takes, once a process: what it asks here, as who it is here, its children need not ask. */
void warm_libbpf(void);

#endif
