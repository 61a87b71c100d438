"""What tests ask of the machine they run on: a Python that sees this tree, and a small file system of their own."""

import ctypes
import errno
import os
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent
NO_SKIP = "BPFCOMPAT_NO_SKIP"  # .ci/run sets it: what others wrote to judge us is there, or that is a failure


def cannot(reason: str) -> NoReturn:
    """End a test whose verifier is not to be had: for a person it is skipped, for CI a failure."""
    if os.environ.get(NO_SKIP):
        pytest.fail(f"{reason}, and {NO_SKIP} is set")
    pytest.skip(reason)


def beyond(reason: str) -> NoReturn:
    """Skip a test, in CI too: a machine forbids what it asks for, or an archive does not hand it out."""
    pytest.skip(reason)


def needs(*tools: str, also: Iterable[str] = ()) -> pytest.MarkDecorator:
    """The same for tests that ask these programs, and for what else is absent by name; CI runs them all the same."""
    absent = [*(tool for tool in tools if shutil.which(tool) is None), *also]
    return pytest.mark.skipif(bool(absent) and not os.environ.get(NO_SKIP), reason=f"absent: {', '.join(absent)}")


def child_python() -> dict[str, str]:
    """The environment of a Python child that imports this very tree."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    """A file system in memory with these mount options; skips where this user may not mount."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root, to mount a small file system")
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def remount_read_only(folder: Path) -> None:
    """Make a file system of `tmpfs` read-only, root included."""
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)


@contextmanager
def network_fs(folder: Path, kind: str) -> Iterator[Path]:
    """An empty FUSE file system that calls itself `fuse.<kind>`, served by a thread; skips where there is no FUSE."""
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("needs root and /dev/fuse")
    folder.mkdir()
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fd},rootmode=40755,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"there:/x", os.fsencode(folder), f"fuse.{kind}".encode(), 0, options.encode()):
        os.close(fd)
        pytest.skip(f"mounting is not allowed here: {os.strerror(ctypes.get_errno())}")
    server = threading.Thread(target=_serve_nothing, args=(fd,), daemon=True)
    server.start()
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
        server.join()
        os.close(fd)


def _serve_nothing(fd: int) -> None:
    """Answer the kernel (linux/fuse.h): a root folder, nothing in it, and no other operation."""
    init = struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 0, 0, 1 << 16, 1, 0, 0, 0)
    root = struct.pack("<QII6Q10I", 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)[:104]
    answers = {26: (0, init), 3: (0, root), 1: (-errno.ENOENT, b"")}
    while True:
        try:
            request = os.read(fd, 1 << 17)
        except OSError:  # unmounted
            return
        _, opcode, unique = struct.unpack_from("<IIQ", request)
        if opcode in (2, 36, 42):  # forget and interrupt want no answer
            continue
        error, body = answers.get(opcode, (-errno.ENOSYS, b""))
        os.write(fd, struct.pack("<IiQ", 16 + len(body), error, unique) + body)
