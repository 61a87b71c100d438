"""`bpfcompat bisect` and `bpfcompat floor`: one object along a line of kernel builds, booting only what must be.

A build is an ephemeral kernel: its package comes from the archive's signed index, as a lock's would, and is written
nowhere.  Probes are keyed by what they ask, so what a matrix or an earlier search has asked is not asked again.
"""

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bpfcompat import plan
from bpfcompat.bisecting import Boundary, Floor, Line, Side, boundary, floor, named
from bpfcompat.config import object_spec
from bpfcompat.control import Controller
from bpfcompat.elf import ObjectFacts
from bpfcompat.errors import BpfcompatError, ConfigError, Exit, did_you_mean
from bpfcompat.kernels.listing import ARCH, SUITES, Listed, archives, arranged, is_of, listed
from bpfcompat.kernels.lock import LockedPackage
from bpfcompat.model import Answer, AptSource, KernelSpec, ObjectSpec, Verdict
from bpfcompat.origins import target
from bpfcompat.plan import Pair
from bpfcompat.realise import NotThere
from bpfcompat.rules.roots import sessions_of
from bpfcompat.rules.session import Session
from bpfcompat.voice import Voice, clean

QUESTIONS = ("attaches", "loads")


@dataclass(frozen=True, slots=True)
class Asking:
    """What a search is about: the object, the flavour and suites of the builds, and whether the mirror is asked."""

    object: str
    flavour: str = "cloud"
    suites: tuple[str, ...] = ()
    offline: bool = False


@dataclass(slots=True)
class Ground:
    """One object and a line of builds, oldest first, that it can be asked on."""

    spec: ObjectSpec
    builds: list[Listed]
    names: list[str]
    asker: Controller
    voice: Voice
    words: dict[int, str] = field(default_factory=dict)  # what each said, or why it said nothing

    def pair(self, index: int) -> Pair:
        """The object on one build."""
        return Pair(self.spec.name, self.names[index])

    def line(self, question: str, low: int, high: int) -> Line:
        """The builds from `low` to `high` as a line, with what the store knows of them."""
        known = {}
        for index in range(low, high + 1):
            try:
                known[index - low] = self._said(index, question, make=False)
            except (NotThere, BpfcompatError):
                continue
        return Line(high - low + 1, lambda i: self.ask(low + i, question), known)

    def ask(self, index: int, question: str) -> Side:
        """Ask one build, by a boot if need be, and say what came of it."""
        try:
            side = self._said(index, question, make=True)
        except BpfcompatError as error:
            if error.exit_code is Exit.INPUT:  # the object or the settings are at fault: so they are on every build
                raise
            side, self.words[index] = Side.SILENT, f"no answer: {clean(error.message, 200)}"
        how = " (booted)" if f"probe:{self.pair(index)}" in self.asker.ran else ""
        self.voice.say(f"   {self.label(index)}: {self.words[index]}{how}")
        return side

    def _said(self, index: int, question: str, make: bool) -> Side:
        found = self.asker.verdict(self.pair(index), make)
        self.words[index] = str(found.answer) + (f":{found.cause}" if found.cause else "")
        if found.answer is Answer.INCONCLUSIVE:
            return Side.SILENT
        yes = self._loads(index, found) if question == "loads" else found.answer is Answer.COMPATIBLE
        return Side.YES if yes else Side.NO

    def _loads(self, index: int, found: Verdict) -> bool:
        if self.spec.command is not None or found.answer is Answer.COMPATIBLE:
            return found.answer is Answer.COMPATIBLE
        return self.asker.report(self.pair(index)).load_errno == 0

    def label(self, index: int) -> str:
        """`6.12.95+deb12-cloud-amd64 (6.12.95-1~bpo12+1, bookworm-backports)`."""
        build = self.builds[index]
        return f"{build.release} ({build.locked.version}, {build.suites[0]})"

    @property
    def booted(self) -> list[str]:
        """The builds whose guests were started by this search."""
        return [n for n in self.names if f"probe:{Pair(self.spec.name, n)}" in self.asker.ran]


def ground(root: Path, asking: Asking, voice: Voice) -> Ground:
    """All builds that are listed, and the catalogue's own; ConfigError for an object that nobody knows."""
    session, spec = _object(root, asking.object)
    builds = _builds(session, asking, voice.say)
    names = _names(builds)
    return Ground(spec, builds, names, _asker(session, spec, dict(zip(names, builds, strict=True)), voice), voice)


