/* What the object's own loader does between open and load, as the user declared it. The host has checked every name and
 * value against the object; what is refused here is refused by libbpf or the kernel, as the real loader would be.
 */
#include "declare.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hex.h"
#include "load.h"
#include "said.h"

#define SETTINGS_MAX 8192
#define TYPES_MAX 256 /* more than libbpf has words for, of each kind */
#define WORDS_MAX 4

struct setting {
	const struct row *row;
	char *name;
	char *value;
	int err;
	unsigned int shown; /* the number in effect, where the value is one that only the guest knows */
};

/* How one kind of line is applied. */
struct row {
	const char *subject;
	const char *key;
	int (*apply)(struct work *work, struct bpf_object *obj, struct setting *setting);
	bool late; /* looked up in the kernel: only for programs that are to be loaded, so after they are chosen */
};

struct alternative {
	char *needs;
	char *programs; /* functions, with commas between; `-` for none */
	char *maps; /* that only these programs need, likewise, or NULL */
	bool asked;
	bool held;
	int err;
};

struct group {
	char *name;
	char *companions;
	unsigned int count;
	struct alternative alternatives[ALTERNATIVES_MAX];
};

static struct {
	unsigned int settings_count;
	unsigned int groups_count;
	struct setting settings[SETTINGS_MAX];
	struct group *groups[GROUPS_MAX];
	char *kconfig;
	size_t kconfig_len;
} declared;

/* --- words */

static int number(const char *text, unsigned long most, unsigned int *found)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || value > most)
		return -EINVAL;
	*found = value;
	return 0;
}

/* A number of entries, or what only the guest can tell: how many CPUs, how large a page. */
static int entries(const char *text, unsigned int *found)
{
	static const char pages[] = "pages:";
	unsigned int page = sysconf(_SC_PAGESIZE);
	int cpus, err;

	if (!strcmp(text, "cpus")) {
		cpus = libbpf_num_possible_cpus();
		*found = cpus;
		return cpus < 0 ? cpus : 0;
	}
	if (strncmp(text, pages, sizeof(pages) - 1))
		return number(text, UINT32_MAX, found);
	err = number(text + sizeof(pages) - 1, UINT32_MAX / page, found);
	*found *= page;
	return err;
}

/* The number of a type by libbpf's word for it. -EOPNOTSUPP when this libbpf has no such word. */
static int type_named(const char *word, const char *(*name_of)(int))
{
	for (int type = 0; type < TYPES_MAX; type++) {
		const char *name = name_of(type);

		if (name && !strcmp(name, word))
			return type;
	}
	said_add("declared: this libbpf knows no type '%s'\n", word);
	return -EOPNOTSUPP;
}

static const char *map_word(int type)
{
	return libbpf_bpf_map_type_str(type);
}

static const char *program_word(int type)
{
	return libbpf_bpf_prog_type_str(type);
}

static const char *attach_word(int type)
{
	return libbpf_bpf_attach_type_str(type);
}

/* The next name of a list with commas; @at walks it. NULL at its end. The result is valid until the next call. */
static const char *next_name(const char **at)
{
	static char name[512];
	size_t len = strcspn(*at, ",");

	if (!len || len >= sizeof(name))
		return NULL;
	memcpy(name, *at, len);
	name[len] = '\0';
	*at += len + ((*at)[len] == ',');
	return name;
}

static struct bpf_map *map_named(struct bpf_object *obj, const struct setting *setting)
{
	return bpf_object__find_map_by_name(obj, setting->name);
}

static struct bpf_program *program_named(struct bpf_object *obj, const struct setting *setting)
{
	return bpf_object__find_program_by_name(obj, setting->name);
}

/* --- maps */

static int map_type(struct work *work, struct bpf_object *obj, struct setting *setting)
{
	struct bpf_map *map = map_named(obj, setting);
	int type = type_named(setting->value, map_word);

	(void)work;
	return !map ? -ENOENT : type < 0 ? type : bpf_map__set_type(map, type);
}

