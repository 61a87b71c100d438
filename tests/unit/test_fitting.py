"""Declarations against an object: what the guest is told, and what is refused before there is one."""

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.behave import parse_tests
from bpfcompat.btftypes import Kind, Types
from bpfcompat.config import object_spec
from bpfcompat.elf import facts_or_fault
from bpfcompat.errors import ConfigError, ObjectError
from bpfcompat.fitting import encode, fit_tests, lines
from tests.unit.test_elf import EXEC, EXIT, FUNC, NOTYPE, OBJECT, Section, elf


class Btf:
    """A `.BTF` section, made type by type; each method gives the new type's id."""

    def __init__(self, order: str = "<") -> None:
        self.order, self.types, self.strings, self.count = order, b"", b"\0", 0

    def text(self, name: str) -> int:
        at = len(self.strings) if name else 0
        self.strings += name.encode() + b"\0" if name else b""
        return at

    def add(self, kind: Kind, name: str, size: int, more: bytes = b"", vlen: int = 0, flag: bool = False) -> int:
        info = kind << 24 | vlen | flag << 31
        self.types += struct.pack(f"{self.order}III", self.text(name), info, size) + more
        self.count += 1
        return self.count

    def words(self, *numbers: int) -> bytes:
        return struct.pack(f"{self.order}{len(numbers)}I", *numbers)

    def int(self, name: str, size: int, signed: bool = False, is_bool: bool = False) -> int:
        return self.add(Kind.INT, name, size, self.words((signed | is_bool << 2) << 24 | size * 8))

    def array(self, element: int, count: int) -> int:
        return self.add(Kind.ARRAY, "", 0, self.words(element, 1, count))

    def struct(self, name: str, size: int, members: list[tuple[str, int, int]], flag: bool = False) -> int:
        more = b"".join(self.words(self.text(n), t, at) for n, t, at in members)
        return self.add(Kind.STRUCT, name, size, more, len(members), flag)

    def section(self, name: str, variables: dict[str, int]) -> None:
        made = [self.add(Kind.VAR, n, t, self.words(1)) for n, t in variables.items()]
        self.add(Kind.DATASEC, name, 0, b"".join(self.words(v, 0, 0) for v in made), len(made))

    def data(self) -> bytes:
        head = struct.pack(
            f"{self.order}HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings)
        )
        return head + self.types + self.strings  # fmt: skip


def sample() -> tuple[Btf, dict[str, int]]:
    """Types of every kind that a constant can have, and the ids of some."""
    btf = Btf()
    u32, s16, u64 = btf.int("unsigned int", 4), btf.int("short", 2, signed=True), btf.int("u64", 8)
    char, flag = btf.int("char", 1, signed=True), btf.int("_Bool", 1, is_bool=True)
    text, ports = btf.array(char, 8), btf.array(s16, 3)
    filter_ = btf.struct("filter", 8, [("pid", u32, 0), ("level", s16, 32)])
    bits = btf.struct("bits", 4, [("low", u32, 3 << 24)], flag=True)
    mode = btf.add(Kind.ENUM, "mode", 4, btf.words(btf.text("OFF"), 0, btf.text("ON"), 7), 2)
    real = btf.add(Kind.FLOAT, "double", 8)
    alias = btf.add(Kind.CONST, "", btf.add(Kind.TYPEDEF, "u32", u32))
    pointer = btf.add(Kind.PTR, "", u32)
    known = {"pid": alias, "limit": u64, "on": flag, "name": text, "ports": ports, "filter": filter_, "bits": bits,
             "mode": mode, "ratio": real, "level": s16, "where": pointer}  # fmt: skip
    btf.section(".rodata", known)
    tristate = btf.add(Kind.ENUM, "libbpf_tristate", 4, btf.words(btf.text("TRI_NO"), 0), 1)
    btf.section(".kconfig", {"CONFIG_HZ": u32, "CONFIG_A": flag, "CONFIG_T": tristate, "CONFIG_S": text})
    return btf, known


