/* Maps: all of an object's without its programs, and, where that fails, each alone. */
#include "maps.h"

#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>

#include "declare.h"
#include "said.h"
#include "squeeze.h"

#define CREATED "created"
#define FAILED "failed"
#define NOT_ASKED "not-asked"

static struct bpf_map *nth_map(const struct bpf_object *obj, unsigned int index)
{
	struct bpf_map *map = NULL;

	do
		map = bpf_object__next_map(obj, map);
	while (map && index--);
	return map;
}

static void without_programs(struct bpf_object *obj)
{
	struct bpf_program *prog;

	bpf_object__for_each_program(prog, obj)
		bpf_program__set_autoload(prog, false);
}

static bool is_struct_ops(const struct bpf_map *map)
{
	return bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS;
}

int maps_tell(struct work *work, const struct bpf_object *obj, bool loaded)
{
	struct json json = { 0 };
	struct bpf_map *map;
	unsigned int i = 0;

	report_begin(&json, "maps");
	json_open(&json, "created", '[');
	bpf_object__for_each_map(map, obj) {
		bool created = loaded && bpf_map__autocreate(map);

		json_bool(&json, NULL, created);
		if (i < MAPS_MOST)
			work->shared->created[i++] = created;
	}
	json_close(&json, ']');
	work->shared->maps_told = true;
	return report_frame(&work->report, &json);
}

int maps_together(struct work *work, unsigned int unused)
{
	struct bpf_object *obj = work->opened;
	struct bpf_map *map;
	int err;

	(void)unused;
	err = declare_prepare(work, obj, NULL);
	without_programs(obj);
	bpf_object__for_each_map(map, obj)
		if (is_struct_ops(map)) /* it needs its programs */
			bpf_map__set_autocreate(map, false);
	return maps_tell(work, obj, !(err ?: bpf_object__load(obj)));
}

/* libbpf names the map in what it says of one that it could not make; a load may fail before any is made. */
static bool is_named(const struct bpf_map *map)
{
	struct text said = said_by_libbpf();
	char named[600];

	snprintf(named, sizeof(named), "map '%s': ", bpf_map__name(map));
	return memmem(said.data, said.len, named, strlen(named)) != NULL;
}

static const char *create(struct work *work, struct bpf_map *map, int *err, const char **reason)
{
	struct bpf_object *obj = work->opened;
	struct bpf_map *other;

	if (is_struct_ops(map)) {
		*reason = "a struct_ops map is created with its programs only";
		return NOT_ASKED;
	}
	*err = declare_prepare(work, obj, NULL);
	if (!bpf_map__autocreate(map) && declare_any()) {
		*err = 0;
		*reason = "declared as not created";
		return NOT_ASKED;
	}
	without_programs(obj);
	bpf_object__for_each_map(other, obj)
		bpf_map__set_autocreate(other, other == map);
	*err = -(*err ?: bpf_object__load(obj));
	if (!*err)
		return CREATED;
	if (is_named(map))
		return FAILED;
	*err = 0;
	*reason = "libbpf gives the object up before it creates a map";
	return NOT_ASKED;
}

int maps_alone(struct work *work, unsigned int index)
{
	struct bpf_map *map = nth_map(work->opened, index);
	const char *outcome, *reason = "";
	struct json json = { 0 };
	int err = 0;

	outcome = create(work, map, &err, &reason);
	report_begin(&json, "map");
	json_string(&json, "name", bpf_map__name(map));
	json_string(&json, "outcome", outcome);
	json_number(&json, "errno", err);
	json_string(&json, "reason", reason);
	json_log(&json, "libbpf", said_by_libbpf());
	return report_frame(&work->report, &json);
}
