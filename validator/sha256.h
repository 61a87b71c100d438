#ifndef BPFCOMPAT_SHA256_H
#define BPFCOMPAT_SHA256_H

#include <stddef.h>

#define SHA256_HEX 65

/* Write the SHA-256 (FIPS 180-4) of @len bytes as 64 lower-case hex digits and a NUL. */
void sha256_hex(const void *data, size_t len, char out[SHA256_HEX]);

#endif
