#ifndef BPFCOMPAT_FILES_H
#define BPFCOMPAT_FILES_H

#define FILES_ROOT "/files"

/* Unpack what came as opt/bpfcompat/files below @root, an empty folder that is made; nothing when nothing came. NULL, or
 * why not, in words.
 */
const char *files_unpack(const char *root);

/* How much memory the guest could still give. */
unsigned long long files_available_kb(void);

#endif
