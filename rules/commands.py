"""doit's commands where ours must differ: exit codes that say what happened, an orderly stop, `forget` and `why`.

`[tool.doit.plugins.command]` in pyproject.toml turns them on.
"""

import contextlib
import functools
import signal
import sys
from collections.abc import Iterator
from typing import Any

from doit.cmd_base import DoitCmdBase, tasks_and_deps_iter
from doit.cmd_forget import Forget as DoitForget
from doit.cmd_run import Run as DoitRun
from doit.reporter import ConsoleReporter

from bpfcompat import process
from bpfcompat.errors import Exit
from bpfcompat.rules import explaining, session
from bpfcompat.rules.loader import Refused

STOPPED = 130  # as a shell reports an interrupt


class Reporter(ConsoleReporter):  # type: ignore[misc]
    """Says only what our own lines do not: tasks that were skipped although they were named, and bugs."""

    desc = "bpfcompat's own lines"

    def execute_task(self, task: Any) -> None:
        """Our tasks speak for themselves."""

    def skip_uptodate(self, task: Any) -> None:
        """A named task that had nothing to do says why."""
        if task.actions:
            for line in explaining.skipped(task.name):
                self.write(line + "\n")


class Run(DoitRun):  # type: ignore[misc]
    """`doit run`: as doit's, with our exit codes (docs/exit-codes in README) and an orderly stop."""

    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code of the run."""
        params.update_defaults({"reporter": Reporter})
        try:
            with stops_in_order():
                code = int(super().execute(params, args) or 0)
        except Refused as refused:
            sys.stderr.write(f"bpfcompat: {refused.error}\n")
            return int(refused.error.exit_code)
        except KeyboardInterrupt:
            process.end_all()
            sys.stderr.write("bpfcompat: stopped; what was proved is kept\n")
            return STOPPED
        finally:
            for one in session.sessions():
                one.asker.shop.memo.save()
        ours = max((s.outcome() for s in session.sessions()), default=Exit.OK)
        return int(ours) if ours else code

    @functools.wraps(DoitRun._execute)  # doit reads the names of its options from this signature
    def _execute(self, outfile: Any, **options: Any) -> int:
        options["num_process"] = options.get("num_process") or max(
            (s.config.workers for s in session.sessions()), default=0
        )
        return int(super()._execute(outfile, **options) or 0)


@contextlib.contextmanager
def stops_in_order() -> Iterator[None]:
    """SIGTERM ends guests and the run as an interrupt does; what was proved is in the store already."""

    def stop(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Forget(DoitForget):  # type: ignore[misc]
    """`doit forget`: the store forgets too, so that a forgotten task runs again."""

    def _execute(self, forget_taskdep: bool, forget_disable_default: bool, forget_all: bool) -> None:
        super()._execute(forget_taskdep, forget_disable_default, forget_all)
        tasks = {t.name: t for t in self.task_list}
        names = list(tasks) if forget_all else self.sel_tasks or []
        for task in tasks_and_deps_iter(tasks, names):
            for action in task.clean_actions:
                action.execute()


class Why(DoitCmdBase):  # type: ignore[misc]
    """`doit why TASK…`: why a task would run or not, naming the input that changed."""

    doc_purpose = "say why a task would run, or why not"
    doc_usage = "TASK..."
    doc_description = None
    execute_tasks = False
    cmd_options = ()

    def _execute(self, pos_args: list[str]) -> int:
        for name in pos_args or self.sel_tasks or []:
            for line in explaining.why(name):
                self.outstream.write(line + "\n")
        return int(Exit.OK)
