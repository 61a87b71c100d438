/* What a load cost, by the kernel's own words: the verifier's counts, the machine code's size, the types' fate. */
#include "measure.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <linux/btf.h>
#include <stdlib.h>
#include <string.h>

#include "said.h"

#define STRINGS_ADDED 64 /* by libbpf, for names of types that it puts in the place of others */

static struct {
	const struct bpf_object *obj;
	void (*behind)(void);
	bool asked;
	bool changed;
	int err;
} types;

void measure_types(const struct bpf_object *obj, void (*behind)(void))
{
	types.obj = obj;
	types.behind = behind;
	types.asked = false;
}

/* libbpf also loads small types of its own, to see what the kernel takes: the object's are told by their strings. */
static bool are_the_objects(const void *data, size_t size, const void *own, size_t own_size)
{
	const struct btf_header *loaded = data, *meant = own;

	return own && own_size >= sizeof(*meant) && size >= sizeof(*loaded) && loaded->str_len >= meant->str_len &&
	       loaded->str_len <= meant->str_len + STRINGS_ADDED;
}

int __real_bpf_btf_load(const void *data, size_t size, struct bpf_btf_load_opts *opts);
int __wrap_bpf_btf_load(const void *data, size_t size, struct bpf_btf_load_opts *opts);

int __wrap_bpf_btf_load(const void *data, size_t size, struct bpf_btf_load_opts *opts)
{
	const struct btf *btf = types.obj ? bpf_object__btf(types.obj) : NULL;
	void (*behind)(void) = types.behind;
	__u32 own_size = 0;
	const void *own = btf ? btf__raw_data(btf, &own_size) : NULL;
	int fd, err;

	if (!are_the_objects(data, size, own, own_size))
		return __real_bpf_btf_load(data, size, opts);
	types.behind = NULL;
	fd = __real_bpf_btf_load(data, size, opts);
	err = fd < 0 ? errno : 0;
	if (behind)
		behind(); /* types never change: every process that asks can have the same */
	types.asked = true;
	types.changed = size != own_size || memcmp(data, own, size);
	types.err = err;
	errno = err;
	return fd;
}

void measure_tell_types(struct json *json)
{
	if (!types.asked) {
		json_null(json, "btf");
		return;
	}
	json_open(json, "btf", '{');
	json_number(json, "errno", types.err);
	json_bool(json, "changed", types.changed);
	json_close(json, '}');
}

/* What no report holds: the code's size hangs on the processor, the time on everything. */
static void tell_cost(struct json *json, __u32 jited, long long usec)
{
	json_open(json, "cost", '{');
	json_number(json, "jited", jited);
	json_number(json, "verify_us", usec);
	json_close(json, '}');
}

void measure_tell_program(struct json *json, const struct bpf_program *prog)
{
	struct bpf_prog_info info = { 0 };
	__u32 len = sizeof(info);
	long long usec;
	struct text counts = said_counts(prog, &usec);

	if (bpf_program__fd(prog) < 0 || bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &len))
		memset(&info, 0, sizeof(info));
	json_number(json, "insns", bpf_program__insn_cnt(prog));
	json_number(json, "line_info", info.nr_line_info);
	json_bytes(json, "counts", counts.data, counts.len);
	tell_cost(json, info.jited_prog_len, usec);
}
