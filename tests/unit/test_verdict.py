"""Report in, verdict out: every cause, from what real kernels said and from what is made up here."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.labels.score import Asked
from bpfcompat import judging
from bpfcompat.behave import parse_tests
from bpfcompat.builds import Build
from bpfcompat.causes import CAUSES, Certainty, clip, deciding_lines, errno_name, helper, helper_names, reason
from bpfcompat.causespage import about
from bpfcompat.commanded import SLUGS as COMMANDED  # each is shown in test_commanded.py
from bpfcompat.declared import DeclaredReport, SettingReport, TriedReport, VariantReport
from bpfcompat.elf import ObjectFacts, ProgramFacts, clean_name, facts_from_json
from bpfcompat.errors import StoreError
from bpfcompat.model import (
    Answer,
    Attach,
    AttachMode,
    Ending,
    Fate,
    Log,
    MapReport,
    Measures,
    ProgramReport,
    ProgramVerdict,
    Report,
    Verdict,
)
from bpfcompat.rules.causespage import written
from bpfcompat.verdict import (
    CONTRADICTORY,
    SLUGS,
    _bounded,
    classify,
    refusal_of,
    verdict_from_bytes,
    verdict_from_json,
    verdict_to_json,
)
from bpfcompat.wire import report_from_json

GUEST = {"release": "5.10.0-32-cloud-amd64", "machine": "x86_64", "btf": True, "lsm": ["lockdown"], "lockdown": "none"}
FACTS = ObjectFacts("little", "EM_BPF", (ProgramFacts("xdp", "one"),), (), (), (), (), "GPL", True)
ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "verdicts"


def program(**changes: Any) -> ProgramReport:
    """A program that loaded and attached."""
    return replace(ProgramReport("one", "kprobe/vfs_read", "kprobe", True, 0, Log(""), Attach.ATTACHED), **changes)


def refused(number: int, verifier: str = "", libbpf: str = "", **changes: Any) -> ProgramReport:
    """A program that did not load."""
    said = {"log": Log(verifier), "libbpf": Log(libbpf), "attach_reason": "not loaded"}
    return program(load_errno=number, attach=Attach.NOT_ATTEMPTED, **said, **changes)


def unattached(number: int, libbpf: str = "", **changes: Any) -> ProgramReport:
    """A program that loaded and did not attach."""
    return program(attach=Attach.FAILED, attach_errno=number, libbpf=Log(libbpf), **changes)


def report(*programs: ProgramReport, guest: dict[str, Any] | None = None, maps: tuple[MapReport, ...] = ()) -> Report:
    """A report of an object whose loading as a whole ends as its first refused program does."""
    refusal = next((p for p in programs if p.load_errno and p.autoload), None)
    number, words = (refusal.load_errno, refusal.libbpf) if refusal else (0, Log(""))
    return Report({**GUEST, **(guest or {})}, 0, Log(""), number, words, programs, maps)


def unopened(number: int, words: str) -> Report:
    """A report of an object that libbpf did not open."""
    return Report(GUEST, number, Log(words), None, Log(""))


def loops(*helpers: int) -> ObjectFacts:
    """The facts of an object that calls these helpers."""
    return replace(FACTS, helpers=helpers)


FAILED = "prog 'one': BPF program load failed: -EINVAL\nprog 'one': failed to load: -EINVAL\n"
LEGACY = "elf: legacy map definitions in 'maps' section are not supported by libbpf v1.0+\n"
NO_BTF = "Error loading .BTF into kernel: -22. BTF is mandatory, can't proceed.\n"
MEMLOCK = "permission error while running as root; try raising 'ulimit -l'? current value: 64.0 KiB\n"
OWN_MAPS = "prog 'one': bad map relo against 'states' in section 'lirc_mode2/maps'\n"
NO_PROGRAM = "prog 'one': attach program FD is not set\nprog 'one': failed to prepare load attributes: -22\n"
JUMPS = "7: (15) if r1 == 0x0 goto pc+5\nThe sequence of 8193 jumps is too complex.\nprocessed 81926 insns\n"
NO_TARGET = "prog 'one': no BTF-based attach target is specified, use bpf_program__set_attach_target()\n"
NO_CALLER = """prog 'one': SEC("struct_ops") program isn't referenced anywhere, did you forget to use it?\n"""
NO_REFERENCE = "1: <invalid BPF map reference>\nBPF map 'events' is referenced but wasn't created\n"
NO_FIELD = (
    "0: <invalid CO-RE relocation>\nfailed to resolve CO-RE relocation <byte_off> [6] struct t.f (0:0 @ offset 0)\n"
)
NOT_HERE = "program of this type cannot use helper bpf_skb_store_bytes#9\n\nVerification failed: Policy\n"
NO_KPROBE = "prog 'one': failed to create kprobe 'vfs_read+0x0' perf event: -ENOENT\n"
OTHER_KFUNC = "extern (func ksym) 'scx_go': func_proto [6] incompatible with vmlinux [7]\n"
NO_KFUNC = "extern (func ksym) 'bpf_strcmp': not found in kernel or module BTFs\n"
NO_BTF_ID = "prog 'one': failed to find kernel BTF type ID of 'do_unlinkat': -ESRCH\n"
NO_MAP = "map 'events': failed to create: -EINVAL\n"
GPL_KFUNC = "cannot call kernel function from non-GPL compatible program\nprocessed 0 insns\n"
GPL = "3: (85) call bpf_trace_printk#6\ncannot call GPL-restricted function from non-GPL compatible program\n"
OLD = "number of funcs in func_info doesn't match number of subprogs\nprocessed 0 insns (limit 1000000)\n"


NEWER = "prog 'one': missing BPF prog type, check ELF section name 'tcx/ingress'\n"


def with_libbpf(version: str, *programs: ProgramReport) -> Report:
    """A report of another loader."""
    found = report(*programs)
    return replace(found, guest={**found.guest, "libbpf": version})


def sized(kind: str, entries: int) -> tuple[MapReport, ...]:
    """A map named events."""
    return (MapReport("events", kind, 4, 4, entries),)


