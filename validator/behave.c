/* Behaviour tests: the whole object loaded and attached, something that makes it run, and what came of it.
 *
 * Nothing is judged here. A test of which a part could not be done says so, and is no answer.
 */
#include "behave.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "attach.h"
#include "declare.h"
#include "events.h"
#include "hex.h"
#include "load.h"
#include "reading.h"
#include "said.h"
#include "stimulus.h"
#include "test.h"

#define EVENTS_MAX 8
#define POLL_MS 2
#define DATA_MAX (16u << 10)
#define CONTEXT_MAX 4096

static struct test tests[TESTS_MAX];
static unsigned int declared;

/* --- the spec */

static bool set_text(char **into, const char *value)
{
	*into = strdup(value);
	return *into;
}

static bool add(struct list *list, const char *value)
{
	return list->count < LIST_MAX && set_text(&list->of[list->count++], value);
}

static bool set_number(unsigned int *into, const char *value, unsigned long most)
{
	char *end;
	unsigned long number = strtoul(value, &end, 10);

	*into = number;
	return *value && !*end && number <= most;
}

static bool take_name(struct test *test, const char *value)
{
	return set_text(&test->name, value);
}

static bool take_ms(struct test *test, const char *value)
{
	return set_number(&test->milliseconds, value, 100000000);
}

static bool take_program(struct test *test, const char *value)
{
	return add(&test->programs, value);
}

static bool take_do(struct test *test, const char *value)
{
	return add(&test->steps, value);
}

static bool take_argv(struct test *test, const char *value)
{
	return add(&test->argv, value);
}

static bool take_read(struct test *test, const char *value)
{
	return add(&test->readings, value);
}

static bool take_events(struct test *test, const char *value)
{
	return test->events.count < EVENTS_MAX && add(&test->events, value);
}

static bool take_trace(struct test *test, const char *value)
{
	test->trace = true;
	return !strcmp(value, "1");
}

static bool take_run(struct test *test, const char *value)
{
	return set_text(&test->run, value);
}

static bool take_input(struct test *test, const char *value)
{
	return set_text(&test->input, value);
}

static bool take_context(struct test *test, const char *value)
{
	return set_text(&test->context, value);
}

static bool take_repeat(struct test *test, const char *value)
{
	return set_number(&test->repeat, value, 1000000);
}

static const struct {
	const char *name;
	bool (*take)(struct test *test, const char *value);
} settings[] = {
	{ "test", take_name },		  { "test_ms", take_ms },	  { "test_program", take_program },
	{ "test_do", take_do },		  { "test_argv", take_argv },	  { "test_read", take_read },
	{ "test_events", take_events },	  { "test_trace", take_trace },	  { "test_run", take_run },
	{ "test_input", take_input },	  { "test_context", take_context }, { "test_repeat", take_repeat },
};

bool behave_take(const char *name, const char *value)
{
	bool first = !strcmp(name, "test");

	if (first && declared == TESTS_MAX)
		return false;
	declared += first;
	for (size_t i = 0; declared && i < sizeof(settings) / sizeof(*settings); i++)
		if (!strcmp(settings[i].name, name))
			return settings[i].take(&tests[declared - 1], value);
	return false;
}

unsigned int behave_count(void)
{
	return declared;
}

/* --- a test under way */

/* What became of attaching one program. */
struct part {
	struct bpf_program *prog;
	struct attached attached;
	struct attachment at;
};

struct stage {
	const struct test *test;
	struct bpf_object *obj;
	struct part *parts;
	unsigned int count;
	struct events events[EVENTS_MAX];
	struct stimulus stimulus;
	const char *ended; /* done, timed-out or not-attempted */
	char reason[256];
};

static void not_attempted(struct stage *stage, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void not_attempted(struct stage *stage, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(stage->reason, sizeof(stage->reason), format, args);
	va_end(args);
	stage->ended = "not-attempted";
}

static bool wanted(const struct list *names, const char *name)
{
	for (unsigned int i = 0; i < names->count; i++)
		if (!strcmp(names->of[i], name))
			return true;
	return !names->count;
}

/* BPF_PROG_RUN alone needs nothing attached. */
static bool needs_attach(const struct test *test)
{
	return test->steps.count || test->argv.count;
}

/* Both are called by one struct_ops map, which is attached once for all that it calls. */
static bool share_map(const struct bpf_object *obj, const struct bpf_program *one, const struct bpf_program *other)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, obj)
		if (attach_map_holds(map, one) && attach_map_holds(map, other))
			return true;
	return false;
}

