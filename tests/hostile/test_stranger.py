"""docs/verify.md from top to bottom, in an empty folder, by a stranger: each block as it is printed, with both servers.

What the page gives names to (the registry's address, a bundle's name) is put in; what it installs is installed once, by
its own commands.  A registry that was tampered with is caught by just those blocks that can see it.
"""

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcompat import process
from bpfcompat.digest import canonical
from bpfcompat.keys import public_pem
from bpfcompat.logentry import trusted_root
from bpfcompat.registry import layout
from tests import independent, sumdb
from tests.claims import KEY, LOG, OBJECT, VMLINUZ, registry, row, two_claims
from tests.hosting import ROOT, needs
from tests.servers import nginx, ours

pytestmark = [
    pytest.mark.hostile,
    needs("bash", "curl", "jq", "openssl", "unshare", "apt-get", "dpkg-deb", "node", "npm", also=sumdb.ABSENT),
]
DOCS = ROOT / "docs"
BUNDLE, OTHER = (row(made).bundle or "" for made in two_claims())
ORDER = ("get", "signature", "log", "ours", "fetch cosign", "cosign", "npm", "go")
INSTALLS = {"fetch cosign": "cosign", "npm": "node_modules"}  # and what they leave


def blocks() -> dict[str, str]:
    """The page's blocks of commands, in its order; what stands below `$` or is only shown is none."""
    found = re.findall(r"^```(sh)?\n(.*?)^```$", (DOCS / "verify.md").read_text(), re.MULTILINE | re.DOTALL)
    commands = [text for kind, text in found if kind or text.startswith("bpfcompat ")]
    return dict(zip(ORDER, commands, strict=True))


def bash(command: str, folder: Path) -> process.Completed:
    """One block, in a shell of its own."""
    path = f"{folder}/bin:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": f"{folder}/state"}
    return process.run(["bash", "-c", command], cwd=folder, env=env, timeout_s=300)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the page's own commands have put cosign and npm's verifier."""
    independent.cosign_program()  # these say why, where there is no network
    independent.modules()
    folder = tmp_path_factory.mktemp("installed")
    for name, left in INSTALLS.items():
        done = bash(blocks()[name].partition("NODE_PATH")[0], folder)
        assert done.code == 0 and (folder / left).is_dir(), done
    return folder


@pytest.fixture
def stranger(tmp_path: Path, installed: Path) -> Path:
    """An empty folder but for what the page says to have: two keys, the trust root, an object, a kernel."""
    folder = tmp_path / "stranger"
    (folder / "bin").mkdir(parents=True)
    (folder / "publisher.pub").write_bytes(public_pem(KEY.public_key()))
    (folder / "log.vkey").write_text(LOG.vkey + "\n")
    (folder / "trusted_root.json").write_bytes(trusted_root(LOG))
    (folder / "probe.bpf.o").write_bytes(OBJECT)
    (folder / "vmlinuz").write_bytes(VMLINUZ)
    for name in INSTALLS.values():
        (folder / name).symlink_to(installed / name)
    (folder / "docs").symlink_to(DOCS)
    program(folder / "bin/bpfcompat", f"exec '{sys.executable}' -m bpfcompat \"$@\"")
    program(folder / "bin/sudo", ":")  # what it would install is there
    return folder


def program(place: Path, line: str) -> None:
    """A small program."""
    place.write_text(f"#!/bin/sh\n{line}\n")
    place.chmod(0o755)


def followed(folder: Path, port: int) -> dict[str, process.Completed]:
    """How each block ends, one after the other."""
    done = {}
    for name, text in blocks().items():
        command = text.replace("REGISTRY", f"http://127.0.0.1:{port}").replace("BUNDLE", BUNDLE.removeprefix("sha256:"))
        if name == "fetch cosign":
            continue  # `installed` did
        if name == "npm":
            command = command[command.index("NODE_PATH") :]
        if name == "ours":  # with what stands in brackets, and without
            command = re.sub(r"\[.*?\]", "", command) + re.sub(r"[][]", "", command)
            command = "set -e\n" + command
        done[name] = bash(command, folder)
    return done


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A registry that was published just now."""
    registry(tmp_path / "registry", now=int(time.time()))
    return tmp_path / "registry"


