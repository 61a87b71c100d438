/* Attaching: finds a program's row, runs it, and lets go again. */
#include "attach.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach_how.h"
#include "devices.h"
#include "target.h"

struct attached attach_skipped(const char *reason)
{
	return (struct attached){ .outcome = ATTACH_NOT_ATTEMPTED, .reason = reason, .how = "" };
}

void attach_say(struct attachment *at, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(at->how, sizeof(at->how), format, args);
	va_end(args);
}

void attach_note(struct attachment *at, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(at->reason, sizeof(at->reason), format, args);
	va_end(args);
}

struct attached attach_failed(struct attachment *at, int err)
{
	return (struct attached){ .outcome = ATTACH_FAILED, .err = err, .reason = at->reason, .how = at->how };
}

struct attached attach_not(struct attachment *at, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(at->reason, sizeof(at->reason), format, args);
	va_end(args);
	return attach_skipped(at->reason);
}

struct attached attach_done(struct attachment *at)
{
	return (struct attached){ .outcome = ATTACHED, .reason = at->reason, .how = at->how };
}

struct attached attach_unproved(struct attachment *at)
{
	return attach_not(at, "not proved: the kernel took it (%s) and does not name it among what is attached", at->how);
}

int attach_keep_link(struct attachment *at, struct bpf_link *link)
{
	struct bpf_link **grown = realloc(at->links, (at->link_count + 1) * sizeof(*grown));

	if (!grown) {
		bpf_link__destroy(link);
		return -ENOMEM;
	}
	at->links = grown;
	at->links[at->link_count++] = link;
	return 0;
}

int attach_keep_fd(struct attachment *at, int fd)
{
	if (fd >= 0)
		at->fds[at->fd_count++] = fd;
	return fd;
}

const char *attach_target(const struct attachment *at)
{
	const char *slash = strchr(bpf_program__section_name(at->prog), '/');
	const char *plus = at->row ? strchr(at->row->section, '+') : NULL;

	/* a section that libbpf does not know, of a program whose type was declared, names no target */
	if (!slash || !plus || strncmp(bpf_program__section_name(at->prog), at->row->section, plus - at->row->section))
		return NULL;
	return slash + 1;
}

/* "kprobe+" takes "kprobe" and "kprobe/…"; without a plus the whole name must match (as libbpf's sec_def_matches()). */
static bool matches(const char *pattern, const char *section)
{
	size_t len = strcspn(pattern, "+");

	if (!pattern[len])
		return !strcmp(pattern, section);
	return !strncmp(pattern, section, len) && (!section[len] || section[len] == '/');
}

static const struct attach_row *row_by_type(const struct bpf_program *prog)
{
	int type = bpf_program__expected_attach_type(prog);
	const struct attach_row *found = NULL, *row;

	for (size_t i = 0; i < attach_row_count; i++) {
		row = &attach_rows[i];
		if (row->type != bpf_program__type(prog))
			continue;
		if (row->attach_type == type)
			return row;
		found = found ?: row;
	}
	return found;
}

const struct attach_row *attach_row_of(const struct bpf_program *prog)
{
	for (size_t i = 0; i < attach_row_count; i++)
		if (attach_rows[i].type == bpf_program__type(prog) &&
		    matches(attach_rows[i].section, bpf_program__section_name(prog)))
			return &attach_rows[i];
	return row_by_type(prog);
}

const char *attach_modules(const struct bpf_program *prog)
{
	const struct attach_row *row = attach_row_of(prog);

	return row ? row->family->modules : "";
}

static __u32 id_of(const struct bpf_program *prog)
{
	struct bpf_prog_info info = { 0 };
	__u32 len = sizeof(info);

	return bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &len) ? 0 : info.id;
}

struct attached attach_hold(struct attachment *at, struct bpf_object *obj, struct bpf_program *prog)
{
	memset(at, 0, sizeof(*at));
	at->obj = obj;
	at->prog = prog;
	at->row = attach_row_of(prog);
	at->prog_id = id_of(prog);
	if (!at->row)
		return attach_not(at, "no way to attach a program of this type is known here");
	return at->row->family->hold(at);
}

int attach_release(struct attachment *at)
{
	int err = 0;

	while (at->link_count)
		bpf_link__destroy(at->links[--at->link_count]);
	free(at->links);
	at->links = NULL;
	if (at->undo)
		err = at->undo(at);
	at->undo = NULL;
	while (at->fd_count)
		close(at->fds[--at->fd_count]);
	if (!err && at->prog_id && proof_is_left(at))
		err = -EBUSY;
	return err;
}

struct attached attach_program(struct bpf_object *obj, struct bpf_program *prog)
{
	static struct attachment at; /* the answer's words are in it */
	struct attached done = attach_hold(&at, obj, prog);

	done.left_behind = attach_release(&at) != 0;
	return done;
}

void attach_prepare(void)
{
	mkdir(GUEST_CGROUP, 0755); /* where cgroup2 is not mounted, a program that needs it says so */
	devices_prepare();
	target_install();
}

void attach_print(FILE *to)
{
	fputs("section\ttype\thow\tneeds\tproof\tmodules\n", to);
	for (size_t i = 0; i < attach_row_count; i++) {
		const struct attach_row *row = &attach_rows[i];
		const struct attach_family *family = row->family;

		fprintf(to, "%s\t%s\t%s\t%s\t%s\t%s\n", row->section, libbpf_bpf_prog_type_str(row->type) ?: "?",
			family->how, family->needs, family->proof, family->modules);
	}
}
