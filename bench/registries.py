"""Registries of any size, made by the publisher's own code where that is measured, and by hand where it is not."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.measure import Row
from bpfcompat import envelope
from bpfcompat.digest import digest_bytes
from bpfcompat.keys import PrivateKey
from bpfcompat.manifest import row_of
from bpfcompat.model import Answer, Attach, Expectation, ProgramVerdict, Verdict
from bpfcompat.note import NoteKey
from bpfcompat.policy import Policy, VerdictKey
from bpfcompat.registry.fsck import fsck
from bpfcompat.registry.log import LogSigner
from bpfcompat.registry.publish import Item, publish
from bpfcompat.registry.verify import Trust
from bpfcompat.statement import Claim, verdict_payload

KEY: PrivateKey = ec.generate_private_key(ec.SECP256R1())
LOG_KEY = Ed25519PrivateKey.generate()
ORIGIN = "bench.invalid"
NOW = int(time.time())
POLICY = Policy((VerdictKey(KEY.public_key()),), log=(NoteKey(ORIGIN, LOG_KEY.public_key()),))
GOOD = Verdict(
    Answer.COMPATIBLE, "", "every program loads and attaches",
    programs=tuple(
        ProgramVerdict(f"count_{n}", f"tracepoint/syscalls/sys_enter_{n}", "tracepoint", True, Attach.ATTACHED)
        for n in range(2)
    ),
)  # fmt: skip
CLAIM = Claim(
    "object", digest_bytes(b"object"), "kernel", "6.1.0-30-cloud-amd64", "x86_64", digest_bytes(b"kernel"),
    digest_bytes(b"CONFIG_BPF=y"), digest_bytes(b"validator"), "1.5.0", digest_bytes(b"libbpf"), digest_bytes(b"cpio"),
    "console=ttyS0 panic=-1", {"machine": "q35", "cpu": "max", "memory_mb": 256},
    {"attach": "attach", "variants": ["plain"]}, "", "3", GOOD,
)  # fmt: skip


def items(count: int, first: int = 0) -> list[Item]:
    """Verdicts from one number up to another: objects on a hundred kernels, each with its own report of some kB."""
    made = []
    for n in range(first, count):
        report = b'{"report":%d,"log":"%b"}' % (n, b"verifier says " * 200)
        named = {
            "object_name": f"o{n // 100}",
            "kernel_name": f"k{n % 100}",
            "vmlinuz": digest_bytes(b"k%d" % (n % 100)),
        }
        claim = replace(CLAIM, **named, object_digest=digest_bytes(b"o%d" % (n // 100)), report=digest_bytes(report))
        made.append(Item(claim, report))
    return made


def put(folder: Path, made: list[Item], shown: int | None = None) -> float:
    """Publish them all, and as a matrix the first ones or all; the seconds it took."""
    rows = [row_of(item.claim, Expectation(item.claim.verdict.answer)) for item in made[:shown]]
    signer = LogSigner(LOG_KEY, folder.with_name("records"), ORIGIN)
    start = time.perf_counter()
    publish(folder, made, rows, KEY, log=signer, now=NOW)
    return time.perf_counter() - start


@contextmanager
def place() -> Iterator[Path]:
    """A folder on this disk for a registry, which goes afterwards."""
    base = Path(tempfile.mkdtemp(prefix="bench-", dir=Path.cwd() / ".bpfcompat"))
    try:
        yield base / "registry"
    finally:
        shutil.rmtree(base)


def publishing(quick: bool) -> Iterator[Row]:
    """A thousand verdicts into a new registry, and the same again."""
    made = items(1000)
    first, again = [], []
    for _ in range(1 if quick else 5):
        with place() as folder:
            first.append(put(folder, made))
            again.append(put(folder, made))
    yield Row("publish-1000", tuple(first), note="1,000 new verdicts: evidence, log, bundles, indexes, matrix, pages")
    yield Row("publish-1000: again", tuple(again), note="the same, with nothing new")


def checking(quick: bool) -> Iterator[Row]:
    """`bpfcompat fsck` of many verdicts, all files read."""
    count = 1000 if quick else 100_000
    with place() as folder:
        for first in range(0, count, 5000):  # each with a matrix of a row: what is looked at is the log
            put(folder, items(min(first + 5000, count), first), 1)
        start, began = time.perf_counter(), time.process_time()
        found = fsck(folder)
        seconds, spent = time.perf_counter() - start, time.process_time() - began
    assert not found.problems, found.problems[:3]
    yield Row(f"fsck-{count}", (seconds,), note=f"{found.files} files, {spent:.1f} s of CPU")


def verifying(quick: bool) -> Iterator[Row]:
    """Strict verification of one verdict after the other, beside the signature alone; of distinct bundles."""
    made = items(200 if quick else 2000)
    with place() as folder:
        put(folder, made)
        digests = [envelope.pae_digest(verdict_payload(item.claim)) for item in made]
        data = [(folder / f"bundles/{digest[7:]}.json").read_bytes() for digest in digests]
    signed = [envelope.parse(one) for one in data]
    key, algorithm = KEY.public_key(), ec.ECDSA(hashes.SHA256())
    bytes_of = [envelope.pae(one.payload) for one in signed]
    raw = _each(lambda n: key.verify(signed[n].signature, bytes_of[n], algorithm), len(made))
    yield Row(
        "verify: signature", (raw,), note="ECDSA P-256 alone, by the library that we use; seconds of CPU for each"
    )
    trust = Trust(POLICY, NOW)
    whole = _each(lambda n: trust.claim(data[n], digests[n]), len(made))
    yield Row(
        "verify: verdict", (whole,), whole / raw, f"strict, with its place in the log: {raw / whole:.0%} of the limit"
    )
    plain = Trust(Policy.of_keys([key]), NOW)
    bare = [envelope.bundle_bytes(replace(one, entry=None)) for one in signed]
    whole = _each(lambda n: plain.claim(bare[n], digests[n]), len(made))
    yield Row(
        "verify: no log", (whole,), whole / raw, f"strict, a bundle without a log entry: {raw / whole:.0%} of the limit"
    )


def _each(call: Callable[[int], object], count: int) -> float:
    """CPU seconds of a call, the least of three rounds, so that others' load is not measured."""
    least = []
    for _ in range(3):
        start = time.process_time()
        for n in range(count):
            call(n)
        least.append((time.process_time() - start) / count)
    return min(least)