static int map_key_size(struct work *work, struct bpf_object *obj, struct setting *setting)
{
	struct bpf_map *map = map_named(obj, setting);
	unsigned int size;

	(void)work;
	if (!map)
		return -ENOENT;
	return number(setting->value, UINT32_MAX, &size) ?: bpf_map__set_key_size(map, size);
}

static int map_value_size(struct work *work, struct bpf_object *obj, struct setting *setting)
{
	struct bpf_map *map = map_named(obj, setting);
	unsigned int size;

	(void)work;
	if (!map)
		return -ENOENT;
	return number(setting->value, UINT32_MAX, &size) ?: bpf_map__set_value_size(map, size);
}

static int map_max_entries(struct work *work, struct bpf_object *obj, struct setting *setting)
{
	struct bpf_map *map = map_named(obj, setting);
	unsigned int count;
	int err;

	(void)work;
	if (!map)
		return -ENOENT;
	err = entries(setting->value, &count) ?: bpf_map__set_max_entries(map, count);
	setting->shown = bpf_map__max_entries(map); /* of a ring buffer libbpf makes a whole power of two of pages */
	return err;
}

static int map_pinning(struct work *work, struct bpf_object *obj, struct setting *setting)
{
	struct bpf_map *map = map_named(obj, setting);

	(void)work;
	return map ? bpf_map__set_pin_path(map, NULL) : -ENOENT;
}

static int map_autocreate(struct work *work, struct bpf_object *obj, struct setting *setting)
{
	struct bpf_map *map = map_named(obj, setting);

	(void)work;
	return map ? bpf_map__set_autocreate(map, false) : -ENOENT;
}

/* `TYPE KEY_SIZE VALUE_SIZE MAX_ENTRIES`, with `-` for what the object's own prototype says. libbpf cannot change a
 * prototype that the object has (its inner map belongs to no object), so a whole new one takes its place.
 */
static int map_inner(struct work *work, struct bpf_object *obj, struct setting *setting)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);
	struct bpf_map *map = map_named(obj, setting), *old = map ? bpf_map__inner_map(map) : NULL;
	unsigned int key = old ? bpf_map__key_size(old) : 0, value = old ? bpf_map__value_size(old) : 0;
	unsigned int count = old ? bpf_map__max_entries(old) : 0;
	int err = 0, fd, type = old ? (int)bpf_map__type(old) : 0;
	char words[WORDS_MAX][32];

	(void)work;
	if (!map)
		return -ENOENT;
	if (sscanf(setting->value, "%31s %31s %31s %31s", words[0], words[1], words[2], words[3]) != WORDS_MAX)
		return -EINVAL;
	if (strcmp(words[0], "-"))
		type = type_named(words[0], map_word);
	if (type < 0)
		return type;
	if (strcmp(words[1], "-"))
		err = number(words[1], UINT32_MAX, &key);
	if (!err && strcmp(words[2], "-"))
		err = number(words[2], UINT32_MAX, &value);
	if (!err && strcmp(words[3], "-"))
		err = entries(words[3], &count);
	if (err)
		return err;
	opts.map_flags = old ? bpf_map__map_flags(old) : 0;
	opts.map_extra = old ? bpf_map__map_extra(old) : 0;
	fd = bpf_map_create(type, NULL, key, value, count, &opts);
	if (fd < 0)
		said_add("map '%s': failed to create inner map: %d\n", setting->name, fd);
	setting->shown = count;
	return fd < 0 ? fd : bpf_map__set_inner_map_fd(map, fd);
}

/* --- programs */

static int program_type(struct work *work, struct bpf_object *obj, struct setting *setting)
{
	struct bpf_program *prog = program_named(obj, setting);
	int type = type_named(setting->value, program_word);

	(void)work;
	return !prog ? -ENOENT : type < 0 ? type : bpf_program__set_type(prog, type);
}

