"""What is fuzzed: every reader of bytes that a stranger made.  Each may only fail as it says it does."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from bpfcompat import console, elf, measures, rootdoc, rootedit, trail, wire
from bpfcompat.anatomy import Anatomy, read_anatomy
from bpfcompat.btf import btf_section
from bpfcompat.btfext import read_ext
from bpfcompat.btfindex import KernelTypes
from bpfcompat.btftypes import Kind, Types
from bpfcompat.builds import build_of
from bpfcompat.digest import canonical
from bpfcompat.errors import GuestError, KernelError, ObjectError, StoreError, TrustError
from bpfcompat.explanation import place_in_log
from bpfcompat.inspecting import look, text, to_json
from bpfcompat.lineinfo import place_of
from bpfcompat.model import Attach, AttachMode, Log, ProgramReport, Report
from bpfcompat.nearby import functions_near, near
from bpfcompat.note import cosign, parse_vkey, put_line, split_note
from bpfcompat.predicting import Target
from bpfcompat.rootchain import signers
from bpfcompat.rootdoc import document
from bpfcompat.tlog import entries_bytes, parse_checkpoint, parse_entries, parse_tile
from bpfcompat.trailhead import Head, head_payload, parse_head
from bpfcompat.verdict import classify
from tests.compiling import compiled
from tests.histories import LOG, LOG_PRIVATE, History
from tests.roots import FROM, KEYS, UNTIL, signed
from tests.roots import root as a_root
from tests.streams import HIDDEN, PIECES, check, from_choices
from tests.unit.test_builds import sample as a_build
from tests.unit.test_builds import sets
from tests.unit.test_corelo import KERNEL, LOCAL
from tests.unit.test_insns import SOURCE
from tests.unit.test_lineinfo import SOURCE as LINES
from tests.unit.test_wire import NONCE, frame

GOLDEN = Path(__file__).parents[1] / "golden"
CHECKPOINT = History([b"a", b"b"]).note
FACTS = elf.ObjectFacts("little", "EM_BPF", (elf.ProgramFacts("xdp", "one"),), (), (), (), (), "GPL", True)
GUEST = {"release": "5.10.0-32-cloud-amd64", "machine": "x86_64", "btf": True, "lsm": [], "lockdown": "none"}


def _section(data: bytes, name: str) -> bytes:
    taken = read_anatomy(data).code.elf
    return taken.contents(taken.named(name))


@cache
def _kernel() -> Target:
    return Target("fuzzed", "6.1.0", KernelTypes(_section(compiled(KERNEL), ".BTF")), homes={})


def an_object(data: bytes) -> None:
    """An object, looked at in every way that there is, with a kernel."""
    try:
        anatomy: Anatomy = read_anatomy(data)
        looked = look("x", len(data), anatomy, [_kernel()])
        text(looked)
        json.dumps(to_json(looked))
        for program in anatomy.programs[:4]:
            place_of(anatomy.debug, program.name, 1)
    except ObjectError:
        return


def full_elf(data: bytes) -> None:
    """The classifier's own reader of objects."""
    elf.facts_or_fault(data)


def btf(data: bytes) -> None:
    """Types: walked, resolved, looked up by name, as an object's and as a kernel's."""
    try:
        types, kernel = Types(data), KernelTypes(data)
        for number in range(1, min(len(types), 64)):
            _walk(types, number)
            kernel.candidates(types[number].name)
        types.variables(".rodata")
    except ObjectError:
        return


def _walk(types: Types, number: int) -> None:
    found = types[number]
    if found.kind in (Kind.STRUCT, Kind.UNION):
        list(types.members(found))
    if found.kind in (Kind.ENUM, Kind.ENUM64):
        types.enumerators(found)
    try:
        types.size(number)
    except ObjectError:
        return


def core(data: bytes) -> None:
    """Relocations and maps of an object whose types are made up, or with a kernel whose types are."""
    whole, target = compiled(LOCAL), _kernel()
    try:
        if data[:1] == b"k":
            target = Target("made up", "6.1.0", KernelTypes(data[1:]), homes={})
        elif data:
            taken = read_anatomy(whole).code.elf
            place = taken.named(".BTF" if data[:1] == b"o" else ".BTF.ext")
            assert place is not None
            body = data[1:].ljust(place.size, b"\0")[: place.size]
            whole = whole[: place.offset] + body + whole[place.offset + place.size :]
        looked = look("x", len(whole), read_anatomy(whole), [target])
        text(looked)
        json.dumps(to_json(looked))
    except ObjectError:
        return


def ext(data: bytes) -> None:
    """Function, line and relocation records; the object's types are whole."""
    try:
        found = read_ext(data, Types(_section(compiled(LINES), ".BTF")))
        assert found.functions is not None and found.lines is not None and found.relocations is not None
    except ObjectError:
        return


def vmlinux(data: bytes) -> None:
    """A kernel's file, for its types."""
    try:
        btf_section(data)
    except KernelError:
        return


def build(data: bytes) -> None:
    """A kernel's own types and sets of ids, for its inventory, and what in it is like what is missing."""
    end = 2 + int.from_bytes(data[:2], "big")
    with contextlib.suppress(KernelError):
        build_of(data[end:], data, "6.1", data[2:end])
    with contextlib.suppress(ObjectError):
        types = Types(data[end:])
        for spec in ("struct a.b.c", "enum bpf_cmd::BPF_X = 1", "union u"):
            near(types, spec)
        functions_near(types, "bpf_task_acquir")


