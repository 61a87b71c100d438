"""doit's commands where ours must differ: exit codes, an orderly stop, `forget`; and two more: `plan` and `why`.

`[tool.doit.plugins.command]` in pyproject.toml turns them on.
"""

import contextlib
import functools
import getopt
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from doit.cmd_base import DoitCmdBase, subtasks_iter, tasks_and_deps_iter
from doit.cmd_forget import Forget as DoitForget
from doit.cmd_run import Run as DoitRun
from doit.dependency import DatabaseException
from doit.reporter import ConsoleReporter

from bpfcompat import process
from bpfcompat.errors import Exit
from bpfcompat.rules import explaining, session
from bpfcompat.rules.loader import DATABASE, override
from bpfcompat.rules.tasks import OURS

COLD = "--cold"
NO_BORROW = "--no-borrow"
STOPPED = 130  # as a shell reports an interrupt
WORKERS_S = 0.5


class Reporter(ConsoleReporter):  # type: ignore[misc]
    """Says only what our own lines do not: tasks that were skipped although they were named, and bugs."""

    desc = "bpfcompat's own lines"

    def execute_task(self, task: Any) -> None:
        """Our tasks speak for themselves."""
        if not _is_ours(task):
            super().execute_task(task)

    def skip_uptodate(self, task: Any) -> None:
        """A named task that had nothing to do says why."""
        if not _is_ours(task):
            super().skip_uptodate(task)
        elif task.actions:
            for line in explaining.skipped(task.name):
                self.write(line + "\n")


def _is_ours(task: Any) -> bool:
    return bool(task.meta == OURS)


class Run(DoitRun):  # type: ignore[misc]
    """`doit run`: as doit's, with our exit codes (docs/architecture.md) and an orderly stop."""

    def parse_execute(self, in_args: list[str]) -> int:
        """Options may stand behind task names too: `doit matrix -n 2`; `--cold` is guest.cold=true.

        `--no-borrow` asks every kernel here, whatever [substituters] says.
        """
        if COLD in in_args:
            in_args = [word for word in in_args if word != COLD]
            override("guest.cold", "true")
        if NO_BORROW in in_args:
            in_args = [word for word in in_args if word != NO_BORROW]
            override("substituters.borrow", "")
        with contextlib.suppress(getopt.GetoptError):  # an option that is a task's own stays where it is
            parser = self.cmdparser
            options, names = getopt.gnu_getopt(in_args, parser.get_short(), parser.get_long())
            in_args = [word for option, value in options for word in (option, value) if word] + names
        return int(super().parse_execute(in_args) or 0)

    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code of the run."""
        params.update_defaults({"reporter": Reporter})
        try:
            with stops_in_order():
                code = int(super().execute(params, args) or 0)
        except (DatabaseException, sqlite3.Error) as error:
            words = str(error.__context__ or error)  # doit's own say the rest in three lines
            hint = "free some space, or delete it: it holds nothing that is needed"
            sys.stderr.write(f"bpfcompat: {DATABASE}: {words} (hint: {hint})\n")
            return int(Exit.INPUT)
        except KeyboardInterrupt:
            process.end_all()
            _let_workers_finish()
            sys.stderr.write("bpfcompat: stopped; what was proved is kept\n")
            return STOPPED
        finally:
            for one in session.sessions():
                one.asker.shop.memo.save()
        ours = max((s.outcome() for s in session.sessions()), default=Exit.OK)
        return int(ours) if ours else code

    @functools.wraps(DoitRun._execute)  # doit reads the names of its options from this signature
    def _execute(self, outfile: Any, **options: Any) -> int:
        wanted, every = options.get("num_process"), session.sessions()
        if wanted:
            for one in every:
                one.asker.seats.limit(wanted)
        options["num_process"] = wanted or max((s.config.workers for s in every), default=0)
        connection = getattr(self.dep_manager.backend, "_conn", None)
        if connection is not None:  # doit's database holds nothing that is needed: no waiting for the disk
            connection.execute("pragma synchronous = off")
        options["par_type"] = "thread"  # a child process would keep its troubles to itself
        return int(super()._execute(outfile, **options) or 0)


def _let_workers_finish() -> None:
    """A moment for doit's workers, whose guests were ended: Python aborts if one writes while it shuts down."""
    end = time.monotonic() + WORKERS_S
    for thread in threading.enumerate():
        if thread.daemon:  # those that wait for a task, of which there will be no more, stay
            thread.join(max(0.0, end - time.monotonic()))


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

    @functools.wraps(DoitForget._execute)
    def _execute(self, forget_sub: bool, forget_disable_default: bool, forget_all: bool) -> None:
        super()._execute(forget_sub, forget_disable_default, forget_all)
        tasks = {t.name: t for t in self.task_list}
        if self.sel_default_tasks and forget_disable_default and not forget_all:
            return
        names = [] if forget_all else self.sel_tasks
        chosen = list(tasks.values()) if forget_all else []
        chosen += [task for name in names for task in self._forgotten(tasks, name, forget_sub)]
        for task in chosen:
            for drop in task.clean_actions if _is_ours(task) else ():
                drop.py_callable()

    @staticmethod
    def _forgotten(tasks: dict[str, Any], name: str, deps_too: bool) -> list[Any]:
        if deps_too:
            return list(tasks_and_deps_iter(tasks, [name]))
        return [tasks[name], *subtasks_iter(tasks, tasks[name])]


class Plan(DoitCmdBase):  # type: ignore[misc]
    """`doit plan`: what `doit matrix` would do: how many pairs are proved, how many must be asked, and why."""

    doc_purpose = "count what a matrix run would ask, and say why; runs nothing"
    doc_usage = ""
    doc_description = None
    execute_tasks = True  # to the loader: make what `matrix` needs, not a task for every pair
    cmd_options = ()

    def execute(self, params: Any, args: list[str]) -> int:
        """Whatever a bare `doit` does in this repository, a plan is one of the matrix."""
        return int(super().execute(params, args or ["matrix"]) or 0)

    def _execute(self) -> int:
        for one in session.sessions():
            if one.missing is not None:
                self.outstream.writelines(line + "\n" for line in explaining.plan(one, one.missing))
        return int(Exit.OK)


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
