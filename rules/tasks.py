"""Steps to doit tasks: one place, so that every task looks the same to doit and to the person who types its name."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from bpfcompat import libbpfs, querying
from bpfcompat.action import Action
from bpfcompat.errors import BpfcompatError
from bpfcompat.plan import Pair
from bpfcompat.realise import NotThere
from bpfcompat.rules import publishing, selection
from bpfcompat.rules.planning import Missing, look_at, survey
from bpfcompat.rules.session import Session

Task = dict[str, Any]
OURS = {"rule": "bpf_matrix"}  # tells our tasks from the others of a dodo.py


def task(
    session: Session,
    label: str,
    doc: str,
    work: Callable[[], Any],
    *,
    ready: bool = False,
    deps: tuple[str, ...] = (),
    drop: Callable[[], Any] | None = None,
) -> Task:
    """A doit task: `ready` comes from the store, never from doit's database; `drop` is what clean and forget do."""
    basename, _, name = label.partition(":")
    made: Task = {
        "basename": basename,
        "doc": doc,
        "actions": [(session.step, [label, work])],
        "uptodate": [ready],
        "task_dep": list(deps),
        "clean": [drop] if drop else [],
        "meta": OURS,
        "verbosity": 2,
    }
    return {**made, "name": name} if name else made


def possible(session: Session) -> Iterator[str]:
    """Every task name of a project, made or not; for completion and for nearest names."""
    matrix = session.matrix
    yield from ("matrix", "report", "publish", "table", "validator", *SERVICES)
    yield from ["borrow"] if session.config["substituters.url"] else []
    yield from (f"validator:{v}" for v in (libbpfs.OWN, *matrix.loaders) if matrix.loaders)
    yield from ("kernel", "inventory", "guest", "template", "object", "probe", "verdict", "control")
    yield from (f"{kind}:{k}" for k in matrix.kernels for kind in ("kernel", "inventory"))
    yield from ("abilities", *(f"abilities:{k}" for k in _plain(session)))
    yield from (f"{kind}:{k}" for k in matrix.columns for kind in ("guest", "template"))
    yield from (f"object:{o}" for o in matrix.objects)
    yield from (f"{kind}:{p}" for p in matrix.pairs for kind in ("probe", "verdict", "control"))


def _plain(session: Session) -> list[str]:
    """The kernels that are asked, without those that are one of them with another loader."""
    return [k for k in session.matrix.columns if libbpfs.MARK not in k]


def matrix_tasks(session: Session, publish: bool) -> Iterator[Task]:
    """All tasks that were asked for, and those that they wait for."""
    yield from ({"basename": n, "name": None, "doc": doc} for n, doc in GROUPS.items() if selection.everything())
    if selection.any_named(("kernels", "kernels:lock")) and not selection.plain():
        doc = "pick the newest packages and write the lock"
        yield task(session, "kernels:lock", doc, partial(publishing.relock, session))
    if selection.any_named(("validators", "validators:lock")) and not selection.plain():
        from bpfcompat.rules.lending import lock_validators  # no other run needs it

        doc = "name the validators built here in the lock"
        yield task(session, "validators:lock", doc, partial(lock_validators, session))
    if publish:
        yield from _service_tasks(session)
    if not selection.everything() and not selection.any_named(n for n in possible(session) if n not in SERVICES):
        return
    pairs = _pairs_named(session)
    session.missing = missing = survey(session, fresh=True) if pairs is None else look_at(session, pairs)
    session.asker.shop.memo.save()
    yield from _wanted(session, missing, pairs, publish)


def _pairs_named(session: Session) -> list[Pair] | None:
    """The pairs that were asked for, when nothing else was."""
    names = selection.subjects(PAIRS)
    pairs = [Pair(*name.partition("@")[::2]) for name in names or ()]
    rows = session.matrix.rows
    return pairs if pairs and all(p.kernel in rows.get(p.object, ()) for p in pairs) else None