Server = Callable[[Path], contextlib.AbstractContextManager[int]]


@pytest.mark.parametrize("server", [ours, nginx])
def test_from_top_to_bottom(tree: Path, stranger: Path, server: Server) -> None:
    """Every block of the page succeeds, and says what the page says it does."""
    with server(tree) as port:
        done = followed(stranger, port)
    assert {name: found.code for name, found in done.items()} == dict.fromkeys(done, 0), done
    said = {name: found.stdout.decode().strip() + found.stderr for name, found in done.items()}
    assert list(done) == [name for name in blocks() if name != "fetch cosign"]
    assert said["signature"].split() == ["Verified", "OK", "true"]
    assert "in the log of 2 leaves" in said["log"]
    assert "Verified OK" in said["cosign"] and "PASSED" in said["cosign"]
    assert said["npm"].startswith("ok")
    assert said["ours"].count("trusted, and as expected") == 2
    assert f"log {LOG.name}: 2 leaves, all in the signed tree, all with their bundle" in said["go"]


def changed(root: Path, change: Callable[[bytes], bytes]) -> None:
    """Other bytes in the place of the bundle that is asked for."""
    place = root / layout.bundle_path(BUNDLE)
    place.write_bytes(change(place.read_bytes()))


def unlogged(data: bytes) -> bytes:
    """A bundle without its proof."""
    bundle = json.loads(data)
    bundle["verificationMaterial"].pop("tlogEntries")
    return canonical(bundle)


TAMPERED: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "a flipped byte": (
        lambda root: changed(root, lambda data: data.replace(b"eyJ", b"eyK", 1)),
        {"signature", "log", "cosign", "npm", "ours", "go"},
    ),
    "another verdict under this name": (
        # it is signed and logged as well: only who asks for the answer, the kernel or the name sees it
        lambda root: changed(root, lambda data: (root / layout.bundle_path(OTHER)).read_bytes()),
        {"signature", "ours", "go"},
    ),
    "no proof": (lambda root: changed(root, unlogged), {"log", "cosign", "npm", "ours"}),
    "a verdict taken away": (lambda root: (root / layout.bundle_path(OTHER)).unlink(), {"ours", "go"}),
    "another checkpoint": (
        lambda root: (root / "checkpoint").write_bytes((root / "checkpoint").read_bytes().replace(b"\n2\n", b"\n1\n")),
        {"ours", "go"},
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered(tree: Path, stranger: Path, name: str) -> None:
    """Whoever follows the page is told; what a block does not look at, it does not see."""
    tamper, seen = TAMPERED[name]
    tamper(tree)
    with ours(tree) as port:
        done = followed(stranger, port)
    assert {name for name, found in done.items() if found.code} == seen, done


def test_other_files(tree: Path, stranger: Path) -> None:
    """With another kernel, or another object, than the verdict's, the blocks that ask for it refuse."""
    with ours(tree) as port:
        (stranger / "vmlinuz").write_bytes(b"another kernel")
        assert {name for name, found in followed(stranger, port).items() if found.code} == {"signature", "ours"}
        (stranger / "vmlinuz").write_bytes(VMLINUZ)
        (stranger / "probe.bpf.o").write_bytes(b"another object")
        found = {name for name, found in followed(stranger, port).items() if found.code}
        assert found == {"signature", "cosign", "ours"}


def test_without_a_network(stranger: Path) -> None:
    """What the page puts before cosign takes the network away: nothing but a loopback that is down."""
    words = blocks()["cosign"].split()
    assert words[:2] == ["unshare", "-rn"]
    done = process.run([*words[:2], "cat", "/proc/net/route", "/proc/net/dev"], cwd=stranger)
    assert [line.split()[0] for line in done.stdout.decode().splitlines() if ":" in line] == ["lo:"]