static int program_attach_type(struct work *work, struct bpf_object *obj, struct setting *setting)
{
	struct bpf_program *prog = program_named(obj, setting);
	int type = type_named(setting->value, attach_word);

	(void)work;
	return !prog ? -ENOENT : type < 0 ? type : bpf_program__set_expected_attach_type(prog, type);
}

static int program_target(struct work *work, struct bpf_object *obj, struct setting *setting)
{
	struct bpf_program *prog = program_named(obj, setting);
	int err = prog ? bpf_program__set_attach_target(prog, 0, setting->value) : -ENOENT;

	(void)work;
	if (prog && err)
		said_add("prog '%s': failed to find kernel BTF type ID of '%s': %d\n", setting->name, setting->value, err);
	return err;
}

static void only(struct bpf_object *obj, const struct bpf_program *wanted)
{
	struct bpf_program *prog;
	struct bpf_map *map;

	bpf_object__for_each_program(prog, obj)
		bpf_program__set_autoload(prog, prog == wanted);
	bpf_object__for_each_map(map, obj)
		if (bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS)
			bpf_map__set_autocreate(map, false);
}

/* A function of a program of @other, which must be loaded first and stays open as long as this process. */
static int replace_in(struct work *work, struct bpf_program *prog, struct bpf_object *other, const char *name,
		      const char *function, bool same)
{
	struct bpf_program *target = other ? bpf_object__find_program_by_name(other, name) : NULL;
	int err = target ? 0 : -ENOENT;

	if (target) {
		only(other, target);
		err = (same ? declare_apply(work, other, target) : 0) ?: bpf_object__load(other);
		err = err ?: bpf_program__set_attach_target(prog, bpf_program__fd(target), function);
	}
	if (err)
		said_add("prog '%s': no target function '%s' in program '%s': %d\n", bpf_program__name(prog), function,
			 name, err);
	return err;
}

/* `PROGRAM FUNCTION`, of the same object */
static int program_target_program(struct work *work, struct bpf_object *obj, struct setting *setting)
{
	struct bpf_program *prog = program_named(obj, setting);
	char name[512], function[512];

	if (!prog)
		return -ENOENT;
	if (sscanf(setting->value, "%511s %511s", name, function) != 2)
		return -EINVAL;
	return replace_in(work, prog, load_open_object(work), name, function, true);
}

/* `PATH PROGRAM FUNCTION`, of an object that came with the probe's files */
static int program_target_file(struct work *work, struct bpf_object *obj, struct setting *setting)
{
	struct bpf_program *prog = program_named(obj, setting);
	char path[512], place[600], name[512], function[512];

	if (!prog)
		return -ENOENT;
	if (sscanf(setting->value, "%511s %511s %511s", path, name, function) != 3)
		return -EINVAL;
	snprintf(place, sizeof(place), "/files/%s", path);
	return replace_in(work, prog, bpf_object__open_file(place, NULL), name, function, false);
}

/* Nothing is set: attaching comes later, and asks declare_attaches() and its like. */
static int program_attach(struct work *work, struct bpf_object *obj, struct setting *setting)
{
	(void)work;
	return program_named(obj, setting) ? 0 : -ENOENT;
}

static int program_autoload(struct work *work, struct bpf_object *obj, struct setting *setting)
{
	struct bpf_program *prog = program_named(obj, setting);

	(void)work;
	return prog ? bpf_program__set_autoload(prog, !strcmp(setting->value, "on")) : -ENOENT;
}

/* --- data */