BTF, KNOWN = sample()
NAMES = list(KNOWN)
OBJECT_BYTES = elf(
    [
        Section("xdp", EXIT, EXEC),
        Section("?kprobe/f", EXIT, EXEC),
        Section("xdp/twice", EXIT, EXEC),
        Section(".maps", b"\0" * 64),
        Section(".rodata", b"\0" * 128),
        Section(".BTF", BTF.data()),
    ],
    [
        ("entry", FUNC, 1),
        ("probe", FUNC, 2),
        ("one", FUNC, 3),
        ("two", FUNC, 3),
        ("events", OBJECT, 4),
        ("counts", OBJECT, 4),
        *((name, OBJECT, 5) for name in NAMES),
        *((name, NOTYPE, 0) for name in ("CONFIG_HZ", "CONFIG_A", "CONFIG_T", "CONFIG_S")),
    ],
)


def told(data: bytes = OBJECT_BYTES, **tables: Any) -> tuple[str, ...]:
    spec = object_spec("x", {"prebuilt": "x.o", **tables}, Path("/"), "[objects.x]")
    return lines(spec.declared, data, "[objects.x]")


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({}, ()),
        ({"maps": {"events": {"max_entries": "pages:8"}}}, ("map events max_entries pages:8",)),
        (
            {"maps": {"events": {"max_entries": 3, "type": "perf_event_array", "key_size": 4, "value_size": 4}}},
            (
                "map events type perf_event_array",
                "map events key_size 4",
                "map events value_size 4",
                "map events max_entries 3",
            ),
        ),
        (
            {"maps": {"counts": {"pinning": False, "autocreate": False}}},
            ("map counts pinning off", "map counts autocreate off"),
        ),
        (
            {"maps": {"events": {"inner": {"type": "ringbuf", "max_entries": "pages:4"}}}},
            ("map events inner ringbuf - - pages:4",),
        ),
        ({"programs": {"kprobe/f": {"autoload": True}}}, ("program probe autoload on",)),
        (
            {"programs": {"entry": {"attach_type": "xdp_cpumap", "type": "xdp"}}},
            ("program entry type xdp", "program entry attach_type xdp_cpumap"),
        ),
        ({"programs": {"probe": {"target": "vfs_read"}}}, ("program probe kprobe vfs_read",)),
        ({"programs": {"entry": {"target": "vfs_read"}}}, ("program entry target vfs_read",)),
        ({"programs": {"entry": {"target_program": "one"}}}, ("program entry target_program one one",)),
        ({"programs": {"entry": {"target_program": "one", "target": "f"}}}, ("program entry target_program one f",)),
        (
            {"programs": {"entry": {"target_program": "m", "target_file": "x.o", "attach": "load"}}},
            ("program entry target_file targets/entry.bpf.o m m", "program entry attach load"),
        ),
        ({"constants": {"pid": 258}}, ("constant pid .rodata 0 02010000",)),
        ({"constants": {"filter": {"level": -2}}}, ("constant filter.level .rodata 4 feff",)),
        (
            {"kconfig": {"CONFIG_HZ": 250, "CONFIG_A": True, "CONFIG_T": "m", "CONFIG_S": "y"}},
            ("kconfig CONFIG_A y", "kconfig CONFIG_HZ 250", 'kconfig CONFIG_S "y"', "kconfig CONFIG_T m"),
        ),
        (
            {
                "variants": [
                    {
                        "name": "g",
                        "companions": ["one"],
                        "optional": True,
                        "programs": [
                            {"program": "kprobe/f", "needs": "helper:bpf_loop", "maps": ["counts"]},
                            {"program": "entry", "needs": "trial-load"},
                        ],
                    }
                ]
            },
            (
                "companions g one",
                "variant g helper:bpf_loop:181 probe counts",
                "variant g trial-load entry",
                "variant g always -",
            ),
        ),
    ],
)
def test_lines(tables: dict[str, Any], said: tuple[str, ...]) -> None:
    """Each declaration is a line for the guest, with functions, offsets and bytes in place of what the user wrote."""
    assert told(**tables) == said


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"maps": {"evnts": {"pinning": False}}}, "no map of this name (hint: did you mean events?)"),
        ({"programs": {"entri": {"autoload": True}}}, "no program of this name (hint: did you mean entry?)"),
        ({"programs": {"xdp/twice": {"autoload": True}}}, "2 programs are meant: one, two"),
        ({"programs": {"entry": {"target_program": "nobody"}}}, "target_program: the object has no program"),
        ({"constants": {"pidd": 1}}, "no global variable of this name (hint: did you mean pid?)"),
        ({"constants": {"filter": {"lvl": 1}}}, "no member of this name"),
        ({"constants": {"pid": {"x": 1}}}, "no member of this name"),
        ({"constants": {"bits": {"low": 1}}}, "a bit field cannot be declared"),
        ({"constants": {"pid": -1}}, "expected a whole number from 0 to 4294967295, got -1"),
        ({"constants": {"pid": 1 << 32}}, "expected a whole number from 0 to 4294967295"),
        ({"constants": {"pid": True}}, "expected a whole number"),
        ({"constants": {"level": 32768}}, "expected a whole number from -32768 to 32767"),
        ({"constants": {"on": 1}}, "expected true or false, got 1"),
        ({"constants": {"name": "12345678"}}, "expected a text of at most 7 bytes"),
        ({"constants": {"name": 5}}, "expected a list of 8"),
        ({"constants": {"ports": [1, 2]}}, "expected a list of 3"),
        ({"constants": {"ports": "abc"}}, "expected a list of 3"),
        ({"constants": {"ports": [1, 2, "x"]}}, "expected a whole number"),
        ({"constants": {"mode": "ONN"}}, "expected one of ON, got 'ONN'"),
        ({"constants": {"mode": 3}}, "expected one of"),
        ({"constants": {"ratio": "x"}}, "expected a number"),
        ({"constants": {"filter": 1}}, "this is a struct"),
        ({"constants": {"where": 1}}, "this is a ptr"),
        ({"kconfig": {"CONFIG_HZZ": 1}}, "did you mean CONFIG_HZ?"),
        ({"kconfig": {"CONFIG_HZ": "fast"}}, "expected a whole number from 0 to 4294967295"),
        ({"kconfig": {"CONFIG_HZ": True}}, "expected a whole number"),
        ({"kconfig": {"CONFIG_A": "m"}}, "expected true or false"),
        ({"kconfig": {"CONFIG_T": 4}}, 'expected true, false or "m"'),
        ({"kconfig": {"CONFIG_S": "12345678"}}, "expected a text of at most 7 bytes"),
        ({"maps": {"events": {"inner": {"type": "ringbuf", "max_entries": 5000}}}}, "expected a power of two"),
        (
            {"variants": [{"name": "g", "programs": [{"program": "entry", "needs": "helper:bpf_lop"}]}]},
            "did you mean bpf_loop?",
        ),
        ({"variants": [{"name": "g", "programs": [{"program": "entry", "maps": ["x"]}]}]}, "no map of this name"),
        (
            {"variants": [{"name": "g", "programs": [{"program": "entry"}], "companions": ["entry"]}]},
            "a companion and an alternative",
        ),
    ],
)
def test_refused(tables: dict[str, Any], said: str) -> None:
    """A name that the object has not, and a value that its type cannot hold, are refused with the nearest name."""
    with pytest.raises(ConfigError) as caught:
        told(**tables)
    assert said in str(caught.value)
    assert str(caught.value).startswith("[objects.x]: ")


