"""The nouns: frozen values that every layer above shares.  No behaviour beyond names and small look-ups."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpfcompat.behaviour import BehaviourTest, TestReport, TestVerdict

from bpfcompat.declared import Declared, DeclaredReport


class Answer(StrEnum):
    """The three answers.  `INCONCLUSIVE` means that the kernel could not be asked; it never means no."""

    COMPATIBLE = "compatible"
    INCOMPATIBLE = "incompatible"
    INCONCLUSIVE = "inconclusive"


class AttachMode(StrEnum):
    """How far a probe goes: `LOAD` stops after loading, `ATTACH` attaches what a guest can attach.

    `REQUIRED` asks the same as `ATTACH`, and has no answer where attaching a program was not attempted.
    """

    LOAD = "load"
    ATTACH = "attach"
    REQUIRED = "attach-required"

    @property
    def attaches(self) -> bool:
        """True when attaching is asked for."""
        return self is not AttachMode.LOAD


class Attach(StrEnum):
    """How attaching one program ended; `NOT_ATTEMPTED` always comes with a reason and never counts as attached."""

    ATTACHED = "attached"
    FAILED = "failed"
    NOT_ATTEMPTED = "not-attempted"


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes in the store: digest (`sha256:…`) and size in bytes."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class LockedFile:
    """One file of a locked source: path below the mirror (or a URL), size in bytes, digest."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class AptSource:
    """A Debian package, named by suite, architecture and a package pattern (shell glob)."""

    suite: str
    arch: str
    package: str
    component: str = "main"


@dataclass(frozen=True, slots=True)
class DirSource:
    """Files you already have: a folder with `vmlinuz` (or `vmlinuz-*`) and, if there is one, `config*`."""

    path: Path


@dataclass(frozen=True, slots=True)
class UrlSource:
    """A vmlinuz behind a URL, with the digest it must have; `config` likewise, optional."""

    vmlinuz: str
    vmlinuz_digest: str
    config: str | None = None
    config_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under what a kernel is asked; by default none, but for what every guest has.

    `command_line` is appended to ours, `lsm` becomes its `lsm=`.  `lockdown` is `integrity`, `confidentiality` or "".
    `btf` False hides the kernel's types from the loader.  `user` is `root`, or `unprivileged`: no capability at all.
    """

    command_line: str = ""
    lsm: tuple[str, ...] = ()
    sysctls: Mapping[str, int] = field(default_factory=dict)
    lockdown: str = ""
    modules: tuple[str, ...] = ()
    btf: bool = True
    user: str = "root"


@dataclass(frozen=True, slots=True)
class Asserts:
    """What a kernel entry says of itself, to be held against what is found; "", None and nothing assert nothing.

    `release` is a shell pattern.  `lsm` and `modules` must be among the active and the loaded ones.  `config` maps an
    option to its value, `n` for one that is not set.
    """

    release: str = ""
    btf: bool | None = None
    lockdown: str = ""
    lsm: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    config: Mapping[str, str] = field(default_factory=dict)
    sysctls: Mapping[str, int] = field(default_factory=dict)


PLAIN = Conditions()


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """One kernel of the catalogue, as declared.  `optional`: not to be had is no failure of the run.

    `base` names the kernel whose files these are; `source` is then that one's, as soon as all kernels are known.
    `libbpf` names the loader that asks it, "" for the project's own.
    """

    name: str
    arch: str
    source: AptSource | DirSource | UrlSource
    optional: bool = False
    about: str = ""
    base: str = ""
    libbpf: str = ""
    conditions: Conditions = PLAIN
    asserts: Asserts = Asserts()

    @property
    def locked_as(self) -> str:
        """The name of this kernel's package in the lock."""
        return self.base or self.name


