/* Tracing: functions, tracepoints, hooks and iterators of the kernel.  libbpf attaches nearly all of it by itself; what is
 * left is a section that names no function.
 */
#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attach_how.h"
#include "declare.h"
#include "env.h"
#include "said.h"

#define ITER_BYTES (64u << 10) /* of an iterator's output that is read */
#define ITER_READS 64
#define NO_FUNCTION "libbpf, on " STAND_IN_FUNCTION " as the section names no function"
#define SAMPLE_NS 1000000000

/* A type that was declared for a section which libbpf does not know has no auto-attach of libbpf's. */
static struct bpf_link *link_by_type(struct bpf_program *prog)
{
	switch (bpf_program__type(prog)) {
	case BPF_PROG_TYPE_TRACING:
		if (bpf_program__expected_attach_type(prog) == BPF_TRACE_ITER)
			return bpf_program__attach_iter(prog, NULL);
		return bpf_program__attach_trace(prog);
	case BPF_PROG_TYPE_EXT:
		return bpf_program__attach_trace(prog);
	case BPF_PROG_TYPE_LSM:
		return bpf_program__attach_lsm(prog);
	default:
		errno = EOPNOTSUPP;
		return NULL;
	}
}

static struct attached hold_by_libbpf(struct attachment *at)
{
	unsigned int said = said_count();
	struct bpf_link *link = bpf_program__attach(at->prog);

	attach_say(at, "libbpf");
	/* The kernel may answer EOPNOTSUPP too (kprobe.multi without FPROBE); libbpf reports that, and is silent only
	 * where it has nothing to attach by.
	 */
	if (!link && errno == EOPNOTSUPP && said_count() == said)
		link = link_by_type(at->prog);
	if (!link && errno == EOPNOTSUPP && said_count() == said)
		return attach_not(at, "libbpf has no auto-attach for this section, and it names no target");
	return attach_by_link(at, link, ATTACH_ANY);
}

/* What is declared to be attached to by @way, which is then said; or NULL. */
static const char *declared(struct attachment *at, const char *way)
{
	const char *place = declare_place(at->prog, way);

	if (place)
		attach_say(at, "libbpf, on %.100s as declared", place);
	return place;
}

static struct attached by_section(struct attachment *at)
{
	if (!attach_target(at)) /* any other tracepoint would be another context, and may refuse it */
		return attach_not(at, "the section names no tracepoint: its loader chooses one");
	return hold_by_libbpf(at);
}

static struct attached hold_tp(struct attachment *at)
{
	const char *place = declared(at, "tracepoint"), *name = place ? strchr(place, '/') : NULL;
	char category[128];

	if (!place)
		return by_section(at);
	if (!name)
		return attach_not(at, "%.150s is declared, which names no tracepoint of a category", place);
	snprintf(category, sizeof(category), "%.*s", (int)(name - place), place);
	return attach_by_link(at, bpf_program__attach_tracepoint(at->prog, category, name + 1), ATTACH_ANY);
}

static struct attached hold_raw_tp(struct attachment *at)
{
	const char *name = declared(at, "raw_tp");

	if (!name)
		return by_section(at);
	return attach_by_link(at, bpf_program__attach_raw_tracepoint(at->prog, name), ATTACH_ANY);
}