PASSES = {"name": "it runs", "do": ["exec"], "trace": "x"}
RUNS = {"name": "alone", "run": {"program": "entry", "return": 0}}


def fit(*tables: dict[str, Any], data: bytes = OBJECT_BYTES) -> None:
    fit_tests(parse_tests(tables, Path("/"), "x"), facts_or_fault(data), "[objects.x]")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            {**PASSES, "programs": ["entry", "prob"]},
            "'it runs': programs: the object has no program 'prob' (hint: did you mean probe?)",
        ),
        (
            {**PASSES, "programs": ["xdp"]},
            "programs: the object has no program 'xdp' (hint: it has: entry, probe, one, two)",
        ),
        ({**PASSES, "programs": ["events"]}, "has no program 'events' (hint: it has: entry"),
        (
            {**RUNS, "run": {"program": "entri", "return": 0}},
            "'alone': run: program: the object has no program 'entri' (hint: did you mean entry?)",
        ),
    ],
)
def test_tests_refused(table: dict[str, Any], said: str) -> None:
    """A test names functions of its own object; the refusal has the object, the test, the name and the nearest one."""
    with pytest.raises(ConfigError) as caught:
        fit(PASSES | {"name": "first"}, table)
    assert str(caught.value).startswith("[objects.x]: tests: '") and said in str(caught.value)


