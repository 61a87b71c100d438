"""What every server of a registry must do, ours and nginx as docs/nginx.conf sets it up: so nobody depends on ours."""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfcompat import cli
from bpfcompat.errors import Exit
from bpfcompat.keys import public_pem
from bpfcompat.registry import borrow as borrowing
from bpfcompat.registry import layout
from bpfcompat.registry.borrow import Lender, Told, borrow
from bpfcompat.registry.client import open_source
from bpfcompat.registry.verify import Trust
from bpfcompat.statement import pair_id
from tests.claims import KEY, LOG, POLICY, registry, report, row, two_claims
from tests.peers import ROOT, body, fields, snapshot, status, until_closed
from tests.servers import nginx, ours

pytestmark = pytest.mark.hostile
IMMUTABLE = b"Cache-Control: public, max-age=31536000, immutable"
HEX = "0" * 64
PATHS = {
    "checkpoint": "text/plain; charset=utf-8", "trail": "text/plain; charset=utf-8",
    "root/1.json": "application/json", "tile/0/000": "",
    "tile/0/x001/x234/067": "", "tile/63/000.p/255": "", "tile/entries/000.p/7": "", f"packs/{HEX}.pack": "",
    f"blobs/{HEX}": "",
}  # fmt: skip
TYPES = {".json": "application/json", ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".pem": "application/x-pem-file"}  # fmt: skip


@pytest.fixture(scope="module", params=[ours, nginx])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A registry with a file of every kind, and things that are none; the server's port.  The tree stays as it was."""
    root = tmp_path_factory.mktemp("served") / "registry"
    registry(root)
    for name in PATHS:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    (root / "secret.txt").write_text("secret")
    (root / ".hidden").write_text("secret")
    (root.parent / "outside.json").write_text("secret")
    (root / f"bundles/{'e' * 64}.json").symlink_to(root.parent / "outside.json")
    (root / f"bundles/{'f' * 64}.json").mkdir()
    before = snapshot(root)
    with request.param(root) as port:
        yield root, port
    assert snapshot(root) == before


def ask(port: int, target: str, method: str = "GET", more: str = "") -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=15) as peer:
        peer.sendall(f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n".encode("latin-1"))
        return until_closed(peer)


def test_every_file(served: tuple[Path, int]) -> None:
    """Every file of the grammar comes with its bytes, its type, and how long it holds; HEAD says the same."""
    root, port = served
    names = [str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and not p.is_symlink()]
    assert len(names) > 15
    for name in names:
        answer, known = ask(port, f"/{name}"), layout.SERVED.fullmatch(name)
        assert status(answer) == (200 if known else 404), name
        if known:
            assert body(answer) == (root / name).read_bytes()
            kind = PATHS.get(name) or TYPES.get(Path(name).suffix, "application/octet-stream")
            assert f"Content-Type: {kind}".encode() in fields(answer), name
            assert (IMMUTABLE if known["addressed"] else b"Cache-Control: no-cache") in fields(answer)
            assert b"X-Content-Type-Options: nosniff" in fields(answer)
            assert any(line.startswith(b"Content-Security-Policy: default-src 'none'") for line in fields(answer))
            head = ask(port, f"/{name}", "HEAD")
            assert (body(head), fields(head)) == (b"", fields(answer))
    assert body(ask(port, "/")) == (root / "index.html").read_bytes()


OTHERS = [
    "/../outside.json", "/bundles/../../outside.json", "//etc/passwd", "/./matrix.json", "/bundles/", "/bundles",
    "/pair/", "//matrix.json", "/.lock", "/.hidden", "/secret.txt", "/%2e%2e/outside.json", "/..%2foutside.json",
    "/%6datrix.json", "/matrix.json?x=1", "/matrix.json?", "/matrix.json/", "/matrix.json;x", "/MATRIX.JSON",
    "/matrix.json.gz", "/index.html/", "/?", "/tile/0", "/tile/0/x001", "/tile/0/x000/001", "/tile/64/000",
    "/tile/0/000.p/0", "/root/01.json", "/root/", f"/bundles/{'A' * 64}.json", f"/bundles/{'0' * 63}.json",
    f"/bundles/{'0' * 64}.json", f"/bundles/{'f' * 64}.json/", f"/packs/{HEX}.json", "/health", "/metrics",
    "/favicon.ico", "/" + "a" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("target", OTHERS)
def test_nothing_else(served: tuple[Path, int], target: str) -> None:
    """Any other spelling or path is refused without a redirect, a listing or a word from outside."""
    answer = ask(served[1], target)
    assert status(answer) in ((404, 400) if ".." in target or "%" in target else (404,))
    assert b"secret" not in answer and b"matrix" not in body(answer)


def test_links_and_folders(served: tuple[Path, int]) -> None:
    """A link, or a folder with a file's name, gives away nothing."""
    for name in ("e" * 64, "f" * 64):
        answer = ask(served[1], f"/bundles/{name}.json")
        assert status(answer) in (403, 404, 301) and b"secret" not in answer


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "MKCOL", "PROPFIND"])
def test_reads_only(served: tuple[Path, int], method: str) -> None:
    """Nothing but GET and HEAD is allowed, on files that exist and others."""
    for target in ("/matrix.json", f"/bundles/{HEX}.json"):
        answer = ask(served[1], target, method)
        assert status(answer) == 405 and b"Allow: GET, HEAD" in fields(answer)


