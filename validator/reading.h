#ifndef BPFCOMPAT_READING_H
#define BPFCOMPAT_READING_H

#include <bpf/libbpf.h>

#include "report.h"

/* Answer one reading of the spec, `value NAME KEY PATH` or `length NAME - -`, from a loaded object, as an element of an
 * array.
 */
void reading_tell(struct json *json, struct bpf_object *obj, const char *text);

/* Bytes as hex digits. */
void json_hex(struct json *json, const char *key, const void *data, size_t len);

#endif
