/* What lies in the object's maps and variables after a stimulus: bytes, and how wide and signed the types say they are. */
#include "reading.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hex.h"

#define VALUE_MAX 1024 /* bytes that are told of one value */
#define CPUS_MAX 256
#define COUNTED_MAX 1000000
#define TEXT_MAX 4096

/* A part of a value: where it lies, how long it is, and its type (0 for bytes of no type). */
struct part {
	uint32_t at, size;
	int type;
	bool is_signed;
};

/* What was read: the part of it that was asked for, once for each processor of a per-CPU map. */
struct found {
	char *data;
	size_t stride;
	int count;
	struct part part;
	int err;
	const char *reason;
};

void json_hex(struct json *json, const char *key, const void *data, size_t len)
{
	const unsigned char *byte = data;
	char *text = malloc(2 * len + 1);

	if (!text) {
		json->failed = true;
		return;
	}
	for (size_t i = 0; i < len; i++)
		sprintf(text + 2 * i, "%02x", byte[i]);
	json_bytes(json, key, text, 2 * len);
	free(text);
}

static void refuse(struct found *found, int err, const char *reason)
{
	found->err = err;
	found->reason = reason;
}

/* --- types */

static int resolved(const struct btf *btf, int type)
{
	const struct btf_type *t = btf__type_by_id(btf, type);

	while (t && (btf_is_mod(t) || btf_is_typedef(t))) {
		type = t->type;
		t = btf__type_by_id(btf, type);
	}
	return t ? type : 0;
}

static bool enter_member(const struct btf *btf, struct part *part, const char *name, size_t len)
{
	const struct btf_type *t = btf__type_by_id(btf, part->type);
	const struct btf_member *member;

	if (!t || !btf_is_composite(t))
		return false;
	member = btf_members(t);
	for (int i = 0; i < btf_vlen(t); i++, member++) {
		const char *its = btf__name_by_offset(btf, member->name_off);
		struct part inner = { part->at + btf_member_bit_offset(t, i) / 8, 0, resolved(btf, member->type), false };

		if (its && strlen(its) == len && !memcmp(its, name, len)) {
			*part = inner;
			return !btf_member_bitfield_size(t, i);
		}
		if (its && !*its && enter_member(btf, &inner, name, len)) {
			*part = inner;
			return true;
		}
	}
	return false;
}

static bool enter_element(const struct btf *btf, struct part *part, unsigned long index)
{
	const struct btf_type *t = btf__type_by_id(btf, part->type);
	long long size;

	if (!t || !btf_is_array(t) || index >= btf_array(t)->nelems)
		return false;
	size = btf__resolve_size(btf, btf_array(t)->type);
	part->at += size * index;
	part->type = resolved(btf, btf_array(t)->type);
	return size > 0;
}

/* `.member` and `[index]`, any number of them. */
static bool enter(const struct btf *btf, struct part *part, const char *path)
{
	while (*path) {
		size_t len = strcspn(path + 1, ".[");

		if (*path == '.' ? !enter_member(btf, part, path + 1, len) :
				   !enter_element(btf, part, strtoul(path + 1, NULL, 10)))
			return false;
		path += 1 + len;
	}
	return true;
}

/* The width and sign of a part; a value without a type is a number of its size. */
static void measure(const struct btf *btf, struct part *part, uint32_t whole)
{
	const struct btf_type *t = part->type ? btf__type_by_id(btf, part->type) : NULL;
	long long size = t ? btf__resolve_size(btf, part->type) : whole;

	part->size = size > 0 ? size : 0;
	part->is_signed = t && ((btf_is_int(t) && btf_int_encoding(t) & BTF_INT_SIGNED) ||
				((btf_is_enum(t) || btf_is_enum64(t)) && btf_kflag(t)));
}

static void narrow(struct found *found, const struct btf *btf, int type, const char *path, uint32_t whole)
{
	found->part.type = type ? resolved(btf, type) : 0;
	if (*path != '-' && (!found->part.type || !enter(btf, &found->part, path))) {
		refuse(found, EINVAL, "its type has no such member or element");
		return;
	}
	measure(btf, &found->part, whole - found->part.at);
	if (!found->part.size || found->part.at + found->part.size > whole)
		refuse(found, EINVAL, "its type says that it lies outside of the value");
}

/* --- maps */

static bool per_cpu(const struct bpf_map *map)
{
	switch (bpf_map__type(map)) {
	case BPF_MAP_TYPE_PERCPU_ARRAY:
	case BPF_MAP_TYPE_PERCPU_HASH:
	case BPF_MAP_TYPE_LRU_PERCPU_HASH:
	case BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE:
		return true;
	default:
		return false;
	}
}

/* A number fills the key from its low end, `x…` is the whole key, `t…` its first bytes. */
static bool make_key(const char *text, unsigned char *key, uint32_t size)
{
	long long number = strtoll(text, NULL, 10);

	memset(key, 0, size);
	if (*text == 'x')
		return strlen(text + 1) == 2 * size && from_hex(text + 1, key, size) == size;
	if (*text == 't')
		return strlen(text + 1) <= 2 * size && from_hex(text + 1, key, size) == strlen(text + 1) / 2;
	if (!size || size > sizeof(number))
		return false;
	memcpy(key, &number, size);
	return size == sizeof(number) || number >> (8 * size) == 0 || number >> (8 * size - 1) == -1;
}

