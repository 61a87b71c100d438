/* Constants that an application sets before it loads: the verifier sees their values, and does not look at what they rule
 * out. As it came, everything is ruled in, and each refuses the object. A value of the configuration that no kernel has
 * is given too.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

enum mode { MODE_UNSET, MODE_SHORT, MODE_LONG };

struct filter {
	__u32 pid;
	__s16 level;
	char name[8];
};

const volatile bool enabled = false;
const volatile __u64 limit = 0;
const volatile int low = 0;
const volatile enum mode mode = MODE_UNSET;
const volatile char tag[16] = "";
const volatile __u16 ports[3] = { 0 };
const volatile struct filter filter = { 0 };
__u32 start = 0; /* not constant: set all the same */

extern int CONFIG_BPFCOMPAT_LEVEL __kconfig;

/* what no verifier lets pass */
static __always_inline int forbidden(void)
{
	return *(volatile int *)8;
}

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *ctx)
{
	if (!enabled)
		return forbidden();
	if (limit != 1ULL << 63)
		return forbidden();
	if (low != -5)
		return forbidden();
	if (mode != MODE_LONG)
		return forbidden();
	if (tag[0] != 'a' || tag[2] != 'c' || tag[3])
		return forbidden();
	if (ports[0] != 80 || ports[2] != 8080)
		return forbidden();
	if (filter.pid != 42 || filter.level != -1 || filter.name[1] != 'y')
		return forbidden();
	if (CONFIG_BPFCOMPAT_LEVEL != 7)
		return forbidden();
	start++;
	return 0;
}
