"""The command line as a stranger uses it: real processes, real exit codes, nothing but words on stderr."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfcompat import buildtext, cli
from bpfcompat.keys import public_pem
from tests import claims

COMMAND = [sys.executable, "-m", "bpfcompat"]


def bpfcompat(*args: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command."""
    argv = [*COMMAND, *map(str, args)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})})


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A published registry, and `key.pub` beside it."""
    claims.registry(tmp_path / "registry", now=int(time.time()))
    (tmp_path / "key.pub").write_bytes(public_pem(claims.KEY.public_key()))
    return tmp_path / "registry"


@pytest.fixture
def address(registry: Path) -> Iterator[str]:
    """The same registry, served by `bpfcompat serve`."""
    argv = [*COMMAND, "serve", str(registry), "--port", "0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found = re.search(r"http://\S+", server.stdout.readline())
        assert found is not None
        yield found[0]
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=10) == 0


def test_verify_folder(registry: Path) -> None:
    """A trusted registry as expected exits 0, and names who signed it."""
    done = bpfcompat("verify", registry, "--key", registry.parent / "key.pub")
    assert (done.returncode, done.stderr) == (0, "")
    assert "trusted, and as expected" in done.stdout
    assert "signed by SHA256:" in done.stdout


def test_verify_address(registry: Path, address: str) -> None:
    """Over HTTP the same check gives the same answer."""
    done = bpfcompat("verify", address, "--key", registry.parent / "key.pub")
    assert (done.returncode, done.stderr) == (0, "")
    assert "trusted, and as expected" in done.stdout


def test_verify_flipped(registry: Path) -> None:
    """One flipped byte in a bundle exits 4 and names the file."""
    bundle = next((registry / "bundles").iterdir())
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.chmod(0o644)
    bundle.write_bytes(data)
    done = bpfcompat("verify", registry, "--key", registry.parent / "key.pub")
    assert done.returncode == 4
    assert bundle.stem[:12] in done.stdout


def test_verify_local_file(registry: Path, tmp_path: Path) -> None:
    """A file that the registry says nothing about is not trusted to be one that it does."""
    other = tmp_path / "other.bpf.o"
    other.write_bytes(b"another object")
    done = bpfcompat("verify", registry, "--key", registry.parent / "key.pub", "--object", other)
    assert done.returncode == 4
    assert "has no row for" in done.stdout


def test_a_password_stays_here(registry: Path, address: str, tmp_path: Path) -> None:
    """User and password of an address are for its server: no report, no line that is printed has them."""
    with_login = address.replace("http://", "http://reader:hunter2@")
    trust = ["--key", registry.parent / "key.pub"]
    page, told = tmp_path / "a.html", tmp_path / "a.json"
    done = [bpfcompat("audit", with_login, *trust, "--html", page, "--json", told)]
    done += [bpfcompat(*args) for args in (("compare", with_login, with_login, *trust), ("verify", with_login, *trust))]
    assert [one.returncode for one in done] == [0, 0, 0]
    said = "".join(one.stdout + one.stderr for one in done) + page.read_text() + told.read_text()
    assert address in said and "hunter2" not in said


def test_a_strangers_words_in_an_error(registry: Path) -> None:
    """What a registry puts into its files moves no cursor and turns no line around, in whatever error it is quoted."""
    bundle = next((registry / "bundles").iterdir())
    said = json.loads(bundle.read_bytes())
    said["verificationMaterial"]["tlogEntries"][0]["kindVersion"] = "\x1b]0;owned\x07\x1b[2J\u202e\x9b"
    bundle.chmod(0o644)
    bundle.write_text(json.dumps(said))
    done = bpfcompat("reproduce", bundle)
    assert done.returncode == 4 and "kindVersion: expected" in done.stderr
    assert done.stderr.removesuffix("\n").isprintable() and "?]0;owned??[2J??" in done.stderr


def test_verify_without_key(registry: Path, tmp_path: Path) -> None:
    """A key file that is not there is an input error in one line."""
    done = bpfcompat("verify", registry, "--key", tmp_path / "nobody.pub")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "nobody.pub" in done.stderr


def test_keygen(tmp_path: Path) -> None:
    """keygen makes a pair once, private for its owner only, and never overwrites."""
    path = tmp_path / "signing.pem"
    done = bpfcompat("keygen", path)
    assert done.returncode == 0
    assert path.stat().st_mode & 0o777 == 0o600
    again = bpfcompat("keygen", path)
    assert again.returncode == 2
    assert "already there" in again.stderr


def test_keygen_encrypted(tmp_path: Path) -> None:
    """With a passphrase the private key is encrypted; an empty variable is an error, not a plain key."""
    path = tmp_path / "signing.pem"
    assert bpfcompat("keygen", path, "--passphrase-env", "PHRASE", env={"PHRASE": ""}).returncode == 2
    assert not path.exists()
    assert bpfcompat("keygen", path, "--passphrase-env", "PHRASE", env={"PHRASE": "open"}).returncode == 0
    assert b"ENCRYPTED" in path.read_bytes()


def test_serve_nothing(tmp_path: Path) -> None:
    """Serving a folder that is not there, or half a TLS pair, is an input error."""
    assert bpfcompat("serve", tmp_path / "nowhere", "--port", "0").returncode == 2
    assert bpfcompat("serve", tmp_path, "--port", "0", "--tls-cert", "x").returncode == 2


def test_usage() -> None:
    """No command, an unknown one, and --help: usage on the right stream, exit codes 2 and 0."""
    assert bpfcompat().returncode == 2
    assert bpfcompat("frobnicate").returncode == 2
    helped = bpfcompat("--help")
    assert helped.returncode == 0
    assert "exit codes" in helped.stdout


def test_kinds_of_a_build() -> None:
    """The kinds that `kernel show` takes are those that there are."""
    assert cli.KINDS == buildtext.KINDS
