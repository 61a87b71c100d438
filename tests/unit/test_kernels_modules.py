"""Modules of a package: what they need and in which order, and what is refused of a hostile one."""

import gzip
import lzma
from pathlib import Path

import pytest
import zstandard

from bpfcompat.digest import digest_bytes
from bpfcompat.errors import KernelError
from bpfcompat.kernels import modules as ko
from bpfcompat.kernels.deb import deb_files
from bpfcompat.kernels.modules import Index, choose, read
from tests.making import RELEASE, make_deb, make_elf, make_module

TOP = f"lib/modules/{RELEASE}"


def members(**depends: str) -> dict[str, bytes]:
    """A package with modules named as given, and what each depends on."""
    return {f"{TOP}/kernel/{name}.ko": make_module(depends=needs) for name, needs in depends.items()}


def index(files: dict[str, bytes]) -> Index:
    return read(files.items(), RELEASE)[0]


def order(files: dict[str, bytes], *names: str) -> list[str]:
    return [m.name for m in choose(index(files), names).order]


def test_order() -> None:
    """What a module needs comes before it, each once, and what nobody wants does not come."""
    files = members(nf_flow_table="nf_conntrack", nf_conntrack="nf_defrag_ipv4,nf_defrag_ipv6", nf_defrag_ipv4="",
                    nf_defrag_ipv6="", unwanted="")  # fmt: skip
    found = order(files, "nf_flow_table", "nf_conntrack")
    assert found == ["nf_defrag_ipv4", "nf_defrag_ipv6", "nf_conntrack", "nf_flow_table"]


def test_names() -> None:
    """- and _ are the same in a name, and a module answers to its aliases."""
    files = {
        f"{TOP}/kernel/xt-a.ko": make_module(depends="cls-b"),
        f"{TOP}/kernel/cls_b.ko": make_module(alias="sch_clsact"),
        f"{TOP}/kernel/c.ko": make_module(alias="pci:v00008086d*"),
    }
    assert order(files, "xt_a") == order(files, "xt-a") == ["cls_b", "xt_a"]
    assert order(files, "sch-clsact") == ["cls_b"]


def test_soft_dependencies() -> None:
    """What should be there before comes before, found by alias; what is absent or comes after is no matter."""
    files = {
        f"{TOP}/kernel/libcrc32c.ko": make_module(softdep="pre: crc32c absent platform:some_device post: later"),
        f"{TOP}/kernel/crc32c_generic.ko": make_module(alias="crc32c"),
        f"{TOP}/kernel/crc32c_intel.ko": make_module(alias="crc32c"),
        f"{TOP}/kernel/later.ko": make_module(),
    }
    assert order(files, "libcrc32c") == ["crc32c_generic", "libcrc32c"]


def test_builtin_and_absent() -> None:
    """A module that is built in needs nothing; one that the kernel does not have is told."""
    files = {**members(a="inside"), f"{TOP}/modules.builtin": b"kernel/lib/in-side.ko\nkernel/inside.ko\n"}
    found = choose(index(files), ["a", "in_side", "gone", "gone"])
    assert ([m.name for m in found.order], found.absent) == (["a"], ("gone",))


@pytest.mark.parametrize("pack", [lzma.compress, zstandard.ZstdCompressor().compress])
def test_compressed(pack: object) -> None:
    """A compressed module is the same module: the guest is given plain bytes, and they are what the digest names."""
    plain = make_module(depends="")
    packed = pack(plain)  # type: ignore[operator]
    found, raw = read({f"usr/{TOP}/kernel/a.ko.xz": packed}.items(), RELEASE)
    assert ko.unpacked("a.ko", raw["a"]) == plain
    assert (found.modules["a"].digest, found.modules["a"].path) == (digest_bytes(plain), "kernel/a.ko")


def test_homes() -> None:
    """A kfunc is found in its module, by the symbol that its list leaves; a tracepoint in such a list is none."""
    files = {
        f"{TOP}/kernel/nf_flow_table.ko": make_module(kfuncs=["bpf_xdp_flow_lookup", "bpf_x__2"]),
        f"{TOP}/kernel/xfs.ko": make_module(kfuncs=["__bpf_trace_xchk_class"]),
        f"{TOP}/kernel/zz.ko": make_module(kfuncs=["bpf_x__2"]),
    }
    assert index(files).homes() == {"bpf_xdp_flow_lookup": "nf_flow_table", "bpf_x__2": "nf_flow_table"}


def test_round_trip() -> None:
    """An index is read back as it was written, and equal indexes are equal bytes."""
    files = {**members(b="a", a=""), f"{TOP}/modules.builtin": b"kernel/c.ko\n"}
    found = index(files)
    assert ko.index_from_bytes(ko.index_bytes(found)) == found
    assert ko.index_bytes(index(dict(reversed(files.items())))) == ko.index_bytes(found)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"release":"x","builtin":[],"modules":[{}]}', b"\xff"])
def test_no_index(data: bytes) -> None:
    """Bytes that are no index are an error of ours."""
    with pytest.raises(KernelError, match="expected an index"):
        ko.index_from_bytes(data)


def test_pack() -> None:
    """What a running guest is handed over: sizes before bytes, and what there is none of."""
    assert ko.pack([("a", b"\x7f\n1"), ("b", b"")], ["gone"]) == b"a 3\n\x7f\n1b 0\ngone -\n"


