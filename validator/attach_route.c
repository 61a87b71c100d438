/* Programs that rtnetlink takes: of a route's encapsulation (lwt), and a traffic control action of its own. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/lwtunnel.h>
#include <linux/pkt_cls.h>
#include <linux/seg6_local.h>
#include <linux/tc_act/tc_bpf.h>
#include <string.h>

#include "attach_how.h"
#include "devices.h"
#include "netlink.h"

#define ROUTE_NAME "bpfcompat" /* under which the kernel shows a program of a route, whose id it does not tell */
#define ROUTE_V4 "192.0.2.1"   /* RFC 5737 and RFC 3849: addresses that nobody has */
#define ROUTE_V6 "2001:db8::1"
#define ACTION_INDEX 1

/* --- routes */

static void begin_route(struct netlink *msg, int type, int flags, bool v6, int device)
{
	const struct rtmsg route = {
		.rtm_family = v6 ? AF_INET6 : AF_INET, .rtm_dst_len = v6 ? 128 : 32, .rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_STATIC, .rtm_scope = RT_SCOPE_LINK, .rtm_type = RTN_UNICAST,
	};
	char address[16];

	inet_pton(route.rtm_family, v6 ? ROUTE_V6 : ROUTE_V4, address);
	netlink_begin(msg, type, flags, &route, sizeof(route));
	netlink_put(msg, RTA_DST, address, v6 ? 16 : 4);
	netlink_put(msg, RTA_OIF, &device, sizeof(device));
}

static int del_route(const struct attachment *at, bool v6)
{
	struct netlink msg;

	begin_route(&msg, RTM_DELROUTE, 0, v6, at->where);
	return netlink_ask(&msg, NULL, NULL);
}

static int undo_v4(struct attachment *at)
{
	return del_route(at, false);
}

static int undo_v6(struct attachment *at)
{
	return del_route(at, true);
}

/* The attribute's own attributes. */
static const struct rtattr *inside(const struct rtattr *attr, int type)
{
	return attr ? netlink_find(RTA_DATA(attr), RTA_PAYLOAD(attr), type) : NULL;
}

static const struct rtattr *encap_of(const struct nlmsghdr *answer)
{
	const struct rtmsg *route = NLMSG_DATA(answer);

	if (answer->nlmsg_type != RTM_NEWROUTE)
		return NULL;
	return netlink_find(RTM_RTA(route), RTM_PAYLOAD(answer), RTA_ENCAP);
}

struct seen {
	__u32 prog_id;
	int attr; /* of the encapsulation, with the program inside */
	bool found;
};

static void see_name(const struct nlmsghdr *answer, void *arg)
{
	struct seen *seen = arg;
	const struct rtattr *name = inside(inside(encap_of(answer), seen->attr), LWT_BPF_PROG_NAME);

	if (name && RTA_PAYLOAD(name) >= sizeof(ROUTE_NAME) && !memcmp(RTA_DATA(name), ROUTE_NAME, sizeof(ROUTE_NAME)))
		seen->found = true;
}

static void see_id(const struct nlmsghdr *answer, void *arg)
{
	struct seen *seen = arg;
	const struct rtattr *id = inside(inside(encap_of(answer), seen->attr), SEG6_LOCAL_BPF_PROG);

	if (id && RTA_PAYLOAD(id) == sizeof(__u32) && !memcmp(RTA_DATA(id), &seen->prog_id, sizeof(__u32)))
		seen->found = true;
}

static bool shown(struct attachment *at, bool v6, int attr, netlink_fn see)
{
	const struct rtmsg all = { .rtm_family = v6 ? AF_INET6 : AF_INET };
	struct seen seen = { at->prog_id, attr, false };
	struct netlink msg;

	netlink_begin(&msg, RTM_GETROUTE, NLM_F_DUMP, &all, sizeof(all));
	return !netlink_ask(&msg, see, &seen) && seen.found;
}

static void put_program(struct netlink *msg, const struct attachment *at, int type)
{
	size_t program = netlink_open(msg, type);
	int fd = bpf_program__fd(at->prog);

	netlink_put(msg, LWT_BPF_PROG_FD, &fd, sizeof(fd)); /* SEG6_LOCAL_BPF_PROG and its name have the same numbers */
	netlink_put_text(msg, LWT_BPF_PROG_NAME, ROUTE_NAME);
	netlink_close(msg, program);
}

static int lwt_attr(const struct attachment *at)
{
	switch (bpf_program__type(at->prog)) {
	case BPF_PROG_TYPE_LWT_IN:
		return LWT_BPF_IN;
	case BPF_PROG_TYPE_LWT_OUT:
		return LWT_BPF_OUT;
	default:
		return LWT_BPF_XMIT;
	}
}

static struct attached hold_lwt(struct attachment *at)
{
	static const char *const words[] = { [LWT_BPF_IN] = "in", [LWT_BPF_OUT] = "out", [LWT_BPF_XMIT] = "xmit" };
	const __u16 kind = LWTUNNEL_ENCAP_BPF;
	int err, attr = lwt_attr(at);
	struct netlink msg;
	size_t encap;

	at->where = device_index(DEVICE_LO);
	attach_say(at, "route: " ROUTE_V4 " dev lo, encap bpf %s", words[attr]);
	begin_route(&msg, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, false, at->where);
	netlink_put(&msg, RTA_ENCAP_TYPE, &kind, sizeof(kind));
	encap = netlink_open(&msg, RTA_ENCAP);
	put_program(&msg, at, attr);
	netlink_close(&msg, encap);
	err = netlink_ask(&msg, NULL, NULL);
	if (err)
		return attach_failed(at, -err);
	at->undo = undo_v4;
	return shown(at, false, attr, see_name) ? attach_done(at) : attach_unproved(at);
}