def test_tests_that_fit() -> None:
    """A test that names no program, or some of the object's, fits; of what cannot be read nothing is known."""
    fit(PASSES, {**PASSES, "name": "two", "programs": ["probe", "two"]}, RUNS)
    fit({**PASSES, "programs": ["nobody"]}, data=b"no object")


@pytest.mark.parametrize(
    ("section", "target", "word"),
    [
        ("tp", "sched/sched_switch", "tracepoint"), ("?tracepoint/a/b", "xhci-hcd/xhci_urb-x", "tracepoint"),
        ("raw_tp", "sched_switch", "raw_tp"), ("raw_tracepoint/x", "sched_switch", "raw_tp"),
        ("raw_tracepoint.w", "bpf_test_finish", "raw_tp"), ("kprobe.multi/skb-1", "vfs_*", "kprobe_multi"),
        ("kretprobe.multi", "vfs_read", "kprobe_multi"), ("kprobe.session", "*_rea?", "kprobe_multi"),
        ("?ksyscall/open", "openat", "ksyscall"), ("kretsyscall", "unlink", "ksyscall"),
        ("kretprobe", "vfs_read", "kprobe"), ("fentry.s", "nf_nat:nf_nat_setup_info", "target"),
    ],
)  # fmt: skip
def test_target_of_a_family(section: str, target: str, word: str) -> None:
    """A target is told under the word of its program's family, whatever else the section says."""
    data = elf([Section(section, EXIT, EXEC)], [("one", FUNC, 1)])
    assert told(data, programs={"one": {"target": target}}) == (f"program one {word} {target}",)


@pytest.mark.parametrize(
    ("section", "table", "word"),
    [
        ("any", {"type": "tracepoint"}, "tracepoint"), ("any", {"type": "raw_tracepoint_writable"}, "raw_tp"),
        ("kprobe/f", {"type": "tracepoint"}, "tracepoint"), ("any", {"type": "kprobe"}, "kprobe"),
        ("any", {"type": "kprobe", "attach_type": "trace_kprobe_multi"}, "kprobe_multi"),
        ("ksyscall", {"type": "kprobe"}, "ksyscall"), ("tp", {"type": "kprobe"}, "kprobe"),
        ("raw_tp", {"type": "raw_tracepoint"}, "raw_tp"), ("any", {"type": "tracing"}, "target"),
    ],
)  # fmt: skip
def test_target_of_a_declared_type(section: str, table: dict[str, str], word: str) -> None:
    """A section that does not go with the declared type says nothing of the family: the guest takes it by its type."""
    target = "a/b" if word == "tracepoint" else "some_name"
    data = elf([Section(section, EXIT, EXEC)], [("one", FUNC, 1)])
    assert told(data, programs={"one": {**table, "target": target}})[-1] == f"program one {word} {target}"


@pytest.mark.parametrize("table", [{}, {"type": "perf_event"}])
def test_no_target_of_a_perf_event(table: dict[str, str]) -> None:
    """A perf event is no name that could be declared: the guest makes one by itself, and says so."""
    data = elf([Section("any" if table else "perf_event", EXIT, EXEC)], [("one", FUNC, 1)])
    with pytest.raises(
        ConfigError, match=r"a perf_event program takes none: the guest .* cpu-clock .*leave target out"
    ):
        told(data, programs={"one": {**table, "target": "vfs_read"}})


@pytest.mark.parametrize(
    ("section", "target"),
    [
        ("uprobe//bin/x:f", "/files/app:work"), ("?uretprobe.s", "/files/app:work"), ("usdt", "/files/app:app:done"),
        ("uprobe.multi", "/files/app:work_*"),
    ],
)  # fmt: skip
def test_target_in_a_file(section: str, target: str) -> None:
    """A probe of user space is told where it is placed, whatever its section says."""
    data = elf([Section(section, EXIT, EXEC)], [("one", FUNC, 1)])
    assert told(data, programs={"one": {"target": target}}) == (f"program one uprobe {target}",)


