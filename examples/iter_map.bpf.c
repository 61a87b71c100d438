/* Iterators over what is in a map, which their loader must name: here it is the first of the object's that fits. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, int);
	__type(value, long);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 4);
	__type(key, int);
	__type(value, int);
} peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, int);
} marks SEC(".maps");

SEC("iter/bpf_map_elem")
int elements(struct bpf_iter__bpf_map_elem *ctx)
{
	return 0;
}

SEC("iter/sockmap")
int sockets(struct bpf_iter__sockmap *ctx)
{
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int storages(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	return 0;
}