def _object(root: Path, name: str) -> tuple[Session, ObjectSpec]:
    """An object of the project by its name, or a file."""
    sessions = sessions_of(root)
    for session in sessions:
        if name in session.matrix.objects:
            return session, session.matrix.objects[name]
    if Path(name).is_file():
        stem = "".join(c if c.isalnum() or c in "_.+-" else "_" for c in Path(name).name.removesuffix(".bpf.o"))
        return sessions[0], object_spec(stem.lstrip("_.+-") or "object", {"prebuilt": name}, Path.cwd(), name)
    known = [n for s in sessions for n in s.matrix.objects]
    hint = did_you_mean(name, known, "an object of bpfcompat.toml, or a file")
    raise ConfigError(f"{name[:200]}: no object has this name", hint=hint)


def _builds(session: Session, asking: Asking, say: Callable[[str], None]) -> list[Listed]:
    own = [p for p in session.asker.shop.lock.kernels.values() if is_of(p, asking.flavour)]
    found: list[Listed] = []
    if not asking.offline:
        try:
            found = listed(archives(_archive(session)), asking.suites or SUITES, asking.flavour, say)
        except BpfcompatError as error:
            if not own or asking.suites:
                raise
            say(f"no list of builds, so only the lock's: {error}")
    wanted = [p for p in own if not asking.suites or any(fnmatch.fnmatchcase(p.suite, s) for s in asking.suites)]
    builds = arranged([*(replace(b.locked, suite=s) for b in found for s in b.suites), *wanted])
    if not builds:
        raise ConfigError(f"no {asking.flavour} kernel is known here", hint="leave --offline out, or another --flavour")
    return builds


def _archive(session: Session) -> Any:
    from bpfcompat.kernels import apt

    config, asker = session.config, session.asker
    keyring = apt.gpgv(config.path("mirror.keyring"))
    expired = config["mirror.allow_expired"]
    return apt.Archive(asker.mirror(), asker.downloads, keyring, expired, asker.bar("index"), asker.allowed)


def _names(builds: Sequence[Listed]) -> list[str]:
    """A name for each: its release, and its version too where an older build has the same release."""
    names: list[str] = []
    for build in builds:
        name = build.release
        names.append(f"{name}_{build.locked.version.replace('~', '-').replace(':', '-')}" if name in names else name)
    return names


def _asker(session: Session, spec: ObjectSpec, builds: dict[str, Listed], voice: Voice) -> Controller:
    """An asker that knows the builds as kernels; each is asked once, so none is frozen for later."""
    shop = session.asker.shop
    kernels = {name: kernel_of(name, build.locked) for name, build in builds.items()}
    lock = replace(shop.lock, kernels={**shop.lock.kernels, **{n: b.locked for n, b in builds.items()}})
    matrix = plan.Matrix(
        {**shop.matrix.objects, spec.name: spec},
        {**shop.matrix.kernels, **kernels},
        tuple(kernels),
        {spec.name: frozenset(kernels)},
    )
    sites = sites_of([b.locked for b in builds.values()], session.asker.mirror, shop.config["fetch.allow"])
    config = replace(shop.config, values={**shop.config.values, "guest.cold": True, "fetch.allow": sites})
    return Controller(replace(shop, config=config, matrix=matrix, lock=lock, voice=voice))


def sites_of(packages: Iterable[LockedPackage], mirror: Callable[[], str], sites: Sequence[str]) -> tuple[str, ...]:
    """The hosts of the settings, and the mirror's own: what it lists has whole addresses, of archives beside it too."""
    if not any("://" in file.path for package in packages for file in package.files):
        return tuple(sites)
    return (*sites, target(mirror()).site)


def kernel_of(name: str, package: LockedPackage) -> KernelSpec:
    """A kernel of the archive that is in no catalogue."""
    about = f"{package.package} {package.version} of {package.suite}"
    return KernelSpec(name, ARCH, AptSource(package.suite, ARCH, package.package), optional=True, about=about)


# --- bisect


@dataclass(frozen=True, slots=True)
class Bisected:
    """What a bisection found; `good` and `bad` are places in `ground.builds`, `between` could not be asked."""

    ground: Ground
    good: int
    bad: int
    between: tuple[int, ...]
    count: int
    changed: str
    verdicts: tuple[Verdict, Verdict]


