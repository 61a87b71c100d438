/* Probes of user space.  A guest has one program that they can be meant for, and it is ours (target.c); what names another
 * file is attached where the user ships that file, and otherwise says nothing about the kernel.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach_how.h"
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

static struct attached hold_uprobe(struct attachment *at)
{
	LIBBPF_OPTS(bpf_uprobe_opts, opts, .func_name = TARGET_FUNCTION, .retprobe = returns(at));
	char file[256];

	if (names_file(at, file, sizeof(file)))
		return by_section(at, file);
	attach_say(at, "libbpf, on a function of the guest's own program as the section names no file");
	return attach_by_link(at, bpf_program__attach_uprobe_opts(at->prog, -1, TARGET_PATH, 0, &opts), ATTACH_ANY);
}

#if LIBBPF_MAJOR_VERSION > 1 || LIBBPF_MINOR_VERSION >= 3
static struct attached hold_uprobe_multi(struct attachment *at)
{
	LIBBPF_OPTS(bpf_uprobe_multi_opts, opts, .retprobe = returns(at));
	struct bpf_link *link;
	char file[256];

	if (names_file(at, file, sizeof(file)))
		return by_section(at, file);
#if LIBBPF_MAJOR_VERSION > 1 || LIBBPF_MINOR_VERSION >= 6
	opts.session = !strncmp(bpf_program__section_name(at->prog), "uprobe.session", 14);
#endif
	attach_say(at, "libbpf, on a function of the guest's own program as the section names no file");
	link = bpf_program__attach_uprobe_multi(at->prog, -1, TARGET_PATH, TARGET_FUNCTION, &opts);
	return attach_by_link(at, link, ATTACH_ANY);
}
#else
#define hold_uprobe_multi hold_uprobe
#endif

static struct attached hold_usdt(struct attachment *at)
{
	struct bpf_link *link;
	char file[256];

	if (names_file(at, file, sizeof(file)))
		return by_section(at, file);
	attach_say(at, "libbpf, on the guest's own program as the section names no probe");
	link = bpf_program__attach_usdt(at->prog, -1, TARGET_PATH, TARGET_PROVIDER, TARGET_PROBE, NULL);
	return attach_by_link(at, link, ATTACH_ANY);
}

const struct attach_family family_uprobe = {
	"libbpf's auto-attach; a section without a file: on a function of the guest's own program",
	"the file that the section names: what the guest has not is not attempted",
	"a perf_event link names it; before 5.15 the perf event's own query", "", hold_uprobe,
};
const struct attach_family family_uprobe_multi = {
	"libbpf's auto-attach; a section without a file: on a function of the guest's own program",
	"the file that the section names: what the guest has not is not attempted", "a uprobe_multi link names it", "",
	hold_uprobe_multi,
};
const struct attach_family family_usdt = {
	"libbpf's auto-attach; a section without a probe: on one of the guest's own program",
	"the file that the section names: what the guest has not is not attempted",
	"a perf_event or uprobe_multi link names it; before 5.15 the perf event's own query", "", hold_usdt,
};
