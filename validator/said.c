/* What libbpf and the verifier say, bounded; and the errno of a load as the kernel gave it without a log. */
#include "said.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LIBBPF_ROOM (64u << 10)
#define VERIFIER_ROOM ((16u << 20) - 1) /* the most that every kernel takes: UINT_MAX >> 8 until Linux 5.2 */
#define LOG_END (4u << 10)
#define LOG_ERRORS_ONLY 4 /* BPF_LOG_STATS: errors and counts, no trace */
#define COUNTS_ROOM (64u << 10) /* errors come before the counts */
#define COUNTS_KEPT (32u << 10) /* Linux 7.3 has a line for each function */
#define RELOCATIONS_ROOM (16u << 20)

static struct {
	char words[LIBBPF_ROOM];
	size_t len;
	unsigned int count;
	bool cut;
} libbpf;

static struct {
	char *words;
	const struct bpf_insn *insns; /* of the last attempt without a log */
	int err;
	bool cut;
} verifier;

static struct {
	const struct bpf_program *prog; /* whose counts are wanted */
	bool there;
	long long usec;
	char words[COUNTS_ROOM];
} counts;

static struct {
	const char *program;
	bool wanted;
	bool cut;
	char *words;
	size_t len;
	size_t room;
} relocations;

/* Keep the end: libbpf says what it gave up on last. */
static void keep(const char *data, size_t len)
{
	if (len > LIBBPF_ROOM / 2) {
		data += len - LIBBPF_ROOM / 2;
		len = LIBBPF_ROOM / 2;
		libbpf.cut = true;
	}
	if (libbpf.len + len > LIBBPF_ROOM) {
		memmove(libbpf.words, libbpf.words + libbpf.len - LIBBPF_ROOM / 2, LIBBPF_ROOM / 2);
		libbpf.len = LIBBPF_ROOM / 2;
		libbpf.cut = true;
	}
	memcpy(libbpf.words + libbpf.len, data, len);
	libbpf.len += len;
}

static void keep_relocation(const char *line, size_t len)
{
	if (relocations.room - relocations.len < len) {
		size_t room = 2 * (relocations.len + len);
		char *grown = room <= RELOCATIONS_ROOM ? realloc(relocations.words, room) : NULL;

		if (!grown) {
			relocations.cut = true;
			return;
		}
		relocations.words = grown;
		relocations.room = room;
	}
	memcpy(relocations.words + relocations.len, line, len);
	relocations.len += len;
}

/* libbpf tells each CO-RE relocation in two or three lines of debugging words, and one more for each candidate. */
static void hear_relocation(const char *format, va_list args)
{
	static const char start[] = "libbpf: prog '%s': relo #%d: ";
	char line[1024];
	va_list again;
	bool meant;
	int len;

	if (!relocations.wanted || strncmp(format, start, sizeof(start) - 1) || strstr(format, "candidate"))
		return;
	va_copy(again, args);
	meant = !relocations.program || !strcmp(va_arg(again, const char *), relocations.program);
	va_end(again);
	if (!meant)
		return;
	len = vsnprintf(line, sizeof(line), format + strlen("libbpf: "), args);
	if (len < 1)
		return;
	len = (size_t)len < sizeof(line) ? len : (int)sizeof(line) - 1;
	for (int i = 0; i < len; i++)
		line[i] = (unsigned char)line[i] < ' ' || line[i] == 0x7f ? '?' : line[i];
	line[len - 1] = '\n';
	keep_relocation(line, len);
}

static int listen(enum libbpf_print_level level, const char *format, va_list args)
{
	char *line;
	int len;

	if (level == LIBBPF_DEBUG) {
		hear_relocation(format, args);
		return 0;
	}
	libbpf.count++;
	len = vasprintf(&line, format, args);
	if (len < 0) {
		libbpf.cut = true;
		return 0;
	}
	keep(line, len);
	free(line);
	return len;
}

