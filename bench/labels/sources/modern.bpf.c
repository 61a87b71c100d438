/* Instructions that came with -mcpu=v4 (Linux 6.6) and v3 atomics (5.12). */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

long long total;

#define INSN(NAME, CODE, REGS, OFF, IMM) \
	SEC("xdp") int NAME(struct xdp_md *ctx) \
	{ \
		asm volatile("r0 = 4; r2 = 2; .byte " CODE ", " REGS "; .short " OFF "; .long " IMM ::: "r0", "r2"); \
		return XDP_PASS; \
	}

INSN(swap, "0xd7", "0x00", "0", "32")
INSN(signed_division, "0x3f", "0x20", "1", "0")
INSN(sign_extension, "0xbf", "0x20", "8", "0")
INSN(long_jump, "0x06", "0x00", "0", "0")
INSN(no_opcode, "0xff", "0x00", "0", "0")

SEC("xdp")
int fetches(struct xdp_md *ctx)
{
	return __sync_fetch_and_add(&total, 1) & 1;
}