GROUPS = {
    "kernel": "kernel:NAME: fetch and unpack one kernel of the catalogue",
    "inventory": "inventory:NAME: read what this kernel's exact build has, from its files",
    "abilities": "abilities:NAME: ask guests what no file says: settings, and which helper each program type may call",
    "guest": "guest:KERNEL: pack what this kernel's guests boot into",
    "template": "template:KERNEL: freeze a booted guest of this kernel, to be thawed for each object",
    "object": "object:NAME: compile, fetch or read one object",
    "probe": "probe:OBJECT@KERNEL: ask one kernel about one object",
    "verdict": "verdict:OBJECT@KERNEL: classify one report again, without a boot",
    "control": "control:OBJECT@KERNEL: ask a pair both ways, thawed and booted, and compare the reports",
    "kernels": "kernels:lock: pick the newest packages and write the lock",
    "validators": "validators:lock: build every validator, and name its digest in the lock for others to borrow",
}
PAIRS = ("probe", "verdict", "control")
SERVICES = ("verify", "serve", "kernels", "kernels:lock", "validators", "validators:lock")


def publish_tasks(session: Session) -> Iterator[Task]:
    """The tasks of a registry, where publishing is a step of its own."""
    yield from _service_tasks(session)
    if selection.named("publish"):
        work = partial(publishing.publish, session)
        yield task(session, "publish", publishing.PUBLISH, work, deps=("matrix",))


def _service_tasks(session: Session) -> Iterator[Task]:
    if selection.plain():  # a bare `doit` would serve for ever, and verify before anything is published
        return
    if selection.named("verify"):
        yield task(
            session, "verify", "check the registry's signatures and digests", partial(publishing.verify, session)
        )
    if selection.named("serve"):
        yield task(session, "serve", "serve the registry, read-only, until stopped", partial(publishing.serve, session))


def _wanted(session: Session, missing: Missing, pairs: list[Pair] | None, publish: bool) -> Iterator[Task]:
    whole = selection.any_named(("matrix", "report", "publish", "table", "borrow"))
    graph = Graph(session, missing)
    if pairs is None:
        lacked = session.matrix.ordered(missing.probes | missing.verdicts)
        pairs = list(session.matrix.pairs) if selection.may_name(PAIRS) else lacked
    for pair in pairs:
        lacking = pair in missing.probes
        if selection.named(f"probe:{pair}") or (whole and lacking):
            graph.probe(pair)
        if selection.named(f"verdict:{pair}") or (whole and pair in missing.verdicts):
            graph.verdict(pair)
        if selection.named(f"control:{pair}"):
            graph.control(pair)
    graph.named()
    graph.borrow()
    session.expect_steps(sum(label.startswith("probe:") for label in graph.tasks))
    yield from graph.tasks.values()
    if selection.any_named(("matrix", "report", "publish", "table")):
        waiting = tuple(n for n in graph.tasks if n.startswith(("probe:", "verdict:")))
        yield from publishing.whole_tasks(session, missing, waiting, task, publish)


def validator_label(session: Session, loader: str) -> str:
    """The task of a validator: doit has no group that is a task too, so where there are several each has a name."""
    return f"validator:{loader or libbpfs.OWN}" if session.matrix.loaders else "validator"