/* `SECTION OFFSET HEX`: bytes of a global variable, in the map that libbpf made of its section. */
static int constant(struct work *work, struct bpf_object *obj, struct setting *setting)
{
	char section[256];
	unsigned int offset;
	struct bpf_map *map;
	size_t size = 0, len;
	char *data;
	int at = 0;

	(void)work;
	if (sscanf(setting->value, "%255s %u %n", section, &offset, &at) != 2 || !at)
		return -EINVAL;
	map = bpf_object__find_map_by_name(obj, section);
	data = map ? (char *)bpf_map__initial_value(map, &size) : NULL; /* const until 1.4 */
	if (!data)
		return -ENOENT;
	len = strlen(setting->value + at) / 2;
	if (offset > size || len > size - offset)
		return -ERANGE;
	return from_hex(setting->value + at, data + offset, len) == len ? 0 : -EINVAL;
}

/* Libbpf was told when it opened the object. */
static int kconfig(struct work *work, struct bpf_object *obj, struct setting *setting)
{
	(void)work;
	(void)obj;
	(void)setting;
	return 0;
}

static const struct row rows[] = {
	{ "map", "type", map_type, false },
	{ "map", "key_size", map_key_size, false },
	{ "map", "value_size", map_value_size, false },
	{ "map", "max_entries", map_max_entries, false },
	{ "map", "inner", map_inner, false },
	{ "map", "pinning", map_pinning, false },
	{ "map", "autocreate", map_autocreate, false },
	{ "program", "type", program_type, false },
	{ "program", "attach_type", program_attach_type, false },
	{ "program", "target", program_target, true },
	{ "program", "target_program", program_target_program, true },
	{ "program", "target_file", program_target_file, true },
	{ "program", "kprobe", program_attach, false },
	{ "program", "kprobe_multi", program_attach, false },
	{ "program", "ksyscall", program_attach, false },
	{ "program", "raw_tp", program_attach, false },
	{ "program", "tracepoint", program_attach, false },
	{ "program", "uprobe", program_attach, false },
	{ "program", "attach", program_attach, false },
	{ "program", "autoload", program_autoload, false },
	{ "constant", NULL, constant, false },
	{ "kconfig", NULL, kconfig, false },
};

/* --- conditions: whether one holds, 1 or 0; or -errno when it could not be asked */

/* By the kernel's own types; a kernel without any has no such thing either, for what needs them. */
static int in_kernel_types(const char *name, unsigned int kind)
{
	struct btf *vmlinux = btf__load_vmlinux_btf(), *module;
	bool found = vmlinux && btf__find_by_name_kind(vmlinux, name, kind) > 0;
	DIR *dir = vmlinux && !found ? opendir("/sys/kernel/btf") : NULL;
	struct dirent *entry;

	while (dir && !found && (entry = readdir(dir))) {
		if (*entry->d_name == '.' || !strcmp(entry->d_name, "vmlinux"))
			continue;
		module = btf__load_module_btf(entry->d_name, vmlinux);
		found = module && btf__find_by_name_kind(module, name, kind) > 0;
		btf__free(module);
	}
	if (dir)
		closedir(dir);
	btf__free(vmlinux);
	return found;
}

static int enumerator_exists(const char *helper)
{
	struct btf *vmlinux = btf__load_vmlinux_btf();
	int id = vmlinux ? btf__find_by_name_kind(vmlinux, "bpf_func_id", BTF_KIND_ENUM) : -ENOENT;
	const struct btf_type *type = id > 0 ? btf__type_by_id(vmlinux, id) : NULL;
	bool found = false;
	char name[256];

	snprintf(name, sizeof(name), "BPF_FUNC_%s", helper + (strncmp(helper, "bpf_", 4) ? 0 : 4));
	for (int i = 0; type && !found && i < btf_vlen(type); i++)
		found = !strcmp(btf__name_by_offset(vmlinux, btf_enum(type)[i].name_off), name);
	btf__free(vmlinux);
	return found;
}

