"""A verdict and an inventory that cannot both be right are found, and those that can are left alone."""

from dataclasses import replace
from typing import Any

import pytest

from bpfcompat.builds import Build
from bpfcompat.contradictions import Around, Said, contradictions
from bpfcompat.elf import ObjectFacts
from bpfcompat.model import Attach, AttachMode, Creation, Log, MapReport, ProgramReport, Report
from bpfcompat.verdict import refusals

BUILD = Build(
    "6.1.0-x", helpers={"loop": 181}, map_types={"BPF_MAP_TYPE_HASH": 1, "BPF_MAP_TYPE_XSKMAP": 17},
    program_types={"BPF_PROG_TYPE_XDP": 6, "BPF_PROG_TYPE_LIRC_MODE2": 24}, kfuncs={"bpf_a": frozenset()}, options={},
    attach_types={"BPF_CGROUP_INET_INGRESS": 0, "BPF_XDP": 37, "BPF_TRACE_KPROBE_MULTI": 42},
)  # fmt: skip


SECTIONS = {"kprobe.multi/f": "BPF_TRACE_KPROBE_MULTI", "tcx/ingress": "BPF_TCX_INGRESS", "xdp.frags": "BPF_XDP",
            "xdp": "BPF_XDP", "struct_ops.s/f": "BPF_CGROUP_INET_INGRESS"}  # fmt: skip
AROUND = Around({"bpf_ct": "nf"}, lambda section: SECTIONS.get(section, ""))


def found(cause: str, subject: str, **more: Any) -> list[str]:
    report = Report({"release": more.pop("release", "6.1.0-x")}, 0, Log(""), 0, Log(""), **more)
    return contradictions(BUILD, [Said("", cause, subject)], report, AROUND)


@pytest.mark.parametrize(
    ("cause", "subject", "said"),
    [
        ("helper-missing", "bpf_loop", ["helper-missing: the build has loop"]),
        ("helper-missing", "bpf_new", []),
        ("helper-not-allowed", "bpf_new", ["helper-not-allowed: the build has no new"]),
        ("helper-not-allowed", "bpf_loop", []),
        ("prog-type-missing", "lirc_mode2", []),
        ("config-disabled", "lirc_mode2", []),
        ("config-disabled", "kprobe.multi/f", []),
        ("config-disabled", "bpf_override_return", []),
        ("config-disabled", "bpf_loop", ["config-disabled: no option of the build switches loop off"]),
        ("config-disabled", "xdp.frags", ["config-disabled: no option of the build switches BPF_XDP off"]),
        ("kfunc-missing", "bpf_a", ["kfunc-missing: the build has bpf_a"]),
        ("kfunc-missing", "bpf_ct", []),
        ("kfunc-not-allowed", "bpf_ct", []),
        ("kfunc-not-allowed", "bpf_z", ["kfunc-not-allowed: the build has no bpf_z"]),
        ("verifier-rejected", "loop", []),
        ("attach-type-missing", "xdp", ["attach-type-missing: the build has BPF_XDP"]),
        ("attach-type-missing", "xdp.frags", ["attach-type-missing: the build has BPF_XDP"]),
        ("attach-type-missing", "struct_ops.s/f", []),
        ("attach-type-missing", "kprobe.multi/f", []),
        ("attach-type-missing", "tcx/ingress", []),
    ],
)
def test_causes(cause: str, subject: str, said: list[str]) -> None:
    """What is missing must not be there, what is refused to a caller must be, and what is compiled out is missing."""
    assert found(cause, subject) == said


def test_types() -> None:
    """What was created or loaded is of a type that the build has, not compiled out; a map stands for its type."""
    maps = (MapReport("m", "arena", 4, 4, 1, Creation.CREATED), MapReport("n", "hash", 4, 4, 1, Creation.CREATED),
            MapReport("x", "xskmap", 4, 4, 1, Creation.CREATED))  # fmt: skip
    program = ProgramReport("p", "netfilter", "netfilter", True, 0, Log(""), Attach.NOT_ATTEMPTED)
    assert found("", "", maps=maps, programs=(program,)) == [
        "BPF_MAP_TYPE_ARENA works there, and the build has no such type",
        "BPF_MAP_TYPE_XSKMAP works there, and CONFIG_XDP_SOCKETS is not set",
        "BPF_PROG_TYPE_NETFILTER works there, and the build has no such type",
    ]
    refused = MapReport("n", "hash", 4, 4, 1, Creation.FAILED)
    assert found("map-type-missing", "n", maps=(refused,)) == ["map-type-missing: the build has BPF_MAP_TYPE_HASH"]


def test_compiled_out_map() -> None:
    """A map type that is said to be compiled out is held against its own option."""
    maps = (MapReport("m", "xskmap", 4, 4, 1), MapReport("n", "hash", 4, 4, 1))
    assert found("config-disabled", "m", maps=maps) == []
    assert found("config-disabled", "n", maps=maps) == [
        "config-disabled: no option of the build switches BPF_MAP_TYPE_HASH off"
    ]


def test_each_program_and_map() -> None:
    """Every program and map that was refused makes a claim of its own, and each is held; one line a contradiction."""
    gone = "9: (85) call unknown#181\ninvalid func unknown#181\n"
    programs = tuple(
        ProgramReport(name, "xdp", "xdp", True, 22, Log(gone), Attach.NOT_ATTEMPTED) for name in ("one", "two")
    )
    maps = (MapReport("m", "arena", 4, 4, 1, Creation.FAILED, 22, "", Log("map 'm': failed to create: -EINVAL\n")),)
    report = Report({"release": "6.1.0-x"}, 0, Log(""), 22, Log(""), programs, maps)
    facts = ObjectFacts("little", "EM_BPF", (), (), (), (), (181,), "GPL", True)
    said = [
        Said(who, refusal.cause.slug, refusal.finding.subject)
        for who, refusal in refusals(report, facts, AttachMode.ATTACH, {})
    ]
    assert [(s.who, s.cause, s.subject) for s in said] == [
        ("", "helper-missing", "bpf_loop"),
        ("program 'one'", "helper-missing", "bpf_loop"),
        ("program 'two'", "helper-missing", "bpf_loop"),
        ("map 'm'", "map-type-missing", "m"),
    ]
    has = replace(BUILD, map_types={**BUILD.map_types, "BPF_MAP_TYPE_ARENA": 33})
    assert contradictions(has, said + said, report, AROUND) == [
        "helper-missing: the build has loop",
        "program 'one': helper-missing: the build has loop",
        "program 'two': helper-missing: the build has loop",
        "map 'm': map-type-missing: the build has BPF_MAP_TYPE_ARENA",
    ]


def test_attached() -> None:
    """A program that attached did so by a type that is not compiled out."""
    program = ProgramReport("p", "kprobe.multi/f", "kprobe", True, 13, Log(""), Attach.ATTACHED)
    assert found("", "", programs=(program,)) == ["p attaches as BPF_TRACE_KPROBE_MULTI, and CONFIG_FPROBE is not set"]


def test_release() -> None:
    """An inventory of another build is told."""
    assert found("", "", release="6.2.0") == ["the guest is 6.2.0, the inventory is of 6.1.0-x"]