# cause, words that the sentence must have, report, facts
MADE: list[tuple[str, str, Report, ObjectFacts | str]] = [
    ("wrong-byte-order", "big-endian", unopened(4003, ""), replace(FACTS, byte_order="big")),
    ("loader-unsupported", "section 'maps'", unopened(95, LEGACY), FACTS),
    (
        "loader-unsupported",
        "libbpf 1.1.2 knows no type for section 'tcx/ingress', libbpf 1.4 does",
        with_libbpf("1.1.2", refused(22, "", NEWER)),
        FACTS,
    ),
    ("needs-declaration", "section 'tcx/ingress'", with_libbpf("1.4.6", refused(22, "", NEWER)), FACTS),
    ("loader-unsupported", "section 'lirc_mode2/maps'", unopened(4005, OWN_MAPS), FACTS),
    ("object-malformed", "'text'", unopened(4005, OWN_MAPS.replace("lirc_mode2/maps", "text")), FACTS),
    (
        "object-malformed",
        "an empty file",
        unopened(4001, "elf: it is not a proper ELF object"),
        "elf: expected an ELF object, got an empty file",
    ),
    (
        "kernel-config-absent",
        "CONFIG_HZ",
        report(refused(2, "", "failed to open system Kconfig\n")),
        replace(FACTS, externs=("CONFIG_HZ",)),
    ),
    ("verifier-too-complex", "8193 jumps", report(refused(14, JUMPS)), FACTS),
    (
        "verifier-too-complex",
        "too large",
        report(refused(7, "BPF program is too large. Processed 1000001 insn\nprocessed 1000001 insns")),
        FACTS,
    ),
    ("guest-resources", "ENOMEM", report(refused(12, "", FAILED)), FACTS),
    ("guest-resources", "ENOMEM", report(refused(12, "", NO_MAP), maps=sized("ringbuf", 4096)), FACTS),
    (
        "guest-resources",
        "a socket has no room for a filter of this size",
        report(unattached(12, section="socket", type="socket_filter")),
        FACTS,
    ),
    ("guest-resources", "the guest ran out", report(unattached(12, section="xdp", type="xdp")), FACTS),
    (
        "needs-declaration",
        "[objects.NAME.maps.events] max_entries = 10240",
        report(refused(22, "", NO_MAP), maps=sized("hash", 0)),
        FACTS,
    ),
    (
        "needs-declaration",
        "'filter'",
        report(refused(22, "", "prog 'one': missing BPF prog type, check ELF section name 'filter'\n")),
        FACTS,
    ),
    ("needs-declaration", "replaces a function", report(refused(22, "", NO_PROGRAM, type="ext")), FACTS),
    ("needs-declaration", "no struct_ops map of the object calls it", report(refused(22, "", NO_CALLER)), FACTS),
    ("needs-declaration", "names none", report(refused(22, "", NO_TARGET, section="fentry")), FACTS),
    (
        "kernel-btf-absent",
        "own BTF",
        report(refused(3, "", "Error loading vmlinux BTF: -ESRCH\n"), guest={"btf": False}),
        FACTS,
    ),
    (
        "kernel-btf-absent",
        "hides it from the loader",
        report(
            refused(3, "", "Error loading vmlinux BTF: -ESRCH\n"), guest={"btf": False, "conditions": ["btf=hidden"]}
        ),
        FACTS,
    ),
    (
        "locked-down",
        "lockdown is integrity",
        report(refused(22, "unknown func bpf_probe_write_user#36\n"), guest={"lockdown": "integrity"}),
        FACTS,
    ),
    (
        "locked-down",
        "lockdown is confidentiality",
        report(
            refused(22, "program of this type cannot use helper bpf_probe_read_kernel#113\n"),
            guest={"lockdown": "confidentiality"},
        ),
        FACTS,
    ),
    (
        "helper-not-allowed",
        "bpf_d_path (#147)",
        report(refused(22, "4: (85) call bpf_d_path#147\nhelper call is not allowed in probe\nprocessed 5 insns\n")),
        FACTS,
    ),
    (
        "helper-not-allowed",
        "bpf_get_func_ret (#184)",
        report(refused(22, "func bpf_get_func_ret#184 supported only for fentry/fexit/fmod_ret programs\n")),
        FACTS,
    ),
    (
        "helper-not-allowed",
        "bpf_probe_read_kernel",
        report(refused(22, "unknown func bpf_probe_read_kernel#113\n"), guest={"lockdown": "integrity"}),
        FACTS,
    ),
    (
        "permission",
        "no capability, and kernel.unprivileged_bpf_disabled is 2",
        report(
            refused(1, "", FAILED),
            guest={"conditions": ["user=unprivileged"], "sysctls": {"kernel.unprivileged_bpf_disabled": 2}},
        ),
        FACTS,
    ),
    ("kfunc-missing", "bpf_strcmp", report(refused(22, "", NO_KFUNC)), FACTS),
    (
        "kfunc-missing",
        "bpf_strcmp",
        report(refused(22, "3: <invalid kfunc call>\nkfunc 'bpf_strcmp' is referenced but wasn't resolved\n")),
        FACTS,
    ),
    (
        "kfunc-missing",
        "2002000001",
        report(refused(22, "3: (85) call unknown#2002000001\ninvalid func unknown#2002000001\n")),
        FACTS,
    ),
    ("kfunc-changed", "another signature", report(refused(22, "", OTHER_KFUNC)), FACTS),
    (
        "extern-unresolved",
        "no value CONFIG_X in the configuration",
        report(refused(3, "", "extern 'CONFIG_X' (strong): not resolved\n")),
        FACTS,
    ),
    (
        "extern-unresolved",
        "no symbol runqueues in the BTF",
        report(refused(3, "", "extern (var ksym) 'runqueues': not found in kernel BTF\n")),
        FACTS,
    ),
    ("map-type-missing", "arena", report(refused(22, "", NO_MAP), maps=sized("arena", 4)), FACTS),
    ("map-type-missing", "hash", report(refused(524, "", NO_MAP), maps=sized("hash", 4)), FACTS),
    ("map-create-failed", "array", report(refused(22, "", NO_MAP), maps=sized("array", 4)), FACTS),
    ("map-create-failed", "ringbuf", report(refused(22, "", NO_MAP), maps=sized("ringbuf", 4)), FACTS),
    ("map-create-failed", "'events'", report(refused(22, NO_REFERENCE)), FACTS),
    ("core-relocation-unresolved", "struct t.f", report(refused(22, NO_FIELD)), FACTS),
    (
        "core-relocation-unresolved",
        "no match",
        report(refused(22, "0: (85) call unknown#195896080\ninvalid func unknown#195896080\n")),
        FACTS,
    ),
    (
        "core-relocation-unresolved",
        "no match",
        report(refused(22, "", "prog 'one': relo #0: field offset ambiguity: 4 != 8\n")),
        FACTS,
    ),
    ("attach-target-missing", "do_unlinkat", report(refused(3, "", NO_BTF_ID)), FACTS),
    (
        "attach-target-missing",
        "sched_ext_ops",
        report(refused(22, "", "struct_ops init_kern: struct sched_ext_ops is not found in kernel BTF\n")),
        FACTS,
    ),
    ("attach-target-missing", "'vfs_read'", report(unattached(2, NO_KPROBE)), FACTS),
    ("prog-type-missing", "netfilter", report(refused(22, "", FAILED, type="netfilter")), FACTS),
    ("config-disabled", "CONFIG_BPF_LIRC_MODE2", report(refused(22, "", FAILED, type="lirc_mode2")), FACTS),
    (
        "config-disabled",
        "since Linux 6.4, with CONFIG_NETFILTER_BPF_LINK",
        report(refused(22, "", FAILED, type="netfilter"), guest={"release": "6.4.0"}),
        FACTS,
    ),
    (
        "config-disabled",
        "since Linux 5.18, with CONFIG_FPROBE",
        report(unattached(95, "", section="kretprobe.multi/vfs_*"), guest={"release": "6.1.0-50-cloud-amd64"}),
        FACTS,
    ),
    (
        "attach-type-missing",
        "EOPNOTSUPP",
        report(unattached(95, "", section="tcx/ingress"), guest={"release": "6.12.0"}),
        FACTS,
    ),
    (
        "attach-type-missing",
        "without reading the program",
        report(
            refused(22, "processed 0 insns (limit 1000000) max_states_per_insn 0\n", FAILED, section="lsm_cgroup/x")
        ),
        FACTS,
    ),
    ("attach-type-missing", "sk_skb/verdict", report(unattached(22, section="sk_skb/verdict")), FACTS),
    ("attach-failed", "EINVAL", report(unattached(22, section="sk_skb/stream_verdict")), FACTS),
    (
        "attach-type-missing",
        "cgroup/connect_unix",
        report(refused(22, "", FAILED, type="cgroup_sock_addr", section="cgroup/connect_unix")),
        FACTS,
    ),
    (
        "attach-type-missing",
        "EOPNOTSUPP",
        report(unattached(95, "prog 'one': failed to attach: -EOPNOTSUPP\n", section="kprobe.multi/vfs_*")),
        FACTS,
    ),
    (
        "attach-type-missing",
        "EINVAL",
        report(unattached(22, "prog 'one': failed to attach: -EINVAL\n", section="kprobe.multi/vfs_*")),
        FACTS,
    ),
    (
        "attach-type-missing",
        "ENOTSUPP",
        report(unattached(524, "prog 'one': failed to attach: -ENOTSUPP\n", section="fentry/vfs_read")),
        FACTS,
    ),
    (
        "helper-missing",
        "bpf_loop (#181)",
        report(refused(22, "9: (85) call unknown#181\ninvalid func unknown#181\n")),
        FACTS,
    ),
    ("helper-missing", "bpf_loop (#181)", report(refused(22, OLD)), loops(5, 181)),
    (
        "helper-not-allowed",
        "bpf_skb_store_bytes (#9)",
        report(refused(22, "unknown func bpf_skb_store_bytes#9\n")),
        FACTS,
    ),
    ("helper-not-allowed", "bpf_skb_store_bytes (#9)", report(refused(22, NOT_HERE)), FACTS),
    (
        "kfunc-not-allowed",
        "bpf_task_release",
        report(refused(13, "calling kernel function bpf_task_release is not allowed\n")),
        FACTS,
    ),
    ("licence-refused", "'MIT'", report(refused(22, GPL)), replace(FACTS, licence="MIT")),
    ("licence-refused", "'MIT'", report(refused(22, GPL_KFUNC)), replace(FACTS, licence="MIT")),
    ("permission", "lockdown is integrity", report(refused(1, "", FAILED), guest={"lockdown": "integrity"}), FACTS),
    *(
        (cause, words, report(refused(number, f"1: (71) r1 = *(u8 *)(r1 +0)\n{words}\n")), FACTS)
        for cause, number, words in (
            ("verifier-bounds", 13, "R1 offset is outside of the packet"),
            ("verifier-bounds", 13, "invalid stack type R2 off=-4 access_size=8"),
            ("verifier-bounds", 13, "value -2147483648 makes map_value pointer be out of bounds"),
            ("verifier-null", 13, "R0 invalid mem access 'map_value_or_null'"),
            ("verifier-null", 13, "Possibly NULL pointer passed to trusted arg0"),
            ("verifier-uninit", 13, "R0 !read_ok"),
            ("verifier-uninit", 13, "invalid indirect read from stack off -8+0 size 8"),
            ("verifier-uninit", 13, "invalid read from stack R10 off -16+0 size 8"),
            ("verifier-context", 13, "invalid bpf_context access off=4096 size=4"),
            ("verifier-context", 13, "func 'vfs_read' doesn't have 5-th argument"),
            ("verifier-reference", 22, "Unreleased reference id=2 alloc_insn=5"),
            ("verifier-reference", 22, "BPF_EXIT instruction in main prog would lead to reference leak"),
            (
                "verifier-return-code",
                22,
                "At program exit the register R0 has value (0x5; 0x0) should have been in (0x0; 0x1)",
            ),
            (
                "verifier-return-code",
                22,
                "At program exit the register R0 has smin=5 smax=5 should have been in [0, 1]",
            ),
            ("verifier-sleepable", 22, "helper call might sleep in a non-sleepable prog"),
            ("verifier-sleepable", 22, "bpf_lsm_file_open is not sleepable"),
            ("verifier-loop", 22, "back-edge from insn 5 to 2"),
            ("verifier-type", 13, "R1 type=inv expected=fp, pkt, pkt_meta, map_key, map_value"),
            ("verifier-type", 13, "R2 invalid mem access 'scalar'"),
            ("verifier-type", 13, "access beyond struct list_head at off 24 size 8"),
            ("verifier-type", 13, "struct flow_offload_tuple doesn't have field at offset 50"),
            ("isa-unsupported", 22, "unknown opcode 06"),
            ("isa-unsupported", 22, "BPF_ALU uses reserved fields"),
            ("verifier-rejected", 22, "something that nobody has a row for"),
        )
    ),
    (
        "verifier-null",
        "what",
        report(refused(13, "1: (71) r1\nwhat\n\nVerification failed: Null Safety: x\n")),
        FACTS,
    ),
    ("attach-busy", "EBUSY", report(unattached(16, "failed to attach: -EBUSY\n", section="xdp")), FACTS),
    (
        "attach-not-traceable",
        "takes no fentry on 'vfs_read' (EBUSY): it is there, and compiled without a place to enter it by",
        report(unattached(16, "failed to attach: -EBUSY\n", section="fentry/vfs_read")),
        FACTS,
    ),
    ("attach-not-traceable", "do_int3", report(unattached(22, "", section="kprobe/do_int3")), FACTS),
    (
        "attach-failed",
        "EINVAL",
        report(unattached(22, "failed to attach: -EINVAL\n", section="fentry/vfs_read")),
        FACTS,
    ),
    ("btf-rejected", "own BTF", report(refused(22, "", NO_BTF)), FACTS),
    ("map-memlock", "locked memory", report(refused(1, "", MEMLOCK)), FACTS),
    (
        "attribute-unknown",
        "an attribute that it does not know, or too many instructions",
        report(refused(7, "", FAILED)),
        FACTS,
    ),
    (
        "attribute-unknown",
        "an attribute that it does not know",
        report(refused(7, "", FAILED, measures=Measures(4097))),
        FACTS,
    ),
    (
        "verifier-too-complex",
        "4097 instructions, this kernel (5.10.0-32-cloud-amd64) takes 1 to 4096",
        report(refused(7, "", FAILED, measures=Measures(4097)), guest={"conditions": ["user=unprivileged"]}),
        FACTS,
    ),
    (
        "verifier-too-complex",
        "takes 1 to 4096",
        report(refused(7, "", FAILED, measures=Measures(4097)), guest={"release": "4.19.0-27-amd64"}),
        FACTS,
    ),
    (
        "verifier-too-complex",
        "takes 1 to 1000000",
        report(refused(7, "processed 0 insns (limit 0)\n", FAILED, measures=Measures(1_000_001))),
        FACTS,
    ),
    ("unknown", "E2BIG", report(refused(7, "", "failed to load object\n")), FACTS),
    ("unknown", "EACCES", report(refused(13)), FACTS),
    (CONTRADICTORY, "'one' did not load, and yet", report(replace(refused(22), attach=Attach.ATTACHED)), FACTS),
    (
        "declaration-unfit",
        "maps.m.type = arena (EOPNOTSUPP)",
        replace(report(program()), declared=DeclaredReport((SettingReport("map", "m", "type", "arena", 95),))),
        FACTS,
    ),
    (
        "no-variant",
        "no variant of 'g'",
        replace(
            report(program()),
            declared=DeclaredReport(
                variants=(VariantReport("g", None, (TriedReport("kfunc:f", ("one",), False, 0),)),)
            ),
        ),
        FACTS,
    ),
]