def test_deb(tmp_path: Path) -> None:
    """Modules are read from a package as it streams by: there are more of them than a pattern may match."""
    files = {f"{TOP}/kernel/m{n}.ko": make_module() for n in range(40)}
    (tmp_path / "x.deb").write_bytes(make_deb({**files, "usr/share/doc/x": b"no"}))
    found, _ = read(deb_files(tmp_path / "x.deb", ko.wanted_path, ko.MAX_MODULE), RELEASE)
    assert len(found.modules) == 40


def test_folder(tmp_path: Path) -> None:
    """A folder's modules are those of its lib/modules, in a fixed order, and nothing else."""
    for name in ("kernel/b.ko", "kernel/net/a.ko.xz", "modules.builtin", "build/x.c"):
        path = tmp_path / TOP / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert ko.folder_files(tmp_path) == [f"{TOP}/{n}" for n in ("kernel/b.ko", "kernel/net/a.ko.xz", "modules.builtin")]
    assert ko.folder_files(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("deb", "vmlinuz", "modules"),
    [
        ("pool/main/l/linux-signed-amd64/linux-image-6.1.0-50-cloud-amd64_6.1.176-1_amd64.deb", True, True),
        ("pool/main/l/linux-signed-amd64/linux-binary-7.3.4+deb13-cloud-amd64_7.3.4-1_amd64.deb", True, False),
        ("pool/main/l/linux/linux-base-7.3.4+deb13-cloud-amd64_7.3.4-1_amd64.deb", True, False),
        ("pool/main/l/linux/linux-modules-7.3.4+deb13-cloud-amd64_7.3.4-1_amd64.deb", False, True),
    ],
)
def test_packages(deb: str, vmlinuz: bool, modules: bool) -> None:
    """Until 6.18 one package has all; from 6.19 on the modules have one of their own, which a kernel does not need."""
    assert (not ko.is_apart(deb), ko.holds(deb)) == (vmlinuz, modules)


# --- hostile


@pytest.mark.hostile
def test_cycle() -> None:
    """Modules that wait for each other are refused by name, whatever the length of the circle."""
    with pytest.raises(KernelError, match="depend on each other: a -> b -> c -> a"):
        order(members(a="b", b="c", c="a"), "a")
    with pytest.raises(KernelError, match="depend on each other: a -> a"):
        order(members(a="a"), "a")


@pytest.mark.hostile
def test_soft_cycle() -> None:
    """A soft dependency that leads back is left out: it is no need."""
    files = {f"{TOP}/kernel/{a}.ko": make_module(softdep=f"pre: {b}") for a, b in (("a", "b"), ("b", "a"))}
    assert order(files, "a") == ["b", "a"]


@pytest.mark.hostile
def test_bomb() -> None:
    """A small module that expands without end is stopped at the bound."""
    with pytest.raises(KernelError, match=f"expands to more than {ko.MAX_MODULE} bytes"):
        index({f"{TOP}/kernel/a.ko.gz": gzip.compress(bytes(ko.MAX_MODULE + 1), 1)})


@pytest.mark.hostile
@pytest.mark.parametrize("release", ["6.1.0-8-cloud-amd64", "", "x" * 200])
def test_wrong_release(release: str) -> None:
    """A module that was built for another kernel is refused here, not only by the guest."""
    with pytest.raises(KernelError, match=f"this kernel is '{RELEASE}'"):
        index({f"{TOP}/kernel/a.ko": make_module(release)})


def test_other_folder() -> None:
    """Modules of another release beside ours are not ours."""
    files = {**members(a=""), "lib/modules/5.10.0/kernel/b.ko": make_module("5.10.0")}
    assert sorted(index(files).modules) == ["a"]


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no elf", "damaged"),
        (b"\x7fELF\x02\x01" + b"\xff" * 100, "expected a .modinfo"),
        (make_module()[:-70], "damaged"),
        (make_elf({".text": b""}), "expected a .modinfo"),
        (make_elf({".modinfo": bytes(ko.MAX_INFO + 1)}), "expected a .modinfo of at most"),
        (make_module(depends="../../init"), "expected at most"),
        (make_module(depends="x" * 100), "expected at most"),
        (make_module(depends=",".join(f"m{n}" for n in range(ko.MAX_WORDS + 1))), "expected at most"),
        (lzma.compress(make_module())[:-20], "damaged"),
    ],
)
def test_damaged(data: bytes, words: str) -> None:
    """A module that is none, or names what is no module, says so with its path."""
    with pytest.raises(KernelError, match=words) as caught:
        index({f"{TOP}/kernel/a.ko": data})
    assert caught.value.message.startswith("modules: ")


@pytest.mark.hostile
def test_twice() -> None:
    """Two files for one module: nobody could say which a verdict is about."""
    with pytest.raises(KernelError, match=r"there twice: kernel/a-b\.ko, kernel/x/a_b\.ko"):
        index({f"{TOP}/kernel/a-b.ko": make_module(), f"{TOP}/kernel/x/a_b.ko": make_module()})


@pytest.mark.hostile
def test_lost_dependency() -> None:
    """A dependency that the package does not have is damage, not a module to do without."""
    with pytest.raises(KernelError, match="a: depends on b, which is not among"):
        order(members(a="b"), "a")


@pytest.mark.hostile
def test_too_many() -> None:
    """A guest is not given any number of modules."""
    files = members(**{f"m{n}": "" for n in range(ko.MAX_GIVEN + 1)})
    with pytest.raises(KernelError, match="more than 64 modules"):
        order(files, *(f"m{n}" for n in range(ko.MAX_GIVEN + 1)))
    chain = members(**{f"m{n}": f"m{n + 1}" for n in range(500)}, m500="")
    with pytest.raises(KernelError):
        order(chain, "m0")
