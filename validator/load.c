/* Opening and loading: the object as it came, then each program alone. Nothing is fixed up first, or the answer would
 * be about us; what the user declared is set, and nothing else.
 */
#include "load.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "attach.h"
#include "declare.h"
#include "maps.h"
#include "measure.h"
#include "said.h"
#include "squeeze.h"

#define LOG_LEAST (4u << 10)

/* Returns the object, or NULL and errno. The name is constant: equal bytes must give equal reports. */
struct bpf_object *load_open_object(const struct work *work)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "object", .kconfig = declare_kconfig());
	struct bpf_object *obj = bpf_object__open_mem(work->object, work->size, &opts);

	if (obj)
		said_listen(obj);
	return obj;
}

static const char *known(const char *name)
{
	return name ?: "unknown";
}

static void tell_program(struct json *json, const struct bpf_program *prog, bool autoload)
{
	json_string(json, "name", bpf_program__name(prog));
	json_string(json, "section", bpf_program__section_name(prog));
	json_string(json, "type", known(libbpf_bpf_prog_type_str(bpf_program__type(prog))));
	json_bool(json, "autoload", autoload);
}

static void tell_programs(struct json *json, const struct bpf_object *obj, unsigned int *count)
{
	struct bpf_program *prog;

	*count = 0;
	json_open(json, "programs", '[');
	bpf_object__for_each_program(prog, obj) {
		json_open(json, NULL, '{');
		tell_program(json, prog, bpf_program__autoload(prog));
		json_close(json, '}');
		(*count)++;
	}
	json_close(json, ']');
}

static void tell_maps(struct json *json, const struct bpf_object *obj, unsigned int *count)
{
	struct bpf_map *map;

	*count = 0;
	json_open(json, "maps", '[');
	bpf_object__for_each_map(map, obj) {
		json_open(json, NULL, '{');
		json_string(json, "name", bpf_map__name(map));
		json_string(json, "type", known(libbpf_bpf_map_type_str(bpf_map__type(map))));
		json_number(json, "key_size", bpf_map__key_size(map));
		json_number(json, "value_size", bpf_map__value_size(map));
		json_number(json, "max_entries", bpf_map__max_entries(map));
		json_close(json, '}');
		(*count)++;
	}
	json_close(json, ']');
}

/* The verifier's words, within what the whole report may still carry. */
static void tell_verifier(struct json *json, struct work *work)
{
	size_t left = work->shared->log_left;
	struct text text = text_tail(said_by_verifier(), left < LOG_LEAST ? LOG_LEAST : left);

	work->shared->log_left -= text.len < left ? text.len : left;
	json_log(json, "verifier", text);
}

int load_open(struct work *work)
{
	struct bpf_object *obj = load_open_object(work);
	int err = obj ? 0 : errno;
	struct json json = { 0 };

	report_begin(&json, "open");
	json_number(&json, "errno", err);
	json_log(&json, "log", said_by_libbpf());
	if (obj) {
		tell_programs(&json, obj, &work->programs);
		tell_maps(&json, obj, &work->maps);
	}
	work->opened = obj;
	return report_frame(&work->report, &json);
}

/* What the declarations make of the object: what was set, what was chosen, and the lists that hold from here on. */
int load_declared(struct work *work, unsigned int unused)
{
	struct bpf_object *obj = work->opened;
	int err = declare_choose(work);
	struct json json = { 0 };
	unsigned int same;

	(void)unused;
	if (err)
		return err;
	declare_apply(work, obj, NULL);
	report_begin(&json, "declared");
	declare_tell(&json, work);
	tell_programs(&json, obj, &same);
	tell_maps(&json, obj, &same);
	return report_frame(&work->report, &json);
}

void load_whole_before(const struct bpf_object *obj, void (*at_types)(void))
{
	said_clear();
	measure_types(obj, at_types);
	said_keep_relocations(NULL);
}

int load_whole_after(struct work *work, struct bpf_object *obj, int err)
{
	struct json json = { 0 };

	work->shared->relocated = said_reached_verifier(obj);
	report_begin(&json, "load");
	json_number(&json, "errno", -err);
	json_log(&json, "log", said_by_libbpf());
	tell_verifier(&json, work);
	measure_tell_types(&json);
	json_log(&json, "relocations", said_of_relocations());
	return report_frame(&work->report, &json) ?: err ? 0 : maps_tell(work, obj, true);
}

static struct bpf_program *nth_program(const struct bpf_object *obj, unsigned int index)
{
	struct bpf_program *prog = NULL;