static bool starts(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

static struct attached hold_kprobe(struct attachment *at)
{
	bool ret = starts(bpf_program__section_name(at->prog), "kretprobe");
	const char *function = declared(at, "kprobe");

	if (function)
		return attach_by_link(at, bpf_program__attach_kprobe(at->prog, ret, function), ATTACH_ANY);
	if (attach_target(at))
		return hold_by_libbpf(at);
	attach_say(at, NO_FUNCTION);
	return attach_by_link(at, bpf_program__attach_kprobe(at->prog, ret, STAND_IN_FUNCTION), ATTACH_ANY);
}

static struct attached hold_kprobe_multi(struct attachment *at)
{
	const char *section = bpf_program__section_name(at->prog);
	const char *function = STAND_IN_FUNCTION, *pattern = declared(at, "kprobe_multi");
	LIBBPF_OPTS(bpf_kprobe_multi_opts, opts, .retprobe = starts(section, "kretprobe"));

	if (!pattern && attach_target(at))
		return hold_by_libbpf(at);
#if LIBBPF_SINCE(5)
	opts.session = bpf_program__expected_attach_type(at->prog) == BPF_TRACE_KPROBE_SESSION;
#endif
	if (!pattern) { /* by name: a pattern would have libbpf read all of the kernel's symbols */
		opts.syms = &function;
		opts.cnt = 1;
		attach_say(at, NO_FUNCTION);
	}
	return attach_by_link(at, bpf_program__attach_kprobe_multi_opts(at->prog, pattern, &opts), ATTACH_ANY);
}

static struct attached hold_ksyscall(struct attachment *at)
{
	LIBBPF_OPTS(bpf_ksyscall_opts, opts, .retprobe = starts(bpf_program__section_name(at->prog), "kretsyscall"));
	const char *name = declared(at, "ksyscall");

	if (!name && attach_target(at))
		return hold_by_libbpf(at);
	if (!name)
		attach_say(at, "libbpf, on unlink() as the section names no system call");
	return attach_by_link(at, bpf_program__attach_ksyscall(at->prog, name ?: "unlink", &opts), ATTACH_ANY);
}

/* The kernel takes it whether or not anything will call it. */
static struct attached note_inactive(struct attachment *at, struct attached done)
{
	if (!strcmp(done.outcome, ATTACHED) && env_bpf_lsm_inactive())
		attach_note(at, "bpf is not an active LSM: attached but inactive");
	return done;
}

static struct attached hold_lsm(struct attachment *at)
{
	return note_inactive(at, hold_by_libbpf(at));
}

static struct attached hold_lsm_cgroup(struct attachment *at)
{
	return note_inactive(at, family_cgroup.hold(at));
}

/* --- iterators */

/* What an iterator over a map's elements may be given: the first of the object's maps that the kernel takes. */
static bool iterates(const char *iter, enum bpf_map_type type)
{
	if (!strcmp(iter, "bpf_sk_storage_map"))
		return type == BPF_MAP_TYPE_SK_STORAGE;
	if (!strcmp(iter, "sockmap"))
		return type == BPF_MAP_TYPE_SOCKMAP || type == BPF_MAP_TYPE_SOCKHASH;
	return type == BPF_MAP_TYPE_HASH || type == BPF_MAP_TYPE_LRU_HASH || type == BPF_MAP_TYPE_PERCPU_HASH ||
	       type == BPF_MAP_TYPE_LRU_PERCPU_HASH || type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

static struct bpf_link *iter_of(struct attachment *at, union bpf_iter_link_info *info)
{
	LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = info, .link_info_len = sizeof(*info));

	return bpf_program__attach_iter(at->prog, &opts);
}

static struct attached hold_map_iter(struct attachment *at, const char *iter)
{
	union bpf_iter_link_info info;
	struct bpf_link *link = NULL;
	struct bpf_map *map;

	bpf_object__for_each_map(map, at->obj) {
		if (bpf_map__fd(map) < 0 || bpf_map__is_internal(map) || !iterates(iter, bpf_map__type(map)))
			continue;
		memset(&info, 0, sizeof(info));
		info.map.map_fd = bpf_map__fd(map);
		attach_say(at, "libbpf, over the object's map '%.64s'", bpf_map__name(map));
		link = iter_of(at, &info);
		if (link)
			return attach_by_link(at, link, ATTACH_ANY);
	}
	if (*at->how)
		return attach_not(at, "no map of the object fits this iterator (%s for the last one)", strerror(errno));
	return attach_not(at, "the iterator needs a map of its loader's choice, and the object has none that it takes");
}

static struct attached hold_cgroup_iter(struct attachment *at)
{
	union bpf_iter_link_info info = { .cgroup.order = BPF_CGROUP_ITER_SELF_ONLY };

	attach_say(at, "libbpf, over the root cgroup");
	return attach_by_link(at, iter_of(at, &info), ATTACH_ANY);
}

/* How many bytes could be read, up to a bound; @err is what the last read failed with, or 0. */
static size_t drain(int fd, int *err)
{
	static char output[4096];
	size_t total = 0;
	ssize_t len = 1;

	for (int i = 0; i < ITER_READS && total < ITER_BYTES && len > 0; i++) {
		len = read(fd, output, sizeof(output));
		total += len > 0 ? len : 0;
	}
	*err = len < 0 ? errno : 0;
	return total;
}

/* What a program prints is its own affair; that it can be read is part of how an iterator is used. A read that fails
 * behind one that did not is told, and one that fails at once proves nothing.
 */
static struct attached read_iter(struct attachment *at, struct attached done)
{
	int err, fd = attach_keep_fd(at, bpf_iter_create(bpf_link__fd(at->links[0])));

	if (fd < 0)
		return attach_failed(at, errno);
	if (!drain(fd, &err) && err)
		return attach_not(at, "not proved: the link names it, and reading the iterator ends with %s", strerror(err));
	if (err)
		attach_note(at, "reading the iterator ends with %s", strerror(err));
	snprintf(at->how + strlen(at->how), sizeof(at->how) - strlen(at->how), ", created and read");
	return done;
}

static struct attached hold_iter(struct attachment *at)
{
	const char *iter = attach_target(at) ?: "";
	struct attached done;

	if (!strcmp(iter, "bpf_map_elem") || !strcmp(iter, "bpf_sk_storage_map") || !strcmp(iter, "sockmap"))
		done = hold_map_iter(at, iter);
	else if (!strcmp(iter, "cgroup"))
		done = hold_cgroup_iter(at);
	else
		done = hold_by_libbpf(at);
	return strcmp(done.outcome, ATTACHED) ? done : read_iter(at, done);
}

/* --- perf events */

static struct attached hold_perf_event(struct attachment *at)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = SAMPLE_NS,
	};
	int fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	struct bpf_link *link;
	struct attached done;

	if (fd < 0)
		return attach_not(at, "the guest has no software event cpu-clock: %s", strerror(errno));
	attach_say(at, "libbpf, on the software event cpu-clock");
	link = bpf_program__attach_perf_event(at->prog, fd);
	if (!link)
		close(fd); /* a link owns it */
	done = attach_by_link(at, link, ATTACH_ANY);
	/* Until Linux 5.15 such an event does not tell its program; but it takes no second one. */
	if (link && strcmp(done.outcome, ATTACHED) && ioctl(fd, PERF_EVENT_IOC_SET_BPF, bpf_program__fd(at->prog)) &&
	    errno == EEXIST) {
		attach_note(at, "%s", "");
		done = attach_done(at);
	}
	return done;
}

