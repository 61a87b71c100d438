#ifndef BPFCOMPAT_REPORT_H
#define BPFCOMPAT_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#define NONCE_HEX 32
#define REPORT_PORT_FD (-1)

/* JSON that grows; `failed` sticks when memory runs out, and is looked at once, by report_frame(). */
struct json {
	char *data;
	size_t len;
	size_t room;
	bool failed;
};

/* Text of a log as it is kept: not NUL-terminated. */
struct text {
	const char *data;
	size_t len;
	bool cut;
};

/* Where frames go: to the host's port, or to a file. The counters live in memory that parent and children share. */
struct report {
	int fd; /* or REPORT_PORT_FD */
	char nonce[NONCE_HEX + 1];
	unsigned int *seq;
};

/* In all of these, @key is NULL for an element of an array or for the outermost value. */
void json_open(struct json *json, const char *key, char bracket);
void json_close(struct json *json, char bracket);
void json_number(struct json *json, const char *key, long long value);
void json_bool(struct json *json, const char *key, bool value);
void json_null(struct json *json, const char *key);
/* Any bytes: what is not UTF-8 becomes U+FFFD, a NULL @text becomes "". */
void json_string(struct json *json, const char *key, const char *text);
void json_bytes(struct json *json, const char *key, const char *data, size_t len);
/* {"text": ..., "cut": ...} */
void json_text(struct json *json, const char *key, struct text text);
void json_free(struct json *json);

/* The last @max bytes of @text, from the start of a line on; `cut` tells that something is gone. */
struct text text_tail(struct text text, size_t max);

/* Let this process and its children write to the host's port, or no more; 0 or -errno. */
int report_port(bool on);

/* Bytes as they are; 0 or -errno. */
int report_say(const struct report *report, const char *data, size_t len);

/* Start a frame's object with its kind; report_frame() closes it, writes the frame and frees it. 0 or -errno. */
void report_begin(struct json *json, const char *kind);
int report_frame(struct report *report, struct json *json);

#endif