@pytest.mark.parametrize(("cause", "words", "given", "facts"), MADE, ids=[f"{n}-{m[0]}" for n, m in enumerate(MADE)])
def test_made(cause: str, words: str, given: Report, facts: ObjectFacts | str) -> None:
    """Each refusal leads to its cause, in a sentence or hint that names the thing, and to that cause's answer."""
    found = classify(given, facts, AttachMode.ATTACH)
    answers = {c.slug: c.answer for c in CAUSES} | {CONTRADICTORY: Answer.INCONCLUSIVE}
    answers |= {"declaration-unfit": Answer.INCONCLUSIVE, "no-variant": Answer.INCOMPATIBLE}
    assert (found.cause, found.answer) == (cause, answers[cause])
    assert words in f"{found.sentence} {found.hint}"
    assert verdict_from_bytes(json.dumps(verdict_to_json(found)).encode()) == found


def goldens() -> list[Path]:
    """Reports of real kernels, with the answer that each must get."""
    return sorted(GOLDEN.glob("*.json"))


@pytest.mark.parametrize("path", goldens(), ids=lambda p: p.stem)
def test_golden(path: Path) -> None:
    """What a real kernel said of an example gets the answer and cause that were looked at when it was kept."""
    kept = json.loads(path.read_text())
    facts = kept["facts"] if isinstance(kept["facts"], str) else facts_from_json(kept["facts"])
    found = Asked.from_json(kept.get("asked", {})).classify(report_from_json(kept["report"]), facts)
    expect = {k: kept["expect"][k] for k in ("answer", "cause")}
    assert {"answer": str(found.answer), "cause": found.cause} == expect
    assert (found.sentence, list(found.evidence)) == (kept["sentence"], kept["evidence"])


