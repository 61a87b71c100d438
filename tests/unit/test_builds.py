"""What a build has, read from BTF, configuration and sets that are made here, whole and hostile."""

import struct

import pytest

from bpfcompat import buildtext
from bpfcompat.btftypes import Kind, Types
from bpfcompat.builds import Build, Change, build_of, differences, from_json, options_of, to_bytes
from bpfcompat.errors import KernelError
from tests.making import make_btf
from tests.unit.test_fitting import Btf

CONFIG = b"""# CONFIG_BPF_LIRC_MODE2 is not set
CONFIG_BPF_SYSCALL=y
CONFIG_HZ=250
CONFIG_NET=y
CONFIG_NF_TABLES=m
CONFIG_LSM="landlock,lockdown,bpf"
"""


def enum(btf: Btf, name: str, values: dict[str, int]) -> int:
    words = [word for text, value in values.items() for word in (btf.text(text), value)]
    return btf.add(Kind.ENUM, name, 4, btf.words(*words), len(values))


def function(btf: Btf, name: str, tag: str = "") -> int:
    made = btf.add(Kind.FUNC, name, btf.add(Kind.FUNC_PROTO, "", 0))
    if tag:
        btf.add(Kind.DECL_TAG, tag, made, btf.words(2**32 - 1))
    return made


def sample(tag: str = "") -> tuple[Btf, list[int]]:
    """A kernel's enums, and four functions of which the last is called by nobody."""
    btf = Btf()
    enum(btf, "bpf_func_id", {"BPF_FUNC_unspec": 0, "BPF_FUNC_map_lookup_elem": 1, "BPF_FUNC_loop": 181,
                              "__BPF_FUNC_MAX_ID": 212})  # fmt: skip
    enum(btf, "bpf_prog_type", {"BPF_PROG_TYPE_UNSPEC": 0, "BPF_PROG_TYPE_XDP": 6, "BPF_PROG_TYPE_LIRC_MODE2": 24})
    enum(btf, "bpf_map_type", {"BPF_MAP_TYPE_HASH": 1, "__MAX_BPF_MAP_TYPE": 33})
    enum(btf, "bpf_attach_type", {"BPF_XDP": 37, "__MAX_BPF_ATTACH_TYPE": 58})
    enum(btf, "bpf_link_type", {"BPF_LINK_TYPE_TRACING": 2, "MAX_BPF_LINK_TYPE": 9})
    enum(btf, "bpf_cmd", {"BPF_MAP_CREATE": 0, "__MAX_BPF_CMD": 38})
    enum(btf, "", {"BPF_F_SLEEPABLE": 16, "SOMETHING_ELSE": 1})
    enum(btf, "bpf_adj_room_flags", {"BPF_F_ADJ_ROOM_FIXED_GSO": 1})  # from 7.3 on it has a name
    enum(btf, "others_flags", {"BPF_F_OF_OTHERS": 1})
    names = ("bpf_task_acquire", "bpf_task_release", "bpf_fentry_test1", "nobody")
    return btf, [function(btf, name, tag if name.startswith("bpf_task") else "") for name in names]


def sets(flags: int, *pairs: tuple[int, int]) -> bytes:
    return struct.pack(f"<{2 + 2 * len(pairs)}I", len(pairs), flags, *(word for pair in pairs for word in pair))


def test_whole() -> None:
    """Every enum gives its names and numbers; ends of enums and zeros are no names."""
    btf, _ = sample()
    found = build_of(btf.data(), CONFIG, "6.1.0-x")
    assert found.helpers == {"map_lookup_elem": 1, "loop": 181}
    assert found.program_types == {"BPF_PROG_TYPE_XDP": 6, "BPF_PROG_TYPE_LIRC_MODE2": 24}
    assert (found.map_types, found.attach_types) == ({"BPF_MAP_TYPE_HASH": 1}, {"BPF_XDP": 37})
    assert (found.link_types, found.commands) == ({"BPF_LINK_TYPE_TRACING": 2}, {"BPF_MAP_CREATE": 0})
    assert found.flags == {"BPF_F_SLEEPABLE": 16, "BPF_F_ADJ_ROOM_FIXED_GSO": 1} and found.kfuncs == {}
    assert (found.release, found.btf_size) == ("6.1.0-x", len(btf.data()))
    again = from_json(to_bytes(found))
    assert again == found and list(again.program_types) == list(found.program_types)


def test_options() -> None:
    """What is set is there as it is written, what is not set is `n`, and without a configuration nobody knows."""
    btf, _ = sample()
    found, blind = build_of(btf.data(), CONFIG, "x"), build_of(btf.data(), None, "x")
    assert [found.option(f"CONFIG_{n}") for n in ("BPF_SYSCALL", "NF_TABLES", "HZ", "NEW")] == ["y", "m", "250", "n"]
    assert found.lsm == ("landlock", "lockdown", "bpf") and blind.lsm == ()
    assert found.switched_off("program_types", "BPF_PROG_TYPE_LIRC_MODE2") == "CONFIG_BPF_LIRC_MODE2"
    assert found.switched_off("program_types", "BPF_PROG_TYPE_SYSCALL") is None
    assert blind.option("CONFIG_NEW") == "" and blind.switched_off("program_types", "BPF_PROG_TYPE_LIRC_MODE2") is None
    assert from_json(to_bytes(blind)).options is None