/* @name is `bpf_loop:181`. For types that libbpf cannot load on trial, the kernel's list of all helpers tells. */
static int helper_holds(const char *name, enum bpf_prog_type type)
{
	char word[256], *colon;
	unsigned int id;
	int held;

	snprintf(word, sizeof(word), "%s", name);
	colon = strrchr(word, ':');
	if (!colon || number(colon + 1, UINT32_MAX, &id))
		return -EINVAL;
	*colon = '\0';
	held = libbpf_probe_bpf_helper(type, id, NULL);
	return held == -EOPNOTSUPP ? enumerator_exists(word) : held;
}

static int prog_type_holds(const char *name, enum bpf_prog_type unused)
{
	int type = type_named(name, program_word);

	(void)unused;
	return type < 0 ? type : libbpf_probe_bpf_prog_type(type, NULL);
}

/* By a value type that is none, which a kernel with such maps says ENOTSUPP to. libbpf's own probe sets an attribute beside
 * it that kernels before 6.9 do not know, and takes their EINVAL for a no.
 */
static int struct_ops_holds(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .btf_vmlinux_value_type_id = 1);
	int fd = bpf_map_create(BPF_MAP_TYPE_STRUCT_OPS, NULL, sizeof(int), sizeof(int), 1, &opts);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || errno == 524 /* ENOTSUPP */;
}

static int map_type_holds(const char *name, enum bpf_prog_type unused)
{
	int type = type_named(name, map_word);

	(void)unused;
	if (type == BPF_MAP_TYPE_STRUCT_OPS)
		return struct_ops_holds();
	return type < 0 ? type : libbpf_probe_bpf_map_type(type, NULL);
}

static int kfunc_holds(const char *name, enum bpf_prog_type unused)
{
	(void)unused;
	return in_kernel_types(name, BTF_KIND_FUNC);
}

static int symbol_holds(const char *name, enum bpf_prog_type unused)
{
	FILE *symbols = fopen("/proc/kallsyms", "re");
	int held = symbols ? 0 : -errno;
	size_t len = strlen(name);
	char line[1024];

	(void)unused;
	while (held == 0 && fgets(line, sizeof(line), symbols)) { /* `ADDRESS TYPE NAME [MODULE]` */
		const char *type = strchr(line, ' '), *found = type ? strchr(type + 1, ' ') : NULL;

		held = found && !strncmp(found + 1, name, len) && strspn(found + 1 + len, " \t\n");
	}
	if (symbols)
		fclose(symbols);
	return held;
}

static const struct {
	const char *kind;
	int (*holds)(const char *name, enum bpf_prog_type type);
} conditions[] = {
	{ "helper:", helper_holds },	   { "kfunc:", kfunc_holds },	{ "prog-type:", prog_type_holds },
	{ "map-type:", map_type_holds }, { "symbol:", symbol_holds },
};

static void switch_programs(struct bpf_object *obj, const char *names, bool on)
{
	const char *name;

	while (names && (name = next_name(&names))) {
		struct bpf_program *prog = bpf_object__find_program_by_name(obj, name);

		if (prog)
			bpf_program__set_autoload(prog, on);
	}
}

static void switch_maps(struct bpf_object *obj, const char *names, bool on)
{
	const char *name;

	while (names && (name = next_name(&names))) {
		struct bpf_map *map = bpf_object__find_map_by_name(obj, name);

		if (map)
			bpf_map__set_autocreate(map, on);
	}
}

static void switch_all_maps_off(struct bpf_object *obj)
{
	for (unsigned int i = 0; i < declared.groups_count; i++)
		for (unsigned int n = 0; n < declared.groups[i]->count; n++)
			switch_maps(obj, declared.groups[i]->alternatives[n].maps, false);
}

static bool names_hold(const char *names, const char *wanted)
{
	const char *name;

	while ((name = next_name(&names)))
		if (!strcmp(name, wanted))
			return true;
	return false;
}

static int apply_settings(struct work *work, struct bpf_object *obj, const struct bpf_program *alone, bool late);