ENDINGS = {
    "kernel-crash": Ending(Fate.CRASH, "program", "on_exit", ("Kernel panic - not syncing: x", ""), 3),
    "kernel-hang": Ending(Fate.HANG, "load", "", (), 3),
    "kernel-splat": Ending(Fate.SPLAT, "object", "", ("WARNING: CPU: 0 PID: 1 at x",), 3),
}


@pytest.mark.parametrize("cause", ENDINGS)
def test_fate(cause: str) -> None:
    """What an object does to a kernel decides, whatever its report says of errnos; the console is the evidence."""
    ending = ENDINGS[cause]
    found = classify(replace(report(), ending=ending), "unreadable", AttachMode.ATTACH)
    assert (found.answer, found.cause, found.subject) == (Answer.INCOMPATIBLE, cause, ending.program)
    assert "3 guests agree" in found.sentence
    assert found.evidence[0] in (*ending.console, "the console said nothing")
    assert verdict_from_bytes(json.dumps(verdict_to_json(found)).encode()) == found


def test_kfunc_in_a_module() -> None:
    """A kfunc that the kernel has in a module is missing all the same, and the hint is the line that declares it."""
    found = classify(report(refused(22, "", NO_KFUNC)), FACTS, AttachMode.ATTACH, homes={"bpf_strcmp": "strings"})
    assert found.cause == "kfunc-missing"
    assert "is in module strings of this kernel" in found.sentence
    assert 'modules = ["strings"]' in found.hint


HAS = Build(
    "5.10.0-32-cloud-amd64", map_types={"BPF_MAP_TYPE_HASH": 1, "BPF_MAP_TYPE_XSKMAP": 17},
    helpers={"map_lookup_elem": 1}, program_types={"BPF_PROG_TYPE_XDP": 6, "BPF_PROG_TYPE_LSM": 29},
    attach_types={"BPF_XDP": 37, "BPF_TRACE_KPROBE_MULTI": 42},
    options={"CONFIG_NET": "y"},
)  # fmt: skip
TAKEN_BACK = replace(
    HAS, helpers={**HAS.helpers, "loop": 181},
    map_types={**HAS.map_types, "BPF_MAP_TYPE_BLOOM_FILTER": 30},
    program_types={**HAS.program_types, "BPF_PROG_TYPE_SYSCALL": 31},
    attach_types={**HAS.attach_types, "BPF_TCX_INGRESS": 46},
    options={"CONFIG_NET": "y", "CONFIG_NET_XGRESS": "y"},
)  # fmt: skip
MULTI = {"section": "kprobe.multi/vfs_*", "type": "kprobe"}
PROVEN, INFERRED, GUESSED = Certainty.PROVEN, Certainty.INFERRED, Certainty.GUESSED


