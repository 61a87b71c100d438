/* Opening and loading: the object as it came, then each program alone. Nothing is fixed up first, or the answer would
 * be about us; what the user declared is set, and nothing else.
 */
#include "load.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "attach.h"
#include "declare.h"
#include "said.h"

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

static void tell_maps(struct json *json, const struct bpf_object *obj)
{
	struct bpf_map *map;

	json_open(json, "maps", '[');
	bpf_object__for_each_map(map, obj) {
		json_open(json, NULL, '{');
		json_string(json, "name", bpf_map__name(map));
		json_string(json, "type", known(libbpf_bpf_map_type_str(bpf_map__type(map))));
		json_number(json, "key_size", bpf_map__key_size(map));
		json_number(json, "value_size", bpf_map__value_size(map));
		json_number(json, "max_entries", bpf_map__max_entries(map));
		json_close(json, '}');
	}
	json_close(json, ']');
}

/* The verifier's words, within what one log and what the whole report may still carry. */
static void tell_verifier(struct json *json, struct work *work)
{
	size_t left = work->shared->log_left;
	size_t max = work->log_max < left ? work->log_max : left;
	struct text text = text_tail(said_by_verifier(), max < LOG_LEAST ? LOG_LEAST : max);

	work->shared->log_left -= text.len < left ? text.len : left;
	json_text(json, "verifier", text);
}

int load_open(struct work *work, unsigned int unused)
{
	struct bpf_object *obj = load_open_object(work);
	int err = obj ? 0 : errno;
	struct json json = { 0 };

	(void)unused;
	report_begin(&json, "open");
	json_number(&json, "errno", err);
	json_text(&json, "log", said_by_libbpf());
	if (obj) {
		tell_programs(&json, obj, &work->shared->programs);
		tell_maps(&json, obj);
	}
	work->shared->opened = obj != NULL;
	err = report_frame(&work->report, &json);
	bpf_object__close(obj);
	return err;
}

/* What the declarations make of the object: what was set, what was chosen, and the lists that hold from here on. */
int load_declared(struct work *work, unsigned int unused)
{
	int err = declare_choose(work);
	struct bpf_object *obj = err ? NULL : load_open_object(work);
	struct json json = { 0 };

	(void)unused;
	if (!obj)
		return err ?: -errno;
	declare_apply(work, obj, NULL);
	report_begin(&json, "declared");
	declare_tell(&json, work);
	tell_programs(&json, obj, &work->shared->programs);
	tell_maps(&json, obj);
	err = report_frame(&work->report, &json);
	bpf_object__close(obj);
	return err;
}

int load_whole(struct work *work, unsigned int unused)
{
	struct bpf_object *obj = load_open_object(work);
	struct json json = { 0 };
	int err;

	(void)unused;
	if (!obj)
		return -errno;
	said_clear();
	err = declare_apply(work, obj, NULL) ?: bpf_object__load(obj);
	report_begin(&json, "load");
	json_number(&json, "errno", -err);
	json_text(&json, "log", said_by_libbpf());
	tell_verifier(&json, work);
	err = report_frame(&work->report, &json);
	bpf_object__close(obj);
	return err;
}

static struct bpf_program *nth_program(const struct bpf_object *obj, unsigned int index)
{
	struct bpf_program *prog = NULL;

	do
		prog = bpf_object__next_program(obj, prog);
	while (prog && index--);
	return prog;
}

/* Load with every other program off, and with the struct_ops maps off that would switch others on again. */
static int load_alone(struct bpf_object *obj, struct bpf_program *prog)
{
	struct bpf_program *other;
	struct bpf_map *map;

	bpf_object__for_each_program(other, obj)
		bpf_program__set_autoload(other, other == prog);
	bpf_object__for_each_map(map, obj)
		if (bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS)
			bpf_map__set_autocreate(map, attach_map_holds(map, prog));
	return bpf_object__load(obj);
}

/* A tail-call table that the object fills statically cannot be filled by one program alone (EBADF), although the kernel
 * took the program. Such a program is attached from the object loaded as a whole, if that loads.
 */
static struct attached attach_among_all(struct work *work, unsigned int index)
{
	struct attached done = attach_skipped("the object's tail-call table needs programs that do not load");
	struct bpf_object *obj = load_open_object(work);
	struct bpf_program *prog;

	if (!obj)
		return done;
	prog = nth_program(obj, index);
	if (declare_apply(work, obj, NULL) || bpf_program__set_autoload(prog, true))
		goto out;
	declare_create_maps_of(obj, prog);
	if (!bpf_object__load(obj))
		done = attach_program(obj, prog);
out:
	bpf_object__close(obj);
	return done;
}

static struct attached attach_loaded(struct work *work, struct bpf_object *obj, unsigned int index, bool alone)
{
	if (!work->attach)
		return attach_skipped("only loading was asked for");
	return alone ? attach_program(obj, nth_program(obj, index)) : attach_among_all(work, index);
}

int load_program(struct work *work, unsigned int index)
{
	struct attached done = attach_skipped("not loaded");
	struct bpf_object *obj = load_open_object(work);
	struct bpf_program *prog;
	struct json json = { 0 };
	bool autoload, alone;
	int err;

	prog = obj ? nth_program(obj, index) : NULL;
	if (!prog)
		return -ENOENT;
	autoload = bpf_program__autoload(prog);
	said_clear();
	err = declare_apply(work, obj, prog) ?: load_alone(obj, prog);
	alone = err != -EBADF || !said_accepted(prog);
	if (!alone) {
		said_clear(); /* libbpf's complaint is about the table, not about this program */
		err = 0;
	}
	report_begin(&json, "program");
	tell_program(&json, prog, autoload);
	json_number(&json, "load_errno", -err);
	tell_verifier(&json, work);
	if (!err)
		done = attach_loaded(work, obj, index, alone);
	if (done.left_behind) {
		json_free(&json);
		return -EBUSY;
	}
	json_string(&json, "attach", done.outcome);
	json_number(&json, "attach_errno", done.err);
	json_string(&json, "reason", done.reason);
	json_string(&json, "how", done.how);
	json_text(&json, "libbpf", said_by_libbpf());
	err = report_frame(&work->report, &json);
	bpf_object__close(obj);
	return err;
}
