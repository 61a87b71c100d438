/* The network: devices, traffic control, routes, netfilter and the network namespace.  libbpf leaves all of it to a loader,
 * who alone knows the device; here that is lo, which every kernel has.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/netfilter.h>
#include <string.h>
#include <unistd.h>

#include "attach_how.h"
#include "devices.h"

static int link_to(struct attachment *at, int target, enum bpf_attach_type type, __u32 flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);

	return bpf_link_create(bpf_program__fd(at->prog), target, type, &opts);
}

/* --- XDP */

#define ON_LO DEVICE_LO ", generic"
#define ON_VETH DEVICE_VETH ", native"

/* A link tells what was asked for; the device tells what it runs, and in which mode. */
static struct attached by_xdp_link(struct attachment *at, int device, __u32 mode, const char *where)
{
	struct attached done;
	__u32 id = 0;

	attach_say(at, "link: xdp on %s", where);
	done = attach_by_link_fd(at, link_to(at, device, BPF_XDP, mode), ATTACH_ANY);
	if (!strcmp(done.outcome, ATTACHED) && (bpf_xdp_query_id(device, mode, &id) || id != at->prog_id))
		return attach_unproved(at);
	return done;
}

static const char *why_not(struct attached refused)
{
	return refused.err ? strerror(refused.err) : "not proved";
}

/* One mode is enough, and what became of the other is told beside it. */
static struct attached either_mode(struct attachment *at, struct attached generic, struct attached native)
{
	bool on_lo = !strcmp(generic.outcome, ATTACHED), on_veth = !strcmp(native.outcome, ATTACHED);

	attach_say(at, "link: xdp on %s%s", on_veth && !on_lo ? ON_VETH : ON_LO, on_veth && on_lo ? "; on " ON_VETH : "");
	if (on_veth && on_lo)
		attach_note(at, "%s", "");
	else if (on_veth)
		attach_note(at, "generic on " DEVICE_LO ": %s", why_not(generic));
	else
		attach_note(at, "native on " DEVICE_VETH ": %s", why_not(native));
	if (on_veth || on_lo)
		return attach_done(at);
	return generic.err && native.err ? attach_failed(at, generic.err) : attach_unproved(at);
}

/* Generic on lo is what every device can do; native only where a driver does, and veth is the one that a guest can make.
 * Linux 5.10 takes a program that redirects to a map with programs of its own in native mode alone.
 */
static struct attached hold_xdp(struct attachment *at)
{
	int veth = device_index(DEVICE_VETH);
	struct attached generic;

	generic = by_xdp_link(at, device_index(DEVICE_LO), XDP_FLAGS_SKB_MODE, ON_LO);
	return veth ? either_mode(at, generic, by_xdp_link(at, veth, XDP_FLAGS_DRV_MODE, ON_VETH)) : generic;
}

/* A program that runs behind a redirect is an entry's, and the entry says its id. */
static struct attached hold_in_map(struct attachment *at, enum bpf_map_type type, const char *name, __u32 value)
{
	struct bpf_devmap_val entry = { value, { bpf_program__fd(at->prog) } };
	int map, key = 0;

	attach_say(at, "map entry: %s", name);
	map = attach_keep_fd(at, bpf_map_create(type, "attach", sizeof(int), sizeof(entry), 1, NULL));
	if (map < 0 || bpf_map_update_elem(map, &key, &entry, 0))
		return attach_failed(at, errno);
	if (bpf_map_lookup_elem(map, &key, &entry) || entry.bpf_prog.id != at->prog_id)
		return attach_unproved(at);
	return attach_done(at);
}

static struct attached hold_devmap(struct attachment *at)
{
	return hold_in_map(at, BPF_MAP_TYPE_DEVMAP, "a devmap's entry of lo", device_index(DEVICE_LO));
}

static struct attached hold_cpumap(struct attachment *at)
{
	return hold_in_map(at, BPF_MAP_TYPE_CPUMAP, "a cpumap's entry of processor 0", 192);
}

/* --- traffic control */

/* Filters go with their qdisc; who made it takes it away. */
static int undo_tc(struct attachment *at)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = at->where, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);

	return bpf_tc_hook_destroy(&hook);
}

static struct attached by_tcx_link(struct attachment *at, enum bpf_attach_type type, const char *where)
{
	attach_say(at, "link: tcx on lo, %s", where);
	return attach_by_link_fd(at, link_to(at, device_index(DEVICE_LO), type, 0), type);
}