@pytest.mark.parametrize(
    ("given", "by_table", "by_build", "taken_back"),
    [
        (report(refused(22, "", NO_MAP), maps=sized("bloom_filter", 4)),
         ("map-type-missing", INFERRED), ("map-type-missing", PROVEN), ("map-create-failed", INFERRED)),
        (report(refused(22, "", NO_MAP), maps=sized("xskmap", 4)),
         ("map-create-failed", INFERRED), ("config-disabled", PROVEN), ("config-disabled", PROVEN)),
        (report(refused(22, "", NO_MAP), maps=sized("nobody_knows", 4)),
         ("map-create-failed", INFERRED), ("map-create-failed", INFERRED), ("map-create-failed", INFERRED)),
        (report(refused(22, "", FAILED, type="syscall", section="syscall")),
         ("prog-type-missing", INFERRED), ("prog-type-missing", PROVEN), ("attach-type-missing", GUESSED)),
        (report(refused(22, "", FAILED, type="lsm", section="lsm/file_open")),
         ("attach-type-missing", GUESSED), ("config-disabled", PROVEN), ("config-disabled", PROVEN)),
        (report(refused(22, "", FAILED, type="xdp", section="xdp.frags")),
         ("attach-type-missing", INFERRED), ("attach-type-missing", INFERRED), ("attach-type-missing", INFERRED)),
        (report(refused(22, "", FAILED, type="xdp", section="xdp.frags"), guest={"release": "6.12.1"}),
         ("attach-type-missing", GUESSED), ("attach-type-missing", GUESSED), ("attach-type-missing", GUESSED)),
        (report(unattached(22, section="tcx/ingress", type="sched_cls")),
         ("attach-type-missing", INFERRED), ("attach-type-missing", PROVEN), ("attach-type-missing", GUESSED)),
        (report(unattached(95, **MULTI)),
         ("attach-type-missing", INFERRED), ("config-disabled", PROVEN), ("config-disabled", PROVEN)),
    ],
)  # fmt: skip
def test_inventory_tells_causes_apart(given: Report, by_table: object, by_build: object, taken_back: object) -> None:
    """What a build lacks or has compiled out is proven by its inventory; releases only speak where there is none.

    A distribution's 5.10 may have what upstream has since 5.16: then its absence is no cause.
    """
    for build, expected in ((None, by_table), (HAS, by_build), (TAKEN_BACK, taken_back)):
        found = refusal_of(given, FACTS, AttachMode.ATTACH, {}, build=build)
        assert found is not None
        sure = found.finding.certainty or found.cause.certainty
        assert (found.cause.slug, sure) == expected
        says = [line for line in found.finding.evidence if line.startswith("inventory of 5.10.0-32-cloud-amd64: ")]
        assert bool(says) == (sure is PROVEN)


def test_inventory_has_the_helper() -> None:
    """A kernel that counts subprograms otherwise, and has bpf_loop by its inventory, is not said to lack it."""
    given = report(refused(22, OLD, FAILED))
    for build, cause in ((None, "helper-missing"), (HAS, "helper-missing"), (TAKEN_BACK, "verifier-rejected")):
        assert classify(given, loops(181), AttachMode.ATTACH, build=build).cause == cause


def test_inventory_decides_no_answer() -> None:
    """An object that loads and attaches is compatible, whatever an inventory lacks; only a note listens to it."""
    assert classify(report(program()), FACTS, AttachMode.ATTACH, build=HAS) == classify(
        report(program()), FACTS, AttachMode.ATTACH
    )
    given = report(program(attach=Attach.NOT_ATTEMPTED, attach_reason="no module", section="tcx/ingress"))
    told = [len(classify(given, FACTS, AttachMode.ATTACH, build=b).notes) for b in (None, HAS, TAKEN_BACK)]
    assert told == [2, 2, 1]


def test_module_that_did_not_load() -> None:
    """A kfunc whose module was to be loaded and was not is no answer; with another module's failure it is one."""
    for failed, cause in (("strings", "module-not-loaded"), ("other", "kfunc-missing")):
        asked = report(refused(22, "", NO_KFUNC), guest={"modules": [{"name": failed, "errno": 12}]})
        found = classify(asked, FACTS, AttachMode.ATTACH, homes={"bpf_strcmp": "strings"})
        assert (found.cause, found.answer is Answer.INCONCLUSIVE) == (cause, failed == "strings")


def test_modules_that_are_not_there() -> None:
    """What became of modules is told beside the answer, and changes none."""
    told = [{"name": "a", "errno": 0}, {"name": "b", "errno": 2}, {"name": "c", "errno": 8}]
    found = classify(report(program(), guest={"modules": told}), FACTS, AttachMode.ATTACH)
    assert found.answer is Answer.COMPATIBLE
    assert found.notes == ("module b: this kernel has none of this name", "module c: not loaded: ENOEXEC")


def test_fate_in_a_test() -> None:
    """A kernel that dies while a behaviour test runs is told with the test's name, and no test has passed."""
    ending = Ending(Fate.CRASH, "test", "it does", ("Kernel panic - not syncing: x",), 3)
    (test,) = parse_tests([{"name": "it does", "do": ["exec"]}], Path(), "x")
    found = classify(replace(report(program()), ending=ending), FACTS, AttachMode.ATTACH, [test])
    assert found.cause == "kernel-crash"
    assert "dies while test 'it does' runs; 3 guests agree" in found.sentence
    assert [t.outcome for t in found.tests] == ["not-attempted"]


def test_every_cause_is_shown() -> None:
    """No row of the table is without a report that leads to it."""
    shown = (
        {"module-not-loaded"}  # above: it takes an index of modules
        | set(ENDINGS)
        | set(COMMANDED)
        | {cause for cause, *_ in MADE}
        | {json.loads(p.read_text())["expect"]["cause"] for p in goldens()}
    )
    shown |= set(judging.SLUGS) | {"attach-not-attempted"}  # test_judging.py and test_required lead to these
    assert set(SLUGS) - shown == set()
    assert len(SLUGS) == len(set(SLUGS))


def test_no_line_to_declare_is_lost() -> None:
    """However many notes and maps there are, every line to add is told; of other notes the number that was left out."""
    many = tuple(MapReport(f"m{n}", "hash", 4, 4, 0) for n in range(80))
    found = classify(report(refused(22, "", NO_MAP.replace("'events'", "'m0'")), maps=many), FACTS, AttachMode.ATTACH)
    assert sum(note.startswith("declare: ") for note in found.notes) == 80
    assert _bounded(*map(str, range(53)))[-2:] == ("49", "and 3 more notes")
    assert _bounded("a") == ("a",)


