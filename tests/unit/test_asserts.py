"""Asserts: each kind catches a kernel entry that lies, and says what was found."""

from typing import Any

import pytest

from bpfcompat.asserts import asked_sysctls, in_guest, needs_guest, on_host, options
from bpfcompat.model import PLAIN, Asserts, Conditions

RELEASE = "6.1.0-50-cloud-amd64"
CONFIG = b'#\n# CONFIG_FPROBE is not set\nCONFIG_BPF_LSM=y\nCONFIG_VETH=m\nCONFIG_LSM="lockdown,bpf"\nCONFIG_HZ=250\n'
HELLO: dict[str, Any] = {
    "btf": True, "lsm": ["lockdown", "capability"], "lockdown": "none", "unmet": [], "conditions": [],
    "sysctls": {"kernel.unprivileged_bpf_disabled": 2, "net.absent": None},
    "modules": [{"name": "veth", "errno": 0}, {"name": "lost", "errno": 2}],
}  # fmt: skip


def host(asserts: Asserts, under: Conditions = PLAIN, btf: bool = True, config: bytes | None = CONFIG) -> list[str]:
    return list(on_host(asserts, under, RELEASE, btf, config))


def guest(asserts: Asserts, under: Conditions = PLAIN, **hello: Any) -> list[str]:
    return list(in_guest(asserts, under, {**HELLO, **hello}, {"built_in"}))


@pytest.mark.parametrize(
    "asserts",
    [
        Asserts(release="6.1.*"),
        Asserts(btf=True),
        Asserts(config={"CONFIG_BPF_LSM": "y", "CONFIG_VETH": "m", "CONFIG_FPROBE": "n", "CONFIG_UNHEARD": "n"}),
        Asserts(config={"CONFIG_LSM": "lockdown,bpf", "CONFIG_HZ": "250"}),
    ],
)
def test_host_holds(asserts: Asserts) -> None:
    """What is so is not complained of."""
    assert host(asserts) == []


@pytest.mark.parametrize(
    ("asserts", "said"),
    [
        (Asserts(release="5.10.*"), f"release: asserted '5.10.*', found '{RELEASE}'"),
        (Asserts(btf=False), "btf: asserted no, found the kernel's"),
        (Asserts(config={"CONFIG_FPROBE": "y"}), "config: asserted CONFIG_FPROBE=y, found it not set"),
        (Asserts(config={"CONFIG_VETH": "y"}), "config: asserted CONFIG_VETH=y, found m"),
        (Asserts(config={"CONFIG_BPF_LSM": "n"}), "config: asserted CONFIG_BPF_LSM=n, found y"),
    ],
)
def test_host_lies(asserts: Asserts, said: str) -> None:
    """What is not so is told without a boot."""
    assert host(asserts) == [said]


def test_host_without() -> None:
    """A kernel without BTF, with hidden BTF, or without its config is told from one that has it."""
    assert host(Asserts(btf=True), btf=False) == ["btf: asserted yes, found none"]
    assert host(Asserts(btf=True), Conditions(btf=False)) == ["btf: asserted yes, found hidden from the loader"]
    assert host(Asserts(btf=False), Conditions(btf=False)) == []
    (said,) = host(Asserts(config={"CONFIG_X": "n"}), config=None)
    assert "came without its config" in said


@pytest.mark.parametrize(
    "asserts",
    [
        Asserts(btf=True), Asserts(lockdown="none"), Asserts(lsm=("lockdown",)), Asserts(modules=("veth", "built-in")),
        Asserts(sysctls={"kernel.unprivileged_bpf_disabled": 2}),
    ],
)  # fmt: skip
def test_guest_holds(asserts: Asserts) -> None:
    """What a guest says of itself is held against what is asserted."""
    assert guest(asserts) == []


@pytest.mark.parametrize(
    ("asserts", "said"),
    [
        (Asserts(btf=False), "btf: asserted no, the guest has yes"),
        (Asserts(lockdown="integrity"), "lockdown: asserted integrity, found none"),
        (Asserts(lsm=("bpf",)), "lsm: asserted bpf, active are lockdown,capability"),
        (Asserts(modules=("lost",)), "module lost: asserted, and loading it gave errno 2"),
        (Asserts(modules=("veth", "none")), "module none: asserted, found neither built in nor loaded"),
        (
            Asserts(sysctls={"kernel.unprivileged_bpf_disabled": 0}),
            "sysctl kernel.unprivileged_bpf_disabled: asserted 0, found 2",
        ),
        (Asserts(sysctls={"net.absent": 0}), "sysctl net.absent: asserted 0, found none of this name"),
        (Asserts(sysctls={"net.untold": 0}), "sysctl net.untold: asserted 0, found none of this name"),
    ],
)
def test_guest_lies(asserts: Asserts, said: str) -> None:
    """Each kind of assert that does not hold is told with what was found."""
    assert guest(asserts) == [said]


def test_conditions_are_asserted() -> None:
    """A condition that is not in force is a lie too: lockdown, a sysctl, a module, and what the guest could not do."""
    under = Conditions(lockdown="integrity", sysctls={"kernel.unprivileged_bpf_disabled": 0}, modules=("lost",))
    said = guest(Asserts(), under, unmet=["lockdown=integrity: Operation not permitted"])
    assert [line.split(":")[0] for line in said] == [
        "condition", "lockdown", "sysctl kernel.unprivileged_bpf_disabled", "module lost"
    ]  # fmt: skip
    assert (
        guest(Asserts(), under, lockdown="integrity", sysctls={"kernel.unprivileged_bpf_disabled": 0}, modules=[]) == []
    )


def test_nothing_known() -> None:
    """A kernel that does not say its LSMs or its lockdown does not have what was asserted."""
    said = guest(Asserts(lsm=("bpf",), lockdown="none"), lsm=None, lockdown=None)
    assert said == ["lockdown: asserted none, found no lockdown in this kernel", "lsm: asserted bpf, active are none"]


@pytest.mark.parametrize(
    ("asserts", "under", "asked"),
    [
        (Asserts(), PLAIN, False),
        (Asserts(release="6.*", config={"CONFIG_X": "y"}), PLAIN, False),
        (Asserts(lsm=("bpf",)), PLAIN, True),
        (Asserts(btf=True), PLAIN, True),
        (Asserts(), Conditions(user="unprivileged"), True),
    ],
)
def test_needs_guest(asserts: Asserts, under: Conditions, asked: bool) -> None:
    """A plain kernel, and one whose files tell all, costs no guest."""
    assert needs_guest(asserts, under) is asked


def test_asked_sysctls() -> None:
    """A guest is asked for every sysctl that is set or asserted, once."""
    assert asked_sysctls(Asserts(sysctls={"b.x": 1, "a.x": 1}), Conditions(sysctls={"b.x": 1})) == ("a.x", "b.x")


@pytest.mark.hostile
def test_options_of_noise() -> None:
    """A config is a stranger's text: what is no option in it is left out."""
    assert options(b"CONFIG_A=y\xff\nCONFIG_B\nCONFIG_=\n CONFIG_C=y\n=\n") == {"CONFIG_A": "y\ufffd", "CONFIG_": ""}


def test_condition_that_is_not_in_force() -> None:
    """An LSM that an entry asks for and that is not active is told, as an assert would; a wish may be left out."""
    asked = Conditions(lsm=("lockdown", "selinux", "bfp"))
    assert guest(Asserts(), asked) == ["lsm: asserted bfp, active are lockdown,capability"]