def bisect(found: Ground, good: str, bad: str, question: str = "attaches") -> Bisected:
    """The two builds, adjacent but for those that cannot be asked, between which the answer changes."""
    ends = {Side.YES: place(found, good), Side.NO: place(found, bad)}
    low, high = sorted(ends.values())
    if low == high:
        raise ConfigError(f"{good} and {bad} are one build", hint="name two")
    first = Side.YES if ends[Side.YES] == low else Side.NO
    names = [found.label(i) for i in range(low, high + 1)]
    try:
        edge = boundary(found.line(question, low, high), 0, high - low, first)
    except BpfcompatError as error:
        raise named(error, names) from None
    edge = Boundary(low + edge.before, low + edge.after, tuple(low + i for i in edge.between))
    yes, no = (edge.before, edge.after) if first is Side.YES else (edge.after, edge.before)
    verdicts = found.asker.verdict(found.pair(yes)), found.asker.verdict(found.pair(no))
    return Bisected(found, yes, no, edge.between, high - low + 1, _changed(found, edge.before, edge.after), verdicts)


def place(found: Ground, name: str) -> int:
    """The build that a kernel of the catalogue, a release, a version, or a pattern of one names."""
    locked = found.asker.shop.lock.kernels.get(name)
    if locked is not None and name not in found.names:
        digests = [b.locked.files[0].digest for b in found.builds]
        if locked.files[0].digest in digests:
            return digests.index(locked.files[0].digest)
    words = [(found.names[i], b.release, b.locked.version) for i, b in enumerate(found.builds)]
    for match in (lambda w: name == w, lambda w: fnmatch.fnmatchcase(w, name), lambda w: w.startswith(name)):
        hits = [i for i, options in enumerate(words) if any(match(w) for w in options)]
        if len(hits) == 1:
            return hits[0]
        if hits:
            some = ", ".join(found.label(i) for i in hits[:4])
            raise ConfigError(f"{name[:100]}: {len(hits)} builds have this name: {some} …", hint="name one")
    every = [w for options in words for w in options]
    hint = did_you_mean(name, every, f"known: {words[0][1]} to {words[-1][1]}", likeness=0.4)
    raise ConfigError(f"{name[:100]}: no build here has this name", hint=hint)


def _changed(found: Ground, old: int, new: int) -> str:
    """What differs between two builds: of the functions that the object names, and of their inventories."""
    from bpfcompat.buildtext import show_difference

    try:
        one, other = ((found.builds[i].locked.version, found.asker.build(found.names[i])) for i in (old, new))
        functions = _functions(found, old, new)
    except BpfcompatError as error:
        return f"their inventories cannot be compared: {error}"
    return "\n".join([*functions, show_difference(one, other, False)])


def _functions(found: Ground, old: int, new: int) -> list[str]:
    """Kernel functions that the object names, and that only one of the two builds has in its BTF."""
    from bpfcompat.btftypes import Types
    from bpfcompat.elf import facts_or_fault

    store = found.asker.shop.store
    facts = facts_or_fault(store.read(found.asker.object(found.spec.name)))
    if not isinstance(facts, ObjectFacts):
        return []
    named_there = {*facts.externs, *(part for p in facts.programs for part in p.section.split("/")[1:])}
    blobs = [found.asker.kernel(found.names[i]).btf for i in (old, new)]
    before, after = (Types(store.read(blob)).functions() if blob else frozenset[str]() for blob in blobs)
    lines = [f"-{name}" for name in sorted(named_there & before - after)]
    lines += [f"+{name}" for name in sorted(named_there & after - before)]
    return [f"kernel functions that it names: {clean(' '.join(lines), 600)}", ""] if lines else []


def bisected_text(found: Bisected) -> str:
    """For a terminal."""
    at, booted = found.ground, len(found.ground.booted)
    yes, no = (at.label(i) for i in (found.good, found.bad))
    silent = [f"  between them, without an answer: {at.label(i)}: {at.words[i]}" for i in found.between]
    apart = "adjacent builds" if not found.between else f"{len(found.between)} builds between them have no answer"
    lines = [
        f"{at.spec.name}: {found.count} builds, {booted} booted; {apart}",
        f"  works:         {yes}: {at.words[found.good]}",
        f"  does not work: {no}: {at.words[found.bad]}",
        f"                 {clean(found.verdicts[1].sentence, 600)}",
        *silent,
        "",
        found.changed,
    ]
    return "\n".join(lines)


