/* What the validator itself can do to make a program run: no binary is needed, and no shell. */
#include "steps.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hex.h"

#define STEP_MAX 16384
#define PACKET_MAX 4096
#define ANSWER_MS 2000

static const char words[] = "bpfcompat\n";

/* A socket address of either family, and how long it is. */
struct place {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} at;
	socklen_t len;
};

/* 0 for a call that gave no -1. */
static int failed(long result)
{
	return result < 0 ? errno : 0;
}

/* With which code is not looked at: a test's command is there for that. */
static int exited(pid_t pid)
{
	int status;

	if (pid < 0)
		return errno;
	if (waitpid(pid, &status, 0) != pid)
		return errno;
	return WIFEXITED(status) ? 0 : EINTR;
}

/* Without a path our own: main() ends at once when it is not init. */
static int do_exec(char *path)
{
	char *const argv[] = { *path ? path : "/init", NULL }, *const none[] = { NULL };
	pid_t pid;

	return posix_spawn(&pid, argv[0], NULL, NULL, argv, none) ?: exited(pid);
}

static int do_fork(char *unused)
{
	pid_t pid = fork();

	(void)unused;
	if (!pid)
		_exit(0);
	return exited(pid);
}

static int do_getpid(char *unused)
{
	(void)unused;
	return failed(syscall(SYS_getpid));
}

static int opened(const char *path, int flags, int *fd)
{
	*fd = open(path, flags | O_CLOEXEC, 0644);
	return failed(*fd);
}

static int do_open(char *path)
{
	int fd, err = opened(path, O_RDONLY, &fd);

	if (!err)
		close(fd);
	return err;
}

static int do_read(char *path)
{
	char block[4096];
	int fd, err = opened(path, O_RDONLY, &fd);

	if (err)
		return err;
	err = failed(read(fd, block, sizeof(block)));
	close(fd);
	return err;
}

static int do_write(char *path)
{
	int fd, err = opened(path, O_WRONLY | O_CREAT | O_TRUNC, &fd);

	if (err)
		return err;
	err = failed(write(fd, words, sizeof(words) - 1));
	close(fd);
	return err;
}

static int do_mkdir(char *path)
{
	return failed(mkdir(path, 0755));
}

static int do_remove(char *path)
{
	return failed(remove(path));
}

static int do_sleep(char *milliseconds)
{
	long ms = strtol(milliseconds, NULL, 10);
	struct timespec left = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&left, &left))
		if (errno != EINTR)
			return errno;
	return 0;
}

/* A child that does nothing is sent a signal. */
static int do_kill(char *number)
{
	pid_t pid = fork();
	int err;

	if (!pid)
		for (;;)
			pause();
	if (pid < 0)
		return errno;
	err = failed(kill(pid, atoi(number)));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return err;
}

/* `1.2.3.4:80` or `[::1]:80` */
static int parsed(char *text, struct place *place)
{
	char *port = strrchr(text, ':');
	size_t len = port ? (size_t)(port - text) : 0;

	memset(place, 0, sizeof(*place));
	if (!len)
		return EINVAL;
	*port++ = '\0';
	if (*text == '[' && text[len - 1] == ']') {
		text[len - 1] = '\0';
		place->at.v6.sin6_family = AF_INET6;
		place->at.v6.sin6_port = htons(atoi(port));
		place->len = sizeof(place->at.v6);
		return inet_pton(AF_INET6, text + 1, &place->at.v6.sin6_addr) == 1 ? 0 : EINVAL;
	}
	place->at.v4.sin_family = AF_INET;
	place->at.v4.sin_port = htons(atoi(port));
	place->len = sizeof(place->at.v4);
	return inet_pton(AF_INET, text, &place->at.v4.sin_addr) == 1 ? 0 : EINVAL;
}

static int open_socket(const struct place *place, int type)
{
	return socket(place->at.any.sa_family, type | SOCK_CLOEXEC, 0);
}

typedef int (*call_fn)(int fd, const struct sockaddr *at, socklen_t len);

/* One call on a socket of its own, for the place that @text tells. */
static int with_socket(char *text, int type, call_fn call)
{
	struct place place;
	int fd, err = parsed(text, &place);

	if (err)
		return err;
	fd = open_socket(&place, type);
	if (fd < 0)
		return errno;
	err = failed(call(fd, &place.at.any, place.len));
	close(fd);
	return err;
}

static int do_connect(char *text)
{
	return with_socket(text, SOCK_STREAM, connect);
}

static int do_bind(char *text)
{
	return with_socket(text, SOCK_STREAM, bind);
}