static const struct part *attached_with(const struct stage *stage, const struct part *part)
{
	if (bpf_program__type(part->prog) != BPF_PROG_TYPE_STRUCT_OPS)
		return NULL;
	for (const struct part *other = stage->parts; other < part; other++)
		if (!strcmp(other->attached.outcome, ATTACHED) && share_map(stage->obj, other->prog, part->prog))
			return other;
	return NULL;
}

static struct attached attach_one(struct stage *stage, struct part *part)
{
	const struct part *other = attached_with(stage, part);

	if (!bpf_program__autoload(part->prog))
		return attach_skipped("not loaded by default");
	if (!wanted(&stage->test->programs, bpf_program__name(part->prog)))
		return attach_skipped("the test names others");
	return other ? other->attached : attach_hold(&part->at, stage->obj, part->prog);
}

static bool attach_all(struct stage *stage)
{
	struct bpf_program *prog;

	bpf_object__for_each_program(prog, stage->obj)
		stage->count++;
	stage->parts = calloc(stage->count ?: 1, sizeof(*stage->parts));
	stage->count = stage->parts ? stage->count : 0;
	prog = NULL;
	for (unsigned int i = 0; i < stage->count; i++) {
		struct part *part = &stage->parts[i];

		prog = bpf_object__next_program(stage->obj, prog);
		part->prog = prog;
		part->attached = attach_one(stage, part);
		if (part->attached.err) {
			not_attempted(stage, "program '%.64s' does not attach beside the others: %s",
				      bpf_program__name(prog), strerror(part->attached.err));
			return false;
		}
	}
	return true;
}

