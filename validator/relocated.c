/* Relocate once, ask many times. To find a type that a program wants, libbpf goes through all types of the kernel; for
 * an object of many programs that would be most of the work. So one process starts to load the object, and stops where
 * libbpf has relocated it and has handed over the first thing to the kernel, its types, which nothing can change. From
 * there each question goes on in a process of its own, with the object as whole or with one program of it; the first
 * never goes on.
 */
#include "relocated.h"

#include <bpf/libbpf.h>
#include <unistd.h>

#include "load.h"
#include "said.h"

static struct {
	struct work *work;
	struct bpf_object *obj;
	void (*probe_maps)(void);
	struct bpf_program *prog; /* in a process that asks about one */
	bool resumed;
} here;

bool relocated_is_worth_it(const struct work *work)
{
	struct bpf_map *map;

	if (work->programs < 2 || !bpf_object__btf(work->opened))
		return false;
	bpf_object__for_each_map(map, work->opened)
		if (bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS)
			return false; /* which programs it loads is settled before they are relocated */
	return true;
}

/* True in the new process. */
static bool resume(const char *phase, unsigned int index)
{
	here.resumed = here.work->begin(phase, index);
	return here.resumed;
}

/* Of what is not loaded by default, nothing is relocated yet. */
static void ask_from_the_start(unsigned int index)
{
	if (here.work->begin("program", index))
		_exit(-load_program(here.work, index) & 0xff);
}

/* Called in the first process and in no other. Returns only in new ones. */
static void at_types(void)
{
	struct bpf_program *prog;
	unsigned int i = 0;

	if (work_is_first(here.work)) {
		if (resume("load", 0))
			return;
		here.probe_maps();
	}
	bpf_object__for_each_program(prog, here.obj) {
		bool ours = work_has(here.work, i);

		if (ours && !bpf_program__autoload(prog)) {
			ask_from_the_start(i);
		} else if (ours && resume("program", i)) {
			here.prog = load_program_before(here.obj, i);
			return;
		}
		i++;
	}
	_exit(0);
}

void relocated_probe(struct work *work, void (*probe_maps)(void))
{
	int err;

	here.work = work;
	here.probe_maps = probe_maps;
	here.obj = load_open_object(work);
	if (!here.obj)
		return;
	load_whole_before(here.obj, at_types);
	err = bpf_object__load(here.obj);
	if (!here.resumed) { /* refused before its types were: everything is asked from the start */
		bpf_object__close(here.obj);
		return;
	}
	err = here.prog ? load_program_after(work, here.obj, here.prog, true, err) : load_whole_after(work, here.obj, err);
	_exit(-err & 0xff);
}
