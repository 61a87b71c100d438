"""Registries of any size, made by the publisher's own code where that is measured, and by hand where it is not."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.measure import Row
from bpfcompat.digest import digest_bytes
from bpfcompat.keys import PrivateKey
from bpfcompat.manifest import row_of
from bpfcompat.model import Answer, Attach, Expectation, ProgramVerdict, Verdict
from bpfcompat.note import NoteKey
from bpfcompat.policy import Policy, VerdictKey
from bpfcompat.registry.fsck import Found, fsck
from bpfcompat.registry.log import LogSigner
from bpfcompat.registry.publish import Item, publish
from bpfcompat.statement import Claim

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
def place(memory: bool = False) -> Iterator[Path]:
    """A folder on this disk, or in memory where there is such a place, for a registry; it goes afterwards."""
    shm = Path("/dev/shm")
    base = Path(tempfile.mkdtemp(prefix="bench-", dir=shm if memory and shm.is_dir() else Path.cwd() / ".bpfcompat"))
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
    """`bpfcompat fsck` of many verdicts in memory, all files read; and the same after some damage."""
    count = 3000 if quick else 100_000
    with place(memory=True) as folder:
        for first in range(0, count, 5000):  # each with a matrix of a row: what is looked at is the log
            put(folder, items(min(first + 5000, count), first), 1)
        seconds, spent, found = _checked(folder)
        assert not found.problems, found.problems[:3]
        yield Row(f"fsck-{count}", (seconds,), note=f"{found.files} files, {spent:.1f} s of CPU by all processes")
        damaged = _damaged(folder)
        seconds, _, found = _checked(folder)
    said = "\n".join(found.problems)
    assert all(name in said for name in damaged) and len(found.problems) <= 2 * len(damaged), said[:2000]
    yield Row(f"fsck-{count}: damage", (seconds,), note=f"{len(damaged)} damaged files, all named")


def _checked(folder: Path) -> tuple[float, float, Found]:
    """Seconds of a check, seconds of CPU that it and its helpers spent, and what it found."""
    start, began = time.perf_counter(), os.times()
    found = fsck(folder)
    spent = sum(os.times()[:4]) - sum(began[:4])
    return time.perf_counter() - start, spent, found


def _damaged(folder: Path) -> list[str]:
    """A changed byte in a bundle, a tile and a report, a bundle that is gone, and a file that belongs nowhere."""
    bundles = sorted((folder / "bundles").iterdir())
    changed = [bundles[1], folder / "tile/0/001", next((folder / "evidence").iterdir())]
    for path in changed:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    bundles[2].unlink()
    stray = folder / "tile/stray"
    stray.touch()
    return [str(path.relative_to(folder)) for path in (*changed, bundles[2], stray)]
