/* Twenty programs that each take the verifier 950,000 instructions to pass, of a million that it allows.
 *
 * Measured with -DONE (one program): loads and attaches on 5.10 (4.0 s in all), 6.1 (4.2 s), 6.12 (13.8 s, on a busy
 * host) and 7.3 (8.3 s).  All twenty on 6.1: 47.7 s.  No byte comes while the object is loaded as a whole, which is
 * longer on a slow host than a guest may be silent.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define LONG(n)								\
	SEC("raw_tracepoint/sys_enter")					\
	int long##n(__u64 *ctx)						\
	{								\
		__u64 sum = 0;						\
									\
		for (int i = 0; i < 119000 + n; i++) {			\
			asm volatile("%0 += 1" : "+r"(sum));		\
			asm volatile("%0 ^= 3" : "+r"(sum));		\
		}							\
		return 0;						\
	}

#define TEN(n) LONG(n##0) LONG(n##1) LONG(n##2) LONG(n##3) LONG(n##4) \
	LONG(n##5) LONG(n##6) LONG(n##7) LONG(n##8) LONG(n##9)

#ifdef ONE
LONG(1)
#else
TEN(1) TEN(2)
#endif
