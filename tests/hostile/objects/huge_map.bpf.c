/* Maps that a guest of 256 MB cannot hold; -DMB=... -DCOUNT=... -DKIND=... change size, number and type.
 *
 * Measured: arrays and hashes of 200 MB or 4 GB, or ten of 25 MB, are refused on 5.10, 6.1 and 7.3: ENOMEM (4 GB on
 * 5.10: E2BIG; an array of 200 MB fits into 5.10), and nothing is killed.  A per-CPU array of 200 MB gets the child
 * killed on each ("Out of memory: Killed process 80 (init)"): the report says that it died of signal 9.  On 7.3 the
 * guest then stays silent, for 90 s at least.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#ifndef MB
#define MB 4096
#endif
#ifndef COUNT
#define COUNT 1
#endif
#ifndef KIND
#define KIND BPF_MAP_TYPE_ARRAY
#endif

#define MAP(n)					\
	struct {				\
		__uint(type, KIND);		\
		__uint(max_entries, MB * 256);	\
		__type(key, __u32);		\
		__uint(value_size, 4096);	\
	} map##n SEC(".maps");

MAP(0)
#if COUNT > 1
MAP(1) MAP(2) MAP(3) MAP(4) MAP(5) MAP(6) MAP(7) MAP(8) MAP(9)
#endif

SEC("raw_tracepoint/sys_exit")
int on_exit(void *ctx)
{
	__u32 key = 0;

	bpf_map_lookup_elem(&map0, &key);
	return 0;
}
