/* Sockets, groups of sockets, maps of sockets, and cgroups. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach_how.h"

#ifndef SO_ATTACH_REUSEPORT_EBPF
#define SO_ATTACH_REUSEPORT_EBPF 52
#endif
#ifndef SO_DETACH_REUSEPORT_BPF
#define SO_DETACH_REUSEPORT_BPF 68
#endif

/* --- one socket */

static int set(int fd, int option, int value)
{
	return setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value));
}

/* An eBPF filter cannot be read back, and the kernel says so with EACCES; without a filter there is nothing to read. */
static bool has_filter(int fd)
{
	struct sock_filter filter[8];
	socklen_t len = sizeof(filter) / sizeof(*filter);

	return getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, filter, &len) && errno == EACCES;
}

static struct attached hold_socket(struct attachment *at)
{
	int fd = attach_keep_fd(at, socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));

	attach_say(at, "setsockopt: SO_ATTACH_BPF on a UDP socket");
	if (fd < 0)
		return attach_not(at, "the guest has no UDP sockets: %s", strerror(errno));
	if (set(fd, SO_ATTACH_BPF, bpf_program__fd(at->prog)))
		return attach_failed(at, errno);
	return has_filter(fd) ? attach_done(at) : attach_unproved(at);
}

/* No option reads this program back, but taking it off works once only: put on, taken off, put on again. */
static struct attached hold_reuseport(struct attachment *at)
{
	bool migrates = bpf_program__expected_attach_type(at->prog) == BPF_SK_REUSEPORT_SELECT_OR_MIGRATE;
	int fd, program = bpf_program__fd(at->prog);

	fd = attach_keep_fd(at, socket(AF_INET, (migrates ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0));
	attach_say(at, "setsockopt: SO_ATTACH_REUSEPORT_EBPF on a %s socket", migrates ? "TCP" : "UDP");
	if (fd < 0 || set(fd, SO_REUSEPORT, 1))
		return attach_not(at, "the guest has no such sockets: %s", strerror(errno));
	if (set(fd, SO_ATTACH_REUSEPORT_EBPF, program))
		return attach_failed(at, errno);
	if (set(fd, SO_DETACH_REUSEPORT_BPF, 0) || !set(fd, SO_DETACH_REUSEPORT_BPF, 0))
		return attach_unproved(at);
	if (set(fd, SO_ATTACH_REUSEPORT_EBPF, program))
		return attach_failed(at, errno);
	return attach_done(at);
}

/* --- a map of sockets */

static struct bpf_map *own_sockmap(const struct attachment *at)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, at->obj)
		if ((bpf_map__type(map) == BPF_MAP_TYPE_SOCKMAP || bpf_map__type(map) == BPF_MAP_TYPE_SOCKHASH) &&
		    bpf_map__fd(map) >= 0)
			return map;
	return NULL;
}

static enum bpf_attach_type sockmap_type(const struct attachment *at)
{
	enum bpf_attach_type type = bpf_program__expected_attach_type(at->prog);

	/* SEC("sk_skb") may become a parser or a verdict; a verdict is what most are */
	return type || bpf_program__type(at->prog) != BPF_PROG_TYPE_SK_SKB ? type : BPF_SK_SKB_STREAM_VERDICT;
}

static int undo_sockmap(struct attachment *at)
{
	return bpf_prog_detach2(bpf_program__fd(at->prog), at->where, sockmap_type(at));
}

/* The map's own answer; before Linux 5.17 it gives none, but only the program that is attached can be detached. */
static bool sockmap_has(struct attachment *at, int map, enum bpf_attach_type type)
{
	__u32 ids[4] = { 0 }, count = sizeof(ids) / sizeof(*ids), flags;

	if (!bpf_prog_query(map, type, 0, &flags, ids, &count))
		return count == 1 && ids[0] == at->prog_id;
	if (bpf_prog_detach2(bpf_program__fd(at->prog), map, type) || !bpf_prog_detach2(bpf_program__fd(at->prog), map, type))
		return false;
	return !bpf_prog_attach(bpf_program__fd(at->prog), map, type, 0);
}

static struct attached hold_sockmap(struct attachment *at)
{
	enum bpf_attach_type type = sockmap_type(at);
	const char *word = libbpf_bpf_attach_type_str(type) ?: "unknown";
	struct bpf_map *own = own_sockmap(at);
	int map;

	map = own ? bpf_map__fd(own)
		  : attach_keep_fd(at, bpf_map_create(BPF_MAP_TYPE_SOCKMAP, "attach", sizeof(int), sizeof(int), 1, NULL));
	if (own)
		attach_say(at, "bpf_prog_attach: %s on the object's map '%.64s'", word, bpf_map__name(own));
	else
		attach_say(at, "bpf_prog_attach: %s on a sockmap", word);
	if (map < 0 || bpf_prog_attach(bpf_program__fd(at->prog), map, type, 0))
		return attach_failed(at, errno);
	at->where = map;
	at->undo = undo_sockmap;
	return sockmap_has(at, map, type) ? attach_done(at) : attach_unproved(at);
}

/* --- cgroups */

static struct attached hold_cgroup(struct attachment *at)
{
	enum bpf_attach_type type = bpf_program__expected_attach_type(at->prog);
	int cgroup = attach_keep_fd(at, open(GUEST_CGROUP, O_RDONLY | O_DIRECTORY | O_CLOEXEC));

	if (cgroup < 0)
		return attach_not(at, "the guest has no cgroup2: %s", strerror(errno));
	attach_say(at, "link: %s on " GUEST_CGROUP, libbpf_bpf_attach_type_str(type) ?: "unknown");
	return attach_by_link_fd(at, bpf_link_create(bpf_program__fd(at->prog), cgroup, type, NULL), type);
}

const struct attach_family family_socket = {
	"SO_ATTACH_BPF on a UDP socket", "nothing", "SO_GET_FILTER is refused with EACCES, as only for an eBPF filter", "",
	hold_socket,
};
const struct attach_family family_reuseport = {
	"SO_ATTACH_REUSEPORT_EBPF on a UDP socket (TCP for migrate)", "nothing", "it can be detached once, and no second time", "",
	hold_reuseport,
};
const struct attach_family family_sockmap = {
	"bpf_prog_attach() to a sockmap of the object, else to one of our own", "nothing",
	"the map's query tells its id; before 5.17 it can be detached once, and no second time", "", hold_sockmap,
};
const struct attach_family family_cgroup = {
	"link to " GUEST_CGROUP, "cgroup2", "a cgroup link of its type names it", "", hold_cgroup,
};
