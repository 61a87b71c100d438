/* rtnetlink, as far as devices, routes and actions need it; what libbpf offers (XDP, tc filters) is taken from there. */
#include "netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_ROOM (32u << 10) /* the kernel's own bound for one message of a dump */

void netlink_begin(struct netlink *msg, int type, int flags, const void *fixed, size_t len)
{
	memset(msg, 0, sizeof(*msg));
	msg->head.nlmsg_type = type;
	msg->head.nlmsg_flags = NLM_F_REQUEST | flags;
	memcpy(msg->body, fixed, len);
	msg->head.nlmsg_len = NLMSG_HDRLEN + NLMSG_ALIGN(len);
}

void netlink_put(struct netlink *msg, int type, const void *data, size_t len)
{
	struct rtattr *attr = (void *)((char *)msg + msg->head.nlmsg_len);

	if (msg->head.nlmsg_len + RTA_SPACE(len) > sizeof(msg->head) + sizeof(msg->body)) {
		msg->full = true;
		return;
	}
	attr->rta_type = type;
	attr->rta_len = RTA_LENGTH(len);
	if (len)
		memcpy(RTA_DATA(attr), data, len);
	msg->head.nlmsg_len += RTA_SPACE(len);
}

void netlink_put_text(struct netlink *msg, int type, const char *text)
{
	netlink_put(msg, type, text, strlen(text) + 1);
}

size_t netlink_open(struct netlink *msg, int type)
{
	size_t start = msg->head.nlmsg_len;

	netlink_put(msg, type | NLA_F_NESTED, NULL, 0);
	return start;
}

void netlink_close(struct netlink *msg, size_t start)
{
	struct rtattr *attr = (void *)((char *)msg + start);

	if (!msg->full)
		attr->rta_len = msg->head.nlmsg_len - start;
}

/* 1 when the kernel goes on, 0 when it is done, -errno. */
static int take(const char *data, int len, netlink_fn each, void *arg)
{
	for (const struct nlmsghdr *at = (const void *)data; NLMSG_OK(at, (unsigned int)len); at = NLMSG_NEXT(at, len)) {
		if (at->nlmsg_type == NLMSG_ERROR)
			return ((const struct nlmsgerr *)NLMSG_DATA(at))->error;
		if (at->nlmsg_type == NLMSG_DONE)
			return 0;
		if (each)
			each(at, arg);
	}
	return 1;
}

int netlink_ask(struct netlink *msg, netlink_fn each, void *arg)
{
	static char answer[ANSWER_ROOM] __attribute__((aligned(NLMSG_ALIGNTO)));
	int err, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	ssize_t len;

	if (fd < 0)
		return -errno;
	if ((msg->head.nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP) /* it shares a bit with NLM_F_EXCL */
		msg->head.nlmsg_flags |= NLM_F_ACK;
	err = msg->full ? -EMSGSIZE : send(fd, msg, msg->head.nlmsg_len, 0) < 0 ? -errno : 1;
	while (err > 0) {
		len = recv(fd, answer, sizeof(answer), 0);
		err = len < 0 ? -errno : take(answer, len, each, arg);
	}
	close(fd);
	return err;
}

const struct rtattr *netlink_find(const struct rtattr *from, int len, int type)
{
	for (; RTA_OK(from, len); from = RTA_NEXT(from, len))
		if ((from->rta_type & NLA_TYPE_MASK) == type)
			return from;
	return NULL;
}
