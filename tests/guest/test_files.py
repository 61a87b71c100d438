"""Files beside the object in real guests: they arrive in time, change no answer, and a bad archive is no verdict."""

import secrets
import time
from dataclasses import replace

import pytest

from bpfcompat import wire
from bpfcompat.asking import Asker
from bpfcompat.errors import GuestError
from bpfcompat.guest import Ended, run_clone, run_cold
from bpfcompat.guestfiles import GuestFile, archive
from bpfcompat.model import AttachMode, Report
from bpfcompat.plan import Pair

pytestmark = pytest.mark.guest

PAIR = Pair("ringbuf", "debian-12")


def ask(asker: Asker, files: bytes | None, kernel: str = PAIR.kernel, cold: bool = False) -> tuple[Report, Ended]:
    """One guest with these files beside the object; GuestError when its report is none."""
    nonce = secrets.token_hex(16)
    spec = wire.spec(nonce, AttachMode.ATTACH, time.time_ns(), secrets.token_hex(32))
    job = asker.job(kernel, asker.shop.store.checked(asker.object(PAIR.object)), spec)
    job = replace(job, files=files)
    if cold:
        ended = run_cold(asker.qemu(kernel), job, asker.limits(), wire.is_complete)
    else:
        frozen = asker.template(kernel).frozen
        ended = run_clone(asker.qemu(kernel), job, frozen, asker.limits(), wire.is_complete)
    return wire.parse(ended.report, nonce), ended


@pytest.mark.parametrize("kernel", ["debian-11", "debian-13-backports"])
def test_answer_stays(asker: Asker, kernel: str) -> None:
    """Forty megabytes beside the object change nothing of its report, and arrive without waiting for a deadline."""
    files = archive({"a/large": GuestFile(secrets.token_bytes(1 << 20) * 40), "b": GuestFile(b"", 0o755)})
    report, _ = ask(asker, files, kernel)
    assert report == ask(asker, None, kernel)[0]


def test_cold(asker: Asker) -> None:
    """A booted guest reads them too."""
    assert ask(asker, archive({"a": GuestFile(b"x" * 5000)}), cold=True)[0].load_errno == 0


@pytest.mark.parametrize(
    ("files", "words"),
    [(b"", "files: ends after 0 bytes"), (b"x" * 4096, "files: byte 0: expected a newc header"),
     (archive({"a": GuestFile(b"x" * 200_000)})[:100_000], "files: 'a': longer than its archive"),
     (archive({"a": GuestFile(bytes(1 << 20) * 200)}), "files: No space left on device after")],
    ids=["empty", "no archive", "cut", "too large"],
)  # fmt: skip
def test_bad_archive(asker: Asker, files: bytes, words: str) -> None:
    """An archive that is none, or does not fit, loses the guest with the validator's words."""
    with pytest.raises(GuestError, match=words):
        ask(asker, files)
