"""Conditions of a kernel entry: what is taken, what is refused, and the words that guest and key get."""

from typing import Any

import pytest

from bpfcompat import plan
from bpfcompat.conditions import added_words, based, guest_lines, keyed
from bpfcompat.config import ConfigError, kernel_spec
from bpfcompat.digest import digest_bytes
from bpfcompat.kernels.catalogue import SHIPPED, load_catalogue
from bpfcompat.model import PLAIN, AptSource, Blob, Conditions, Kernel, KernelSpec
from bpfcompat.qemu import COMMAND_LINE
from tests.hosting import ROOT

HERE = {"apt": {"suite": "bookworm", "package": "linux-image-*"}}
FULL: dict[str, Any] = {
    **HERE,
    "command_line": "oops=panic audit=0",
    "lsm": ["lockdown", "bpf"],
    "sysctls": {"net.core.bpf_jit_harden": 2, "kernel.kptr_restrict": 0},
    "lockdown": "integrity",
    "modules": ["nf-conntrack", "nf_conntrack", "veth"],
    "btf": False,
    "user": "unprivileged",
    "asserts": {"release": "6.1.*", "btf": False, "config": {"CONFIG_BPF": "y"}},
}


def spec(**table: Any) -> KernelSpec:
    return kernel_spec("k", {**HERE, **table}, ROOT, "k.toml")


def test_all() -> None:
    """Every condition is read, a module's name once and as the kernel writes it."""
    found = kernel_spec("k", FULL, ROOT, "k.toml")
    assert found.conditions == Conditions(
        "oops=panic audit=0", ("lockdown", "bpf"), FULL["sysctls"], "integrity", ("nf_conntrack", "veth"), False,
        "unprivileged",
    )  # fmt: skip
    assert (found.asserts.release, found.asserts.btf, found.asserts.config) == ("6.1.*", False, {"CONFIG_BPF": "y"})


def test_words() -> None:
    """The command line gets its words, the guest its lines in a fixed order, the key all but what is there already."""
    under = kernel_spec("k", FULL, ROOT, "k.toml").conditions
    assert added_words(under) == " lsm=lockdown,bpf oops=panic audit=0"
    assert guest_lines(under) == (
        "sysctl=kernel.kptr_restrict=0", "sysctl=net.core.bpf_jit_harden=2", "btf=hidden", "lockdown=integrity",
        "user=unprivileged",
    )  # fmt: skip
    assert keyed(under) == {
        "sysctls": FULL["sysctls"], "lockdown": "integrity", "modules": ["nf_conntrack", "veth"], "btf": False,
        "user": "unprivileged",
    }  # fmt: skip


def test_room() -> None:
    """All that may be written reaches the guest whole: its file of conditions has room for 16383 bytes."""
    names = {f"{'a' * 60}.{n:059}": -(1 << 31) for n in range(24)}
    under = spec(sysctls=names, btf=False, lockdown="confidentiality", user="unprivileged").conditions
    assert sum(len(line) + 1 for line in guest_lines(under)) < 16383
    assert max(map(len, guest_lines(under))) < 512


def test_plain() -> None:
    """A kernel without conditions adds no word, no line and nothing to its key."""
    assert spec().conditions == PLAIN
    assert (added_words(PLAIN), guest_lines(PLAIN), keyed(PLAIN)) == ("", (), {})


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"command_line": "init=/bin/sh"}, "'init=/bin/sh': not to be set here (hint: leave it out"),
        ({"command_line": "audit=0 console=tty0"}, "'console=tty0': not to be set here"),
        ({"command_line": "panic=10"}, "not to be set here"),
        ({"command_line": "rdinit=/x"}, "not to be set here"),
        ({"command_line": "audit=0 -- x"}, "'--': not to be set here"),
        ({"command_line": "lockdown=integrity"}, 'hint: write lockdown = "integrity"'),
        ({"command_line": "lsm=bpf"}, "hint: write lsm = "),
        ({"command_line": '"lsm=bpf"'}, "without quotes"),
        ({"command_line": "a\nb"}, "words of printable ASCII"),
        ({"command_line": "a  b"}, "one blank between them"),
        ({"command_line": "ä"}, "words of printable ASCII"),
        ({"command_line": "x" * 1025}, "at most 1024 characters"),
        ({"command_line": 5}, "words of printable ASCII"),
        ({"lsm": "bpf"}, "lsm: expected a list"),
        ({"lsm": ["bpf,x"]}, "lsm: expected a list"),
        ({"lsm": ["bpf x=y"]}, "lsm: expected a list"),
        ({"sysctls": {"kernel": 1}}, "expected a name such as"),
        ({"sysctls": {"kernel.x\n": 1}}, "expected a name such as"),
        ({"sysctls": {"kernel.x/../../y": 1}}, "expected a name such as"),
        ({"sysctls": {"kernel.x": True}}, "expected a whole number"),
        ({"sysctls": {"kernel.x": "1\nlockdown=none"}}, "expected a whole number"),
        ({"sysctls": 5}, "expected a table"),
        ({"sysctls": {f"kernel.s{n}": 1 for n in range(25)}}, "at most 24 sysctls"),
        ({"sysctls": {"kernel." + "x" * 114: 1}}, "expected a name such as"),
        ({"lockdown": "none"}, "lockdown: expected one of integrity, confidentiality"),
        ({"lockdown": ["integrity"]}, "lockdown: expected one of"),
        ({"modules": ["../../x"]}, "modules: expected a list"),
        ({"modules": ["x.ko"]}, "without .ko"),
        ({"modules": ["x"] * 65}, "at most 64"),
        ({"btf": "no"}, "btf: expected true or false"),
        ({"user": "nobody"}, "user: expected one of root, unprivileged"),
        ({"asserts": 5}, "asserts: expected a table"),
        ({"asserts": {"relase": "x"}}, "relase: unknown key (hint: did you mean release?)"),
        ({"asserts": {"release": 5}}, "release: expected a pattern"),
        ({"asserts": {"lockdown": "full"}}, "lockdown: expected one of none, integrity"),
        ({"asserts": {"config": {"BPF": "y"}}}, "expected an option such as CONFIG_BPF_LSM"),
        ({"asserts": {"config": {"CONFIG_BPF": True}}}, "expected a string"),
        ({"asserts": {"btf": 1}}, "btf: expected true or false"),
        ({"lockdwn": "integrity"}, "lockdwn: unknown key (hint: did you mean lockdown?)"),
        ({"base": "debian-12"}, "expected exactly one of apt, dir, url, base, got apt, base"),
    ],
)
def test_refused(table: dict[str, Any], said: str) -> None:
    """What would break a guest, smuggle a second line to it, or mean nothing is refused before anything starts."""
    with pytest.raises(ConfigError) as caught:
        spec(**table)
    assert said in str(caught.value)


