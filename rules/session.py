"""One project in one run: its settings, its steps, and what became of each pair."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bpfcompat import plan
from bpfcompat.conditions import based
from bpfcompat.config import Config, load
from bpfcompat.control import Controller
from bpfcompat.errors import BpfcompatError, ConfigError, ControlError, Exit, GuestError, KernelError
from bpfcompat.expected import expected_on, required_on
from bpfcompat.gate import Row, decide
from bpfcompat.kernels.catalogue import SHIPPED, load_catalogue
from bpfcompat.kernels.lock import Lock, read_lock
from bpfcompat.memo import Memo
from bpfcompat.model import GuestRun, KernelSpec, ObjectSpec, Verdict
from bpfcompat.plan import Pair
from bpfcompat.realise import NotThere, Workshop
from bpfcompat.rules import selection
from bpfcompat.store import Store
from bpfcompat.voice import Terminal, Voice

if TYPE_CHECKING:
    from bpfcompat.rules.planning import Missing

_sessions: dict[Path, "Session"] = {}
AFTER = ("report", "publish", "matrix", "table")  # what comes after the pairs, and of which the gate knows nothing
_Spec = TypeVar("_Spec", ObjectSpec, KernelSpec)


class Session:
    """Settings and steps of one project, and the rows of this run.  Thread-safe where tasks meet."""

    def __init__(self, config: Config, objects: Mapping[str, ObjectSpec], kernels: Mapping[str, KernelSpec],
                 voice: Voice | None = None) -> None:  # fmt: skip
        self.config = config
        self.voice = voice or Terminal()
        store = Store(config.path("paths.store")).open()
        self.matrix = plan.matrix(config, objects, based(kernels))
        place = config.path("paths.lock")
        lock = read_lock(place) if place.exists() else Lock()  # what needs an entry says so; kernels:lock needs none
        memo = Memo(store.root / "memo.json")
        self.asker = Controller(Workshop(config, self.matrix, lock, store, memo, self.voice))
        self.troubles: dict[str, BpfcompatError] = {}
        self.exit: Exit | None = None
        self.missing: Missing | None = None  # what was found when the tasks were made
        self.halted = False
        self.lent: dict[Pair, str] = {}  # pairs that were borrowed in this run, and from whom
        self.conflict = False  # a question with two signed answers was published
        self._rows: tuple[tuple[int, ...], tuple[Row, ...]] | None = None
        self._done = 0
        self._total = 0
        self._guard = threading.Lock()

    # --- running

    def expect_steps(self, count: int) -> None:
        """How many pairs this run will ask, for the bar."""
        self._total = count

    def step(self, label: str, work: Callable[[], Any]) -> bool:
        """Do one task's work; a trouble of ours is kept, said once, and told to whoever needs the result.

        Returns True even then, so that doit goes on with the tasks that wait for this one: they find the same
        trouble and become inconclusive, and the gate names them all.  The exit code comes from `outcome`.
        """
        started = time.monotonic()
        if self.halted:  # by what a control found: nothing more is asked, published or judged
            return selection.managed()
        try:
            work()
            if label in self.asker.ran and not label.startswith(("probe:", "verdict:", "control:")):
                self.voice.say(f".  {label}  (made, {time.monotonic() - started:.1f} s)")
        except BpfcompatError as error:
            with self._guard:
                again = not isinstance(error, GuestError)  # each lost guest is news, a missing kernel only once
                known = again and any(str(error) == str(t) for t in self.troubles.values())
                self.troubles[label] = error
                self.halted = self.halted or isinstance(error, ControlError)
            if not known:
                self.voice.say(f"!! {label}: {error}")
                self._tell(label, error)
            if not selection.managed():
                return self._excused(label, error)
        return selection.managed() or not self.exit  # under doit's own commands only a failing task fails a run

    def _tell(self, label: str, error: BpfcompatError) -> None:
        """A refusal goes into the audit trail, whichever step it ended."""
        from bpfcompat import trailing  # a run without trouble does not need it

        trailing.refused(self.config, label, error, say=self.voice.say)

    def _excused(self, label: str, error: BpfcompatError) -> bool:
        """True for the trouble of an optional object, or of an optional kernel that is not to be had."""
        of_object, _, of_kernel = label.partition(":")[2].rpartition("@")
        kernel, found = self.matrix.kernels.get(of_kernel), self.matrix.objects.get(of_object or of_kernel)
        absent = isinstance(error, KernelError) and kernel is not None and kernel.optional
        return absent or (found is not None and not required_on(found, of_kernel if of_object else ""))

    def ask(self, pair: Pair) -> None:
        """Probe a pair, classify it, and say its line."""
        try:
            self.asker.verdict(pair)
            if f"probe:{pair}" in self.asker.ran and self.asker.is_sampled(pair):
                self.control(pair)
        finally:
            with self._guard:
                self._done += 1
            self.voice.progress("pairs", self._done, self._total or None)
        from bpfcompat import reports

        row = self.row(pair)
        self.voice.say(f"{'.' if row.ran else '-'}  {reports.line(row)}")
        for text in reports.to_declare(row):
            self.voice.say(f"      {text}")
        if row.verdict and selection.exactly(f"probe:{pair}"):
            for text in reports.programs(row.verdict):
                self.voice.say(f"      {text}")
        for reason in row.why:
            if row.ran and reason != "never run before":
                self.voice.say(f"      because {reason}")

    def borrowed(self, pair: Pair, verdict: Verdict, url: str) -> None:
        """Note that a pair was borrowed, and say its line."""
        from bpfcompat import reports

        self.lent[pair] = url
        self._done += 1
        spec, run = self.matrix.objects[pair.object], GuestRun("", "", "borrowed", 0, 0, lender=url)
        row = Row(pair, "", expected_on(spec, pair.kernel), required_on(spec, pair.kernel), verdict, run=run,
                  declared=bool(spec.declared))  # fmt: skip
        self.voice.say(f"-  {reports.line(row)}")

    def control(self, pair: Pair, always: bool = True) -> None:
        """Ask a pair both ways, if it is of the sample (or `always`), and say what came of it."""
        if not always and not self.asker.is_sampled(pair):
            return
        label = f"control:{pair}"
        if self.asker.control(pair) is None:
            self.voice.say(f"-  {label}: not thawed, or asked both ways already: nothing to compare")
        elif label in self.asker.ran:
            self.voice.say(f".  {label:42} a thawed guest and a booted one say the same, byte for byte")

    def outcome(self) -> Exit:
        """The run's exit code: the worst trouble's, or the gate's, which knows what matters of the pairs."""
        codes = {label: t.exit_code for label, t in self.troubles.items()}
        if self.exit is None:
            return max(codes.values(), default=Exit.OK)
        if self.exit is Exit.INCONCLUSIVE and Exit.INPUT in codes.values():
            return Exit.INPUT  # there was no answer because of what the user gave us: say that
        if self.exit or self.conflict:
            return self.exit or Exit.UNEXPECTED
        return max((code for label, code in codes.items() if label in AFTER), default=Exit.OK)

    def waiting(self, label: str) -> Callable[[str], None]:
        """Says that another process holds what this task needs, and which."""
        return lambda who: self.voice.say(f"   {label}: waits for {who}")

    # --- rows

    def row(self, pair: Pair) -> Row:
        """What is known of a pair now; makes nothing."""
        spec = self.matrix.objects[pair.object]
        common: dict[str, Any] = {
            "pair": pair,
            "expected": expected_on(spec, pair.kernel),
            "required": required_on(spec, pair.kernel),
            "declared": bool(spec.declared),
        }
        try:
            found = self.asker.verdict(pair, make=False)
        except (NotThere, BpfcompatError) as error:
            return Row(release="", verdict=None, **self._trouble(pair, error), **common)
        label = f"probe:{pair}"
        return Row(
            release=self.asker.kernel(pair.kernel, make=False).release,
            verdict=found,
            ran=label in self.asker.ran,
            why=self.asker.ran.get(label, ()),
            run=self.asker.run_of(pair),
            costs=self.asker.costs(pair),
            probe_key=self.asker.probe_action(pair, make=False).key(),
            libbpf=str(self.asker.validator_for(pair.kernel, make=False).facts["libbpf"]),
            **common,
        )

    def _trouble(self, pair: Pair, error: Exception) -> dict[str, Any]:
        own = self.troubles.get(f"probe:{pair}") or self.troubles.get(f"verdict:{pair}")
        cause = own or error
        absent = self.matrix.kernels[pair.kernel].optional and isinstance(cause, KernelError)
        text = cause.message if isinstance(cause, BpfcompatError) else f"waits for {error}"
        return {"trouble": text, "not_to_be_had": absent}

    def rows(self) -> tuple[Row, ...]:
        """All rows of the matrix, in its order; made anew only when a pair was asked, borrowed or lost since."""
        asked = sum(label.startswith(("probe:", "verdict:")) for label in self.asker.ran)
        state = (asked, len(self.lent), len(self.troubles))
        if self._rows is None or self._rows[0] != state:
            self._rows = (state, tuple(self.row(p) for p in self.matrix.pairs))
        return self._rows[1]

    def decide(self, rows: Iterable[Row]) -> None:
        """Let the gate speak; keeps its exit code for `outcome`."""
        self.exit = decide(tuple(rows)).exit