def test_every_cause_is_documented() -> None:
    """docs/causes.md is what `doit causes_page` writes, with a row for each cause and for no other."""
    text = written(ROOT)
    assert (ROOT / "docs" / "causes.md").read_text() == text, "doit causes_page"
    rows = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(SLUGS)
    assert {
        f"**`{cause}`**" for cause in (json.loads(p.read_text())["expect"]["cause"] for p in goldens()) if cause
    } <= {line.split(":")[0] for line in text.splitlines()}


def test_every_cause_has_a_log_or_a_reason() -> None:
    """Of each cause what a real kernel said is kept and shown, or it is written why not; never both."""
    shown = {line[3:].split("`")[0] for line in written(ROOT).splitlines() if line.startswith("**`")}
    reasons = {row.slug for row in about() if row.none}
    assert shown & reasons == set() and shown | reasons == set(SLUGS)


def test_compatible() -> None:
    """An object that loads and whose programs attach is compatible, without a cause."""
    found = classify(report(program()), FACTS, AttachMode.ATTACH)
    assert (found.answer, found.cause, found.errno, found.notes) == (Answer.COMPATIBLE, "", "", ())
    assert found.sentence == "object: loads on this kernel (5.10.0-32-cloud-amd64); 1 of 1 programs attached"
    assert found.programs == (ProgramVerdict("one", "kprobe/vfs_read", "kprobe", True, Attach.ATTACHED),)


def test_not_attempted_is_noted() -> None:
    """What was not attached is never counted as attached, and the note gives the reason."""
    given = program(attach=Attach.NOT_ATTEMPTED, attach_reason="libbpf has no auto-attach for this section")
    found = classify(report(given), FACTS, AttachMode.ATTACH)
    assert found.answer is Answer.COMPATIBLE
    assert "0 of 1 programs attached" in found.sentence
    assert found.notes == ("attaching not attempted: program 'one': libbpf has no auto-attach for this section",)


NOT_TRIED = {"attach": Attach.NOT_ATTEMPTED, "attach_reason": "the guest has no file /usr/bin/bash"}


@pytest.mark.parametrize("mode", AttachMode)
def test_required(mode: AttachMode) -> None:
    """What was not attempted is no pass where attaching is required, and no refusal either; elsewhere it is a note."""
    found = classify(report(program(), program(name="two", **NOT_TRIED)), "unreadable", mode)
    if mode is AttachMode.LOAD:
        assert found.cause == CONTRADICTORY  # the report of another question
    elif mode is AttachMode.ATTACH:
        assert (found.answer, found.cause) == (Answer.COMPATIBLE, "")
        assert any("bash" in note for note in found.notes)
    else:
        assert (found.answer, found.cause) == (Answer.INCONCLUSIVE, "attach-not-attempted")
        assert "program 'two'" in found.sentence and "/usr/bin/bash" in found.sentence
        assert [p.cause for p in found.programs] == ["", "attach-not-attempted"]


def test_required_of_what_counts() -> None:
    """A program that is off by default or does not load is not required to attach; a failure is certain and wins."""
    optional = program(name="two", autoload=False, **NOT_TRIED)
    assert classify(report(program(), optional), "unreadable", AttachMode.REQUIRED).answer is Answer.COMPATIBLE
    both = report(program(name="two", **NOT_TRIED), unattached(2, "no such tracepoint\n", section="tp/a/b"))
    assert classify(both, "unreadable", AttachMode.REQUIRED).answer is Answer.INCOMPATIBLE
    refusal = classify(report(refused(22, "1: (85)\nnobody has a row for it\n")), "unreadable", AttachMode.REQUIRED)
    assert refusal.cause == "verifier-rejected"


def test_how_is_told() -> None:
    """A verdict says of each program how it was attached."""
    found = classify(report(program(how="link: xdp on lo, generic")), "unreadable", AttachMode.ATTACH)
    assert found.programs[0].how == "link: xdp on lo, generic"


def test_too_old_to_attach_is_loud() -> None:
    """A tcx program loads on kernels that cannot attach it; that is inferred, so it is a note and not the answer."""
    given = program(section="tcx/ingress", attach=Attach.NOT_ATTEMPTED, attach_reason="no auto-attach")
    notes = classify(report(given), FACTS, AttachMode.ATTACH).notes
    assert notes[0].startswith("LOADS, BUT WILL HARDLY ATTACH: program 'one': tcx/ingress attaches since Linux 6.6")
    newer = report(given, guest={"release": "6.12.117+deb13-cloud-amd64"})
    assert len(classify(newer, FACTS, AttachMode.ATTACH).notes) == 1


def test_inactive_lsm_is_loud() -> None:
    """An LSM program that attaches where bpf is no active LSM is compatible, and shouted about."""
    found = classify(report(program(type="lsm", section="lsm/file_open")), FACTS, AttachMode.ATTACH)
    assert found.answer is Answer.COMPATIBLE
    assert found.notes[0].startswith("ATTACHED BUT INACTIVE: program 'one'")
    active = report(program(type="lsm", section="lsm/file_open"), guest={"lsm": ["lockdown", "bpf"]})
    assert classify(active, FACTS, AttachMode.ATTACH).notes == ()


def test_load_mode() -> None:
    """When only loading was asked for, the sentence claims no more."""
    given = program(attach=Attach.NOT_ATTEMPTED, attach_reason="only loading was asked for")
    found = classify(report(given), FACTS, AttachMode.LOAD)
    assert (found.answer, found.notes) == (Answer.COMPATIBLE, ("attaching was not asked for",))


def test_optional_program() -> None:
    """A program that is not loaded by default cannot fail its object; its own answer is kept and noted."""
    optional = replace(refused(3, "", NO_BTF_ID), name="two", autoload=False)
    found = classify(report(program(), optional), FACTS, AttachMode.ATTACH)
    assert found.answer is Answer.COMPATIBLE
    assert found.programs[1].cause == "attach-target-missing"
    assert found.notes[0].startswith("optional program 'two'")


def test_one_of_many() -> None:
    """One refused program makes the object incompatible; its neighbours keep their own answers."""
    found = classify(report(program(), replace(refused(13, "bad\n"), name="two")), FACTS, AttachMode.ATTACH)
    assert (found.answer, found.cause, found.subject) == (Answer.INCOMPATIBLE, "verifier-rejected", "two")
    assert [p.cause for p in found.programs] == ["", "verifier-rejected"]


def test_whole_decides() -> None:
    """A program that loads only among its neighbours does not make the object incompatible."""
    alone = replace(report(refused(9)), load_errno=0)
    found = classify(alone, FACTS, AttachMode.ATTACH)
    assert found.answer is Answer.COMPATIBLE
    assert "program 'one' does not load alone, only with the rest of its object" in found.notes