/* In a process of its own: load the alternative, and beside it only its companions. */
static int load_on_trial(struct work *work, const struct group *group, const struct alternative *one)
{
	struct bpf_object *obj = load_open_object(work);
	int err;

	if (!obj)
		return -errno;
	err = apply_settings(work, obj, NULL, false);
	only(obj, NULL);
	switch_programs(obj, group->companions, true);
	switch_programs(obj, one->programs, true);
	switch_all_maps_off(obj);
	switch_maps(obj, one->maps, true);
	err = err ?: apply_settings(work, obj, NULL, true);
	return err ?: bpf_object__load(obj);
}

static int trial_holds(struct work *work, const struct group *group, struct alternative *one)
{
	int status;
	pid_t pid;

	work->shared->trial = -ECANCELED;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		work->shared->trial = load_on_trial(work, group, one);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		return -ECHILD;
	one->err = -work->shared->trial;
	return !work->shared->trial;
}

static int holds(struct work *work, struct bpf_object *obj, const struct group *group, struct alternative *one)
{
	const char *names = one->programs, *name = next_name(&names);
	struct bpf_program *prog = name ? bpf_object__find_program_by_name(obj, name) : NULL;

	if (!strcmp(one->needs, "always"))
		return 1;
	if (!strcmp(one->needs, "trial-load"))
		return trial_holds(work, group, one);
	for (size_t i = 0; i < sizeof(conditions) / sizeof(*conditions); i++) {
		size_t len = strlen(conditions[i].kind);

		if (!strncmp(one->needs, conditions[i].kind, len)) {
			said_forget_attempt();
			return conditions[i].holds(one->needs + len, bpf_program__type(prog));
		}
	}
	return -EINVAL;
}

/* Returns -ECHILD when a trial's process was lost: then nothing is known. */
static int choose_of(struct work *work, struct bpf_object *obj, struct group *group)
{
	for (unsigned int i = 0; i < group->count; i++) {
		struct alternative *one = &group->alternatives[i];
		int held = holds(work, obj, group, one);

		if (held == -ECHILD)
			return held;
		one->asked = true;
		one->held = held > 0;
		if (held < 0)
			one->err = -held;
		if (held > 0)
			return i;
	}
	return -1;
}

int declare_choose(struct work *work)
{
	struct bpf_object *obj = declared.groups_count ? load_open_object(work) : NULL;

	if (declared.groups_count && !obj)
		return -errno;
	if (obj)
		apply_settings(work, obj, NULL, false); /* a helper is asked for under the type that the program is given */
	for (unsigned int i = 0; i < declared.groups_count; i++) {
		int chosen = choose_of(work, obj, declared.groups[i]);

		if (chosen == -ECHILD)
			return chosen;
		work->shared->chosen[i] = chosen;
	}
	bpf_object__close(obj);
	said_clear();
	return 0;
}

/* --- all of it */

static bool is_about(struct bpf_object *obj, const struct setting *setting, const struct bpf_program *alone)
{
	const struct bpf_program *prog;

	if (alone)
		return strcmp(setting->row->subject, "program") || !strcmp(setting->name, bpf_program__name(alone));
	prog = setting->row->late ? program_named(obj, setting) : NULL;
	return !prog || bpf_program__autoload(prog);
}

static int apply_settings(struct work *work, struct bpf_object *obj, const struct bpf_program *alone, bool late)
{
	int first = 0;

	for (unsigned int i = 0; i < declared.settings_count; i++) {
		struct setting *setting = &declared.settings[i];
		int err;

		if (setting->row->late != late)
			continue;
		err = is_about(obj, setting, alone) ? setting->row->apply(work, obj, setting) : 0;
		setting->err = -err;
		if (err && !first) {
			first = err;
			said_add("declared: %s %s %s: %d\n", setting->row->subject, setting->name,
				 setting->row->key ?: "", err);
		}
	}
	return first;
}