def test_base() -> None:
    """A variant has its base's files and the lock entry of its base; everything else is its own."""
    base = KernelSpec("b", "amd64", AptSource("s", "amd64", "p"), optional=True, conditions=Conditions(btf=False))
    variant = kernel_spec("v", {"base": "b", "lockdown": "integrity"}, ROOT, "v.toml")
    found = based({"b": base, "v": variant})
    assert found["b"] is base
    assert (found["v"].source, found["v"].locked_as, found["v"].optional) == (base.source, "b", True)
    assert found["v"].conditions == Conditions(lockdown="integrity")


@pytest.mark.parametrize(("base", "said"), [("none", "'none' is no kernel"), ("v", "'v' is itself based on 'b'")])
def test_wrong_base(base: str, said: str) -> None:
    """A base that is not there, or is a variant itself, is the entry's fault."""
    kernels = {"b": spec(), "v": kernel_spec("v", {"base": "b"}, ROOT, "v.toml")}
    with pytest.raises(ConfigError, match=said):
        based({**kernels, "w": kernel_spec("w", {"base": base}, ROOT, "w.toml")})


def test_shipped() -> None:
    """Every variant that ships asserts at least what it is for, and no plain kernel has a condition."""
    kernels = based(load_catalogue([SHIPPED]))
    variants = {n: s for n, s in kernels.items() if s.base}
    assert set(variants) >= {
        "debian-12-lockdown", "debian-12-lockdown-confidentiality", "debian-11-bpf-lsm", "debian-12-nobtf",
        "debian-12-unprivileged",
    }  # fmt: skip
    assert all(s.conditions == PLAIN for n, s in kernels.items() if n not in variants)
    for name, found in variants.items():
        assert found.conditions != PLAIN and found.asserts.release, name
        assert found.conditions.lockdown == found.asserts.lockdown, name


def test_keys() -> None:
    """Each condition changes the probe's key; a plain kernel's key has no trace of them."""
    blob = Blob(digest_bytes(b"x"), 1)
    kernel = Kernel("k", "6.1", "amd64", blob, None, None, blob)

    def inputs(under: Conditions, modules: str | None = None) -> dict[str, Any]:
        line = COMMAND_LINE + added_words(under)
        return dict(plan.column(kernel, blob, "v", line, {}, under, modules).inputs)

    plain = inputs(PLAIN)
    assert "conditions" not in plain and plain["kernel"] == {"vmlinuz": blob.digest, "config": None}
    changed = [
        inputs(Conditions(command_line="audit=0")), inputs(Conditions(lsm=("bpf",))), inputs(Conditions(btf=False)),
        inputs(Conditions(sysctls={"a.b": 1})), inputs(Conditions(lockdown="integrity")), inputs(PLAIN, "index"),
        inputs(Conditions(modules=("veth",))), inputs(Conditions(user="unprivileged")), plain,
    ]  # fmt: skip
    assert all(one != other for n, one in enumerate(changed) for other in changed[n + 1 :])


def test_initramfs_keys() -> None:
    """What an initramfs holds of conditions and modules is in its key; with none it is the key that it was."""
    kernel = Kernel("k", "6.1", "amd64", Blob("v", 1), None, None, Blob("v", 1))
    plain = plan.initramfs_action(kernel, "validator")
    assert set(plain.inputs) == {"validator", "release", "config", "packer"}
    others = [
        plan.initramfs_action(kernel, "validator", Conditions(btf=False)),
        plan.initramfs_action(kernel, "validator", PLAIN, {"index": "i", "names": ["veth"]}),
        plan.initramfs_action(kernel, "validator", PLAIN, {"index": "i", "names": ["veth", "tun"]}),
    ]
    assert len({a.key() for a in (plain, *others)}) == 4
