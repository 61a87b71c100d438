#ifndef BPFCOMPAT_NETLINK_H
#define BPFCOMPAT_NETLINK_H

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stddef.h>

/* One rtnetlink request; 1 KiB is several times what any of ours needs. */
struct netlink {
	struct nlmsghdr head;
	char body[1024];
	bool full;
};

/* Start a request with its fixed part. */
void netlink_begin(struct netlink *msg, int type, int flags, const void *fixed, size_t len);

/* Add an attribute; a request that has no room fails when it is sent. */
void netlink_put(struct netlink *msg, int type, const void *data, size_t len);
void netlink_put_text(struct netlink *msg, int type, const char *text);

/* An attribute that holds others: returns where it starts, for netlink_close(). */
size_t netlink_open(struct netlink *msg, int type);
void netlink_close(struct netlink *msg, size_t start);

/* Send, and hand each answer to @each (may be NULL) until the kernel is done. 0 or -errno. */
typedef void (*netlink_fn)(const struct nlmsghdr *answer, void *arg);
int netlink_ask(struct netlink *msg, netlink_fn each, void *arg);

/* The attribute of this type among @len bytes of attributes, or NULL. */
const struct rtattr *netlink_find(const struct rtattr *from, int len, int type);

#endif