def test_whole_fails_alone() -> None:
    """An object whose programs all load one by one and not together is incompatible by its own log."""
    given = replace(report(program()), load_errno=22, load_log=Log("map 'm': failed to create: -EINVAL\n"))
    assert classify(given, FACTS, AttachMode.ATTACH).cause == "map-create-failed"


@pytest.mark.parametrize(
    "given",
    [
        replace(report(program()), load_errno=None),
        replace(report(program()), open_errno=22),
        replace(unopened(22, ""), load_errno=0),
        report(),
        report(program(attach=Attach.FAILED)),
        report(program(attach_errno=2)),
    ],
)
def test_contradictions(given: Report) -> None:
    """A report that contradicts itself, or is silent about a program of the object, is never compatible."""
    found = classify(given, FACTS, AttachMode.ATTACH)
    assert (found.answer, found.cause) == (Answer.INCONCLUSIVE, CONTRADICTORY)


def test_attached_though_not_asked() -> None:
    """A report that claims more than it was asked for is not believed."""
    assert classify(report(program()), FACTS, AttachMode.LOAD).cause == CONTRADICTORY


def test_source_lines_do_not_speak() -> None:
    """A verifier log quotes the object's own source; what stands there cannot choose the cause."""
    log = '; x("invalid func unknown#181"); // cannot call GPL-restricted function\n1: (71) r1 = 0\nR1 is bad\n'
    found = classify(report(refused(13, log)), FACTS, AttachMode.ATTACH)
    assert (found.cause, found.sentence.endswith("R1 is bad")) == ("verifier-rejected", True)


def test_missing_helper_without_kernel_btf() -> None:
    """On a kernel without BTF a missing helper is still a missing helper."""
    log = "9: (85) call unknown#181\ninvalid func unknown#181\n"
    assert classify(report(refused(22, log), guest={"btf": False}), FACTS, AttachMode.ATTACH).cause == "helper-missing"


def test_backported_type() -> None:
    """A refusal of a type on a kernel that is new enough for it is not called a missing type."""
    given = report(refused(22, "", NO_MAP), maps=sized("arena", 4), guest={"release": "6.12.1"})
    assert classify(given, FACTS, AttachMode.ATTACH).cause == "map-create-failed"


NEW_STYLE = """\
; return packet[13] ? 2 : 1; @ unbounded.bpf.c:14
1: (71) r1 = *(u8 *)(r1 +13)
invalid access to packet, off=13 size=1, R1(id=0,off=13,r=0)

Verification failed: Memory Safety: Access outside bounds

Reason:
  The verifier cannot prove offset + access_size <= object_size. R1 is pkt;
  access_size is 1.

At:
  read_blindly @ unbounded.bpf.c:14:9
  Source context:
  >>> 14 |         return packet[13] ? 2 : 1;

Suggestion:
  Add or adjust a bounds check.

processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""


def test_deciding_lines_new() -> None:
    """From Linux 7.3 on the log ends in a block: its category, reason and place are kept, its advice is the hint."""
    assert deciding_lines(NEW_STYLE) == (
        "; return packet[13] ? 2 : 1; @ unbounded.bpf.c:14",
        "1: (71) r1 = *(u8 *)(r1 +13)",
        "invalid access to packet, off=13 size=1, R1(id=0,off=13,r=0)",
        "Verification failed: Memory Safety: Access outside bounds",
        "Reason: The verifier cannot prove offset + access_size <= object_size. R1 is pkt; access_size is 1.",
        "At: read_blindly @ unbounded.bpf.c:14:9: return packet[13] ? 2 : 1;",
    )
    found = classify(report(refused(13, NEW_STYLE)), FACTS, AttachMode.ATTACH)
    assert found.hint == "Add or adjust a bounds check."


def test_deciding_lines_old() -> None:
    """Until then the reason stands above the last line, with the instruction and source line before it."""
    log = (
        "0: R1=ctx() R10=fp0\n; x = *p;\n3: (71) r1 = *(u8 *)(r1 +0)\nR1 invalid mem access 'inv'\nprocessed 4 insns\n"
    )
    assert deciding_lines(log) == ("; x = *p;", "3: (71) r1 = *(u8 *)(r1 +0)", "R1 invalid mem access 'inv'")
    assert reason(log) == "R1 invalid mem access 'inv'"
    assert reason("") == ""


def test_addresses_are_masked() -> None:
    """Kernel addresses differ at each boot and must not be in what is signed; control characters neither."""
    assert clip("0: (18) r1 = 0xffff95bf01f45110\x1b[2J") == "0: (18) r1 = 0xADDRESS [2J"


def test_endless_log() -> None:
    """A log of a million lines is bounded in the verdict."""
    found = classify(report(refused(13, "spam spam spam\n" * 100_000)), FACTS, AttachMode.ATTACH)
    assert len(json.dumps(verdict_to_json(found))) < 10_000


def test_errno_names() -> None:
    """The kernel's name of two, the kernel's private errno, libbpf's own, none, and one that nobody knows."""
    named = [errno_name(n) for n in (22, 95, 11, 524, 4001, 4003, 0, 9999)]
    assert named == [
        "EINVAL", "EOPNOTSUPP", "EAGAIN", "ENOTSUPP", "LIBBPF_ERRNO__FORMAT", "LIBBPF_ERRNO__ENDIAN", "", "errno 9999",
    ]  # fmt: skip


def test_helper_names() -> None:
    """All 211 helpers are known by number."""
    assert sorted(helper_names()) == list(range(1, 212))
    assert (helper(181), helper(999)) == ("bpf_loop (#181)", "unknown to us (#999)")


@pytest.mark.parametrize("name", sorted(Verdict.__dataclass_fields__))
def test_bad_verdict(name: str) -> None:
    """A stored verdict with a field that is not as it must be, or without it, is refused by name."""
    good = verdict_to_json(classify(report(program()), FACTS, AttachMode.ATTACH))
    with pytest.raises(StoreError, match="verdict"):
        verdict_from_json({**good, name: 5})
    with pytest.raises(StoreError, match="exactly the fields"):
        verdict_from_json({k: v for k, v in good.items() if k != name})


def test_not_json() -> None:
    """Bytes that are no JSON are a StoreError."""
    with pytest.raises(StoreError, match="expected JSON"):
        verdict_from_bytes(b"\xff")


