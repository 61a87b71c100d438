/* A kfunc is registered for some program types only. Tasks are nothing to a socket filter: where the kfunc
 * exists, the verifier refuses the call (kfunc-not-allowed).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
void bpf_task_release(struct task_struct *task) __ksym;

SEC("socket")
int look(struct __sk_buff *skb)
{
	struct task_struct *found = bpf_task_from_pid(1);

	if (found)
		bpf_task_release(found);
	return 0;
}
