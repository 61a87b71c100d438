#ifndef BPFCOMPAT_DECLARE_H
#define BPFCOMPAT_DECLARE_H

#include <bpf/libbpf.h>
#include <stdbool.h>

#include "report.h"
#include "work.h"

/* What the object's own loader does between open and load, as the user declared it: `declare` lines of the spec. */

/* Take one line. 0, or -EINVAL for one that is not as wire.md says, -ENOMEM, -E2BIG. */
int declare_take(const char *line);

/* True when anything is declared. */
bool declare_any(void);

/* Declared values of Kconfig externs, as lines of a configuration, or NULL: libbpf wants them when it opens. */
const char *declare_kconfig(void);

/* Set what is declared, on a freshly opened object. With @alone only what is about maps, constants and this program.
 * Everything is tried; returns 0 or the first -errno, which is then in libbpf's log too.
 */
int declare_apply(struct work *work, struct bpf_object *obj, const struct bpf_program *alone);

/* The same but for targets, which are looked up in the kernel: no map needs them. */
int declare_prepare(struct work *work, struct bpf_object *obj, const struct bpf_program *alone);

/* Whether this program is to be attached, if that is declared; else @otherwise. */
bool declare_attaches(const struct bpf_program *prog, bool otherwise);

/* What a program is declared to be attached to by @way, a word of wire.md such as `kprobe` or `uprobe`; or NULL. */
const char *declare_place(const struct bpf_program *prog, const char *way);

/* Choose one alternative of each group, once and for all processes that come after. 0, or -errno when a trial was lost. */
int declare_choose(struct work *work);

/* What was set and what was chosen, for the frame; after declare_choose() and declare_apply() in the same process. */
void declare_tell(struct json *json, const struct work *work);

#endif