void said_add(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	listen(LIBBPF_WARN, format, args);
	va_end(args);
}

int said_start(void)
{
	if (verifier.words)
		return 0;
	verifier.words = mmap(NULL, VERIFIER_ROOM, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (verifier.words == MAP_FAILED) {
		verifier.words = NULL;
		return -errno;
	}
	libbpf_set_print(listen);
	return 0;
}

void said_forget_attempt(void)
{
	verifier.insns = NULL;
}

void said_clear(void)
{
	libbpf.len = 0;
	libbpf.cut = false;
}

static bool is_about(const char *line, size_t len, const char *name)
{
	static const char start[] = "libbpf: prog '";
	size_t size = strlen(name);

	return len > sizeof(start) + size && !memcmp(line, start, sizeof(start) - 1) &&
	       !memcmp(line + sizeof(start) - 1, name, size) && line[sizeof(start) - 1 + size] == '\'';
}

static bool is_about_another(const char *line, size_t len, const struct bpf_object *obj, const struct bpf_program *prog)
{
	struct bpf_program *other;

	if (is_about(line, len, bpf_program__name(prog)))
		return false;
	bpf_object__for_each_program(other, obj)
		if (is_about(line, len, bpf_program__name(other)))
			return true;
	return false;
}

void said_of_one(const struct bpf_object *obj, const struct bpf_program *prog)
{
	size_t kept = 0, len;

	for (size_t at = 0; at < libbpf.len; at += len) {
		char *newline = memchr(libbpf.words + at, '\n', libbpf.len - at);

		len = newline ? (size_t)(newline + 1 - (libbpf.words + at)) : libbpf.len - at;
		if (is_about_another(libbpf.words + at, len, obj, prog))
			continue;
		memmove(libbpf.words + kept, libbpf.words + at, len);
		kept += len;
	}
	libbpf.len = kept;
	relocations.wanted = false;
	relocations.len = 0;
}

unsigned int said_count(void)
{
	return libbpf.count;
}

struct text said_by_libbpf(void)
{
	return (struct text){ libbpf.words, libbpf.len, libbpf.cut };
}

void said_listen(struct bpf_object *obj)
{
	struct bpf_program *prog;

	verifier.words[0] = '\0';
	verifier.cut = false;
	bpf_object__for_each_program(prog, obj)
		bpf_program__set_log_buf(prog, verifier.words, VERIFIER_ROOM);
}

struct text said_by_verifier(void)
{
	return (struct text){ verifier.words, strnlen(verifier.words, VERIFIER_ROOM), verifier.cut };
}

void said_count_for(const struct bpf_program *prog)
{
	counts.prog = prog;
	counts.there = false;
}

/* From the first line of the counts on: a log that ends in them may start with errors. */
static const char *counts_start(void)
{
	static const char *const firsts[] = { "verification time ", "stack depth ", "processed " };
	const char *first = NULL;

	for (size_t i = 0; i < sizeof(firsts) / sizeof(*firsts); i++) {
		const char *at = counts.words;

		while ((at = strstr(at, firsts[i])) && at != counts.words && at[-1] != '\n')
			at++;
		if (at && (!first || at < first))
			first = at;
	}
	return first ?: "";
}

struct text said_counts(const struct bpf_program *prog, long long *usec)
{
	const char *start;

	*usec = -1;
	if (!counts.there || counts.prog != prog)
		return (struct text){ "", 0, false };
	*usec = counts.usec;
	start = counts_start();
	return (struct text){ start, strnlen(start, COUNTS_KEPT), false };
}

bool said_reached_verifier(const struct bpf_object *obj)
{
	const struct bpf_program *prog = NULL;

	while (verifier.insns && (prog = bpf_object__next_program(obj, (struct bpf_program *)prog)))
		if (bpf_program__insns(prog) == verifier.insns)
			return true;
	return false;
}

void said_keep_relocations(const char *program)
{
	relocations.program = program;
	relocations.wanted = true;
	relocations.cut = false;
	relocations.len = 0;
}

struct text said_of_relocations(void)
{
	return (struct text){ relocations.words ?: "", relocations.len, relocations.cut };
}

/* A log that is too long has lost its start on new kernels and its end, where the point is, on old ones (seen on 6.1 and
 * 7.3). Every whole log ends in a count of processed instructions.
 */
static bool log_lacks_its_end(void)
{
	size_t len = strnlen(verifier.words, VERIFIER_ROOM);
	size_t tail = len < LOG_END ? len : LOG_END;

	return !memmem(verifier.words + len - tail, tail, "\nprocessed ", 11);
}

/* Takes out the only part of a log that differs from run to run; microseconds, or -1 if it is not there. */
static long long take_time(char *words)
{
	static const char title[] = "verification time ";
	char *from = strstr(words, title), *to = from ? strchr(from, '\n') : NULL;
	long long usec;

	if (!to)
		return -1;
	usec = strtoll(from + strlen(title), NULL, 10);
	memmove(from, to + 1, strlen(to + 1) + 1);
	return usec;
}

int __real_bpf_prog_load(enum bpf_prog_type type, const char *name, const char *license,
			 const struct bpf_insn *insns, size_t count, struct bpf_prog_load_opts *opts);
int __wrap_bpf_prog_load(enum bpf_prog_type type, const char *name, const char *license,
			 const struct bpf_insn *insns, size_t count, struct bpf_prog_load_opts *opts);

/* The first attempt: without a log, or, where the counts are wanted, with nothing but errors and counts. A log that
 * does not fit, or any trouble in writing it, is no answer of the verifier's, and then it is asked without.
 */
static int load_first(enum bpf_prog_type type, const char *name, const char *license, const struct bpf_insn *insns,
		      size_t count, struct bpf_prog_load_opts *opts)
{
	int fd, err;

	if (!opts || opts->log_buf || !counts.prog || bpf_program__insns(counts.prog) != insns)
		return __real_bpf_prog_load(type, name, license, insns, count, opts);
	counts.words[0] = '\0';
	opts->log_buf = counts.words;
	opts->log_size = COUNTS_ROOM;
	opts->log_level = LOG_ERRORS_ONLY;
	fd = __real_bpf_prog_load(type, name, license, insns, count, opts);
	opts->log_buf = NULL;
	opts->log_size = opts->log_level = 0;
	if (fd < 0 && (errno == ENOSPC || errno == EFAULT || errno == EINVAL))
		fd = __real_bpf_prog_load(type, name, license, insns, count, opts);
	err = errno;
	counts.there = true;
	counts.usec = take_time(counts.words);
	errno = err;
	return fd;
}

/* Stands between libbpf's loader and its system call (ld --wrap).
 *
 * libbpf loads without a log, and when that fails it asks again with one and keeps only the second errno. That one is
 * ENOSPC when the log is longer than the buffer, which is no rejection; so the first errno is put back.
 */
int __wrap_bpf_prog_load(enum bpf_prog_type type, const char *name, const char *license,
			 const struct bpf_insn *insns, size_t count, struct bpf_prog_load_opts *opts)
{
	int fd, err;

	if (!opts || !opts->log_level) {
		fd = load_first(type, name, license, insns, count, opts);
		verifier.insns = insns;
		verifier.err = fd < 0 ? errno : 0;
		return fd;
	}
	fd = __real_bpf_prog_load(type, name, license, insns, count, opts);
	err = fd < 0 ? errno : 0;
	if (fd >= 0 || verifier.insns != insns)
		return fd;
	verifier.cut = err == ENOSPC;
	if (verifier.cut && log_lacks_its_end()) {
		opts->log_level = LOG_ERRORS_ONLY;
		fd = __real_bpf_prog_load(type, name, license, insns, count, opts);
		if (fd >= 0)
			return fd;
		take_time(verifier.words);
	}
	errno = verifier.err;
	return -verifier.err;
}