@dataclass(frozen=True, slots=True)
class Kernel:
    """One bootable kernel: its files in the store and the release string that `uname -r` will say.

    `image` is what QEMU starts: the vmlinux inside the vmlinuz where that can be, else the vmlinuz.
    """

    name: str
    release: str
    arch: str
    vmlinuz: Blob
    config: Blob | None
    btf: Blob | None
    image: Blob


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a pair must answer: an answer, of any cause or of one; where that is None, what `word` says.

    `any` and `may-fail` take yes and no, `may-fail:CAUSE` a no of that cause alone; `unknown`: nobody has said yet.
    """

    answer: Answer | None
    cause: str | None = None
    word: str = "any"

    def __str__(self) -> str:
        said = self.word if self.answer is None else str(self.answer)
        return f"{said}:{self.cause}" if self.cause else said


@dataclass(frozen=True, slots=True)
class ShippedFile:
    """A file of this host that goes into the guest with an object: `path` is its place below /files there."""

    path: str
    source: Path
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class PackageSet:
    """Debian packages that make a root file system together, by suite and exact names."""

    suite: str
    names: tuple[str, ...]
    arch: str = "amd64"


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """The project's own loader as declared: what runs, in what, and the exit code that means that all is well.

    Exactly one of `binary` (a static program), `rootfs` (a folder, a tar archive, an OCI image layout) and `packages`.
    """

    argv: tuple[str, ...]
    binary: Path | None = None
    rootfs: Path | None = None
    packages: PackageSet | None = None
    expect_exit: int = 0
    timeout_s: int = 30
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    by_shell: bool = False


@dataclass(frozen=True, slots=True)
class ObjectSpec:
    """One object as declared: a source to compile, a file already built, or a member of a Debian package.

    `files` are what its guests have beside it, and `beside` what they have of the project's other objects (place below
    /files → name); `command` is the loader that is asked instead of libbpf.  `embedded` is
    its number, from 1, among the objects inside that file or member; 0: the file is the object.  `optional_on` are the
    patterns of kernels on which alone it is optional.  `below` is what [expect] says where `expect` does not.
    """

    name: str
    source: Path | None = None
    prebuilt: Path | None = None
    package: AptSource | None = None
    member: str | None = None
    cflags: tuple[str, ...] = ()
    attach: AttachMode = AttachMode.ATTACH
    kernels: tuple[str, ...] = ("*",)
    optional: bool = False
    optional_on: tuple[str, ...] = ()
    expect: Mapping[str, Expectation] = field(default_factory=dict)
    below: Mapping[str, Expectation] = field(default_factory=dict)
    files: tuple[ShippedFile, ...] = ()
    beside: Mapping[str, str] = field(default_factory=dict)
    declared: Declared = field(default_factory=Declared)
    tests: tuple["BehaviourTest", ...] = ()
    modules: tuple[str, ...] = ()
    libbpf: tuple[str, ...] = ()
    embedded: int = 0
    command: CommandSpec | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """Text that a loader or verifier said; `cut` tells that its beginning or end is lost.

    `left_out` counts the bytes before `text` that a report does not hold; the probe's output `logs` has them.  `whole`
    is all of such a log, there only until it is stored.
    """

    text: str
    cut: bool = False
    left_out: int = 0
    whole: str | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Measures:
    """What one program cost to load, as far as that is the same on every host.

    `insns` are its instructions as given to the kernel, `line_info` those of which the kernel then knows the source
    line.  The verifier's counts: instructions processed and the most that it would have, states, most states at once,
    bytes of stack of each function; None and () where it did not say.
    """

    insns: int
    line_info: int = 0
    verified: int | None = None
    limit: int | None = None
    states: int | None = None
    peak_states: int | None = None
    stack: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """What hangs on the host: bytes of machine code (the processor's), microseconds in the verifier; None: unknown."""

    jited: int | None
    verify_us: int | None


@dataclass(frozen=True, slots=True)
class Relocation:
    """One CO-RE relocation: in which function and instruction, what is looked for, and what the kernel has.

    `kind` and `spec` are libbpf's words (`byte_off`, `struct task_struct.pid`); `found` is the value before and after,
    None where the kernel has no match: then the instruction is poisoned, and only a guard keeps it from being reached.
    """

    function: str
    insn: int
    kind: str
    spec: str
    found: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Types:
    """What became of the object's BTF: the kernel's errno, and whether libbpf had to change it for this kernel."""

    errno: int
    changed: bool


@dataclass(frozen=True, slots=True)
class ProgramReport:
    """What one program did when it was asked alone, from a freshly opened object.

    `load_errno` and `attach_errno` are 0 or a positive Linux errno.  `attach_reason` says why attaching was not
    attempted, or adds words to a failure.  `log` is the verifier's, there when loading failed.  `how` says what was
    done to attach it, or tried; "" when attaching was not attempted.
    """

    name: str
    section: str
    type: str
    autoload: bool
    load_errno: int
    log: Log
    attach: Attach
    attach_errno: int = 0
    attach_reason: str = ""
    libbpf: Log = Log("")
    how: str = ""
    measures: Measures | None = None
    cost: Cost | None = field(default=None, compare=False)


class Creation(StrEnum):
    """How creating one map ended; `NOT_ASKED` always comes with a reason."""

    CREATED = "created"
    FAILED = "failed"
    NOT_ASKED = "not-asked"


@dataclass(frozen=True, slots=True)
class MapReport:
    """One map as the object declares it, and whether this kernel creates it.

    Sizes in bytes, `max_entries` in entries.  `errno` is 0 or a positive errno; `libbpf` are its words where the map
    was asked alone, because the object as a whole did not create it.
    """

    name: str
    type: str
    key_size: int
    value_size: int
    max_entries: int
    outcome: Creation = Creation.NOT_ASKED
    errno: int = 0
    reason: str = "nothing is said of it"
    libbpf: Log = Log("")


class Start(StrEnum):
    """Whether a command could be started: not, because of its folder, of no such program, or one that does not run."""

    STARTED = ""
    CWD = "cwd"
    PATH = "path"
    EXEC = "exec"


@dataclass(frozen=True, slots=True)
class CommandReport:
    """What became of the project's own loader.

    `exit` is its code, None when it was not started or ended by `signal`.  `left` counts the processes that it left
    behind.  What it said is no part of what two guests must agree on.
    """

    start: Start
    start_errno: int
    exit: int | None
    signal: int
    timed_out: bool
    out_of_memory: bool
    left: int
    stdout: Log
    stderr: Log


class Fate(StrEnum):
    """What became of a kernel that was asked: it died, it stopped running user space, or it complained."""

    CRASH = "crash"
    HANG = "hang"
    SPLAT = "splat"


@dataclass(frozen=True, slots=True)
class Ending:
    """A kernel's fate that is itself the answer, because fresh guests that were asked the same agreed on it.

    `phase` is what was being asked (`open`, `load`, `program`, `test`), `program` its name, or the test's, in the last
    two cases.  `console` are the lines that tell of it, clean text; `runs` is how many guests agreed, the last ones
    started cold.
    """

    fate: Fate
    phase: str
    program: str
    console: tuple[str, ...]
    runs: int


@dataclass(frozen=True, slots=True)
class Report:
    """What the validator said, parsed and checked: frames of validator/wire.md, in our words.

    `guest` holds what the guest said of itself: release, version, machine, btf (bool), lsm, lockdown, sysctls,
    libbpf.  `open_errno` and `load_errno` are of the whole object, 0 or a positive errno; `load_errno` is None when
    the object did not even open.  `types` is None when its BTF was not handed over, `relocations_cut` True when there
    are more relocations than were told.  With an `ending` that is a crash
    or a hang, the report stops where the kernel did.  `declared` is what was set before loading; programs and maps are
    then as they were after that.  With a `command` all of these say nothing: another loader was asked.
    """

    guest: Mapping[str, Any]
    open_errno: int
    open_log: Log
    load_errno: int | None
    load_log: Log
    programs: tuple[ProgramReport, ...] = ()
    maps: tuple[MapReport, ...] = ()
    ending: Ending | None = None
    types: Types | None = None
    relocations: tuple[Relocation, ...] = ()
    relocations_cut: bool = False
    declared: DeclaredReport | None = None
    tests: tuple["TestReport", ...] = ()
    command: CommandReport | None = None


@dataclass(frozen=True, slots=True)
class ProgramVerdict:
    """One program's answer: loaded or not, attached or not and how, the cause where not, and what it took to load."""

    name: str
    section: str
    type: str
    loaded: bool
    attach: Attach
    cause: str = ""
    detail: str = ""
    how: str = ""
    measures: Measures | None = None


@dataclass(frozen=True, slots=True)
class MapVerdict:
    """One map's answer: whether this kernel creates it, the errno's name and the reason where not."""

    name: str
    type: str
    outcome: Creation
    errno: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one (object, kernel) pair.

    `cause` is "" for a compatible object, otherwise a slug of verdict.CAUSES.  `sentence` is for people, `evidence`
    are lines of the report, `errno` its symbolic name ("EINVAL") or "".  `hint` is one thing to do.
    """

    answer: Answer
    cause: str
    sentence: str
    evidence: tuple[str, ...] = ()
    errno: str = ""
    hint: str = ""
    subject: str = ""
    notes: tuple[str, ...] = ()
    programs: tuple[ProgramVerdict, ...] = ()
    tests: tuple["TestVerdict", ...] = ()
    maps: tuple[MapVerdict, ...] = ()


@dataclass(frozen=True, slots=True)
class GuestRun:
    """How a guest was run: recorded as evidence, never part of a key or a signed payload.

    `start` is `cold` or `clone`; `deaths` says how the guests before it were lost; `console_cut` that the console said
    more than is kept.  `lender` is the registry that the report was borrowed from, "" for a guest of ours.  `guests` is
    how many were asked at once, a part of the programs each.
    """

    accelerator: str
    qemu: str
    start: str
    seconds: float
    attempts: int
    deaths: tuple[str, ...] = ()
    console_cut: bool = False
    lender: str = ""
    guests: int = 1
