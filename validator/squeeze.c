/* Logs on the wire: a verifier repeats itself, and the report's port is slow, so what is long is deflated. */
#include "squeeze.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define SHORT 1024
#define LONG (256u << 10) /* from here on, time matters more than size */
#define MEMORY_LEVEL 8
#define RAW (-MAX_WBITS) /* no header, no sum: frames are hashed */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* RFC 4648, with padding. Returns memory to free(), NUL-terminated, or NULL. */
static char *base64(const uint8_t *data, size_t len)
{
	char *text = malloc((len + 2) / 3 * 4 + 1), *at = text;

	if (!text)
		return NULL;
	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t bits = data[i] << 16 | (left > 1 ? data[i + 1] << 8 : 0) | (left > 2 ? data[i + 2] : 0);

		*at++ = digits[bits >> 18];
		*at++ = digits[bits >> 12 & 63];
		*at++ = left > 1 ? digits[bits >> 6 & 63] : '=';
		*at++ = left > 2 ? digits[bits & 63] : '=';
	}
	*at = '\0';
	return text;
}

static uint8_t *deflated(struct text text, size_t *len)
{
	z_stream stream = { .next_in = (Bytef *)text.data, .avail_in = text.len };
	uint8_t *out = NULL;

	if (deflateInit2(&stream, text.len < LONG ? Z_DEFAULT_COMPRESSION : Z_BEST_SPEED, Z_DEFLATED, RAW, MEMORY_LEVEL,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		return NULL;
	*len = deflateBound(&stream, text.len);
	out = malloc(*len);
	stream.next_out = out;
	stream.avail_out = *len;
	if (out && deflate(&stream, Z_FINISH) == Z_STREAM_END) {
		*len = stream.total_out;
	} else {
		free(out);
		out = NULL;
	}
	deflateEnd(&stream);
	return out;
}

void json_log(struct json *json, const char *key, struct text text)
{
	uint8_t *small;
	char *told = NULL;
	size_t len;

	if (text.len <= SHORT) {
		json_text(json, key, text);
		return;
	}
	small = deflated(text, &len);
	if (small)
		told = base64(small, len);
	free(small);
	if (!told) {
		json->failed = true;
		return;
	}
	json_open(json, key, '{');
	json_string(json, "deflated", told);
	json_number(json, "size", text.len);
	json_bool(json, "cut", text.cut);
	json_close(json, '}');
	free(told);
}
