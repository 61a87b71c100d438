/* Warm-up of a guest that is to be frozen: the kernel parses its own BTF at the first program that it verifies. */
#include "warm.h"

#include <bpf/bpf.h>
#include <stdbool.h>
#include <unistd.h>

#include "conditions.h"
#include "types.h"

static const struct bpf_insn return_0[] = {
	{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0 },
	{ .code = BPF_JMP | BPF_EXIT },
};

/* Of libbpf's own, not its interface: where a version has no such function, each child asks for itself. */
bool feat_supported(void *cache, int feature) __attribute__((weak));

void warm_libbpf(void)
{
	for (int feature = 0; feat_supported && feature < LIBBPF_FEATURES; feature++)
		feat_supported(NULL, feature);
}

void warm_up(void)
{
	int link, prog, map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "warm", sizeof(int), sizeof(int), 1, NULL);

	prog = bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "warm", "GPL", return_0, sizeof(return_0) / sizeof(*return_0),
			     NULL);
	link = prog < 0 ? -1 : bpf_raw_tracepoint_open("sys_enter", prog);
	types_keep();
	close(link);
	close(prog);
	close(map);
	if (!conditions_unprivileged())
		warm_libbpf();
}
