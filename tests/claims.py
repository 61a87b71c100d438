"""Claims, keys and whole registries for tests of statements and registries."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bpfcompat.digest import digest_bytes
from bpfcompat.keys import LogPrivateKey, PrivateKey
from bpfcompat.manifest import Row, row_of
from bpfcompat.model import Answer, Attach, Expectation, ProgramVerdict, Verdict
from bpfcompat.note import NoteKey
from bpfcompat.policy import Policy, VerdictKey
from bpfcompat.registry.log import LogSigner
from bpfcompat.registry.publish import Item, Published, publish
from bpfcompat.statement import Claim

NOW = 1_800_000_000
KEY: PrivateKey = ec.generate_private_key(ec.SECP256R1())
OTHER: PrivateKey = ec.generate_private_key(ec.SECP256R1())
ORIGIN = "log.bpfcompat.test"
LOG_KEY: LogPrivateKey = Ed25519PrivateKey.generate()
LOG = NoteKey(ORIGIN, LOG_KEY.public_key())
POLICY = Policy((VerdictKey(KEY.public_key()),), log=(LOG,))
OBJECT = b"\x7fELF an object"
VMLINUZ = b"a kernel"
GOOD = Verdict(
    Answer.COMPATIBLE,
    "",
    "every program loads and attaches",
    programs=(ProgramVerdict("count", "tracepoint/syscalls/sys_enter_openat", "tracepoint", True, Attach.ATTACHED),),
)
BAD = Verdict(
    Answer.INCOMPATIBLE,
    "helper-missing",
    "program 'emit' calls bpf_ringbuf_output, which this kernel does not have",
    evidence=("12: (85) call bpf_ringbuf_output#130", "invalid func bpf_ringbuf_output#130"),
    errno="EINVAL",
    hint="use a perf buffer on kernels before 5.8",
    subject="bpf_ringbuf_output",
    notes=("kernel has BTF",),
    programs=(
        ProgramVerdict("emit", "kprobe/do_exit", "kprobe", False, Attach.NOT_ATTEMPTED, "helper-missing", "no 130"),
        ProgramVerdict("count", "tp/sched/sched_switch", "tracepoint", True, Attach.ATTACHED),
    ),
)


def claim(**changes: Any) -> Claim:
    """A claim about OBJECT on VMLINUZ, with these fields changed; its report is REPORT of its verdict."""
    made = Claim(
        object_name="ringbuf",
        object_digest=digest_bytes(OBJECT),
        kernel_name="debian-12",
        kernel_release="6.1.0-30-cloud-amd64",
        kernel_arch="x86_64",
        vmlinuz=digest_bytes(VMLINUZ),
        config=digest_bytes(b"CONFIG_BPF=y"),
        validator=digest_bytes(b"validator"),
        libbpf_version="1.5.0",
        libbpf_source=digest_bytes(b"libbpf"),
        initramfs=digest_bytes(b"cpio"),
        command_line="console=ttyS0 panic=-1",
        machine={"machine": "q35", "cpu": "max", "memory_mb": 256},
        spec={"attach": "attach", "variants": ["plain"]},
        report="",
        classifier="3",
        verdict=GOOD,
    )
    made = replace(made, **changes)
    return made if made.report else replace(made, report=digest_bytes(report(made)))


def report(made: Claim) -> bytes:
    """The report that a claim of `claim()` rests on."""
    return b'{"report":"%s"}' % str(made.verdict.answer).encode()


def item(made: Claim) -> Item:
    """A claim and its report."""
    return Item(made, report(made))


def row(made: Claim, expected: str | None = None, required: bool = True) -> Row:
    """A claim as a row that expects what it got, or the given answer."""
    answer = Answer(expected) if expected else made.verdict.answer
    return row_of(made, Expectation(answer), required)


def two_claims() -> tuple[Claim, Claim]:
    """The same object on two kernels: compatible on one, incompatible on the other."""
    old = claim(kernel_name="debian-10", kernel_release="4.19.0", vmlinuz=digest_bytes(b"old kernel"), verdict=BAD)
    return claim(), old


def signer(folder: Path, key: LogPrivateKey = LOG_KEY, origin: str = ORIGIN) -> LogSigner:
    """The log's key, whose records lie beside the registry in this folder."""
    return LogSigner(key, folder.parent / f"{folder.name}.records", origin)


def registry(folder: Path, *made: Claim, key: PrivateKey = KEY, now: int = NOW) -> Published:
    """Publish claims, as expected, into a folder; two_claims() when none are given."""
    claims = made or two_claims()
    return put(folder, [item(c) for c in claims], [row(c) for c in claims], key, now=now)


def put(folder: Path, items: Sequence[Item], rows: Sequence[Row], key: PrivateKey = KEY, **more: Any) -> Published:
    """Publish with LOG_KEY."""
    return publish(folder, items, rows, key, **{"log": signer(folder), "now": NOW, **more})


def explanation(text: str = "") -> dict[str, Any]:
    """The JSON of an explanation; with `text`, a stranger's words wherever there can be some."""
    passed = {"kernel": text or "debian-12", "release": text or "6.1.0", "answer": "compatible", "cause": ""}
    refused = {**passed, "kernel": text or "debian-11", "answer": "incompatible", "cause": text or "x"}
    subject = {"program": text or "emit", "section": text or "kprobe/do_exit", "map": "", "helper": text or "bpf_loop"}
    lines = [{"number": 7, "text": text or "invalid func bpf_loop#181"}, {"number": None, "text": text}]
    return {
        "subject": subject,
        "confidence": "proven",
        "because": text or "its own words",
        "since": text or "5.17",
        "since_source": text or "uapi",
        "on_this_kernel": [text or "absent: bpf_loop"],
        "source": {"file": text or "probe.bpf.c", "line": 14, "text": text or "bpf_loop(4, f, 0, 0);",
                   "function": text or "emit", "instruction": 3},
        "nearest_pass": {"oldest": passed, "newest": passed, "flips": [[refused, passed]], "asked": 4},
        "evidence": {"log": text or "verifier", "digest": "sha256:" + "0" * 64, "errno": text or "EINVAL",
                     "lines": lines},
        "fix": [text or "use a bounded loop"],
        "reproduce": text or "doit forget probe:x@k && doit probe:x@k",
    }  # fmt: skip