class Graph:
    """Tasks by label, each with those it waits for; a step that the store already has is no dependency."""

    def __init__(self, session: Session, missing: Missing) -> None:
        self.session = session
        self.missing = missing
        self.tasks: dict[str, Task] = {}

    def named(self) -> None:
        """Add the steps below the pairs that were asked for by name."""
        for loader in ("", *self.session.matrix.loaders):
            if selection.named(validator_label(self.session, loader)):
                self.validator(loader)
        asked = self.session.matrix.columns
        for name in asked if selection.plain() else self.session.matrix.kernels:
            if selection.named(f"kernel:{name}"):
                self.kernel(name)
            # a bare `doit` makes all that is needed; an inventory is not, and a kernel without BTF has none
            if not selection.plain() and selection.named(f"inventory:{name}"):
                self.inventory(name)
        for name in _plain(self.session):
            if not selection.plain() and selection.named(f"abilities:{name}"):
                self.abilities(name)
        for name in asked:
            if selection.named(f"guest:{name}"):
                self.guest(name)
            if selection.named(f"template:{name}"):
                self.template(name)
        for name in self.session.matrix.objects:
            if selection.named(f"object:{name}"):
                self.object(name)

    def kernel(self, name: str) -> str:
        """`kernel:<name>`: fetch and unpack."""
        asker, about = self.session.asker, self.session.matrix.kernels[name].about
        ready = asker.there(partial(asker.kernel, name, make=False))
        return self._add(
            f"kernel:{name}",
            f"fetch and unpack: {about}",
            partial(asker.kernel, name),
            asker.kernel_action,
            name,
            ready,
        )

    def inventory(self, name: str) -> str:
        """`inventory:<name>`: what this build has, without a boot."""
        asker, doc = self.session.asker, "read what this build has, from its files"
        ready = asker.there(partial(asker.build, name, make=False))
        action, deps = partial(asker.build_action, make=False), self._kernels(name)
        return self._add(f"inventory:{name}", doc, partial(asker.build, name), action, name, ready, deps)

    def abilities(self, name: str) -> str:
        """`abilities:<kernel>`: what guests say of a kernel; two minutes without KVM, and no verdict waits for it."""
        asker, doc = self.session.asker, "ask this kernel's guests what no file says"
        ready = asker.there(partial(asker.hello, name, make=False)) and asker.there(
            partial(querying.abilities, asker, name, make=False)
        )
        deps = self._kernels(name) + ([self.guest(name)] if name in self.missing.guests else [])
        action = partial(querying.action_of, asker, make=False)
        return self._add(f"abilities:{name}", doc, partial(self._ask, name), action, name, ready, deps)

    def _ask(self, name: str) -> None:
        self.session.asker.hello(name)
        querying.abilities(self.session.asker, name)
        publishing.publish_again(self.session)

    def validator(self, loader: str = "") -> str:
        """`validator`, or `validator:<loader>` where there are several: build the guest's init."""
        asker, ready = self.session.asker, loader not in self.missing.validators
        doc, work = f"build the guest's init, with libbpf {loader}".rstrip(), partial(asker.validator, loader=loader)
        return self._add(validator_label(self.session, loader), doc, work, asker.validator_action, loader, ready)

    def guest(self, name: str) -> str:
        """`guest:<kernel>`: the initramfs."""
        asker, ready = self.session.asker, name not in self.missing.guests
        doc, action = "pack what this kernel's guests boot into", partial(asker.initramfs_action, make=False)
        deps = self._kernels(name) + self._validator(self.session.matrix.kernels[name].libbpf)
        return self._add(f"guest:{name}", doc, partial(asker.initramfs, name), action, name, ready, deps)

    def template(self, name: str) -> str:
        """`template:<kernel>`: boot a guest once, and freeze it; where that cannot be, its guests are booted."""
        asker, doc = self.session.asker, "freeze a booted guest of this kernel"
        # to look for one takes a QEMU that works, which is not needed where all may be borrowed
        look = not selection.everything() and not asker.trust
        ready = look and asker.there(partial(asker.template, name, make=False))
        deps = self._kernels(name) + ([self.guest(name)] if name in self.missing.guests else [])
        action = partial(asker.template_action, make=False)
        return self._add(f"template:{name}", doc, partial(asker.frozen_or_cold, name), action, name, ready, deps)

    def object(self, name: str) -> str:
        """`object:<name>`: compile, fetch or read."""
        asker, doc = self.session.asker, "compile, fetch or read this object"
        ready = name not in self.missing.objects and asker.there(partial(asker.object, name, make=False))
        compiled = self.session.matrix.objects[name].source is not None
        deps = self._kernels(self.session.config["build.vmlinux"]) + self._validator() if compiled and not ready else []
        action = partial(asker.object_action, make=False)
        return self._add(f"object:{name}", doc, partial(asker.object, name), action, name, ready, deps)

    def probe(self, pair: Pair) -> str:
        """`probe:<object>@<kernel>`: boot, load, attach, classify."""
        asker, missing = self.session.asker, self.missing
        lacking = pair in missing.probes
        deps = self._kernels(pair.kernel) if lacking else []
        deps += [self.guest(pair.kernel)] if lacking and pair.kernel in missing.guests else []
        deps += self._templates(pair.kernel) if lacking else []
        here = [pair.object, *self.session.matrix.objects[pair.object].beside.values()] if lacking else []
        deps += [self.object(name) for name in dict.fromkeys(here) if name in missing.objects]
        doc, action = "ask this kernel about this object", partial(asker.probe_action, make=False)
        return self._add(f"probe:{pair}", doc, partial(self.session.ask, pair), action, pair, not lacking, deps)

    def borrow(self) -> None:
        """`borrow`: what others have asked already; before any guest is frozen or booted."""
        lacking = {f"probe:{pair}": pair for pair in self.missing.probes if f"probe:{pair}" in self.tasks}
        if not lacking or not self.session.asker.trust:
            return
        doc, work = (
            "borrow answers from the registries of [substituters]",
            partial(self._borrow, list(lacking.values())),
        )
        below = [n for n in self.tasks if n.startswith(("kernel:", "validator", "guest:", "object:"))]
        self.tasks["borrow"] = task(self.session, "borrow", doc, work, deps=tuple(below))
        for label, pair in lacking.items():
            self._after_borrow(label, [pair])
        for label in [n for n in self.tasks if n.startswith("template:") and not selection.exactly(n)]:
            kernel = label.partition(":")[2]
            self._after_borrow(label, [pair for pair in lacking.values() if pair.kernel == kernel])

    def _after_borrow(self, label: str, pairs: Sequence[Pair]) -> None:
        """A task waits for what is borrowed, and has nothing to do when all of its pairs are."""
        made, lent = self.tasks[label], self.session.lent
        made["task_dep"].append("borrow")
        made["uptodate"] = [lambda *_: all(pair in lent for pair in pairs)]

    def _borrow(self, pairs: Sequence[Pair]) -> None:
        from bpfcompat.rules.borrowing import borrow  # a run that has nothing to ask does not need it

        borrow(self.session, self.session.matrix.ordered(pairs))

    def verdict(self, pair: Pair) -> str:
        """`verdict:<object>@<kernel>`: classify the stored report again."""
        asker, missing = self.session.asker, self.missing
        deps = [self.probe(pair)] if pair in missing.probes else []
        doc, action = "classify this pair's report, without a boot", partial(asker.verdict_action, make=False)
        ready = not deps and pair not in missing.verdicts
        return self._add(f"verdict:{pair}", doc, partial(self.session.ask, pair), action, pair, ready, deps)

    def _templates(self, name: str) -> list[str]:
        """A template that is there is no dependency, and where guests are booted there is none."""
        asker = self.session.asker
        if f"template:{name}" in self.tasks:
            return [f"template:{name}"]
        if (
            self.session.config["guest.cold"]
            or selection.everything()
            or (not asker.trust and asker.there(partial(asker.template, name, make=False)))
        ):
            return []
        return [self.template(name)]

    def control(self, pair: Pair) -> str:
        """`control:<object>@<kernel>`: ask a pair both ways; a group or a pattern takes those of the sample."""
        session, label = self.session, f"control:{pair}"
        deps = [self.probe(pair)] if pair in self.missing.probes else []
        deps += self._templates(pair.kernel)
        look = partial(session.asker.control, pair, make=False)
        ready = not deps and not selection.everything() and session.asker.there(look)
        work = partial(session.control, pair, always=selection.exactly(label))
        action = partial(session.asker.control_action, make=False)
        return self._add(label, "ask a pair both ways and compare the reports", work, action, pair, ready, deps)

    def _kernels(self, name: str) -> list[str]:
        return [self.kernel(name)] if name in self.missing.kernels else []

    def _validator(self, loader: str = "") -> list[str]:
        return [self.validator(loader)] if loader in self.missing.validators else []

    def _add(
        self,
        label: str,
        doc: str,
        work: Callable[[], Any],
        action: Callable[[Any], Action],
        subject: Any,
        ready: bool,
        deps: Sequence[str] = (),
    ) -> str:
        """Add a task once; `action(subject)` is what clean and forget drop from the store."""
        if label not in self.tasks:
            drop = partial(self._drop, action, subject)
            self.tasks[label] = task(self.session, label, doc, work, ready=ready, deps=tuple(deps), drop=drop)
        return label

    def _drop(self, action: Callable[[Any], Action], subject: Any) -> None:
        with contextlib.suppress(NotThere, BpfcompatError):  # what has no key yet has no entry to drop
            self.session.asker.forget(action(subject))
