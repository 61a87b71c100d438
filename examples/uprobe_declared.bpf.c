/* Probes of a program that only their loader knows: where they are placed is declared, in the guest's own program or in a
 * file that the object's table ships (docs/declare.md). A behaviour test runs that program, and sees them fire.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <linux/errno.h>
#include <bpf/usdt.bpf.h>

char LICENSE[] SEC("license") = "GPL";

int entered, asked, answered, seen;

SEC("uprobe//usr/sbin/app:work")
int BPF_KPROBE(at_entry, int number)
{
	entered++;
	asked = number;
	return 0;
}

SEC("uretprobe")
int BPF_KRETPROBE(at_return, int number)
{
	answered = number;
	return 0;
}

SEC("usdt//usr/sbin/app:app:done")
int BPF_USDT(at_probe, int number)
{
	seen = number;
	return 0;
}
