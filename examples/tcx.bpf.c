/* Traffic control by links: since Linux 6.6. Loading asks for a type that all kernels have; attaching tells old from new. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define PASS(section, name)		\
	SEC(section)			\
	int name(struct __sk_buff *skb)	\
	{				\
		return -1; /* TCX_NEXT */ \
	}

PASS("tcx/ingress", pass_all)
PASS("tcx/egress", pass_egress)
PASS("tc/ingress", pass_ingress_by_its_alias)
PASS("tc/egress", pass_egress_by_its_alias)