/* An IPv6 route over lo becomes one that rejects, without its encapsulation. */
static const char *device_but_lo(void)
{
	static const char *const names[] = { DEVICE_DUMMY, DEVICE_VETH, DEVICE_NETKIT };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (device_index(names[i]))
			return names[i];
	return NULL;
}

static struct attached hold_seg6local(struct attachment *at)
{
	const char *device = device_but_lo();
	const __u16 kind = LWTUNNEL_ENCAP_SEG6_LOCAL;
	const __u32 action = SEG6_LOCAL_ACTION_END_BPF;
	struct netlink msg;
	size_t encap;
	int err;

	if (!device)
		return attach_not(at, NEEDS_MODULES "dummy, or any other device than lo");
	at->where = device_index(device);
	attach_say(at, "route: " ROUTE_V6 " dev %s, encap seg6local End.BPF", device);
	begin_route(&msg, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, true, at->where);
	netlink_put(&msg, RTA_ENCAP_TYPE, &kind, sizeof(kind));
	encap = netlink_open(&msg, RTA_ENCAP);
	netlink_put(&msg, SEG6_LOCAL_ACTION, &action, sizeof(action));
	put_program(&msg, at, SEG6_LOCAL_BPF);
	netlink_close(&msg, encap);
	err = netlink_ask(&msg, NULL, NULL);
	if (err)
		return attach_failed(at, -err);
	at->undo = undo_v6;
	return shown(at, true, SEG6_LOCAL_BPF, see_id) ? attach_done(at) : attach_unproved(at);
}

/* --- an action of its own */

static void begin_action(struct netlink *msg, int type, int flags, size_t open[2])
{
	const struct tcamsg none = { .tca_family = AF_UNSPEC };

	netlink_begin(msg, type, flags, &none, sizeof(none));
	open[0] = netlink_open(msg, TCA_ACT_TAB);
	open[1] = netlink_open(msg, 1); /* the first action */
	netlink_put_text(msg, TCA_ACT_KIND, "bpf");
}

static int ask_action(struct netlink *msg, const size_t open[2], netlink_fn each, void *arg)
{
	netlink_close(msg, open[1]);
	netlink_close(msg, open[0]);
	return netlink_ask(msg, each, arg);
}

static int undo_action(struct attachment *at)
{
	const __u32 index = ACTION_INDEX;
	struct netlink msg;
	size_t open[2];

	(void)at;
	begin_action(&msg, RTM_DELACTION, 0, open);
	netlink_put(&msg, TCA_ACT_INDEX, &index, sizeof(index));
	return ask_action(&msg, open, NULL, NULL);
}

static void see_action(const struct nlmsghdr *answer, void *arg)
{
	const struct tcamsg *head = NLMSG_DATA(answer);
	const struct rtattr *table, *id;
	struct seen *seen = arg;

	if (answer->nlmsg_type != RTM_GETACTION && answer->nlmsg_type != RTM_NEWACTION)
		return;
	table = netlink_find(TA_RTA(head), TA_PAYLOAD(answer), TCA_ACT_TAB);
	id = inside(inside(inside(table, 1), TCA_ACT_OPTIONS), TCA_ACT_BPF_ID);
	if (id && RTA_PAYLOAD(id) == sizeof(__u32) && !memcmp(RTA_DATA(id), &seen->prog_id, sizeof(__u32)))
		seen->found = true;
}

static bool action_shown(struct attachment *at)
{
	struct seen seen = { at->prog_id, 0, false };
	const __u32 index = ACTION_INDEX;
	struct netlink msg;
	size_t open[2];

	begin_action(&msg, RTM_GETACTION, 0, open);
	netlink_put(&msg, TCA_ACT_INDEX, &index, sizeof(index));
	return !ask_action(&msg, open, see_action, &seen) && seen.found;
}

static struct attached hold_action(struct attachment *at)
{
	const struct tc_act_bpf parms = { .index = ACTION_INDEX, .action = TC_ACT_PIPE };
	__u32 fd = bpf_program__fd(at->prog);
	struct netlink msg;
	size_t open[2], options;
	int err;

	attach_say(at, "tc action: bpf, by itself");
	begin_action(&msg, RTM_NEWACTION, NLM_F_CREATE | NLM_F_EXCL, open);
	options = netlink_open(&msg, TCA_ACT_OPTIONS);
	netlink_put(&msg, TCA_ACT_BPF_PARMS, &parms, sizeof(parms));
	netlink_put(&msg, TCA_ACT_BPF_FD, &fd, sizeof(fd));
	netlink_put_text(&msg, TCA_ACT_BPF_NAME, ROUTE_NAME);
	netlink_close(&msg, options);
	err = ask_action(&msg, open, NULL, NULL);
	if (err == -ENOENT)
		return attach_not(at, NEEDS_MODULES "act_bpf");
	if (err)
		return attach_failed(at, -err);
	at->undo = undo_action;
	return action_shown(at) ? attach_done(at) : attach_unproved(at);
}

const struct attach_family family_lwt = {
	"a route to " ROUTE_V4 " over lo with encapsulation bpf", "lo; CONFIG_LWTUNNEL_BPF", "the route shows its name", "", hold_lwt,
};
const struct attach_family family_seg6local = {
	"a route to " ROUTE_V6 " with encapsulation seg6local, End.BPF",
	"another device than lo: dummy, veth or netkit; CONFIG_IPV6_SEG6_BPF", "the route tells its id", "dummy", hold_seg6local,
};
const struct attach_family family_action = {
	"a traffic control action by itself", "act_bpf", "the action tells its id", "act_bpf", hold_action,
};
