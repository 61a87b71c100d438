/* Programs of a route's encapsulation: a route is the only thing that they can be attached to. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define PASS(section, name)		\
	SEC(section)			\
	int name(struct __sk_buff *skb)	\
	{				\
		return 0; /* BPF_OK */	\
	}

PASS("lwt_in", in)
PASS("lwt_out", out)
PASS("lwt_xmit", xmit)
PASS("lwt_seg6local", seg6local)