/* What came in time is @len bytes of our words. */
static int answered(int fd, size_t len)
{
	struct pollfd wait = { fd, POLLIN, 0 };
	char got[sizeof(words)];

	if (poll(&wait, 1, ANSWER_MS) != 1)
		return ETIMEDOUT;
	return failed(recv(fd, got, len, 0));
}

static int exchange(int client, int server, const struct place *place)
{
	int on = 1, peer, err;

	setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	err = failed(bind(server, &place->at.any, place->len)) ?: failed(listen(server, 1)) ?:
	      failed(connect(client, &place->at.any, place->len));
	if (err)
		return err;
	peer = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	if (peer < 0)
		return errno;
	err = failed(send(client, words, sizeof(words) - 1, MSG_NOSIGNAL)) ?: answered(peer, sizeof(words) - 1);
	close(peer);
	return err;
}

/* A whole connection: somebody listens, somebody connects, a line is sent and read. */
static int do_tcp(char *text)
{
	struct place place;
	int client, server, err = parsed(text, &place);

	if (err)
		return err;
	client = open_socket(&place, SOCK_STREAM);
	server = open_socket(&place, SOCK_STREAM);
	err = client < 0 || server < 0 ? errno : exchange(client, server, &place);
	close(client);
	close(server);
	return err;
}

static int send_words(int fd, const struct sockaddr *to, socklen_t len)
{
	return sendto(fd, words, sizeof(words) - 1, MSG_NOSIGNAL, to, len);
}

static int do_udp(char *text)
{
	return with_socket(text, SOCK_DGRAM, send_words);
}

static uint16_t checksum(const void *data, size_t len)
{
	const uint16_t *word = data;
	uint32_t sum = 0;

	for (size_t i = 0; i < len / 2; i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

/* The kernel answers an echo request by itself. A raw socket sees the request, too, when it is sent to this machine. */
static int do_ping(char *text)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct icmphdr echo = { .type = ICMP_ECHO, .un.echo.id = 0xbf }, *got;
	char reply[256];
	int fd, err = inet_pton(AF_INET, text, &to.sin_addr) == 1 ? 0 : EINVAL;

	if (err)
		return err;
	fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	if (fd < 0)
		return errno;
	echo.checksum = checksum(&echo, sizeof(echo));
	err = failed(sendto(fd, &echo, sizeof(echo), 0, (struct sockaddr *)&to, sizeof(to)));
	for (int tries = 4; !err && tries; tries--) {
		struct pollfd wait = { fd, POLLIN, 0 };
		ssize_t len = poll(&wait, 1, ANSWER_MS) == 1 ? recv(fd, reply, sizeof(reply), 0) : -1;

		got = (struct icmphdr *)(reply + (*reply & 15) * 4);
		if (len < 0)
			err = ETIMEDOUT;
		else if (len >= 28 && got->type == ICMP_ECHOREPLY)
			break;
	}
	close(fd);
	return err;
}

/* `lo:HEX`: a whole frame, sent on an interface. */
static int do_packet(char *text)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_halen = ETH_ALEN };
	unsigned char frame[PACKET_MAX];
	char *hex = strchr(text, ':');
	size_t len;
	int fd, err;

	if (!hex)
		return EINVAL;
	*hex++ = '\0';
	len = from_hex(hex, frame, sizeof(frame));
	to.sll_ifindex = if_nametoindex(text);
	if (!to.sll_ifindex)
		return errno;
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	memcpy(to.sll_addr, frame, ETH_ALEN);
	err = failed(sendto(fd, frame, len, 0, (struct sockaddr *)&to, sizeof(to)));
	close(fd);
	return err;
}

static const struct {
	const char *name;
	int (*run)(char *argument);
} steps[] = {
	{ "exec", do_exec },	 { "fork", do_fork },	{ "getpid", do_getpid }, { "open", do_open },
	{ "read", do_read },	 { "write", do_write }, { "mkdir", do_mkdir },	 { "remove", do_remove },
	{ "sleep", do_sleep },	 { "kill", do_kill },	{ "connect", do_connect }, { "bind", do_bind },
	{ "tcp", do_tcp },	 { "udp", do_udp },	{ "ping", do_ping },	 { "packet", do_packet },
};

int step_do(const char *text)
{
	char copy[STEP_MAX], *argument;

	if (strlen(text) >= sizeof(copy))
		return E2BIG;
	strcpy(copy, text);
	argument = strchr(copy, ':');
	if (argument)
		*argument++ = '\0';
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++)
		if (!strcmp(steps[i].name, copy))
			return steps[i].run(argument ?: copy + strlen(copy));
	return ENOSYS;
}