def bisected_json(found: Bisected) -> dict[str, Any]:
    """Everything, as JSON values."""
    at = found.ground
    return {
        "format": 1,
        "object": at.spec.name,
        "builds": found.count,
        "booted": at.booted,
        "good": _build_json(at, found.good),
        "bad": {**_build_json(at, found.bad), "sentence": found.verdicts[1].sentence},
        "between": [_build_json(at, i) for i in found.between],
        "changed": found.changed.splitlines(),
    }


def _build_json(at: Ground, index: int) -> dict[str, Any]:
    build = at.builds[index]
    return {"release": build.release, "version": build.locked.version, "package": build.locked.package,
            "suites": list(build.suites), "said": at.words.get(index, "")}  # fmt: skip


# --- floors


def floors(found: Ground, wanted: Sequence[str]) -> dict[str, dict[str, Floor | str]]:
    """For each series and question the floor, its places those of `found.builds`, or why there is none to be named."""
    result: dict[str, dict[str, Floor | str]] = {}
    for series in dict.fromkeys(b.series for b in found.builds):
        if wanted and not any(fnmatch.fnmatchcase(series, w) for w in wanted):
            continue
        at = [i for i, b in enumerate(found.builds) if b.series == series]
        result[series] = {q: _floor(found, at, q) for q in _questions(found.spec)}
    if not result:
        known = ", ".join(dict.fromkeys(b.series for b in found.builds))
        raise ConfigError(f"no series is named {', '.join(wanted)}", hint=f"known here: {known}")
    return result


def _questions(spec: ObjectSpec) -> tuple[str, ...]:
    return QUESTIONS if spec.attach.attaches and spec.command is None else ("attaches",)


def _floor(found: Ground, at: Sequence[int], question: str) -> Floor | str:
    stored = [found.line(question, index, index).known.get(0) for index in at]
    known = {n: side for n, side in enumerate(stored) if side is not None}
    line = Line(len(at), lambda n: found.ask(at[n], question), known)
    try:
        low = floor(line)
    except BpfcompatError as error:
        if error.exit_code is Exit.INPUT:
            raise
        return str(named(error, [found.label(i) for i in at]))
    shift = partial(map, at.__getitem__)
    return Floor(None if low.oldest is None else at[low.oldest], None if low.below is None else at[low.below],
                 tuple(shift(low.silent)), tuple(shift(low.above)))  # fmt: skip


def floors_text(found: Ground, told: dict[str, dict[str, Floor | str]]) -> str:
    """A line for each series and question."""
    asked = f"{len(found.booted)} booted, the rest from the store"
    lines = [f"{found.spec.name}: oldest build of each series; {len(found.builds)} builds known, {asked}"]
    for series, answers in told.items():
        count = sum(b.series == series for b in found.builds)
        lines.append(f"{series} ({count} builds)")
        lines += [f"  {question + ':':10} {_floor_words(found, answer)}" for question, answer in answers.items()]
    return "\n".join(lines)


def _floor_words(found: Ground, answer: Floor | str) -> str:
    if isinstance(answer, str):
        return clean(answer, 600)
    if answer.oldest is None:
        return "on none"
    words = f"from {found.label(answer.oldest)}"
    words += f"; not on {found.label(answer.below)}" if answer.below is not None else ", the oldest that can be asked"
    words += f"; {len(answer.silent)} older ones or between without an answer" if answer.silent else ""
    return words + (f"; but not on {', '.join(found.label(i) for i in answer.above[:4])}" if answer.above else "")


def floors_json(found: Ground, told: dict[str, dict[str, Floor | str]]) -> dict[str, Any]:
    """Everything, as JSON values; a series without a floor has null, or why there is none."""
    return {
        "format": 1,
        "object": found.spec.name,
        "booted": found.booted,
        "series": {s: {q: _floor_json(found, f) for q, f in answers.items()} for s, answers in told.items()},
    }


def _floor_json(found: Ground, answer: Floor | str) -> Any:
    if isinstance(answer, str) or answer.oldest is None:
        return {"oldest": None, "why": answer if isinstance(answer, str) else "on none"}
    return {
        "oldest": _build_json(found, answer.oldest),
        "below": None if answer.below is None else _build_json(found, answer.below),
        "without_answer": [_build_json(found, i) for i in answer.silent],
        "not_on": [_build_json(found, i) for i in answer.above],
    }