def log(data: bytes) -> None:
    """What a verifier or a loader says, with escapes and what is no UTF-8: classified, counted, placed."""
    said = data.decode("utf-8", "replace")
    list(measures.relocations(said))
    measures.measures(3, 1, said)
    place_in_log(said)
    program = ProgramReport("one", "xdp", "xdp", True, 22, Log(said), Attach.NOT_ATTEMPTED, libbpf=Log(said))
    for number in (1, 7, 13, 22, 95):
        classify(Report(GUEST, 0, Log(""), number, Log(said), (program,)), FACTS, AttachMode.ATTACH)
    console.clean_console(data)
    console.splats(data)


def report(data: bytes) -> None:
    """The frames that a guest sends, each whole and of any content, and a report as it is stored."""
    with contextlib.suppress(GuestError):
        wire.parse(b"".join(frame(number, body) for number, body in enumerate(data.split(b"\n"))), NONCE)
    with contextlib.suppress(StoreError):
        wire.report_from_bytes(data)


def note(data: bytes) -> None:
    """What a log, a mirror or a witness sends; whatever is taken is written again as it came, in its one spelling."""
    with contextlib.suppress(TrustError):
        text, lines = split_note(data)
        assert text + b"\n" + b"".join(map(bytes, lines)) == data
        assert parse_checkpoint(text).text() == text
    with contextlib.suppress(TrustError):
        put_line(CHECKPOINT, data)
    with contextlib.suppress(TrustError):
        assert parse_vkey(data.decode("utf-8", "replace")).vkey.encode() in (data, data[:-1])
    with contextlib.suppress(TrustError):
        assert entries_bytes(parse_entries(data[1:], data[:1] and data[0])) == data[1:]
    tile = parse_tile(data.decode("utf-8", "replace"))
    assert tile is None or tile.path.encode() == data


def root(data: bytes) -> None:
    """A root document from a mirror, a line of an audit trail, its logged head: taken in their one spelling, or not."""
    with contextlib.suppress(TrustError):
        found = rootdoc.parse(data)
        assert rootdoc.document(found.root, found.signatures) == data
        signers(found.payload, found.signatures, found.root.holders)
        list(rootedit.lines(found.root, 0))
        found.root.policy(FROM)
    with contextlib.suppress(TrustError):
        assert head_payload(parse_head(data)) == data
    line = trail._parse(data)
    assert line is None or bytes(line) == data


def request(data: bytes) -> None:
    """A stream of requests, as the registry's server and h11 read it."""
    check(*from_choices(data))


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "object": an_object, "core": core, "elf": full_elf, "btf": btf, "ext": ext, "vmlinux": vmlinux,
    "build": build, "log": log, "report": report, "note": note, "request": request, "root": root,
}  # fmt: skip


def seeds(target: str) -> Iterator[bytes]:
    """What a target's fuzzing begins with: whole and sound, of every kind that there is."""
    objects = [compiled(SOURCE), compiled(LOCAL), compiled(LINES), compiled(SOURCE, "-target", "bpfeb")]
    if target in ("object", "elf", "vmlinux"):
        yield from objects
    elif target in ("btf", "ext"):
        yield from (_section(made, ".BTF" if target == "btf" else ".BTF.ext") for made in (*objects, compiled(KERNEL)))
    elif target == "build":
        for tag, flags in (("", 0), ("bpf_kfunc", 1)):
            types, (acquire, release, *_) = a_build(tag)
            ids = sets(flags, (acquire, 5), (release, 2))
            yield from (len(part).to_bytes(2, "big") + part + types.data() for part in (ids, b""))
    elif target == "core":
        yield b"k" + _section(compiled(KERNEL), ".BTF")
        yield from (mark + _section(compiled(LOCAL), name) for mark, name in ((b"o", ".BTF"), (b"e", ".BTF.ext")))
    elif target == "request":
        for first, raw in ((b"GET /a HTTP/1.1", HIDDEN * 2), (b"HEAD /b HTTP/1.0", b""), (b"GET / HTTP/1.1", b"x")):
            yield b"\0\0" + first + b"\r\nHost: x\r\nUser-Agent: y\r\nIf-None-Match: *\r\n\r\n" + raw
        yield from (b"@\7" + bytes((number, number + 1, number + 2)) for number in range(len(PIECES)))
    elif target == "log":
        yield from _logs()
    elif target == "note":
        seen = cosign(CHECKPOINT.partition(b"\n\n")[0] + b"\n", "w", LOG_PRIVATE, 1)
        yield from (CHECKPOINT, seen, put_line(CHECKPOINT, seen), LOG.vkey.encode(), b"tile/0/x001/234.p/5")
        yield b"\3" + entries_bytes((b"", b"leaf", b"another"))
    elif target == "root":
        limited = tuple(replace(key, below=7, not_after=UNTIL) for key in KEYS[:2])
        yield from (signed(a_root()), signed(replace(a_root(2), keys=limited)), document(a_root(), {}))
        yield bytes(trail.Line(1, FROM, "key", {"key": "SHA256:x", "role": "log"}, trail.FIRST))
        yield head_payload(Head(17, trail.FIRST))
    else:
        reports = sorted((GOLDEN / "wire").glob("*.report"), key=lambda path: path.stat().st_size)[:12]
        yield from (b"\n".join(map(canonical, wire._frames(path.read_bytes(), NONCE))) for path in reports)
        yield from (path.with_suffix(".json").read_bytes() for path in reports)


def _logs() -> Iterator[bytes]:
    for path in sorted((GOLDEN / "verdicts").glob("*.json"))[:40]:
        for program in json.loads(path.read_text("utf-8")).get("report", {}).get("programs", []):
            yield from (program[key]["text"].encode()[:4000] for key in ("log", "libbpf") if program.get(key))
