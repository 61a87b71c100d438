"""Kernels with conditions, for real: each variant answers otherwise than its base, and an entry that lies is caught.

What each shipped variant says of an object is in bpfcompat.toml, and test_matrix.py holds it.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bpfcompat import kmods, wire
from bpfcompat.asking import Asker
from bpfcompat.config import kernel_spec, load
from bpfcompat.errors import ConditionError, GuestError
from bpfcompat.guest import Ended, run_clone
from bpfcompat.kernels.catalogue import SHIPPED, load_catalogue
from bpfcompat.kernels.modules import DEFAULT, pack
from bpfcompat.model import Answer, AttachMode
from bpfcompat.plan import Pair
from bpfcompat.realise import NotThere
from bpfcompat.rules.roots import roots
from bpfcompat.rules.session import Session, open_session
from bpfcompat.voice import Silent
from tests.guest.conftest import KERNELS, ROOT

pytestmark = pytest.mark.guest
BASE = "debian-12"
LIES: dict[str, tuple[dict[str, Any], str]] = {
    "release": ({"asserts": {"release": "5.10.*"}}, r"release: asserted '5\.10\.\*', found '6\.1\."),
    "btf": ({"asserts": {"btf": False}}, "btf: asserted no, found the kernel's"),
    "config": ({"asserts": {"config": {"CONFIG_FPROBE": "y"}}}, "asserted CONFIG_FPROBE=y, found it not set"),
    "lockdown": ({"asserts": {"lockdown": "integrity"}}, "lockdown: asserted integrity, found none"),
    "lsm": ({"asserts": {"lsm": ["bpf", "selinux"]}}, "lsm: asserted selinux, active are .*apparmor"),
    "sysctl": (
        {"asserts": {"sysctls": {"kernel.unprivileged_bpf_disabled": 0, "kernel.pid_max": 5}}},
        r"unprivileged_bpf_disabled: asserted 0, found 2; sysctl kernel\.pid_max: asserted 5, found \d+",
    ),
    "no such sysctl": ({"sysctls": {"kernel.no_such_thing": 1}}, "condition: sysctl=kernel.no_such_thing=1: No such"),
    "module": (
        {"asserts": {"modules": ["veth", "nf_conntrack"]}},
        "nf_conntrack: asserted, found neither built in nor",
    ),
    "no such module": ({"modules": ["no_such_module"]}, "no_such_module: this kernel has no such module"),
}


@pytest.fixture(scope="module")
def ours(vmlinuz: dict[str, Path]) -> Iterator[Asker]:
    """This repository's store, and kernel entries of the tests' own."""
    catalogue = load_catalogue([SHIPPED])
    tables = {f"liar {n}".replace(" ", "-"): table for n, (table, _) in LIES.items()}
    liars = {n: kernel_spec(n, {"base": BASE, **t}, ROOT, n) for n, t in tables.items()}
    config = load(ROOT)
    plain = replace(config.objects["kfunc_module"], name="undeclared", modules=())
    absent = replace(config.objects["kfunc_module"], name="absent", modules=("nf_conntrack", "not_there"))
    objects = {**config.objects, "undeclared": plain, "absent": absent}
    yield Session(config, objects, {**catalogue, **liars}, Silent()).asker


@pytest.mark.parametrize("kind", LIES)
def test_liars(kind: str, ours: Asker) -> None:
    """An entry that says what is not so fails with what was found; its pairs have no answer and store none."""
    name = f"liar {kind}".replace(" ", "-")
    for _ in range(2):
        with pytest.raises(ConditionError, match=LIES[kind][1]) as caught:
            ours.verdict(Pair("minimal", name))
        assert caught.value.message.startswith(f"kernel '{name}': ")
    assert not any(label.startswith("probe:") and label.endswith(name) for label in ours.ran)


@pytest.mark.parametrize("kernel", KERNELS)
def test_default_modules(kernel: str, ours: Asker) -> None:
    """Every default kernel loads all that attaching needs before a guest is frozen."""
    hello = ours.hello(kernel)
    assert {m["name"]: m["errno"] for m in hello["modules"]} == dict.fromkeys(DEFAULT, 0)
    assert (hello["conditions"], hello["unmet"]) == ([], [])


def test_undeclared_module(ours: Asker) -> None:
    """A kfunc in a module that nobody declared is missing, and the hint is the line that declares it."""
    found = ours.verdict(Pair("undeclared", "debian-13"))
    assert (found.answer, found.cause) == (Answer.INCOMPATIBLE, "kfunc-missing")
    assert "is in module nf_conntrack" in found.sentence and 'modules = ["nf_conntrack"]' in found.hint


def test_absent_module(ours: Asker) -> None:
    """A declared module that the kernel does not have is told beside the answer, which is the kernel's own."""
    found = ours.verdict(Pair("absent", "debian-13"))
    assert found.answer is Answer.COMPATIBLE
    assert "module not_there: this kernel has none of this name" in found.notes


