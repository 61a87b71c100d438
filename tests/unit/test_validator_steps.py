"""The validator's built-in steps on this host, with sanitizers: right errnos, and no text that breaks them."""

import errno
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import CC, built

HARNESS = r"""
#include <stdio.h>
#include "steps.h"

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		printf("%d\n", step_do(argv[i]));
}
"""
Do = Callable[..., list[str]]

pytestmark = pytest.mark.skipif(CC is None, reason="no C compiler")


@pytest.fixture(scope="module")
def do(tmp_path_factory: pytest.TempPathFactory) -> Do:
    """Do these steps, and give the names of what they came back with ("" for success)."""
    program = built(tmp_path_factory.mktemp("steps"), HARNESS, "steps.c", "hex.c")

    def run(*steps: str) -> list[str]:
        ran = subprocess.run([program, *steps], check=False, capture_output=True, text=True, timeout=60)
        assert (ran.returncode, ran.stderr) == (0, "")
        return [errno.errorcode.get(int(line), "") for line in ran.stdout.split()]

    return run


def test_files(do: Do, tmp_path: Path) -> None:
    """Files are made, read and removed, and what is not there has its errno."""
    steps = [f"mkdir:{tmp_path}/d", f"write:{tmp_path}/d/f", f"read:{tmp_path}/d/f", f"remove:{tmp_path}/d"]
    assert do(*steps, f"open:{tmp_path}/none", f"mkdir:{tmp_path}/d") == ["", "", "", "ENOTEMPTY", "ENOENT", "EEXIST"]
    assert (tmp_path / "d/f").read_text() == "bpfcompat\n"


def test_processes(do: Do) -> None:
    """A child is forked and signalled, and time passes."""
    assert do("fork", "getpid", "kill:0", "kill:15", "sleep:1") == [""] * 5


def test_sockets(do: Do) -> None:
    """A whole connection on the loopback device; a port that is taken, one that nobody listens on; bad addresses."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        held = taken.getsockname()[1]
        assert do(f"connect:127.0.0.1:{held}", f"bind:127.0.0.1:{held}") == ["", "EADDRINUSE"]
    assert do(f"connect:127.0.0.1:{held}", f"tcp:127.0.0.1:{held}") == ["ECONNREFUSED", ""]
    bad = ["bind:", "bind:x", "bind:1", "bind::1", "bind:1.2.3:4", "bind:[::1:2", "bind:]:1", "udp:[:1", "ping:::1"]
    assert do(*bad) == ["EINVAL"] * len(bad)


def test_hostile_texts(do: Do) -> None:
    """Texts that the host would never send break nothing."""
    long = "a" * 20_000
    texts = [long, f"open:/{long[:16000]}", "packet", "packet:", "packet:lo", "packet:no-such-device:00", "nothing", "",
             f"bind:{long[:9000]}:1", "kill:", "sleep:", "sleep:-1", f"packet:{long[:9000]}:00"]  # fmt: skip
    got = do(*texts)
    assert len(got) == len(texts)
    assert got[:3] == ["E2BIG", "ENAMETOOLONG", "EINVAL"]
    assert got[5:8] == ["ENODEV", "ENOSYS", "ENOSYS"]
