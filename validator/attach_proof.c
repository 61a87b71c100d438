/* Proof: what the kernel itself says of a program that is attached.  In a guest there are no links but ours. */
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach_how.h"

/* The attach type that a link tells, or ATTACH_ANY for a kind of link that tells none. */
static int told_type(const struct bpf_link_info *info)
{
	switch (info->type) {
	case BPF_LINK_TYPE_TRACING:
		return info->tracing.attach_type;
	case BPF_LINK_TYPE_CGROUP:
		return info->cgroup.attach_type;
	case BPF_LINK_TYPE_NETNS:
		return info->netns.attach_type;
	case BPF_LINK_TYPE_TCX:
		return info->tcx.attach_type;
	case BPF_LINK_TYPE_NETKIT:
		return info->netkit.attach_type;
	default:
		return ATTACH_ANY;
	}
}

static const char *link_word(enum bpf_link_type type)
{
	static char word[48];

	snprintf(word, sizeof(word), "%s link", libbpf_bpf_link_type_str(type) ?: "unknown");
	return word;
}

/* How this link says that it holds the program, NULL if it does not. */
static const char *word_of(int fd, __u32 prog_id, int type)
{
	struct bpf_link_info info = { 0 };
	__u32 len = sizeof(info);
	int told;

	if (bpf_obj_get_info_by_fd(fd, &info, &len) || info.prog_id != prog_id)
		return NULL;
	told = told_type(&info);
	return type == ATTACH_ANY || told == ATTACH_ANY || told == type ? link_word(info.type) : NULL;
}

static const char *among_links(__u32 prog_id, int type)
{
	const char *held = NULL;
	int fd;

	for (__u32 id = 0; !held && !bpf_link_get_next_id(id, &id);) {
		fd = bpf_link_get_fd_by_id(id);
		held = fd < 0 ? NULL : word_of(fd, prog_id, type);
		close(fd);
	}
	return held;
}

static const char perf_event[] = "perf event";

/* Until Linux 5.15 a perf event that runs a program is no link; the process that holds it may ask what it runs. */
static const char *among_perf_events(__u32 prog_id)
{
	__u32 found, type, len = 0;
	__u64 offset, addr;
	const char *seen = NULL;
	struct dirent *entry;
	DIR *dir = opendir("/proc/self/fd");

	while (dir && !seen && (entry = readdir(dir)))
		if (!bpf_task_fd_query(getpid(), atoi(entry->d_name), 0, NULL, &len, &found, &type, &offset, &addr) &&
		    found == prog_id)
			seen = perf_event;
	if (dir)
		closedir(dir);
	return seen;
}

/* How the kernel says it holds a program: a link's type, or "perf event"; NULL if no link and no perf event names it. */
static const char *proof_by_id(__u32 prog_id, int type)
{
	return among_links(prog_id, type) ?: among_perf_events(prog_id);
}

bool proof_is_left(const struct attachment *at)
{
	return among_links(at->prog_id, ATTACH_ANY) || (at->by_perf_event && among_perf_events(at->prog_id));
}

struct attached attach_by_link(struct attachment *at, struct bpf_link *link, int type)
{
	size_t len = strlen(at->how);
	const char *held;

	if (!link)
		return attach_failed(at, errno);
	if (attach_keep_link(at, link))
		return attach_not(at, "the guest has no memory for another link");
	/* A user without capabilities may ask his own links only; libbpf holds some attachments by more links than one. */
	held = word_of(bpf_link__fd(link), at->prog_id, type) ?: proof_by_id(at->prog_id, type);
	if (!held)
		return attach_unproved(at);
	at->by_perf_event = held == perf_event;
	snprintf(at->how + len, sizeof(at->how) - len, ": %s", held);
	return attach_done(at);
}

struct attached attach_by_link_fd(struct attachment *at, int fd, int type)
{
	if (attach_keep_fd(at, fd) < 0)
		return attach_failed(at, errno);
	return word_of(fd, at->prog_id, type) ? attach_done(at) : attach_unproved(at);
}
