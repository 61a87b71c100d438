/* Probes of user space.  A guest has one program that they can be meant for, and it is ours (target.c); what names another
 * file is attached where the user ships that file, and otherwise says nothing about the kernel.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach_how.h"
#include "declare.h"
#include "target.h"

#define SELF "/proc/self/exe" /* who writes this means the program that loads it, and that is not us */

/* Where libbpf looks for a file that is named without a folder. */
static const char *const folders[] = {
	"/usr/lib64", "/usr/lib", "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/usr/bin", "/usr/sbin",
};

static bool there(const char *file)
{
	char path[512];

	if (strchr(file, '/'))
		return strcmp(file, SELF) && !access(file, R_OK);
	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
		snprintf(path, sizeof(path), "%s/%s", folders[i], file);
		if (!access(path, R_OK))
			return true;
	}
	return false;
}

/* True when the section names a file: "uprobe/FILE:FUNCTION", "usdt/FILE:PROVIDER:NAME", "uprobe//path". */
static bool names_file(const struct attachment *at, char *file, size_t size)
{
	const char *target = attach_target(at);
	size_t len = target ? strcspn(target, ":") : 0;

	if (!len || (target[len] != ':' && *target != '/'))
		return false;
	snprintf(file, size, "%.*s", (int)len, target);
	return true;
}

static struct attached by_section(struct attachment *at, const char *file)
{
	if (!there(file))
		return attach_not(at, "the guest has no file %.150s", file);
	attach_say(at, "libbpf");
	return attach_by_link(at, bpf_program__attach(at->prog), ATTACH_ANY);
}

static bool returns(const struct attachment *at)
{
	return !strncmp(bpf_program__section_name(at->prog), "uretprobe", 9);
}

/* Attach to @what in @file: a function, a pattern, or a probe. NULL and errno if that cannot be. */
typedef struct bpf_link *(*link_fn)(struct attachment *at, const char *file, const char *what);

static struct attached by_declaration(struct attachment *at, const char *place, link_fn link_to)
{
	const char *what = strchr(place, ':');
	char file[512];

	if (!what)
		return attach_not(at, "%.150s is declared, which names nothing in a file", place);
	snprintf(file, sizeof(file), "%.*s", (int)(what - place), place);
	if (!there(file))
		return attach_not(at, "the guest has no file %.150s", file);
	attach_say(at, "libbpf, on %.100s as declared", place);
	return attach_by_link(at, link_to(at, file, what + 1), ATTACH_ANY);
}

/* As declared, else as the section says; a section that says nothing gets @stand_in of the guest's own program. */
static struct attached hold_in_file(struct attachment *at, link_fn link_to, const char *stand_in, const char *words)
{
	const char *place = declare_place(at->prog, "uprobe");
	char file[256];

	if (place)
		return by_declaration(at, place, link_to);
	if (names_file(at, file, sizeof(file)))
		return by_section(at, file);
	attach_say(at, "libbpf, on %s", words);
	return attach_by_link(at, link_to(at, TARGET_PATH, stand_in), ATTACH_ANY);
}

#define NO_FILE "a function of the guest's own program as the section names no file"

static struct bpf_link *uprobe_in(struct attachment *at, const char *file, const char *function)
{
	LIBBPF_OPTS(bpf_uprobe_opts, opts, .func_name = function, .retprobe = returns(at));

	return bpf_program__attach_uprobe_opts(at->prog, -1, file, 0, &opts);
}

static struct attached hold_uprobe(struct attachment *at)
{
	return hold_in_file(at, uprobe_in, TARGET_FUNCTION, NO_FILE);
}

#if LIBBPF_SINCE(3)
static struct bpf_link *uprobes_in(struct attachment *at, const char *file, const char *pattern)
{
	LIBBPF_OPTS(bpf_uprobe_multi_opts, opts, .retprobe = returns(at));

#if LIBBPF_SINCE(6)
	opts.session = !strncmp(bpf_program__section_name(at->prog), "uprobe.session", 14);
#endif
	return bpf_program__attach_uprobe_multi(at->prog, -1, file, pattern, &opts);
}

static struct attached hold_uprobe_multi(struct attachment *at)
{
	return hold_in_file(at, uprobes_in, TARGET_FUNCTION, NO_FILE);
}
#else
#define hold_uprobe_multi hold_uprobe
#endif

static struct bpf_link *usdt_in(struct attachment *at, const char *file, const char *probe)
{
	const char *name = strchr(probe, ':');
	char provider[128];

	if (!name) {
		errno = EINVAL;
		return NULL;
	}
	snprintf(provider, sizeof(provider), "%.*s", (int)(name - probe), probe);
	return bpf_program__attach_usdt(at->prog, -1, file, provider, name + 1, NULL);
}

static struct attached hold_usdt(struct attachment *at)
{
	return hold_in_file(at, usdt_in, TARGET_PROVIDER ":" TARGET_PROBE,
			    "the guest's own program as the section names no probe");
}

const struct attach_family family_uprobe = {
	"libbpf's auto-attach, or where it is declared; a section without a file: on a function of the guest's own program",
	"the file that is named: what the guest has not is not attempted",
	"a perf_event link names it; before 5.15 the perf event's own query", "", hold_uprobe,
};
const struct attach_family family_uprobe_multi = {
	"libbpf's auto-attach, or where it is declared; a section without a file: on a function of the guest's own program",
	"the file that is named: what the guest has not is not attempted", "a uprobe_multi link names it", "",
	hold_uprobe_multi,
};
const struct attach_family family_usdt = {
	"libbpf's auto-attach, or where it is declared; a section without a probe: on one of the guest's own program",
	"the file that is named: what the guest has not is not attempted",
	"a perf_event or uprobe_multi link names it; before 5.15 the perf event's own query", "", hold_usdt,
};
