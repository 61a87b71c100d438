#ifndef BPFCOMPAT_MODULES_H
#define BPFCOMPAT_MODULES_H

#include "report.h"

/* Load the modules that lie in the initramfs, in the order of the file beside them, and free their room. */
void modules_load_own(void);

/* Load what an object declares: @data as kernels/modules.py packs it, a line NAME SIZE and so many bytes each, NAME - for
 * a module that this kernel does not have. 0 or -EINVAL for anything else.
 */
int modules_load_given(char *data, size_t size);

/* How loading a module ended: 0, a positive errno, or -1 when it was not among those that were to be loaded. */
int modules_result(const char *name);

/* All results, in order. */
void modules_tell(struct json *json);

/* How many results there are. */
unsigned int modules_count(void);

#endif
