/* The report: JSON in hashed, numbered frames. See wire.md. */
#include "report.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <unistd.h>

#include "sha256.h"

#define PORT 0x403 /* iobase of QEMU's isa-debugcon */

static void add(struct json *json, const char *data, size_t len)
{
	if (json->failed || !len)
		return;
	if (json->room - json->len < len) {
		size_t room = 2 * (json->len + len);
		char *grown = realloc(json->data, room);

		if (!grown) {
			json->failed = true;
			return;
		}
		json->data = grown;
		json->room = room;
	}
	memcpy(json->data + json->len, data, len);
	json->len += len;
}

static void add_text(struct json *json, const char *text)
{
	add(json, text, strlen(text));
}

/* How many bytes at @p form one UTF-8 character, or, if they do not, a negative count of the bytes to replace by one
 * U+FFFD: the longest start of a character that could have been valid (Unicode 15, table 3-7 and section 3.9).
 */
static int utf8_span(const uint8_t *p, size_t left)
{
	uint8_t low = 0x80, high = 0xbf;
	int size;

	if (*p < 0x80)
		return 1;
	if (*p < 0xc2 || *p > 0xf4)
		return -1;
	size = *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
	if (*p == 0xe0)
		low = 0xa0; /* overlong */
	else if (*p == 0xed)
		high = 0x9f; /* surrogates */
	else if (*p == 0xf0)
		low = 0x90; /* overlong */
	else if (*p == 0xf4)
		high = 0x8f; /* beyond U+10FFFF */
	for (int i = 1; i < size; i++) {
		if ((size_t)i >= left || p[i] < low || p[i] > high)
			return -i;
		low = 0x80;
		high = 0xbf;
	}
	return size;
}

static void add_ascii(struct json *json, char c)
{
	char escaped[8];

	switch (c) {
	case '"':
	case '\\':
		snprintf(escaped, sizeof(escaped), "\\%c", c);
		break;
	case '\n':
		snprintf(escaped, sizeof(escaped), "\\n");
		break;
	case '\t':
		snprintf(escaped, sizeof(escaped), "\\t");
		break;
	default:
		snprintf(escaped, sizeof(escaped), c < 0x20 || c == 0x7f ? "\\u%04x" : "%c", c);
	}
	add_text(json, escaped);
}

static bool is_plain(char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static void add_quoted(struct json *json, const char *data, size_t len)
{
	size_t at = 0;

	add_text(json, "\"");
	while (at < len) {
		size_t plain = 0;
		int span;

		while (at + plain < len && is_plain(data[at + plain]))
			plain++;
		add(json, data + at, plain);
		at += plain;
		if (at == len)
			break;
		span = utf8_span((const uint8_t *)data + at, len - at);
		if (span < 0)
			add_text(json, "\xef\xbf\xbd");
		else if (span == 1)
			add_ascii(json, data[at]);
		else
			add(json, data + at, span);
		at += abs(span);
	}
	add_text(json, "\"");
}

/* The comma, if one is due, and the key. */
static void lead(struct json *json, const char *key)
{
	if (json->len && json->data[json->len - 1] != '{' && json->data[json->len - 1] != '[')
		add_text(json, ",");
	if (key) {
		add_quoted(json, key, strlen(key));
		add_text(json, ":");
	}
}

void json_open(struct json *json, const char *key, char bracket)
{
	lead(json, key);
	add(json, &bracket, 1);
}

void json_close(struct json *json, char bracket)
{
	add(json, &bracket, 1);
}

void json_number(struct json *json, const char *key, long long value)
{
	char digits[32];

	snprintf(digits, sizeof(digits), "%lld", value);
	lead(json, key);
	add_text(json, digits);
}

void json_bool(struct json *json, const char *key, bool value)
{
	lead(json, key);
	add_text(json, value ? "true" : "false");
}

void json_null(struct json *json, const char *key)
{
	lead(json, key);
	add_text(json, "null");
}

void json_bytes(struct json *json, const char *key, const char *data, size_t len)
{
	lead(json, key);
	add_quoted(json, data, len);
}

void json_string(struct json *json, const char *key, const char *text)
{
	json_bytes(json, key, text, text ? strlen(text) : 0);
}

void json_text(struct json *json, const char *key, struct text text)
{
	json_open(json, key, '{');
	json_bytes(json, "text", text.data, text.len);
	json_bool(json, "cut", text.cut);
	json_close(json, '}');
}

void json_free(struct json *json)
{
	free(json->data);
	memset(json, 0, sizeof(*json));
}

struct text text_tail(struct text text, size_t max)
{
	const char *start, *newline;

	if (text.len <= max)
		return text;
	start = text.data + text.len - max;
	newline = memchr(start, '\n', max);
	if (newline && newline + 1 < text.data + text.len)
		start = newline + 1;
	return (struct text){ start, text.data + text.len - start, true };
}

int report_port(bool on)
{
	return ioperm(PORT, 1, on) ? -errno : 0;
}

/* A port of QEMU's isa-debugcon: the byte is with the host when the instruction is done. By a serial port's driver a
 * byte takes four times as long under emulation, and as many interrupts as there are sixteens of them.
 */
static void to_port(const char *data, size_t len)
{
	__asm__ volatile("cld; rep outsb" : "+S"(data), "+c"(len) : "d"(PORT) : "memory");
}

int report_say(const struct report *report, const char *data, size_t len)
{
	if (report->fd == REPORT_PORT_FD) {
		to_port(data, len);
		return 0;
	}
	while (len) {
		ssize_t done = write(report->fd, data, len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		data += done;
		len -= done;
	}
	return 0;
}

void report_begin(struct json *json, const char *kind)
{
	json_open(json, NULL, '{');
	json_string(json, "kind", kind);
}

int report_frame(struct report *report, struct json *json)
{
	char hash[SHA256_HEX], head[128 + NONCE_HEX];
	int len, err = -ENOMEM;

	json_close(json, '}');
	if (json->failed)
		goto out;
	sha256_hex(json->data, json->len, hash);
	len = snprintf(head, sizeof(head), "BPFC1 %s %u %zu %s\n", report->nonce, *report->seq, json->len, hash);
	add_text(json, "\n");
	err = json->failed ? -ENOMEM : report_say(report, head, len);
	err = err ?: report_say(report, json->data, json->len);
	(*report->seq)++;
out:
	json_free(json);
	return err;
}
