/* Bytes that came as text. */
#include "hex.h"

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t from_hex(const char *hex, void *into, size_t room)
{
	unsigned char *byte = into;
	size_t len = 0;

	for (; len < room && digit(hex[0]) >= 0 && digit(hex[1]) >= 0; hex += 2)
		byte[len++] = digit(hex[0]) << 4 | digit(hex[1]);
	return len;
}
