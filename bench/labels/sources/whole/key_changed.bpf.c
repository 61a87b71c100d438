/* bpf_lookup_system_key() takes a number; here it is declared with a pointer. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

struct bpf_key *bpf_lookup_system_key(struct bpf_key *like) __ksym;
void bpf_key_put(struct bpf_key *key) __ksym;

SEC("lsm.s/bpf")
int BPF_PROG(on_bpf, int cmd, union bpf_attr *attr, unsigned int size)
{
	struct bpf_key *key = bpf_lookup_system_key(0);

	if (key)
		bpf_key_put(key);
	return 0;
}