FORGED = (
    "legacy map definitions in 'maps' section are not supported",
    "x': missing BPF prog type, check ELF section name 'y",
    "x': relo #1: failed",
    "x\nlibbpf: prog 'one': missing BPF prog type, check ELF section name 'y'\nlibbpf: '",
    "x\nlibbpf: extern (func ksym) 'bpf_x': not found in kernel or module BTFs\n",
    "x\ncalling kernel function bpf_x is not allowed\n",
    "x': bad map relo against 'm' in section 'maps",
    "x\rlibbpf: failed to open system Kconfig",
    "x\nelf: endianness mismatch",
    "x': no BTF-based attach target is specified",
    "x\nprog 'y': attach program FD is not set\n",
    """x': SEC("struct_ops") program isn't referenced anywhere""",
    "x\nfailed to resolve CO-RE relocation <byte_off> [1] struct t.f",
    "x\nextern (func ksym) 'y': func_proto [1] incompatible with z",
    "x\nextern 'y' (strong): not resolved\n",
    "x\nmap 'y': failed to create: z",
    "x': failed to find kernel BTF type ID of 'y': -3",
    "x\ninvalid func unknown#181\n",
    "x\nunknown func bpf_loop#181\n",
    "x\ncannot call GPL-restricted function",
    "x\nBPF program is too large",
    "BTF is required, but is missing or corrupted",
    "x\nusdt: failed to find USDT support BPF maps",
    "x\nError loading .BTF into kernel: -22. BTF is mandatory, can't proceed.\n",
    "x\npermission error while running as root; try raising 'ulimit -l'",
    "x\nlibbpf: vmlinux BTF is not found",
)


@pytest.mark.parametrize("name", FORGED)
def test_no_cause_by_name(name: str) -> None:
    """Whatever an object calls its programs, the cause is the kernel's: here nobody gave one but EINVAL."""
    said = f"libbpf: prog '{name}': BPF program load failed: -EINVAL\nlibbpf: prog '{name}': failed to load: -22\n"
    own = refused(22, "", said, name=clean_name(name), section="xdp", type="xdp")
    facts = replace(FACTS, programs=(ProgramFacts("xdp", own.name),), odd=(name,))
    found = classify(report(own), facts, AttachMode.ATTACH)
    assert (found.answer, found.cause) == (Answer.INCOMPATIBLE, "object-malformed")
    assert "its name is not of letters" in found.sentence


@pytest.mark.parametrize("words", FORGED)
def test_no_cause_by_source_line(words: str) -> None:
    """A source line that holds line ends, which a verifier quotes as they are, makes no cause."""
    end = "R1 type=ctx expected=fp\nprocessed 3 insns (limit 1000000)\n"
    log = f"0: (b7) r0 = 0\n; x\n{words}\n1: (85) call bpf_map_lookup_elem#1\n{end}"
    facts = replace(FACTS, odd=(f"x\n{words}",))
    found = classify(report(refused(22, log, FAILED), guest={"btf": False}), facts, AttachMode.ATTACH)
    assert found.cause == "verifier-type"


@pytest.mark.parametrize("name", ["pass_all", "fifteen_letters$", "a.b"])
def test_name_that_the_kernel_takes(name: str) -> None:
    """Letters, digits, _ and . are taken, and what is behind a name's first fifteen characters is not handed over."""
    own = refused(22, "", FAILED.replace("one", name), name=name, section="xdp", type="xdp")
    facts = replace(FACTS, programs=(ProgramFacts("xdp", name),))
    assert classify(report(own), facts, AttachMode.ATTACH).cause != "object-malformed"


def test_searches_are_bounded() -> None:
    """No search of a log begins with anything, or takes a name of any length: two of these in a row take forever."""
    source = (ROOT / "bpfcompat" / "causes.py").read_text()
    assert re.findall(r"""r"\^\.\*|'\(\.\*\)'""", source) == []


@pytest.mark.parametrize(
    ("section", "target"),
    [("tp_btf", "sched_switch"), ("?iter.s", "task"), ("lsm.s", "file_open"), ("fexit", "vfs_read")],
)
def test_target_of_a_family(section: str, target: str) -> None:
    """The target that is proposed for a section without one is of the section's own family."""
    own = refused(22, "", NO_TARGET, section=section, type="tracing")
    found = classify(report(own), FACTS, AttachMode.ATTACH)
    assert f'target = "{target}"' in found.hint and any(f'target = "{target}"' in note for note in found.notes)


def test_relocations_that_were_not_told() -> None:
    """Relocations that found no room in the report are told by their absence."""
    given = replace(report(program()), relocations_cut=True)
    notes = classify(given, FACTS, AttachMode.ATTACH).notes
    assert "there are more CO-RE relocations than could be told: 0 are" in notes


@pytest.mark.parametrize(
    ("kind", "options", "cause"),
    [
        ("kprobe", {"CONFIG_NET": "y"}, "config-disabled"),
        ("kprobe", {"CONFIG_BPF_KPROBE_OVERRIDE": "y"}, "helper-not-allowed"),
        ("kprobe", None, "helper-not-allowed"),
        ("xdp", {"CONFIG_NET": "y"}, "helper-not-allowed"),
    ],
)
def test_helper_behind_an_option(kind: str, options: dict[str, str] | None, cause: str) -> None:
    """A helper that a type gets with an option only is compiled out where it is off, and not given to other types."""
    build = replace(HAS, helpers={"override_return": 58}, options=options)
    log = "1: (85) call bpf_override_return#58\nunknown func bpf_override_return#58\nprocessed 2 insns\n"
    given = report(refused(22, log, FAILED, type=kind))
    found = classify(given, FACTS, AttachMode.ATTACH, build=build)
    assert found.cause == cause
    assert ("CONFIG_BPF_KPROBE_OVERRIDE" in found.sentence + found.hint) is (cause == "config-disabled")


def under(release: str) -> dict[str, Any]:
    """A guest of this release whose loader has no capability."""
    return {"release": release, "conditions": ["user=unprivileged"]}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (report(refused(1, "", "failed"), guest=under("5.10.0")), "give its loader CAP_BPF, and CAP_PERFMON to trace"),
        (report(refused(1, "", "failed"), guest=under("5.4.0")), "give its loader CAP_SYS_ADMIN"),
        (report(refused(1, "", "failed")), "look at lockdown, LSM policy"),
        (
            report(refused(22, "unknown func bpf_probe_write_user#36\n"), guest={"lockdown": "integrity"}),
            "locked-down kernels; no other does that",
        ),
        (
            report(refused(22, "unknown func bpf_probe_read#4\n"), guest={"lockdown": "confidentiality"}),
            "locked-down kernels; a program of type tracing reads",
        ),
    ],
)
def test_what_is_not_permitted_is_advised_for(given: Report, says: str) -> None:
    """Who has no capability is told which; on a locked-down kernel reading has another way, and writing has none."""
    assert says in classify(given, FACTS, AttachMode.ATTACH).hint