def open_session(root: Path, objects: Mapping[str, ObjectSpec] | None = None,
                 kernels: Mapping[str, KernelSpec] | None = None, overrides: Mapping[str, str] | None = None,
                 voice: Voice | None = None) -> Session:  # fmt: skip
    """The session of a project folder, made once; objects and kernels of a dodo.py join those of its settings."""
    root = root.resolve()
    if root in _sessions and (objects or kernels):
        raise ConfigError(f"{root}: a second bpf_matrix for this project", hint="give all objects and kernels to one")
    if root not in _sessions:
        config = load(root, overrides)
        folders = [SHIPPED, *(root / c for c in config["paths.catalogue"])]
        catalogue = joined("kernel", load_catalogue(folders), config.kernels, kernels or {})
        _sessions[root] = Session(config, joined("object", config.objects, objects or {}), catalogue, voice)
    return _sessions[root]


def joined(what: str, *parts: Mapping[str, _Spec]) -> dict[str, _Spec]:
    """All names of several places; ConfigError for one that is declared twice."""
    found: dict[str, _Spec] = {}
    for part in parts:
        for name, spec in part.items():
            if name in found:
                raise ConfigError(f"{what} {name!r}: declared twice", hint="give one of them another name")
            found[name] = spec
    return found


def sessions() -> tuple[Session, ...]:
    """The sessions of this process."""
    return tuple(_sessions.values())
