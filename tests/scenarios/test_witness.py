"""A publisher, a witness and a reader on three sides of our own server: every command as it is typed."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bpfcompat.cli import main
from bpfcompat.keys import public_pem
from tests.claims import KEY, LOG, claim, item, put, registry, row

pytestmark = pytest.mark.scenario


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which `bpfcompat serve` has a registry."""
    argv = [sys.executable, "-m", "bpfcompat", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            found = re.search(r"http://[0-9.:]+/", child.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            child.terminate()
    assert child.returncode == 0


def test_witnessed_all_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published to a folder apart, witnessed there, then copied to where readers are: none of them ever waits."""
    monkeypatch.chdir(tmp_path)
    Path("publisher.pub").write_bytes(public_pem(KEY.public_key()))
    Path("log.vkey").write_text(LOG.vkey + "\n")
    assert main(["keygen", "eyes", "--kind", "witness", "--name", "eyes.example"]) == 0
    look = ["--log-key", "log.vkey", "--key", "eyes", "--state", "witness", "--out", "line"]
    believe = ["--key", "publisher.pub", "--log-key", "log.vkey", "--state", "reader", "--all",
               "--witness", "eyes.vkey", "--needed", "1", "--max-age", "1d"]  # fmt: skip
    apart, public, now = tmp_path / "apart", tmp_path / "public", int(time.time())
    registry(apart, now=now)
    with served(apart) as url:
        assert main(["verify", url, *believe]) == 4, "nobody has looked"
        assert main(["witness", url, *look]) == 0
    assert main(["witness", "apart", "--add", "line", "--witness", "eyes.vkey"]) == 0
    shutil.copytree(apart, public)
    with served(public) as url:
        assert main(["verify", url, *believe]) == 0
        more = claim(kernel_name="debian-13", vmlinuz="sha256:" + "7" * 64)
        put(apart, [item(more)], [row(more)], now=now)
        assert main(["verify", url, *believe]) == 0
        assert main(["witness", "apart", *look]) == 0
        assert main(["witness", "apart", "--add", "line", "--witness", "eyes.vkey"]) == 0
        shutil.copytree(apart, public, dirs_exist_ok=True)
        assert main(["verify", url, *believe]) == 0
        assert main(["witness", url, *look]) == 0, "what it knows already it signs again, with its time"