def test_kfuncs_of_old_sets() -> None:
    """Before 6.9 a set of kfuncs is like any other set with flags; what modifies returns is left out."""
    btf, (acquire, release, fentry, _) = sample()
    plain = struct.pack("<4I", 2, acquire, release, 7)  # a list of ids and a set without flags
    ids = plain + sets(0, (acquire, 0b101), (release, 0b10), (fentry, 1 << 5)) + plain
    found = build_of(btf.data(), None, "6.1", ids).kfuncs
    assert found == {"bpf_task_acquire": {"acquire", "ret_null"}, "bpf_task_release": {"release"}}
    assert build_of(btf.data(), None, "6.1").kfuncs == {}


def test_kfuncs_of_marked_sets() -> None:
    """From 6.9 on sets of kfuncs are marked, and others are none; an unresolved id is skipped."""
    btf, (acquire, release, fentry, nobody) = sample("bpf_kfunc")
    ids = sets(0, (fentry, 0), (nobody, 0)) + sets(1, (0, 0), (acquire, 1 << 16), (release, 1 << 20))
    found = build_of(btf.data(), None, "6.12", ids).kfuncs
    assert found == {"bpf_task_acquire": {"implicit_args"}, "bpf_task_release": {"bit20"}}
    assert build_of(btf.data(), None, "6.12").kfuncs == {"bpf_task_acquire": set(), "bpf_task_release": set()}


def test_no_set() -> None:
    """Ids out of order, of no function, beyond the types, or cut are no set."""
    btf, (acquire, release, _, _) = sample()
    wrong = [sets(0, (release, 0), (acquire, 0)), sets(0, (1, 0)), sets(0, (10**6, 0)), sets(2, (acquire, 0))]
    wrong += [sets(0, (acquire, 0), (release, 0))[:-4], sets(0, (acquire, 1 << 12)), sets(0, (0, 0)), b"\1"]
    for ids in wrong:
        assert build_of(btf.data(), None, "x", ids).kfuncs == {}, ids


def test_differences() -> None:
    """What is new, gone and changed, by kind; kinds that are the same are left out."""
    old = Build("a", helpers={"loop": 181}, kfuncs={"f": frozenset(("acquire",)), "g": frozenset()},
                options={"CONFIG_A": "y", "CONFIG_LSM": '"yama"'})  # fmt: skip
    new = Build("b", helpers={"loop": 181, "ktime": 5}, kfuncs={"f": frozenset()}, options={"CONFIG_LSM": '"yama,bpf"'})
    found = differences(old, new)
    assert found["helpers"].added == ("ktime",) and found["kfuncs"].removed == ("g",)
    assert found["kfuncs"].changed == {"f": ("acquire", "")} and found["options"].removed == ("CONFIG_A",)
    assert found["lsm"] == Change(added=("bpf",))
    assert set(found) == {"helpers", "kfuncs", "options", "lsm"} and not differences(old, old)
    assert "options" not in differences(old, Build("c"))
    turned = differences(Build("a", options={"CONFIG_LSM": '"a,b"'}), Build("b", options={"CONFIG_LSM": '"b,a"'}))
    assert turned["lsm"] == Change(changed={"order": ("a,b", "b,a")})


def test_shown() -> None:
    """A screen names types, counts helpers, says what is compiled out; a kind that is named is listed whole."""
    btf, (acquire, *_) = sample()
    build = build_of(btf.data(), CONFIG, "6.1.0-x", sets(0, (acquire, 1)))
    screen = buildtext.show("k", "about k", build, {"bpf_ct": "nf_conntrack"})
    assert "k  6.1.0-x\nabout k\n" in screen and "2: xdp lirc_mode2" in screen.replace("\n", " ")
    assert "compiled out: lirc_mode2 (CONFIG_BPF_LIRC_MODE2)" in " ".join(screen.split())
    assert "1 in vmlinux, 1 in modules" in screen and "landlock lockdown bpf" in screen
    assert "its modules were not read" in buildtext.show("k", "", build, None)
    listed = buildtext.show("k", "", build, {"bpf_ct": "nf_conntrack"}, ["kfuncs"])
    assert [line.split() for line in listed.splitlines()[2:]] == [
        ["bpf_task_acquire", "acquire", "since", "6.2"],
        ["bpf_ct", "in", "module", "nf_conntrack"],
    ]


