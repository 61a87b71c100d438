/* A decoder of infrared signals: no kernel of Debian's cloud flavour has this type switched on. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("lirc_mode2")
int decode(unsigned int *sample)
{
	return 0;
}
