"""What is proposed for an object: taken by the settings as it is, with a reason for each line."""

from pathlib import Path

import pytest

from bpfcompat.btftypes import Kind
from bpfcompat.carve import nth_object, objects_in
from bpfcompat.config import from_dict, parse_toml
from bpfcompat.errors import ObjectError
from bpfcompat.fitting import lines
from bpfcompat.model import ObjectSpec
from bpfcompat.proposing import Around, propose
from bpfcompat.rules.proposing import proposals
from tests.unit.test_elf import EXEC, EXIT, FUNC, NOTYPE, OBJECT, Section, elf
from tests.unit.test_fitting import Btf

NONE = Around({}, {})
KERNELS = Around({"k-a": frozenset(("vfs_read", "f")), "k-b": frozenset(("vfs_read",))}, {"g": ("nf_flow_table",)})
SECTIONS = ("xdp", "filter", "fentry", "fentry/f", "kprobe/f", "fexit/dummy_file_write", "kretprobe/dummy_file_write",
            "tp_btf/t", "raw_tp/t", "freplace", "kprobe/dummy_f", "tp", "raw_tracepoint", "raw_tp.w",
            "kprobe.multi", "ksyscall", "kretprobe", "perf_event")  # fmt: skip
NAMES = [s.translate(str.maketrans("/", "_")) + "_p" for s in SECTIONS]


def a_map(btf: Btf, numbers: dict[str, int], inner: int = 0) -> int:
    """A definition as `__uint()` and `__array()` write it."""
    number = btf.int("int", 4, signed=True)
    members = [(n, btf.add(Kind.PTR, "", btf.array(number, v)), 0) for n, v in numbers.items()]
    if inner:
        members.append(("values", btf.array(btf.add(Kind.PTR, "", inner), 0), 0))
    return btf.struct("", 8 * len(members), members)


def sample() -> bytes:
    """An object that needs about everything."""
    btf = Btf()
    maps = {
        "sized": a_map(btf, {"type": 1, "max_entries": 8}),
        "open": a_map(btf, {"type": 1}),
        "rings": a_map(btf, {"type": 27}),
        "perf": a_map(btf, {"type": 4}),
        "outer": a_map(btf, {"type": 13, "max_entries": 8}),
        "inside": a_map(btf, {"type": 12, "max_entries": 8}, a_map(btf, {"type": 27})),
        "stacks": a_map(btf, {"type": 7}),
        "kept": a_map(btf, {"type": 1, "max_entries": 8, "pinning": 1}),
    }
    btf.section(".maps", maps)
    btf.section(".rodata", {"targ_pid": btf.int("int", 4, signed=True), "other": btf.int("int", 4)})
    code = [Section(s, EXIT, EXEC) for s in SECTIONS]
    data = [Section(".maps", b"\0" * 64), Section(".rodata", b"\0" * 16), Section(".BTF", btf.data())]
    symbols = [(n, FUNC, i) for i, n in enumerate(NAMES, 1)]
    symbols += [(n, OBJECT, len(code) + 1) for n in maps]
    symbols += [(n, OBJECT, len(code) + 2) for n in ("targ_pid", "other")]
    symbols += [(n, NOTYPE, 0) for n in ("f", "g", "h", "vfs_read")]
    return elf(code + data, symbols)


def taken(text: str) -> ObjectSpec:
    """The one object that a proposed text declares."""
    (found,) = from_dict(parse_toml(text.encode(), "t"), Path("/")).objects.values()
    return found


@pytest.mark.parametrize("around", [NONE, KERNELS])
def test_taken_as_it_is(around: Around) -> None:
    """The settings read what is proposed, and it fits the object that it was proposed for."""
    data = sample()
    spec = taken(propose("x", ['prebuilt = "x.o"'], data, around))
    assert spec.declared
    assert lines(spec.declared, data, "x")


def test_maps() -> None:
    """Maps that have no size need one, others do not; a map of maps needs a prototype, or its size."""
    found = {m.name: m for m in taken(propose("x", ['prebuilt = "x.o"'], sample(), NONE)).declared.maps}
    assert set(found) == {"open", "rings", "outer", "inside", "stacks"}
    assert (found["open"].max_entries, found["rings"].max_entries) == (10240, "pages:64")
    assert (found["stacks"].max_entries, found["stacks"].value_size) == (10240, 1016)
    assert found["outer"].inner and found["outer"].inner.type == "hash"
    assert found["inside"].inner and found["inside"].inner.max_entries == "pages:64"


def test_programs() -> None:
    """A section without a type, without a target, and a target that no kernel has, each get a line."""
    found = {p.name: p for p in taken(propose("x", ['prebuilt = "x.o"'], sample(), KERNELS)).declared.programs}
    assert {name: (p.type, p.target) for name, p in found.items()} == {
        "filter_p": ("socket_filter", None),
        "fentry_p": (None, "vfs_read"),
        "fexit_dummy_file_write_p": (None, "vfs_write"),
        "kretprobe_dummy_file_write_p": (None, "vfs_write"),
        "kprobe_dummy_f_p": (None, "vfs_read"),
        "tp_p": (None, "sched/sched_switch"),
        "raw_tracepoint_p": (None, "sched_switch"),
        "raw_tp.w_p": (None, "bpf_test_finish"),
        "kprobe.multi_p": (None, "vfs_read"),
        "ksyscall_p": (None, "unlink"),
        "kretprobe_p": (None, "vfs_read"),
    }