@pytest.mark.parametrize(
    ("section", "target", "wanted"),
    [
        ("uprobe", "vfs_read", "/FILE:FUNCTION"), ("uprobe", "/files/app:app:done", "/FILE:FUNCTION"),
        ("usdt", "/files/app:done", "/FILE:PROVIDER:PROBE"),
        ("kprobe/x", "/files/app:work", "a function of the kernel"),
        ("fentry", "/files/app:work", "a function of the kernel"),
        ("fentry", "vfs_*", "a function of the kernel"), ("kprobe", "vfs_*", "a function of the kernel"),
        ("tp", "sched_switch", "CATEGORY/NAME"), ("tracepoint", "/files/app:work", "CATEGORY/NAME"),
        ("raw_tp", "sched/sched_switch", "a tracepoint's name"), ("raw_tp.w", "nbd:x", "a tracepoint's name"),
        ("kprobe.multi", "fs/vfs_read", "a function of the kernel or a pattern"),
        ("ksyscall", "open*", "a system call's name"), ("ksyscall", "m:openat", "a system call's name"),
    ],
)  # fmt: skip
def test_target_elsewhere(section: str, target: str, wanted: str) -> None:
    """A target of another family's shape is refused, with the shape that this one takes."""
    data = elf([Section(section, EXIT, EXEC)], [("one", FUNC, 1)])
    with pytest.raises(ConfigError, match=rf"expected {wanted}(, such as \S+)?, got"):
        told(data, programs={"one": {"target": target}})


@pytest.mark.parametrize("name", ["a b", "a,b", "a\ndeclare=map m pinning off", "é", "x" * 300])
def test_hostile_function(name: str) -> None:
    """An object's own function cannot become another line or word for the guest by its name."""
    data = elf([Section("xdp", EXIT, EXEC)], [(name, FUNC, 1)])
    with pytest.raises(ConfigError, match="a name that cannot be declared"):
        told(data, programs={"xdp": {"autoload": False}})


def test_no_btf() -> None:
    """Without BTF nothing says what type a constant has."""
    bare = elf([Section(".rodata", b"\0" * 8)], [("pid", OBJECT, 1)])
    with pytest.raises(ConfigError, match="no BTF"):
        told(bare, constants={"pid": 1})


def test_no_object() -> None:
    """What cannot be read cannot be checked."""
    with pytest.raises(ObjectError, match="begins with"):
        told(b"no object", constants={"pid": 1})


def test_too_much() -> None:
    """More than the guest takes as its spec is refused here."""
    btf = Btf()
    btf.section(".data", {"large": btf.array(btf.int("u64", 8), 65536)})
    data = elf([Section(".data", b""), Section(".BTF", btf.data())], [("large", OBJECT, 1)])
    with pytest.raises(ConfigError, match="bytes of settings"):
        told(data.replace(struct.pack("<Q", 8), struct.pack("<Q", 1 << 20)), constants={"large": [1] * 65536})


@given(st.integers(0, (1 << 64) - 1))
def test_integers(value: int) -> None:
    """A number lies in memory as the machine reads it."""
    assert int.from_bytes(encode(Types(BTF.data()), KNOWN["limit"], value, "<"), "little") == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_fractions(value: float) -> None:
    """So does a fraction."""
    assert struct.unpack("<d", encode(Types(BTF.data()), KNOWN["ratio"], value, "<")) == (value,)


def test_big_endian() -> None:
    """An object for the other byte order has its numbers in that order."""
    btf = Btf(">")
    number = btf.int("int", 4, signed=True)
    assert encode(Types(btf.data()), number, -2, ">") == b"\xff\xff\xff\xfe"


@given(st.binary(max_size=200))
def test_any_btf(tail: bytes) -> None:
    """Damaged BTF is an error of ours, whatever is in it."""
    for data in (tail, BTF.data()[:-40] + tail, BTF.data()[:24] + tail):
        try:
            types = Types(data)
            for section in (".rodata", ".kconfig"):
                for number in types.variables(section).values():
                    types.size(number)
        except (ObjectError, struct.error):
            continue