static struct attached prove_filter(struct attachment *at, const struct bpf_tc_hook *hook, const struct bpf_tc_opts *made)
{
	LIBBPF_OPTS(bpf_tc_opts, query, .handle = made->handle, .priority = made->priority);

	if (bpf_tc_query(hook, &query) || query.prog_id != at->prog_id)
		return attach_unproved(at);
	return attach_done(at);
}

/* A filter on clsact is what "tc" meant before tcx, and needs two modules on Debian's kernels. */
static struct attached hold_tc(struct attachment *at)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = device_index(DEVICE_LO), .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = bpf_program__fd(at->prog));
	struct attached done;
	int err = bpf_tc_hook_create(&hook);

	attach_say(at, "tc filter: clsact of lo, ingress");
	if (!err) {
		at->undo = undo_tc;
		at->where = hook.ifindex;
	}
	if (!err || err == -EEXIST) /* of another program that is attached at the same time */
		err = bpf_tc_attach(&hook, &opts);
	if (!err)
		return prove_filter(at, &hook, &opts);
	if (err != -ENOENT)
		return attach_failed(at, -err);
	done = by_tcx_link(at, BPF_TCX_INGRESS, "ingress, as the guest has no module for a filter");
	return strcmp(done.outcome, ATTACH_FAILED) ? done : attach_not(at, NEEDS_MODULES "sch_ingress and cls_bpf");
}

static struct attached hold_tcx(struct attachment *at)
{
	enum bpf_attach_type type = bpf_program__expected_attach_type(at->prog);

	return by_tcx_link(at, type, type == BPF_TCX_EGRESS ? "egress" : "ingress");
}

static struct attached hold_netkit(struct attachment *at)
{
	enum bpf_attach_type type = bpf_program__expected_attach_type(at->prog);
	/* A kernel without netkit says so of any device. */
	const char *device = device_index(DEVICE_NETKIT) ? DEVICE_NETKIT : DEVICE_LO;

	attach_say(at, "link: netkit on %s, %s", device, type == BPF_NETKIT_PEER ? "peer" : "primary");
	return attach_by_link_fd(at, link_to(at, device_index(device), type, 0), type);
}

/* --- netfilter and the network namespace */

#if LIBBPF_SINCE(3)
static struct attached hold_netfilter(struct attachment *at)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .netfilter.pf = NFPROTO_IPV4, .netfilter.hooknum = NF_INET_LOCAL_IN,
		    .netfilter.priority = -128);

	attach_say(at, "link: netfilter, IPv4, local in, priority -128");
	return attach_by_link_fd(at, bpf_link_create(bpf_program__fd(at->prog), 0, BPF_NETFILTER, &opts), ATTACH_ANY);
}
#else
static struct attached hold_netfilter(struct attachment *at)
{
	return attach_not(at, "this libbpf knows no netfilter links");
}
#endif

static struct attached hold_netns(struct attachment *at)
{
	enum bpf_attach_type type = bpf_program__expected_attach_type(at->prog);
	int netns = attach_keep_fd(at, open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));

	attach_say(at, "link: %s on the network namespace", libbpf_bpf_attach_type_str(type) ?: "unknown");
	return attach_by_link_fd(at, link_to(at, netns, type, 0), type);
}

const struct attach_family family_xdp = {
	"link to lo, generic; to a veth, native, where the guest has one", "lo", "an xdp link names it, and so does the device for that mode", "veth", hold_xdp,
};
const struct attach_family family_devmap = {
	"entry of a devmap, for lo", "lo", "the entry tells its id", "", hold_devmap,
};
const struct attach_family family_cpumap = {
	"entry of a cpumap, for processor 0", "nothing", "the entry tells its id", "", hold_cpumap,
};
const struct attach_family family_tc = {
	"filter on clsact of lo, ingress; a tcx link to lo where the guest has no module for a filter",
	"lo; sch_ingress and cls_bpf, or tcx (Linux 6.6)", "the filter tells its id, or a tcx link names it",
	"sch_ingress cls_bpf", hold_tc,
};
const struct attach_family family_tcx = {
	"link to lo", "lo", "a tcx link of its type names it", "", hold_tcx,
};
const struct attach_family family_netkit = {
	"link to a netkit device", "a netkit pair (Linux 6.7)", "a netkit link of its type names it", "", hold_netkit,
};
const struct attach_family family_netfilter = {
	"link: IPv4, local in", "CONFIG_NETFILTER_BPF_LINK", "a netfilter link names it", "", hold_netfilter,
};
const struct attach_family family_netns = {
	"link to the network namespace", "nothing", "a netns link of its type names it", "", hold_netns,
};
