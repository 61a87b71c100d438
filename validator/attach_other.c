/* What is registered, run or handed to hardware. */
#include <bpf/btf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach_how.h"

#define STATE_INUSE 1 /* enum bpf_struct_ops_state of the kernel */
#define LIRC_DEVICE "/dev/lirc0"

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

static const char *kernel_struct(const struct attachment *at, const struct bpf_map *map)
{
	const struct btf *btf = bpf_object__btf(at->obj);
	const struct btf_type *type = btf ? btf__type_by_id(btf, bpf_map__btf_value_type_id(map)) : NULL;

	return type ? btf__name_by_offset(btf, type->name_off) : "";
}

/* A link names the map; without one, the map's own value says that it is in use. */
static bool registered(const struct bpf_map *map, const struct bpf_link *link)
{
	struct bpf_link_info info = { 0 };
	struct bpf_map_info own = { 0 };
	__u32 len = sizeof(info), own_len = sizeof(own), key = 0, *value;
	bool in_use;

	if (bpf_obj_get_info_by_fd(bpf_map__fd(map), &own, &own_len))
		return false;
	if (bpf_link__fd(link) != bpf_map__fd(map))
		return !bpf_obj_get_info_by_fd(bpf_link__fd(link), &info, &len) &&
		       info.type == BPF_LINK_TYPE_STRUCT_OPS && info.struct_ops.map_id == own.id;
	value = calloc(1, own.value_size);
	in_use = value && own.value_size >= 2 * sizeof(*value) && !bpf_map_lookup_elem(bpf_map__fd(map), &key, value) &&
		 value[1] == STATE_INUSE; /* behind the reference count */
	free(value);
	return in_use;
}

static struct attached hold_map(struct attachment *at, struct bpf_map *map)
{
	struct bpf_link *link;

	if (!strcmp(kernel_struct(at, map), "hid_bpf_ops"))
		return attach_not(at, "hid_bpf_ops is for one HID device, and the guest has none");
	attach_say(at, "libbpf: %.60s registered from map '%.64s'", kernel_struct(at, map), bpf_map__name(map));
	link = bpf_map__attach_struct_ops(map);
	if (!link)
		return attach_failed(at, errno);
	if (attach_keep_link(at, link))
		return attach_not(at, "the guest has no memory for another link");
	return registered(map, link) ? attach_done(at) : attach_unproved(at);
}

static struct attached hold_struct_ops(struct attachment *at)
{
	struct attached done = attach_skipped("no struct_ops map calls this program");
	struct bpf_map *map;

	bpf_object__for_each_map(map, at->obj) {
		if (!attach_map_holds(map, at->prog))
			continue;
		done = hold_map(at, map);
		if (strcmp(done.outcome, ATTACHED))
			break;
	}
	return done;
}

static struct attached hold_nothing(struct attachment *at)
{
	return attach_not(at, "a syscall program is run by its loader (BPF_PROG_RUN), never attached; loading is all that is asked");
}

static int undo_lirc(struct attachment *at)
{
	return bpf_prog_detach2(bpf_program__fd(at->prog), at->where, BPF_LIRC_MODE2);
}

static struct attached hold_lirc(struct attachment *at)
{
	__u32 ids[4] = { 0 }, count = sizeof(ids) / sizeof(*ids), flags;
	int device = attach_keep_fd(at, open(LIRC_DEVICE, O_RDONLY | O_CLOEXEC));

	if (device < 0)
		return attach_not(at, "the guest has no infrared receiver (" LIRC_DEVICE ")");
	attach_say(at, "bpf_prog_attach: lirc_mode2 on " LIRC_DEVICE);
	if (bpf_prog_attach(bpf_program__fd(at->prog), device, BPF_LIRC_MODE2, 0))
		return attach_failed(at, errno);
	at->where = device;
	at->undo = undo_lirc;
	if (bpf_prog_query(device, BPF_LIRC_MODE2, 0, &flags, ids, &count) || count != 1 || ids[0] != at->prog_id)
		return attach_unproved(at);
	return attach_done(at);
}

const struct attach_family family_struct_ops = {
	"the maps that call it are registered", "the kernel's struct in BTF; for hid_bpf_ops a HID device",
	"a struct_ops link names the map; without a link its value says that it is in use", "", hold_struct_ops,
};
const struct attach_family family_syscall = {
	"never: its loader runs it by BPF_PROG_RUN", "nothing", "loading is all that is asked", "", hold_nothing,
};
const struct attach_family family_lirc = {
	"bpf_prog_attach() to " LIRC_DEVICE, "an infrared receiver; no default kernel has CONFIG_BPF_LIRC_MODE2",
	"the device's query tells its id", "", hold_lirc,
};