static void look_up(struct found *found, const struct bpf_map *map, const char *text)
{
	uint32_t key_size = bpf_map__key_size(map), size = bpf_map__value_size(map);
	unsigned char *key = malloc(key_size ?: 1);

	found->count = per_cpu(map) ? libbpf_num_possible_cpus() : 1;
	found->stride = per_cpu(map) ? (size + 7u) / 8 * 8 : size;
	found->data = calloc(found->count, found->stride ?: 1);
	if (found->count > CPUS_MAX || !found->data || !key)
		refuse(found, ENOMEM, "too much to read");
	else if (*text == '-' ? key_size != 0 : !make_key(text, key, key_size))
		refuse(found, EINVAL, "the key does not fit the map's keys");
	else if (bpf_map__lookup_elem(map, key, key_size, found->data, found->count * found->stride, 0))
		refuse(found, errno, errno == ENOENT ? "no such entry" : "the map cannot be read so");
	free(key);
}

static void read_map(struct found *found, const struct bpf_object *obj, const struct bpf_map *map, const char *key,
		     const char *path)
{
	look_up(found, map, key);
	if (!found->err)
		narrow(found, bpf_object__btf(obj), bpf_map__btf_value_type_id(map), path, bpf_map__value_size(map));
}

static void count(struct found *found, const struct bpf_map *map)
{
	uint32_t size = bpf_map__key_size(map);
	char *key = calloc(1, size + 1), *next = calloc(1, size + 1);
	uint64_t entries = 0;
	int err = key && next ? 0 : -ENOMEM;

	while (!err && entries <= COUNTED_MAX) {
		err = bpf_map__get_next_key(map, entries ? key : NULL, next, size);
		if (!err) {
			memcpy(key, next, size);
			entries++;
		}
	}
	free(key);
	free(next);
	found->data = malloc(sizeof(entries));
	if (err != -ENOENT || !found->data) {
		refuse(found, err ? -err : EFBIG, err ? "the map's entries cannot be counted" : "too many entries to count");
		return;
	}
	memcpy(found->data, &entries, sizeof(entries));
	found->count = 1;
	found->part.size = found->stride = sizeof(entries);
}

/* --- variables */

static const struct btf_var_secinfo *variable_in(const struct btf *btf, int section, const char *name)
{
	const struct btf_type *t = section > 0 ? btf__type_by_id(btf, section) : NULL;
	const struct btf_var_secinfo *info;

	if (!t || !btf_is_datasec(t))
		return NULL;
	info = btf_var_secinfos(t);
	for (int i = 0; i < btf_vlen(t); i++, info++)
		if (!strcmp(name, btf__name_by_offset(btf, btf__type_by_id(btf, info->type)->name_off)))
			return info;
	return NULL;
}

static void read_variable(struct found *found, const struct bpf_object *obj, const char *name, const char *key,
			  const char *path)
{
	const struct btf *btf = bpf_object__btf(obj);
	const struct btf_var_secinfo *info = NULL;
	char whole_path[TEXT_MAX];
	struct bpf_map *map;

	bpf_object__for_each_map(map, obj) {
		info = bpf_map__is_internal(map) ? variable_in(btf, bpf_map__btf_value_type_id(map), name) : NULL;
		if (info)
			break;
	}
	if (!info) {
		refuse(found, ENOENT, "the object has no map and no variable of this name");
		return;
	}
	look_up(found, map, "0");
	if (found->err)
		return;
	snprintf(whole_path, sizeof(whole_path), "%s%s%s%s", *key == '-' ? "" : "[", *key == '-' ? "" : key,
		 *key == '-' ? "" : "]", *path == '-' ? "" : path);
	found->part.at = info->offset;
	narrow(found, btf, btf__type_by_id(btf, info->type)->type, *whole_path ? whole_path : "-",
	       bpf_map__value_size(map));
}

/* --- what is told */

static void tell(struct json *json, const struct found *found)
{
	const struct part *part = &found->part;

	json_open(json, NULL, '{');
	json_number(json, "errno", found->err);
	json_string(json, "reason", found->reason);
	json_bool(json, "signed", part->is_signed);
	json_bool(json, "cut", !found->err && part->size > VALUE_MAX);
	json_open(json, "values", '[');
	for (int i = 0; !found->err && i < found->count; i++)
		json_hex(json, NULL, found->data + i * found->stride + part->at,
			 part->size > VALUE_MAX ? VALUE_MAX : part->size);
	json_close(json, ']');
	json_close(json, '}');
}

void reading_tell(struct json *json, struct bpf_object *obj, const char *text)
{
	char words[TEXT_MAX] = "", *at = words;
	char *what, *name, *key, *path;
	struct found found = { 0 };
	struct bpf_map *map;

	strncpy(words, text, sizeof(words) - 1);
	what = strsep(&at, " ");
	name = strsep(&at, " ");
	key = strsep(&at, " ");
	path = strsep(&at, " ");
	map = path ? bpf_object__find_map_by_name(obj, name) : NULL;
	if (!path)
		refuse(&found, EINVAL, "not a reading");
	else if (!strcmp(what, "length") && map)
		count(&found, map);
	else if (!strcmp(what, "length"))
		refuse(&found, ENOENT, "the object has no map of this name");
	else if (map)
		read_map(&found, obj, map, key, path);
	else
		read_variable(&found, obj, name, key, path);
	tell(json, &found);
	free(found.data);
}