def test_modules_have_kfuncs_too() -> None:
    """A kfunc of a module is not counted among those that upstream has and the build has not."""
    build = Build("6.1.0-x", kfuncs={"bpf_task_acquire": frozenset()})
    found = [next(buildtext._beside_upstream("kfuncs", build, m)) for m in ({}, {"bpf_ct_release": "nf_conntrack"})]
    none, one = (int(line.split()[2]) for line in found)
    assert none - one == 1


def test_shown_guest() -> None:
    """What a guest said is shown where one was asked, and who may call a helper where helpers are listed."""
    build = Build("6.1", helpers={"loop": 181, "probe_read": 4})
    assert "not asked: bpfcompat kernel show k --boot" in buildtext.show("k", "", build, None)
    hello = {"lsm": ["lockdown", "bpf"], "lockdown": "none", "sysctls": {"net.core.bpf_jit_enable": 1}}
    asked = buildtext.Asked(hello, {"xdp": ("loop",), "kprobe": ("loop", "probe_read"), "lirc_mode2": None})
    screen = buildtext.show("k", "", build, None, asked=asked)
    assert all(
        word in screen
        for word in ("lockdown none; security modules lockdown bpf", "net.core.bpf_jit_enable = 1", "xdp 1  kprobe 2")
    )
    assert "does not load: lirc_mode2" in screen
    listed = buildtext.show("k", "", build, None, ["helpers"], asked).splitlines()[2:]
    assert [line.split() for line in listed] == [
        ["loop", "181", "since", "5.17", "all"],
        ["probe_read", "4", "since", "4.1", "kprobe"],
    ]
    said = buildtext.as_json("k", build, None, asked)["guest"]
    assert (
        said == {"hello": hello, "helpers": dict(asked.abilities)}
        and buildtext.as_json("k", build, None)["guest"] is None
    )


def test_shown_difference() -> None:
    """Options that do not concern BPF are counted; `whole` lists them."""
    old, new = Build("1", options={"CONFIG_BPF_JIT": "y"}), Build("2", options={"CONFIG_SOUND": "y"})
    said = buildtext.show_difference(("a", old), ("b", new))
    assert "CONFIG_BPF_JIT" in said and "CONFIG_SOUND" not in said and "and 1 options" in said
    assert "CONFIG_SOUND" in buildtext.show_difference(("a", old), ("b", new), whole=True)
    assert "no difference" in buildtext.show_difference(("a", old), ("b", old))


@pytest.mark.hostile
def test_damaged() -> None:
    """No cut and no changed byte makes anything but a Build or a KernelError."""
    btf, functions = sample("bpf_kfunc")
    data, ids = btf.data(), sets(1, *((number, 0) for number in functions))
    damaged = [data[:n] for n in range(len(data))]
    damaged += [data[:n] + bytes([value]) + data[n + 1 :] for n in range(len(data)) for value in (0, 0x7F, 0xFF)]
    refused = 0
    for bad in damaged:
        try:
            build_of(bad, CONFIG, "x", ids)
        except KernelError as error:
            refused += 1
            assert error.message.startswith("kernel x: btf")
    assert refused > len(data)


@pytest.mark.hostile
def test_too_much() -> None:
    """More bytes, enumerators or options than any kernel has are refused, and so is a kind of a newer format."""
    with pytest.raises(KernelError, match="104857600 bytes, at most"):
        build_of(bytes(100 << 20), None, "x")
    newer = Btf()
    newer.add(Kind.INT, "x", 4, newer.words(0))
    kind = newer.data().replace(struct.pack("<I", Kind.INT << 24), struct.pack("<I", 31 << 24))
    with pytest.raises(KernelError, match="type 1 of kind 31"):
        build_of(kind, None, "x")
    with pytest.raises(KernelError, match="no enum bpf_func_id"):
        build_of(make_btf(), None, "x")
    with pytest.raises(KernelError, match="70000 options"):
        options_of(b"".join(b"CONFIG_%d=y\n" % n for n in range(70_000)))
    with pytest.raises(KernelError, match="btf ids"):
        build_of(sample()[0].data(), None, "x", bytes(300 << 10))


@pytest.mark.hostile
def test_names_without_end() -> None:
    """Strings that never end are cut, and a quarter of a million enumerators are more than any kernel has."""
    btf = Btf()
    more = btf.words(*(0, 0) * 65_535)
    for _ in range(5):
        btf.add(Kind.ENUM, "", 4, more, 65_535)
    btf.strings += b"A" * 100_000
    with pytest.raises(KernelError, match="more than 262144 enumerators"):
        build_of(btf.data(), None, "x")
    assert len(Types(btf.data()).text(1)) == 512


def test_stored_by_others() -> None:
    """Bytes that are no inventory of ours are refused."""
    for data in (
        b"",
        b"[]",
        b"{}",
        b'{"helpers": 1}',
        b"\xff",
        to_bytes(Build("x")).replace(b'"kfuncs":{}', b'"k":{}'),
    ):
        with pytest.raises(KernelError, match="inventory"):
            from_json(data)
