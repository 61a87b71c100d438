#ifndef BPFCOMPAT_MEASURE_H
#define BPFCOMPAT_MEASURE_H

#include <bpf/libbpf.h>

#include "report.h"

/* Notice what becomes of this object's types when libbpf hands them to the kernel; `behind`, if any, is called once just
 * behind that.
 */
void measure_types(const struct bpf_object *obj, void (*behind)(void));

/* `btf`: null if they were not handed over, else the errno and whether libbpf had to change them. */
void measure_tell_types(struct json *json);

/* What one program cost, loaded or not: instructions, the verifier's counts, line info, and what differs between hosts. */
void measure_tell_program(struct json *json, const struct bpf_program *prog);

#endif