/* Whether an alternative's maps are there: it is on, or one of its programs is what is asked. */
static bool is_wanted(const struct alternative *one, bool chosen, const struct bpf_program *alone)
{
	return chosen || (alone && names_hold(one->programs, bpf_program__name(alone)));
}

/* First all off, then those that are chosen on: a program or map may be in several alternatives. */
int declare_prepare(struct work *work, struct bpf_object *obj, const struct bpf_program *alone)
{
	int err = apply_settings(work, obj, alone, false);

	switch_all_maps_off(obj);
	for (unsigned int i = 0; i < declared.groups_count; i++) {
		const struct group *group = declared.groups[i];
		int chosen = work->shared->chosen[i];

		for (unsigned int n = 0; !alone && n < group->count; n++)
			switch_programs(obj, group->alternatives[n].programs, false);
		if (chosen >= 0 && !alone)
			switch_programs(obj, group->alternatives[chosen].programs, true);
		for (unsigned int n = 0; n < group->count; n++)
			if (is_wanted(&group->alternatives[n], (int)n == chosen, alone))
				switch_maps(obj, group->alternatives[n].maps, true);
	}
	return err;
}

int declare_apply(struct work *work, struct bpf_object *obj, const struct bpf_program *alone)
{
	return declare_prepare(work, obj, alone) ?: apply_settings(work, obj, alone, true);
}

/* The value of a setting that is about attaching a program, or NULL. */
static const char *of_attaching(const struct bpf_program *prog, const char *key)
{
	for (unsigned int i = 0; i < declared.settings_count; i++) {
		const struct setting *setting = &declared.settings[i];

		if (setting->row->apply == program_attach && !strcmp(setting->row->key, key) &&
		    !strcmp(setting->name, bpf_program__name(prog)))
			return setting->value;
	}
	return NULL;
}

bool declare_attaches(const struct bpf_program *prog, bool otherwise)
{
	const char *mode = of_attaching(prog, "attach");

	return mode ? strcmp(mode, "load") != 0 : otherwise;
}

const char *declare_place(const struct bpf_program *prog, const char *way)
{
	return of_attaching(prog, way);
}

bool declare_any(void)
{
	return declared.settings_count || declared.groups_count;
}

const char *declare_kconfig(void)
{
	return declared.kconfig;
}

/* --- telling */

static void tell_setting(struct json *json, const struct setting *setting)
{
	const char *last = strrchr(setting->value, ' ');
	char value[512];

	if (setting->row->apply == map_max_entries)
		snprintf(value, sizeof(value), "%u", setting->shown);
	else if (setting->row->apply == map_inner && last) /* TYPE KEY_SIZE VALUE_SIZE, and the number in effect */
		snprintf(value, sizeof(value), "%.*s %u", (int)(last - setting->value), setting->value, setting->shown);
	else if (setting->row->apply == constant && last)
		snprintf(value, sizeof(value), "%s", last + 1);
	else
		snprintf(value, sizeof(value), "%s", setting->value);
	json_open(json, NULL, '{');
	json_string(json, "subject", setting->row->subject);
	json_string(json, "name", setting->name);
	json_string(json, "key", setting->row->key ?: "");
	json_string(json, "value", value);
	json_number(json, "errno", setting->err);
	json_close(json, '}');
}

static void tell_group(struct json *json, const struct group *group, int chosen)
{
	json_open(json, NULL, '{');
	json_string(json, "group", group->name);
	if (chosen < 0)
		json_null(json, "chosen");
	else
		json_number(json, "chosen", chosen);
	json_open(json, "tried", '[');
	for (unsigned int i = 0; i < group->count; i++) {
		const struct alternative *one = &group->alternatives[i];

		json_open(json, NULL, '{');
		json_string(json, "needs", one->needs);
		json_string(json, "programs", one->programs);
		if (one->asked)
			json_bool(json, "held", one->held);
		else
			json_null(json, "held");
		json_number(json, "errno", one->err);
		json_close(json, '}');
	}
	json_close(json, ']');
	json_close(json, '}');
}

