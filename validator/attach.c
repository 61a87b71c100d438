/* Attaching: what libbpf attaches by itself, and why the rest was not attempted. */
#include "attach.h"

#include <errno.h>
#include <string.h>

#include "env.h"
#include "said.h"

struct attached attach_skipped(const char *reason)
{
	return (struct attached){ ATTACH_NOT_ATTEMPTED, 0, reason };
}

static struct attached failed(int err)
{
	return (struct attached){ ATTACH_FAILED, err, "" };
}

/* The guest has no user space but us: a missing binary there would say nothing about the kernel. */
static bool targets_user_space(const char *section)
{
	static const char *const families[] = { "uprobe", "uretprobe", "usdt" };

	section += *section == '?';
	for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++)
		if (!strncmp(section, families[i], strlen(families[i])))
			return true;
	return false;
}

bool attach_map_holds(struct bpf_map *map, const struct bpf_program *prog)
{
	const struct bpf_program *slot;
	const char *value;
	size_t size = 0;

	if (bpf_map__type(map) != BPF_MAP_TYPE_STRUCT_OPS)
		return false;
	/* Between open and load, function pointers in a struct_ops value are libbpf's programs ("shadow type"). */
	value = bpf_map__initial_value(map, &size);
	for (size_t at = 0; value && at + sizeof(slot) <= size; at += sizeof(slot)) {
		memcpy(&slot, value + at, sizeof(slot));
		if (slot == prog)
			return true;
	}
	return false;
}

static struct attached attach_struct_ops(struct attachment *at, struct bpf_object *obj, struct bpf_program *prog)
{
	struct attached done = attach_skipped("no struct_ops map calls this program");
	struct bpf_map *map;

	bpf_object__for_each_map(map, obj) {
		if (!attach_map_holds(map, prog))
			continue;
		bpf_link__destroy(at->link);
		at->link = bpf_map__attach_struct_ops(map);
		if (!at->link)
			return failed(errno);
		done = (struct attached){ ATTACHED, 0, "" };
	}
	return done;
}

static struct attached attach_auto(struct attachment *at, struct bpf_program *prog)
{
	unsigned int said = said_count();
	struct bpf_link *link = bpf_program__attach(prog);

	/* The kernel may answer EOPNOTSUPP too (kprobe.multi without FPROBE); libbpf reports that, and is silent only
	 * where it has nothing to attach by.
	 */
	if (!link && errno == EOPNOTSUPP && said_count() == said)
		return attach_skipped("libbpf has no auto-attach for this section");
	if (!link)
		return failed(errno);
	at->link = link;
	if (bpf_program__type(prog) == BPF_PROG_TYPE_LSM && env_bpf_lsm_inactive())
		return (struct attached){ ATTACHED, 0, "bpf is not an active LSM: attached but inactive" };
	return (struct attached){ ATTACHED, 0, "" };
}

struct attached attach_hold(struct attachment *at, struct bpf_object *obj, struct bpf_program *prog)
{
	at->link = NULL;
	if (targets_user_space(bpf_program__section_name(prog)))
		return attach_skipped("the target is in user space, and the guest has none");
	if (bpf_program__type(prog) == BPF_PROG_TYPE_STRUCT_OPS)
		return attach_struct_ops(at, obj, prog);
	return attach_auto(at, prog);
}

int attach_release(struct attachment *at)
{
	return bpf_link__destroy(at->link);
}

struct attached attach_program(struct bpf_object *obj, struct bpf_program *prog)
{
	struct attachment at;
	struct attached done = attach_hold(&at, obj, prog);

	attach_release(&at);
	return done;
}
