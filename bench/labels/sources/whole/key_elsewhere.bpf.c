/* Keys are for tracing and LSM programs: the oldest kfunc that a socket filter may not call (Linux 6.1). */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct bpf_key *bpf_lookup_system_key(u64 id) __ksym;
void bpf_key_put(struct bpf_key *key) __ksym;

SEC("socket")
int look(struct __sk_buff *skb)
{
	struct bpf_key *key = bpf_lookup_system_key(0);

	if (key)
		bpf_key_put(key);
	return 0;
}