void declare_tell(struct json *json, const struct work *work)
{
	json_open(json, "settings", '[');
	for (unsigned int i = 0; i < declared.settings_count; i++)
		tell_setting(json, &declared.settings[i]);
	json_close(json, ']');
	json_open(json, "variants", '[');
	for (unsigned int i = 0; i < declared.groups_count; i++)
		tell_group(json, declared.groups[i], work->shared->chosen[i]);
	json_close(json, ']');
}

/* --- taking */

static struct group *group_named(const char *name)
{
	for (unsigned int i = 0; i < declared.groups_count; i++)
		if (!strcmp(declared.groups[i]->name, name))
			return declared.groups[i];
	if (declared.groups_count == GROUPS_MAX)
		return NULL;
	declared.groups[declared.groups_count] = calloc(1, sizeof(struct group));
	if (!declared.groups[declared.groups_count])
		return NULL;
	declared.groups[declared.groups_count]->name = strdup(name);
	return declared.groups[declared.groups_count++];
}

/* `variant GROUP NEEDS PROGRAMS [MAPS]` and `companions GROUP PROGRAMS` */
static int take_group(char *rest, bool companions)
{
	char *name = strsep(&rest, " "), *needs = companions ? NULL : strsep(&rest, " "), *programs;
	struct group *group = rest ? group_named(name) : NULL;
	struct alternative *one;

	if (!rest)
		return -EINVAL;
	if (!group || (!companions && group->count == ALTERNATIVES_MAX))
		return -E2BIG;
	if (companions) {
		group->companions = strdup(rest);
		return group->companions ? 0 : -ENOMEM;
	}
	one = &group->alternatives[group->count++];
	programs = strsep(&rest, " ");
	one->needs = strdup(needs);
	one->programs = strdup(programs);
	one->maps = rest ? strdup(rest) : NULL;
	return one->needs && one->programs && (!rest || one->maps) ? 0 : -ENOMEM;
}

static int add_kconfig(const char *name, const char *value)
{
	size_t len = strlen(name) + strlen(value) + 2;
	char *grown = realloc(declared.kconfig, declared.kconfig_len + len + 1);

	if (!grown)
		return -ENOMEM;
	declared.kconfig_len += sprintf(grown + declared.kconfig_len, "%s=%s\n", name, value);
	declared.kconfig = grown;
	return 0;
}

static int take_setting(const struct row *row, char *name, char *value)
{
	struct setting *setting = &declared.settings[declared.settings_count];

	if (declared.settings_count == SETTINGS_MAX)
		return -E2BIG;
	setting->row = row;
	setting->name = strdup(name);
	setting->value = strdup(value);
	if (!setting->name || !setting->value)
		return -ENOMEM;
	declared.settings_count++;
	return row->apply == kconfig ? add_kconfig(name, value) : 0;
}

static int take_words(char *line)
{
	char *subject = strsep(&line, " "), *name, *key;

	if (line && !strcmp(subject, "variant"))
		return take_group(line, false);
	if (line && !strcmp(subject, "companions"))
		return take_group(line, true);
	name = line ? strsep(&line, " ") : NULL;
	for (size_t i = 0; line && i < sizeof(rows) / sizeof(*rows); i++) {
		size_t len = rows[i].key ? strlen(rows[i].key) : 0;

		if (strcmp(rows[i].subject, subject))
			continue;
		if (!rows[i].key)
			return take_setting(&rows[i], name, line);
		key = line;
		if (!strncmp(key, rows[i].key, len) && key[len] == ' ')
			return take_setting(&rows[i], name, key + len + 1);
	}
	return -EINVAL;
}

int declare_take(const char *line)
{
	char *copy = strdup(line);
	int err = copy ? take_words(copy) : -ENOMEM;

	free(copy);
	return err;
}