	do
		prog = bpf_object__next_program(obj, prog);
	while (prog && index--);
	return prog;
}

/* True in a process that asks about one program. */
static bool asked_alone;

/* Turn every other program off, and the struct_ops maps that would switch others on again. */
static void isolate(struct bpf_object *obj, struct bpf_program *prog)
{
	struct bpf_program *other;
	struct bpf_map *map;

	bpf_object__for_each_program(other, obj)
		bpf_program__set_autoload(other, other == prog);
	bpf_object__for_each_map(map, obj)
		if (bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS)
			bpf_map__set_autocreate(map, attach_map_holds(map, prog));
	asked_alone = true;
}

/* By the kernel's word: libbpf keeps the descriptors of maps to itself until the object is loaded. */
static bool is_tail_call_table(int fd)
{
	struct bpf_map_info info = { 0 };
	__u32 len = sizeof(info);

	return !bpf_obj_get_info_by_fd(fd, &info, &len) && info.type == BPF_MAP_TYPE_PROG_ARRAY;
}

int __real_bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags);
int __wrap_bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags);

/* Stands between libbpf's loader and its system call (ld --wrap). A tail-call table that the object fills statically
 * names programs that are not there when one is asked alone: their slots stay empty, where libbpf would give up.
 */
int __wrap_bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags)
{
	if (asked_alone && *(const int *)value < 0 && is_tail_call_table(fd))
		return 0;
	return __real_bpf_map_update_elem(fd, key, value, flags);
}

static struct attached attach_loaded(struct work *work, struct bpf_object *obj, struct bpf_program *prog)
{
	if (!declare_attaches(prog, work->attach))
		return attach_skipped("only loading was asked for");
	return attach_program(obj, prog);
}

struct bpf_program *load_program_before(struct bpf_object *obj, unsigned int index)
{
	struct bpf_program *prog = nth_program(obj, index);

	said_of_one(obj, prog);
	said_count_for(prog);
	isolate(obj, prog);
	return prog;
}

int load_program_after(struct work *work, struct bpf_object *obj, struct bpf_program *prog, bool autoload, int err)
{
	struct attached done = attach_skipped("not loaded");
	struct json json = { 0 };

	report_begin(&json, "program");
	tell_program(&json, prog, autoload);
	json_number(&json, "load_errno", -err);
	tell_verifier(&json, work);
	measure_tell_program(&json, prog);
	json_log(&json, "relocations", said_of_relocations());
	if (!err)
		done = attach_loaded(work, obj, prog);
	if (done.left_behind) {
		json_free(&json);
		return -EBUSY;
	}
	json_string(&json, "attach", done.outcome);
	json_number(&json, "attach_errno", done.err);
	json_string(&json, "reason", done.reason);
	json_string(&json, "how", done.how);
	json_log(&json, "libbpf", said_by_libbpf());
	return report_frame(&work->report, &json);
}

/* The program of an object that has no other, when loading the object as it came is loading that program alone. */
static struct bpf_program *only_program(const struct work *work)
{
	struct bpf_program *prog = nth_program(work->opened, 0);
	struct bpf_map *map;

	if (work->programs != 1 || !bpf_program__autoload(prog) || declare_any())
		return NULL;
	bpf_object__for_each_map(map, work->opened)
		if (bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS)
			return NULL; /* another of them may switch the program on */
	return prog;
}

int load_whole(struct work *work, unsigned int unused)
{
	struct bpf_program *only = only_program(work);
	int err, told;

	(void)unused;
	load_whole_before(work->opened, NULL);
	said_count_for(only);
	err = declare_apply(work, work->opened, NULL) ?: bpf_object__load(work->opened);
	told = load_whole_after(work, work->opened, err);
	if (told || err || !only)
		return told;
	work->shared->program_asked = true;
	said_of_one(work->opened, only);
	return load_program_after(work, work->opened, only, true, 0);
}

/* The whole told the relocations of what it loaded; of anything else each program tells its own. */
int load_program(struct work *work, unsigned int index)
{
	struct bpf_program *prog = nth_program(work->opened, index);
	bool autoload = bpf_program__autoload(prog);
	int err;

	said_clear();
	err = declare_apply(work, work->opened, prog);
	load_program_before(work->opened, index);
	if (!autoload || !work->shared->relocated || declare_any())
		said_keep_relocations(bpf_program__name(prog));
	err = err ?: bpf_object__load(work->opened);
	return load_program_after(work, work->opened, prog, autoload, err);
}
