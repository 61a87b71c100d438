#ifndef BPFCOMPAT_TYPES_H
#define BPFCOMPAT_TYPES_H

/* Parse the kernel's types once, for all processes to come; libbpf is then given these, and finds functions in them
 * without going through all. Where that fails, each process parses its own.
 */
void types_keep(void);

#endif
