"""Compressed copies beside the files that are worth it, made when publishing, so that no request costs compression.

A copy has its original's name with `.gz` behind it, and exactly its time of change: a copy with another time was made
of other bytes, and our server does not use it.  So a kill between any two writes costs a copy, never the truth.
"""

import contextlib
import gzip
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from bpfcompat.files import read_bounded, write_atomic
from bpfcompat.registry.layout import MAX_EVIDENCE_BYTES, SERVED, TWIN

# Not evidence and inventories, which programs read, without an encoding, to hash them; nor what is small or random.
FOLDERS = ("", "pair", "kernel", "manifests", "packs")
SMALLEST = 14 << 10  # what is smaller leaves in the first flight of a connection anyway
TICK_NS = 20_000_000  # a file system's clock may stand still for so long


def refresh(registry: Path) -> int:
    """Make the copies that are missing or of older bytes, remove those without an original; how many were made.

    The caller holds the registry's lock.  StoreError when a file cannot be read or written.
    """
    made = 0
    for folder in FOLDERS:
        found = dict(_files(registry / folder))
        for name, info in found.items():
            path = registry / folder / name
            if name.endswith(TWIN):
                if name.removesuffix(TWIN) not in found:
                    path.unlink(missing_ok=True)
            elif SMALLEST <= info.st_size <= MAX_EVIDENCE_BYTES and SERVED.fullmatch(
                f"{folder}/{name}".removeprefix("/")
            ):
                made += _make(path, info, found.get(name + TWIN))
    return made


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            info = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(info.st_mode) and not entry.name.startswith("."):
                yield entry.name, info


def _make(path: Path, info: os.stat_result, twin: os.stat_result | None) -> bool:
    """Write a file's copy, unless there is one of these very bytes, or none would be smaller."""
    if twin is not None and twin.st_mtime_ns == info.st_mtime_ns:
        return False
    age_ns = time.time_ns() - info.st_mtime_ns
    if 0 <= age_ns < TICK_NS:
        time.sleep((TICK_NS - age_ns) / 1e9)  # so that the next file of this name gets another time
    copy = path.with_name(path.name + TWIN)
    data = gzip.compress(read_bounded(path, MAX_EVIDENCE_BYTES, follow=False), 6, mtime=0)
    if len(data) >= info.st_size:
        copy.unlink(missing_ok=True)
        return False
    write_atomic(copy, data)
    os.utime(copy, ns=(info.st_mtime_ns, info.st_mtime_ns))
    return True
