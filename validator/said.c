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

static int listen(enum libbpf_print_level level, const char *format, va_list args)
{
	char *line;
	int len;

	if (level == LIBBPF_DEBUG)
		return 0;
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
	verifier.words = mmap(NULL, VERIFIER_ROOM, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (verifier.words == MAP_FAILED)
		return -errno;
	libbpf_set_print(listen);
	return 0;
}

void said_clear(void)
{
	libbpf.len = 0;
	libbpf.cut = false;
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

bool said_accepted(const struct bpf_program *prog)
{
	return verifier.insns == bpf_program__insns(prog) && !verifier.err;
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

/* The only part of a log that differs from run to run. */
static void drop_time(void)
{
	char *from = strstr(verifier.words, "verification time "), *to = from ? strchr(from, '\n') : NULL;

	if (to)
		memmove(from, to + 1, strlen(to + 1) + 1);
}

int __real_bpf_prog_load(enum bpf_prog_type type, const char *name, const char *license,
			 const struct bpf_insn *insns, size_t count, struct bpf_prog_load_opts *opts);
int __wrap_bpf_prog_load(enum bpf_prog_type type, const char *name, const char *license,
			 const struct bpf_insn *insns, size_t count, struct bpf_prog_load_opts *opts);

/* Stands between libbpf's loader and its system call (ld --wrap).
 *
 * libbpf loads without a log, and when that fails it asks again with one and keeps only the second errno. That one is
 * ENOSPC when the log is longer than the buffer, which is no rejection; so the first errno is put back.
 */
int __wrap_bpf_prog_load(enum bpf_prog_type type, const char *name, const char *license,
			 const struct bpf_insn *insns, size_t count, struct bpf_prog_load_opts *opts)
{
	int fd = __real_bpf_prog_load(type, name, license, insns, count, opts);
	int err = fd < 0 ? errno : 0;

	if (!opts || !opts->log_level) {
		verifier.insns = insns;
		verifier.err = err;
		return fd;
	}
	if (fd >= 0 || verifier.insns != insns)
		return fd;
	verifier.cut = err == ENOSPC;
	if (verifier.cut && log_lacks_its_end()) {
		opts->log_level = LOG_ERRORS_ONLY;
		fd = __real_bpf_prog_load(type, name, license, insns, count, opts);
		if (fd >= 0)
			return fd;
		drop_time();
	}
	errno = verifier.err;
	return -verifier.err;
}
