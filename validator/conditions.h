#ifndef BPFCOMPAT_CONDITIONS_H
#define BPFCOMPAT_CONDITIONS_H

#include <stdbool.h>

#include "report.h"

/* What this kernel's entry wants of its guests, from a file in the initramfs; none for most kernels.
 *
 * Brought about once, before a guest is frozen and before any module is loaded, but after port I/O was asked for: a
 * locked-down kernel grants none.
 */
void conditions_apply(void);

/* In a process that asks: become the user that the question is about. 0 or -errno. */
int conditions_drop(void);

/* True where that is one without capabilities. */
bool conditions_unprivileged(void);

/* The lines that were asked for, and in words what could not be brought about. */
void conditions_tell(struct json *json);

/* How many lines were asked for. */
unsigned int conditions_count(void);

#endif
