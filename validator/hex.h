#ifndef BPFCOMPAT_HEX_H
#define BPFCOMPAT_HEX_H

#include <stddef.h>

/* Pairs of lower-case hex digits as bytes, up to @room or to the first that is none; how many there were. Of @hex nothing is
 * read behind its NUL.
 */
size_t from_hex(const char *hex, void *into, size_t room);

#endif