const struct attach_family family_trace = {
	"libbpf's auto-attach", "the function or tracepoint, in the kernel's BTF", "a tracing or raw_tracepoint link names it", "",
	hold_by_libbpf,
};
const struct attach_family family_freplace = {
	"libbpf's auto-attach", "a loaded program and a function of it, declared", "a tracing link names it", "", hold_by_libbpf,
};
const struct attach_family family_tp = {
	"libbpf's auto-attach, or where it is declared", "the tracepoint, named by the section or declared; tracefs",
	"a perf_event link names it; before 5.15 the perf event's own query", "", hold_tp,
};
const struct attach_family family_raw_tp = {
	"libbpf's auto-attach, or where it is declared", "the tracepoint, named by the section or declared",
	"a raw_tracepoint link names it", "", hold_raw_tp,
};
const struct attach_family family_kprobe = {
	"libbpf's auto-attach, or where it is declared; a section without a function: on " STAND_IN_FUNCTION "()", "the function",
	"a perf_event link names it; before 5.15 the perf event's own query", "", hold_kprobe,
};
const struct attach_family family_kprobe_multi = {
	"libbpf's auto-attach, or where it is declared; a section without a pattern: on " STAND_IN_FUNCTION "()",
	"a function that matches; CONFIG_FPROBE", "a kprobe_multi link names it", "", hold_kprobe_multi,
};
const struct attach_family family_ksyscall = {
	"libbpf's auto-attach, or where it is declared; a section without a system call: on unlink()", "the system call",
	"a perf_event link names it; before 5.15 the perf event's own query", "", hold_ksyscall,
};
const struct attach_family family_lsm = {
	"libbpf's auto-attach; told when bpf is not an active LSM", "the hook, in the kernel's BTF", "a tracing link names it", "",
	hold_lsm,
};
const struct attach_family family_lsm_cgroup = {
	"a link to a child cgroup; told when bpf is not an active LSM", "the hook; cgroup2", "a cgroup link of its type names it",
	"", hold_lsm_cgroup,
};
const struct attach_family family_iter = {
	"libbpf's auto-attach, or with a map of the object for an iterator over one; created and read",
	"the iterator, in the kernel's BTF", "an iter link names it, and its file can be read", "", hold_iter,
};
const struct attach_family family_perf_event = {
	"libbpf, on the software event cpu-clock", "nothing",
	"a perf_event link names it; before 5.15 the event says that it has a program", "", hold_perf_event,
};