/* 0 or -errno: what stays attached would take part in the next test. */
static int detach_all(struct stage *stage)
{
	int err = 0;

	for (unsigned int i = 0; i < stage->count; i++)
		if (stage->parts[i].prog)
			err = attach_release(&stage->parts[i].at) ?: err;
	return err;
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void take_events_of(struct stage *stage)
{
	for (unsigned int i = 0; i < stage->test->events.count; i++)
		events_take(&stage->events[i]);
}

static void stimulate(struct stage *stage)
{
	long until = now_ms() + stage->test->milliseconds;
	int err = stimulus_start(&stage->stimulus, stage->test);

	if (err) {
		not_attempted(stage, "no process for the test: %s", strerror(-err));
		return;
	}
	while (!stimulus_step(&stage->stimulus, POLL_MS)) {
		take_events_of(stage);
		if (now_ms() > until) {
			stage->ended = "timed-out";
			break;
		}
	}
	stimulus_end(&stage->stimulus);
	take_events_of(stage);
	if (!stage->stimulus.count || stage->stimulus.told[0])
		not_attempted(stage, "the test's process cannot be confined: %s",
			      strerror(stage->stimulus.count ? stage->stimulus.told[0] : ESRCH));
}

static bool ready(struct stage *stage, struct work *work)
{
	int err;

	stage->ended = "done";
	stage->obj = load_open_object(work);
	err = stage->obj ? declare_apply(work, stage->obj, NULL) ?: bpf_object__load(stage->obj) : -errno;
	if (err) {
		not_attempted(stage, "the object does not load: %s", strerror(-err));
		return false;
	}
	if (needs_attach(stage->test) && !attach_all(stage))
		return false;
	for (unsigned int i = 0; i < stage->test->events.count; i++)
		events_open(&stage->events[i], stage->obj, stage->test->events.of[i]);
	trace_clear();
	return true;
}

static void forget(struct stage *stage)
{
	for (unsigned int i = 0; i < stage->test->events.count; i++)
		events_close(&stage->events[i]);
	bpf_object__close(stage->obj);
}

/* --- BPF_PROG_RUN */

/* Which parts of the request a kind of program takes differs; what it does not take is not sent, or it is refused. */
static int run_program(const struct test *test, const struct bpf_program *prog, struct bpf_test_run_opts *opts,
		       unsigned char *input, unsigned char *output, unsigned char *context)
{
	enum bpf_prog_type type = bpf_program__type(prog);

	opts->sz = sizeof(*opts);
	if (test->input) {
		opts->data_in = input;
		opts->data_size_in = from_hex(test->input, input, DATA_MAX);
		opts->data_out = output;
		opts->data_size_out = DATA_MAX;
	}
	if (test->context) {
		opts->ctx_in = context;
		opts->ctx_size_in = from_hex(test->context, context, CONTEXT_MAX);
	}
	if (test->context && type != BPF_PROG_TYPE_SYSCALL && type != BPF_PROG_TYPE_RAW_TRACEPOINT) {
		opts->ctx_out = context;
		opts->ctx_size_out = opts->ctx_size_in;
	}
	if (test->repeat > 1)
		opts->repeat = test->repeat;
	return bpf_prog_test_run_opts(bpf_program__fd(prog), opts) ? errno : 0;
}

static void tell_run(struct json *json, const struct stage *stage)
{
	static unsigned char input[DATA_MAX], output[DATA_MAX], context[CONTEXT_MAX];
	struct bpf_test_run_opts opts = { 0 };
	const struct bpf_program *prog = bpf_object__find_program_by_name(stage->obj, stage->test->run);
	int err = prog ? bpf_program__fd(prog) < 0 ? ENOENT : 0 : ESRCH;

	if (!err)
		err = run_program(stage->test, prog, &opts, input, output, context);
	json_open(json, "run", '{');
	json_number(json, "errno", err);
	json_number(json, "returned", err ? 0 : opts.retval);
	json_hex(json, "output", output, err ? 0 : opts.data_size_out < DATA_MAX ? opts.data_size_out : DATA_MAX);
	json_hex(json, "context", context, err ? 0 : opts.ctx_size_in);
	json_close(json, '}');
}

/* --- what is told */

static void tell_parts(struct json *json, const struct stage *stage)
{
	json_open(json, "programs", '[');
	for (unsigned int i = 0; i < stage->count && stage->parts[i].prog; i++) {
		const struct part *part = &stage->parts[i];

		json_open(json, NULL, '{');
		json_string(json, "name", bpf_program__name(part->prog));
		json_string(json, "attach", part->attached.outcome);
		json_number(json, "errno", part->attached.err);
		json_string(json, "reason", part->attached.reason);
		json_close(json, '}');
	}
	json_close(json, ']');
}

static void tell_output(struct json *json, const char *key, const struct output *output)
{
	json_text(json, key, (struct text){ output->data, output->len, output->cut });
}

static void tell_status(struct json *json, const struct stage *stage)
{
	const struct stimulus *stimulus = &stage->stimulus;
	bool command = stage->test->argv.count && stimulus->over && !strcmp(stage->ended, "done");
	/* told: being confined, the steps, and then only what exec() came back with */
	unsigned int steps = stimulus->count ? stimulus->count - 1 : 0, most = stage->test->steps.count;

	json_open(json, "steps", '[');
	for (unsigned int i = 0; i < steps && i < most; i++)
		json_number(json, NULL, stimulus->told[1 + i]);
	json_close(json, ']');
	json_number(json, "exec_errno", steps > most ? stimulus->told[1 + most] : 0);
	if (command && WIFEXITED(stimulus->status))
		json_number(json, "exit", WEXITSTATUS(stimulus->status));
	else
		json_null(json, "exit");
	json_number(json, "signal", stimulus->over && WIFSIGNALED(stimulus->status) ? WTERMSIG(stimulus->status) : 0);
	tell_output(json, "stdout", &stimulus->out);
	tell_output(json, "stderr", &stimulus->err);
}

static void tell_seen(struct json *json, const struct stage *stage, bool ran)
{
	const struct test *test = stage->test;

	json_open(json, "readings", '[');
	for (unsigned int i = 0; ran && i < test->readings.count; i++)
		reading_tell(json, stage->obj, test->readings.of[i]);
	json_close(json, ']');
	json_open(json, "events", '[');
	for (unsigned int i = 0; ran && i < test->events.count; i++)
		events_tell(json, &stage->events[i]);
	json_close(json, ']');
	if (ran && test->trace)
		trace_tell(json, "trace");
	else
		json_null(json, "trace");
}

int behave_test(struct work *work, unsigned int index)
{
	static struct stage stage;
	struct json json = { 0 };
	bool ran;
	int err;

	stage.test = &tests[index];
	if (ready(&stage, work) && needs_attach(stage.test))
		stimulate(&stage);
	ran = strcmp(stage.ended, "not-attempted");
	report_begin(&json, "test");
	json_string(&json, "name", stage.test->name);
	json_string(&json, "ended", stage.ended);
	json_string(&json, "reason", stage.reason);
	tell_parts(&json, &stage);
	tell_status(&json, &stage);
	if (ran && stage.test->run)
		tell_run(&json, &stage);
	else
		json_null(&json, "run");
	take_events_of(&stage);
	tell_seen(&json, &stage, ran);
	err = detach_all(&stage) ?: report_frame(&work->report, &json);
	forget(&stage);
	return err;
}