def test_whole_files_only(served: tuple[Path, int]) -> None:
    """A Range gets the whole file, and no encoding is used that was not asked for."""
    root, port = served
    for more in ("Range: bytes=0-0\r\n", "Range: bytes=-1,0-5\r\n", "Accept-Encoding: identity\r\n", ""):
        answer = ask(port, "/matrix.json", more=more)
        assert (status(answer), body(answer)) == (200, (root / "matrix.json").read_bytes())


def test_the_configuration_is_short_and_knows_every_path() -> None:
    """The published configuration has at most twenty lines, and names every folder of the grammar."""
    text = (ROOT / "docs/nginx.conf").read_text()
    assert len([line for line in text.splitlines() if line.strip() and not line.startswith("#")]) <= 20
    folders = set(re.findall(r"[a-z]{4,}", re.sub(r"\(\?P<addressed>", "", layout.SERVED.pattern)))
    assert all(name in text for name in folders), folders


@pytest.fixture(params=[ours, nginx])
def sound(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A registry that was published just now, and the address of a server of it; beside it what a reader has."""
    root = tmp_path / "registry"
    registry(root, now=int(time.time()))
    (tmp_path / "key.pub").write_bytes(public_pem(KEY.public_key()))
    (tmp_path / "log.vkey").write_text(LOG.vkey)
    with request.param(root) as port:
        yield root, f"http://127.0.0.1:{port}/"


def trusting(root: Path) -> list[str]:
    """The options of a reader."""
    beside = root.parent
    return ["--key", str(beside / "key.pub"), "--log-key", str(beside / "log.vkey"), "--state", str(beside / "state")]


def test_our_reader(sound: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    """`verify`, every leaf included, and `audit` believe the same of both servers' address as of the folder."""
    root, url = sound
    for command in (["verify", "--all"], ["audit"]):
        said = []
        for where in (str(root), url):
            assert cli.main([command[0], where, *command[1:], *trusting(root)]) == Exit.OK
            said.append(re.sub(r" at \S+", "", capsys.readouterr().out.replace(where, "WHERE")))
        assert said[0] == said[1] and "trusted" in said[0]


@pytest.mark.parametrize("taken", [0, 1])
def test_our_reader_misses(sound: tuple[Path, str], taken: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle that was taken away is missed through both servers, and a changed one is not believed."""
    root, url = sound
    place = root / layout.bundle_path(row(two_claims()[taken]).bundle or "")
    data = place.read_bytes()
    place.unlink()
    assert cli.main(["verify", url, "--all", *trusting(root)]) == Exit.UNTRUSTED
    assert f"{place.relative_to(root)}: is missing" in capsys.readouterr().out
    place.write_bytes(data.replace(b"eyJ", b"eyK", 1))
    assert cli.main(["verify", url, "--all", *trusting(root)]) == Exit.UNTRUSTED


def test_our_borrower(sound: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """From both servers the same is borrowed, by the pack and file by file, and nothing once a bundle was changed."""
    root, url = sound
    now = int(time.time())
    wanted = {pair_id(made): made.kernel_name for made in two_claims()}

    def told() -> Told:
        return borrow([Lender(url, open_source(url), Trust(POLICY, now), now)], wanted, 1)

    for few in (0, 3):  # pairs up to which no pack is fetched
        monkeypatch.setattr(borrowing, "FEW", few)
        assert {pair: loans[0].report for pair, loans in told().loans.items()} == {
            pair_id(made): report(made) for made in two_claims()
        }
    for place in (root / "bundles").iterdir():
        place.write_bytes(place.read_bytes().replace(b"eyJ", b"eyK", 1))
    found = told()  # one leaf of its log that is not what it should be, and nothing of a registry is believed
    assert not found.loans and [p.partition("log: ")[2][:28] for p in found.problems] == [
        "is not what its name says (h"
    ]
