/* Twenty programs, each refused at its very end with a verifier log of several hundred thousand lines.
 *
 * Measured with -DONE (one program): EACCES on 6.1 in 15.6 s, on 7.3 in 20.3 s.  Where the log outgrows the 16 MiB that
 * are asked for, 6.1 loses its end (the validator then has the summary) and 7.3 its start.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

/* No turn of the loop is like another to the verifier: the counter is a known number, and so is the sum. */
#define BOMB(n)								\
	SEC("raw_tracepoint/sys_enter")					\
	int bomb##n(__u64 *ctx)						\
	{								\
		__u64 sum = 0;						\
									\
		for (int i = 0; i < 100000 + n; i++) {			\
			asm volatile("%0 += 1" : "+r"(sum));		\
			asm volatile("%0 ^= 3" : "+r"(sum));		\
		}							\
		return *(volatile int *)(sum & 7);			\
	}

#define TEN(n) BOMB(n##0) BOMB(n##1) BOMB(n##2) BOMB(n##3) BOMB(n##4) \
	BOMB(n##5) BOMB(n##6) BOMB(n##7) BOMB(n##8) BOMB(n##9)

#ifdef ONE
BOMB(1)
#else
TEN(1) TEN(2)
#endif
