#ifndef BPFCOMPAT_FWCFG_H
#define BPFCOMPAT_FWCFG_H

#include <stddef.h>

/* Ask for the right to use I/O ports and see whether QEMU answers. 0 or -errno. */
int fwcfg_open(void);

/* Read a whole file of QEMU's fw_cfg device into fresh memory, with a NUL behind it; free() it.
 *
 * Returns its size in bytes, -ENOENT when there is none of this name, -EFBIG beyond @max, -ENOMEM.
 */
long fwcfg_read(const char *name, size_t max, char **data);

/* Turn to a file: what is taken from now on are its bytes, in their order. Its size in bytes, -ENOENT, -EFBIG. */
long fwcfg_start(const char *name, size_t max);

/* The next bytes of what was turned to, by port I/O; zeros behind its end. */
void fwcfg_take(void *into, size_t len);
void fwcfg_select(unsigned int what);

#endif