def test_packs_are_kept(ours: Asker) -> None:
    """What an object declares is taken from its package once, and gc keeps it; a plain object has nothing."""
    pair = Pair("kfunc_module", "debian-13")
    assert kmods.declared(ours, pair).startswith(b"nf_defrag_ipv")
    action = kmods.packed_action(ours, pair)
    assert ours.shop.store.get(action) is not None and action.key() in roots([open_session(ROOT)]).keys
    with pytest.raises(NotThere):
        kmods.packed_action(ours, Pair("minimal", "debian-13"))


def test_homes(ours: Asker) -> None:
    """The kfunc of xdp-forward is known to live in nf_flow_table, where the kernel has it."""
    homes = {k: kmods.homes(ours, k).get("bpf_xdp_flow_lookup") for k in KERNELS}
    assert homes == {"debian-11": None, "debian-12": None, "debian-13": "nf_flow_table",
                     "debian-13-backports": "nf_flow_table"}  # fmt: skip


def test_active_lsm(ours: Asker) -> None:
    """With bpf in its lsm= list a 5.10 will call an attached LSM program; without, the note says that it will not."""
    notes = {k: ours.verdict(Pair("lsm", k)).notes for k in ("debian-11", "debian-11-bpf-lsm")}
    assert any(n.startswith("ATTACHED BUT INACTIVE") for n in notes["debian-11"])
    assert not any("INACTIVE" in n for n in notes["debian-11-bpf-lsm"])


@pytest.mark.parametrize("mode", ["integrity", "confidentiality"])
def test_lockdown_is_real(mode: str, ours: Asker) -> None:
    """A locked-down guest was read its object, and says itself that it is locked down."""
    name = {"integrity": "debian-12-lockdown", "confidentiality": "debian-12-lockdown-confidentiality"}[mode]
    hello = ours.hello(name)
    assert (hello["lockdown"], hello["conditions"]) == (mode, [f"lockdown={mode}"])
    assert all(m["errno"] == 0 for m in hello["modules"])  # signed by Debian: a locked-down kernel takes no others


@pytest.mark.parametrize("name", ["lockdown-confidentiality", "unprivileged-bpf", "nobtf"])
def test_control(name: str, ours: Asker) -> None:
    """Under conditions, too, a thawed guest and a booted one say the same, byte for byte."""
    thawed, booted = (ours.attempt(Pair("core_read", f"{BASE}-{name}"), cold) for cold in (False, True))
    assert thawed.report is not None and thawed.report == booted.report


def handed(ours: Asker, modules: bytes) -> Ended:
    """What a thawed guest says that is handed over these bytes for modules."""
    spec = wire.spec("0" * 32, AttachMode.LOAD, 10**18, "5" * 64)
    job, frozen = ours.job(BASE, b"", spec, modules=modules), ours.template(BASE).frozen
    return run_clone(ours.qemu(BASE), job, frozen, ours.limits(), wire.is_complete)


@pytest.mark.hostile
def test_hostile_module(ours: Asker) -> None:
    """Bytes that are no module, or another kernel's, are refused by the kernel and told; the guest lives."""
    other = ours.shop.store.read(kmods.entry_of(ours, "debian-11").outputs["ko/dummy"])  # type: ignore[union-attr]
    ended = handed(ours, pack([("noise", b"\x7fELF\n -"), ("other", other)], ["gone"]))
    told = {m["name"]: m["errno"] for m in wire.parse(ended.report, "0" * 32).guest["modules"]}
    assert told == {**dict.fromkeys(DEFAULT, 0), "noise": 8, "other": 8, "gone": 2}  # ENOEXEC, ENOENT


@pytest.mark.hostile
@pytest.mark.parametrize("noise", [b"veth", b"veth 9999\nx", b"veth x\n", b"\n"])
def test_damaged_pack(noise: bytes, ours: Asker) -> None:
    """A guest that cannot read what it was handed over gives no answer."""
    with pytest.raises(GuestError, match="gave up: fw_cfg: opt/bpfcompat/modules"):
        wire.parse(handed(ours, noise).report, "0" * 32)