EVIL = '\n[build]\ncc = "/tmp/evil"\n#'


@pytest.mark.parametrize("name", [f"m{EVIL}", f'm"{EVIL}', 'm".a = 1 #', "m\\", "m\x1b[2J"])
def test_names_that_are_settings(name: str) -> None:
    """What an object calls its maps, programs, types and sections is no setting: the proposal is for bpfcompat.toml."""
    btf = Btf()
    btf.section(".maps", {name: a_map(btf, {"type": 1}), "good": a_map(btf, {"type": 1})})
    btf.section(".rodata", {"targ_pid": btf.int(f"int{name}", 4), "filter_x": btf.struct(name, 0, [])})
    code = [Section(s, EXIT, EXEC) for s in (f"odd{name}", "fentry", "fentry/f", "kprobe/f")]
    data = [Section(".maps", b"\0" * 64), Section(".rodata", b"\0" * 16), Section(".BTF", btf.data())]
    symbols = [(f"{name}{n}", FUNC, n) for n in range(1, 5)]
    symbols += [(n, OBJECT, 5) for n in (name, "good")] + [(n, OBJECT, 6) for n in ("targ_pid", "filter_x")]
    text = propose("x", ['prebuilt = "x.o"'], elf(code + data, [*symbols, (f"ext{name}", NOTYPE, 0)]), KERNELS)
    assert "\x1b" not in text and parse_toml(text.encode(), "t").keys() == {"objects"}
    assert [found.name for found in taken(text).declared.maps] == ["good"]


def test_twins() -> None:
    """Programs that are there twice for the same target are a group of variants, the newer way first."""
    groups = taken(propose("x", ['prebuilt = "x.o"'], sample(), NONE)).declared.variants
    found = {g.name: [a.programs for a in g.alternatives] for g in groups}
    assert found == {
        "fentry": [
            ("fentry_f_p", "fexit_dummy_file_write_p"),
            ("kprobe_f_p", "kretprobe_dummy_file_write_p"),
        ],
        "tp_btf": [("tp_btf_t_p",), ("raw_tp_t_p",)],
    }


def test_modules() -> None:
    """A kfunc that a module of some kernel holds is a module to declare, and no extern to wonder about."""
    text = propose("x", ['prebuilt = "x.o"'], sample(), KERNELS)
    assert taken(text).modules == ("nf_flow_table",)
    assert "they hold g" in text and "extern g" not in text


@pytest.mark.parametrize(
    "line",
    [
        "# extern h: no kernel here has it built in",
        "# extern f: not on k-b",
        "# kept.pinning = false",
        "# targ_pid = 0  # int",
        '# freplace_p.target_program = "main"',
    ],
)
def test_comments(line: str) -> None:
    """What is only likely, or cannot be declared, is a comment."""
    text = propose("x", ['prebuilt = "x.o"'], sample(), KERNELS)
    assert any(said.startswith(line) for said in text.splitlines()), text
    assert "vfs_read:" not in text and "# other" not in text


def test_nothing_to_declare() -> None:
    """An object that needs nothing gets a plain entry."""
    plain = elf([Section("xdp", EXIT, EXEC)], [("p", FUNC, 1)])
    assert propose("x", ['prebuilt = "x.o"'], plain, NONE) == '[objects.x]\nprebuilt = "x.o"\n'


def test_a_path_that_is_settings(tmp_path: Path) -> None:
    """Nor is what a file is called."""
    path = tmp_path / f'x"{EVIL.replace("/", "_")}.o'
    path.write_bytes(sample())
    text = "\n".join(proposals([path], tmp_path))
    assert parse_toml(text.encode(), "t").keys() == {"objects"}
    assert taken(text).prebuilt == path


def test_inside_a_program(tmp_path: Path) -> None:
    """Each object inside a program is an entry of its own, and the number in it gives that object back."""
    one, two = sample(), elf([Section("xdp", EXIT, EXEC)], [("p", FUNC, 1)])
    program = b"\x7fELF\x02\x01" + b"\0" * 100 + one + b"\0" * 9 + two + b"\x7fELF\x02\x01\x01"
    (tmp_path / "tool").write_bytes(program)
    text = "".join(proposals([tmp_path / "tool"], tmp_path))
    found = from_dict(parse_toml(text.encode(), "t"), tmp_path).objects
    assert {name: spec.embedded for name, spec in found.items()} == {"tool": 1, "tool_2": 2}
    assert (nth_object(program, 1, "x"), nth_object(program, 2, "x")) == (one, two)
    with pytest.raises(ObjectError, match="at least 3 BPF objects inside, got 2"):
        nth_object(program, 3, "x")


def test_no_object(tmp_path: Path) -> None:
    """A file without any object is no input."""
    (tmp_path / "text").write_bytes(b"no object")
    with pytest.raises(ObjectError, match="expected a BPF object"):
        list(proposals([tmp_path / "text"], tmp_path))


def test_a_whole_object_is_itself() -> None:
    """A file that begins with an object is that object, to its last byte."""
    (cut,) = objects_in(sample() + b"tail")
    assert cut.data == sample() + b"tail"
