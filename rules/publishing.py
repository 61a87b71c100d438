"""The end of a matrix run: reports, signed results, and the gate; and what reads them back."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfcompat import building, libbpfs, querying
from bpfcompat.action import Action
from bpfcompat.errors import BpfcompatError, Exit, TrustError
from bpfcompat.files import ensure_dir, write_atomic
from bpfcompat.gate import decide
from bpfcompat.process import spawned
from bpfcompat.rules import selection
from bpfcompat.rules.planning import Missing, survey
from bpfcompat.rules.session import Session
from bpfcompat.store import Entry

if TYPE_CHECKING:  # a null run publishes nothing
    from bpfcompat.buildtext import Asked

Task = dict[str, Any]
MakeTask = Callable[..., Task]


TABLE = "table"
PUBLISH = "sign the verdicts and put them into the registry"


def whole_tasks(
    session: Session, missing: Missing, waiting: tuple[str, ...], task: MakeTask, signed: bool
) -> Iterator[Task]:
    """`report`, `publish` (where `signed`), `matrix` and `table`, which wait for every pair that has to be asked."""
    summary = None if waiting else missing.summary
    settled = missing.settled if summary else None
    doc, drop = "write the result as JSON, Markdown, HTML and JUnit", partial(_drop_reports, session)
    ready = _reported(session, settled)
    yield task(session, "report", doc, partial(report, session), ready=ready, deps=waiting, drop=drop)
    if signed:
        ready = _published(session, settled)
        yield task(session, "publish", PUBLISH, partial(publish, session), ready=ready, deps=waiting)
    doc = "ask every kernel about every object, and judge by what is expected"
    deps = (*waiting, "report", *(["publish"] if signed else []))
    yield task(session, "matrix", doc, partial(judge, session, summary), deps=deps)
    if selection.named(TABLE) and not selection.plain():  # a bare `doit` prints the differences alone
        yield task(session, TABLE, "print what every pair answered, as a table", partial(show, session), deps=waiting)


# --- the gate


def judge(session: Session, proved: Entry | None) -> None:
    """Print the differences, and let the gate speak; `proved` is what it said when nothing had changed."""
    if proved is not None:
        session.voice.say(str(proved.facts["text"]))
        session.exit = Exit(int(proved.facts["exit"]))
        return
    from bpfcompat import reports  # below, as all that a null run does without

    rows = session.rows()
    session.decide(rows)
    session.voice.say(reports.summary(rows))
    settled = survey(session).settled
    if settled is not None:
        facts = {"exit": int(decide(rows).exit), "text": reports.summary([r.cached() for r in rows])}
        session.asker.shop.store.put(settled, {}, facts)


def show(session: Session) -> None:
    """Print every pair of the matrix; judges nothing, but a required pair without an answer is an exit code."""
    from bpfcompat import reports

    rows = session.rows()
    session.voice.say(reports.table(rows))
    silent = any(r.required and r.verdict is None and not r.not_to_be_had for r in rows)
    session.exit = session.exit or (Exit.INCONCLUSIVE if silent else Exit.OK)


# --- reports

REPORTS = ("matrix.json", "matrix.md", "matrix.html", "junit.xml")


def report(session: Session) -> None:
    """Write all report files; each appears whole."""
    from bpfcompat import reports
    from bpfcompat.rules import page
    from bpfcompat.rules.explained import explanations

    rows = session.rows()
    folder = ensure_dir(session.config.path("paths.reports"))
    texts = (
        reports.as_json(rows),
        reports.as_markdown(rows),
        page.render(rows, explanations(session, rows)),
        reports.as_junit(rows),
    )
    for name, text in zip(REPORTS, texts, strict=True):
        write_atomic(folder / name, text.encode("utf-8", "replace"))
    session.voice.say(f"   reports: {_shown(folder / 'matrix.html')} has every pair; so has doit {TABLE}")
    action = _report_action(session, survey(session).settled)
    if action is not None:
        session.asker.shop.store.put(action, {})


def _report_action(session: Session, settled: Action | None) -> Action | None:
    """Stands for: these very files say what this very matrix found."""
    folder = session.config.path("paths.reports")
    if settled is None or not all((folder / n).is_file() for n in REPORTS):
        return None
    digests = {n: session.asker.shop.memo.digest(folder / n) for n in REPORTS}
    return Action("report", "", {"matrix": settled.key(), "files": digests})


def _reported(session: Session, settled: Action | None) -> bool:
    action = _report_action(session, settled)
    return action is not None and session.asker.shop.store.get(action) is not None


def _drop_reports(session: Session) -> None:
    for name in REPORTS:
        (session.config.path("paths.reports") / name).unlink(missing_ok=True)


# --- the registry


def publish(session: Session) -> None:
    """Sign every conclusive verdict and the matrix; conflicts are said and fail the gate."""
    from bpfcompat import trailing
    from bpfcompat.registry.publish import publish as put
    from bpfcompat.rules import claims
    from bpfcompat.rules.explained import explanations
    from bpfcompat.rules.lending import lend
    from bpfcompat.rules.rooted import readers, signer_for

    rows = session.rows()
    silent = [r for r in rows if r.required and r.verdict is None and not r.not_to_be_had]
    if silent:
        session.voice.say(f"   published: nothing: {len(silent)} required pairs have no answer; run again")
        return
    days = session.config["signing.valid_days"]
    own = claims.own_rows(session, rows)
    if len(own) < len(rows):
        session.voice.say(f"   published: without {len(rows) - len(own)} borrowed pairs: who asked vouches for them")
    if not own:
        _remember_published(session, days)
        return
    key, log = claims.signing_key(session), claims.log_signer(session)
    items, entries = claims.items_of(session, own)
    place = session.config.path("paths.registry")
    waiting = session.waiting("publish")
    with trailing.publishing(session.config, place, key.public_key(), log, waiting) as told:
        found = readers(session.config)
        log = signer_for(found, key.public_key(), log)
        done = told.done = put(
            place, items, entries, key, log=log, now=int(time.time()), valid_s=days * 86400,
            inventories=_inventories(session), said=_said(session), waiting=waiting,
            explained=explanations(session, own), policy=found[1] if found else None,
            head=told.head,
        )  # fmt: skip
    for conflict in done.conflicts:
        session.voice.say(f"!! conflict: {conflict}")
        session.conflict = True
    lend(session)
    state = "signed anew" if done.manifest_new else "unchanged"
    counts = f"{done.new} new, {done.known} known; {done.log.size} in the log; matrix {state}"
    session.voice.say(f"   published: {counts}; {_shown(place)}")
    _remember_published(session, days)


def _inventories(session: Session) -> dict[str, bytes]:
    """What the builds of the columns have; one that cannot be read (no BTF) has no page, and no answer less."""
    found, read = {}, session.asker.shop.store.read
    for name in session.matrix.columns:
        with contextlib.suppress(BpfcompatError):
            found[name] = read(building.blob_of(session.asker, name))
    return found


def _said(session: Session) -> dict[str, Asked]:
    """What guests of the columns said before (`abilities:KERNEL`); nobody is asked for it now."""
    names = [name for name in session.matrix.columns if libbpfs.MARK not in name]
    found = {name: querying.said(session.asker, name) for name in names}
    return {name: asked for name, asked in found.items() if asked is not None}


def _remember_published(session: Session, days: int) -> None:
    action = None if session.conflict else _publish_action(session, survey(session).settled)
    if action is not None:
        session.asker.shop.store.put(action, {}, {"renew": int(time.time()) + days * 86400 // 2})


def _publish_action(session: Session, settled: Action | None) -> Action | None:
    """Stands for: this very registry head, signed by these very keys, says what this very matrix found.

    Without head or keys: that there was nothing to sign, because all was borrowed.
    """
    if settled is None:
        return None
    files = {"head": session.config.path("paths.registry") / "matrix.json"}
    files |= {name: session.config.path(f"signing.{name}") for name in ("key", "log_key")}
    digest = session.asker.shop.memo.digest
    signed = {name: digest(path) if path.is_file() else None for name, path in files.items()}
    lent = list(session.config["serve.lend"])
    return Action("publish", "", {"matrix": settled.key(), **signed, **({"lend": lent} if lent else {})})


def publish_again(session: Session) -> None:
    """Something is known now that the registry does not have: the next run publishes it."""
    action = _publish_action(session, survey(session).settled)
    if action is not None:
        session.asker.shop.store.drop(action.kind, action.key())


def _published(session: Session, settled: Action | None) -> bool:
    action = _publish_action(session, settled)
    entry = session.asker.shop.store.get(action) if action else None
    return entry is not None and time.time() < int(entry.facts["renew"])


def verify(session: Session) -> None:
    """`doit verify`: check this project's registry with this project's key."""
    from bpfcompat import trailing
    from bpfcompat.registry import client
    from bpfcompat.registry import verify as checking
    from bpfcompat.rules import claims

    source = client.open_source(str(session.config.path("paths.registry")))
    found = checking.verify(source, claims.policy(session), now=int(time.time()))
    session.voice.say(checking.format_verification(found))
    session.exit = found.exit_code
    trailing.refused(session.config, "doit verify", *map(TrustError, found.problems), say=session.voice.say)


def serve(session: Session) -> None:
    """`doit serve`: in a process of its own, because an event loop wants the main thread."""
    argv = [sys.executable, "-m", "bpfcompat", "serve", str(session.config.path("paths.registry")),
            "--host", session.config["serve.host"], "--port", str(session.config["serve.port"])]  # fmt: skip
    with spawned(argv, cwd=session.config.root, env=dict(os.environ), stdout=None, stderr=None) as child:
        child.wait()


def relock(session: Session) -> None:
    """`doit kernels:lock`: the newest packages that match, written to the lock; the next run asks anew what moved."""
    from bpfcompat.kernels import apt, lock
    from bpfcompat.kernels.relock import SourceSpec
    from bpfcompat.kernels.relock import relock as pick
    from bpfcompat.model import AptSource
    from bpfcompat.plan import packages_of

    config, asker = session.config, session.asker
    keyring = apt.gpgv(config.path("mirror.keyring"))
    archive = apt.Archive(asker.mirror(), asker.downloads, keyring, config["mirror.allow_expired"], asker.bar("index"),
                          asker.allowed)  # fmt: skip
    own = libbpfs.Loader(config["validator.suite"], config["validator.libbpf"])
    used = {"": own, **{name: config.libbpf[name] for name in session.matrix.loaders}}
    sources = {
        libbpfs.source_of(name): SourceSpec(AptSource(found.suite, "source", libbpfs.SOURCE), found.version)
        for name, found in used.items()
    }
    packages = {n: source for o in session.matrix.objects.values() for n, source in packages_of(o).items()}
    found = pick(archive, session.matrix.kernels.values(), sources, packages, session.voice.say)
    lock.write_lock(config.path("paths.lock"), replace(found, validators=asker.shop.lock.validators))


def _shown(path: Path) -> str:
    return os.path.relpath(path)
