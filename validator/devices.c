/* Network devices for programs that are attached to one.  What the kernel has not is no failure here: the program that
 * needs it says so.
 */
#include "devices.h"

#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "netlink.h"

#define PEER_INFO 1 /* VETH_INFO_PEER and IFLA_NETKIT_PEER_INFO */

static const struct {
	const char *kind;
	const char *name;
	const char *peer; /* NULL for a device without */
} devices[] = {
	{ "veth", DEVICE_VETH, "veth1" },
	{ "dummy", DEVICE_DUMMY, NULL },
	{ "netkit", DEVICE_NETKIT, "netkit1" },
};

static void put_peer(struct netlink *msg, const char *peer)
{
	const struct ifinfomsg any = { .ifi_family = AF_UNSPEC };
	size_t data = netlink_open(msg, IFLA_INFO_DATA), info = netlink_open(msg, PEER_INFO);

	/* the peer's fixed part comes before its attributes, without a header of its own */
	memcpy((char *)msg + msg->head.nlmsg_len, &any, sizeof(any));
	msg->head.nlmsg_len += NLMSG_ALIGN(sizeof(any));
	netlink_put_text(msg, IFLA_IFNAME, peer);
	netlink_close(msg, info);
	netlink_close(msg, data);
}

static void make(const char *kind, const char *name, const char *peer)
{
	const struct ifinfomsg any = { .ifi_family = AF_UNSPEC };
	struct netlink msg;
	size_t info;

	netlink_begin(&msg, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &any, sizeof(any));
	netlink_put_text(&msg, IFLA_IFNAME, name);
	info = netlink_open(&msg, IFLA_LINKINFO);
	netlink_put_text(&msg, IFLA_INFO_KIND, kind);
	if (peer)
		put_peer(&msg, peer);
	netlink_close(&msg, info);
	netlink_ask(&msg, NULL, NULL);
}

static void bring_up(const char *name)
{
	const struct ifinfomsg up = {
		.ifi_family = AF_UNSPEC, .ifi_index = device_index(name), .ifi_flags = IFF_UP, .ifi_change = IFF_UP,
	};
	struct netlink msg;

	if (!up.ifi_index)
		return;
	netlink_begin(&msg, RTM_NEWLINK, 0, &up, sizeof(up));
	netlink_ask(&msg, NULL, NULL);
}

void devices_prepare(void)
{
	bring_up(DEVICE_LO);
	for (size_t i = 0; i < sizeof(devices) / sizeof(*devices); i++) {
		if (!device_index(devices[i].name)) /* the module dummy brings one along */
			make(devices[i].kind, devices[i].name, devices[i].peer);
		bring_up(devices[i].name);
		if (devices[i].peer)
			bring_up(devices[i].peer);
	}
}

int device_index(const char *name)
{
	return (int)if_nametoindex(name);
}
