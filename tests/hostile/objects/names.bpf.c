/* Names in place of which tests write others, as long: what of an object's names reaches a person must be harmless.
 *
 * A test replaces the bytes of the names below wherever they are in the compiled file: symbols, sections and BTF.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} map_name_of_exactly_forty_eight_characters_xxxxx SEC(".maps");

SEC("section_name_of_exactly_forty_eight_characters_x")
int program_name_of_exactly_forty_eight_characters_x(void *ctx)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&map_name_of_exactly_forty_eight_characters_xxxxx, &key) != 0;
}

SEC("raw_tracepoint/hook_name_of_exactly_forty_eight_characters_xxxx")
int hooked(void *ctx)
{
	return 0;
}
