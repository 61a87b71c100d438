"""Attacks on a registry's reader: every one must end in exit code 4, none in a traceback."""

import json
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bpfcompat import envelope
from bpfcompat.digest import canonical, digest_bytes
from bpfcompat.errors import ConfigError, Exit
from bpfcompat.manifest import MAX_MATRIX_BYTES, Matrix, Row, matrix_payload
from bpfcompat.model import Answer, Expectation
from bpfcompat.policy import Policy
from bpfcompat.registry import layout
from bpfcompat.registry.client import Folder, Web, open_source
from bpfcompat.registry.publish import VALID_S
from bpfcompat.registry.verify import CLOCK_SKEW_S, Verification, format_verification, verify
from bpfcompat.statement import pair_id, verdict_payload, verdict_statement
from tests.claims import BAD, KEY, NOW, OBJECT, OTHER, POLICY, VMLINUZ, claim, item, put, registry, row, two_claims
from tests.serving import reply, serving

pytestmark = pytest.mark.hostile


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A registry that verifies."""
    folder = tmp_path / "registry"
    registry(folder)
    return folder


KEYS = Policy.of_keys([KEY.public_key()])


def check(folder: Path, trusted: Policy = KEYS, **options: object) -> Verification:
    """Verify a folder now, with KEY alone where nothing else is said."""
    return verify(Folder(folder), trusted, **{"now": NOW, **options})  # type: ignore[arg-type]


def refuse(folder: Path, words: str, **options: object) -> None:
    """Assert that a folder is not trusted, for a reason with these words."""
    found = check(folder, **options)
    assert found.exit_code is Exit.UNTRUSTED
    assert words in "\n".join(found.problems), found.problems
    assert "not trusted" in format_verification(found)


def put_matrix(folder: Path, *rows: Row, **life: int) -> None:
    """A matrix of these rows, signed by KEY, whatever the bundles say."""
    matrix = Matrix(rows, life.get("not_before", NOW), life.get("expires", NOW + 60))
    (folder / layout.MATRIX).write_bytes(envelope.sign(matrix_payload(matrix), KEY))


def test_flipped_bytes(good: Path) -> None:
    """One flipped byte anywhere in a bundle, a report or the matrix is refused with exit code 4."""
    dice = random.Random(1)
    for path in [*(good / "bundles").iterdir(), *(good / "evidence").iterdir(), good / layout.MATRIX,
                 good / layout.CHECKPOINT, good / "tile/entries/000.p/2"]:  # fmt: skip
        data = path.read_bytes()
        for place in dice.sample(range(len(data)), min(60, len(data))):
            path.write_bytes(data[:place] + bytes([data[place] ^ (1 << dice.randrange(8))]) + data[place + 1 :])
            assert check(good, POLICY).exit_code is Exit.UNTRUSTED, (path, place)
        path.write_bytes(data)
    assert check(good, POLICY).exit_code is Exit.OK


def test_every_cut(good: Path) -> None:
    """A file cut at any place, or with bytes behind it, is refused."""
    for path in [min((good / "bundles").iterdir()), good / layout.MATRIX]:
        data = path.read_bytes()
        for changed in (*(data[:n] for n in range(0, len(data), 97)), data + b"x", data + data):
            path.write_bytes(changed)
            assert check(good).exit_code is Exit.UNTRUSTED
        path.write_bytes(data)


@pytest.mark.parametrize("name", [layout.MATRIX, layout.FORMAT_FILE])
def test_missing_root_files(good: Path, name: str) -> None:
    """Without its matrix or its format a folder is no registry."""
    (good / name).unlink()
    refuse(good, "is this a registry?")


def test_missing_bundle(good: Path) -> None:
    """A bundle that the matrix names and that is not there is a refusal, not an absence."""
    min((good / "bundles").iterdir()).unlink()
    refuse(good, "is missing")


def test_damaged_stray_bundle(good: Path) -> None:
    """A damaged bundle is refused even when no row names it."""
    (good / "bundles" / ("0" * 64 + ".json")).write_bytes(b"{}")
    refuse(good, "bundles/000")
    (good / "bundles" / ("0" * 64 + ".json")).rename(good / "bundles" / "readme.txt")
    refuse(good, "expected <64 hex digits>.json")


def test_leftover_of_a_killed_write(good: Path) -> None:
    """A temporary file of an interrupted write is no part of the registry."""
    (good / "bundles" / ".tmp-0123").write_bytes(b"half")
    assert check(good).exit_code is Exit.OK


def test_other_signer(tmp_path: Path) -> None:
    """A registry by somebody else, whole as it is, is not ours; its own keys folder does not help it."""
    registry(tmp_path, key=OTHER)
    refuse(tmp_path, "signed by SHA256:")


def test_bundle_by_other_signer(good: Path) -> None:
    """One bundle by another key among ours is refused."""
    (good / layout.bundle_path(row(claim()).bundle or "")).write_bytes(envelope.sign(verdict_payload(claim()), OTHER))
    refuse(good, "signed by")


def test_swapped_bundles(good: Path) -> None:
    """Two valid bundles under each other's names are refused."""
    one, two = sorted((good / "bundles").iterdir())
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)
    refuse(good, "its name says")


def test_row_says_other_than_its_bundle(good: Path) -> None:
    """A row that names a valid bundle but says something else: result, kernel, object, pair, release."""
    compatible, bad = (row(c) for c in two_claims())
    lies = [
        replace(bad, answer=Answer.COMPATIBLE, cause=""),
        replace(compatible, bundle=bad.bundle),
        replace(compatible, vmlinuz=bad.vmlinuz),
        replace(compatible, object_digest=digest_bytes(b"other")),
        replace(compatible, pair=bad.pair),
        replace(compatible, kernel_release="9.9"),
        replace(compatible, kernel_name="other"),
        replace(bad, cause="btf-missing", expected=Expectation(Answer.INCOMPATIBLE, "btf-missing")),
    ]
    for lie in lies:
        put_matrix(good, lie)
        refuse(good, lie.label)


def test_verdict_offered_as_matrix(good: Path) -> None:
    """A signed verdict in the matrix's place, and the other way round, is refused by its predicate type."""
    bundle = (good / layout.bundle_path(row(claim()).bundle or "")).read_bytes()
    matrix = (good / layout.MATRIX).read_bytes()
    (good / layout.MATRIX).write_bytes(bundle)
    refuse(good, "predicateType")
    (good / layout.MATRIX).write_bytes(matrix)
    payload = envelope.parse(matrix).payload
    (good / layout.bundle_path(envelope.pae_digest(payload))).write_bytes(matrix)
    refuse(good, "predicateType")


def test_signed_nonsense(good: Path) -> None:
    """Payloads that are signed by the right key but are not what we write are refused."""
    statement = verdict_statement(claim())
    for change in ({"extra": 1}, {"_type": "https://in-toto.io/Statement/v0.1"}, {"subject": []}, {"predicate": {}}):
        payload = canonical({**statement, **change})
        path = good / layout.bundle_path(envelope.pae_digest(payload))
        path.write_bytes(envelope.sign(payload, KEY))
        refuse(good, "statement:")
        path.unlink()
    matrix = json.loads(matrix_payload(Matrix((row(claim()),), NOW, NOW + 60)))
    matrix["predicate"]["rows"] = {name: column * 2 for name, column in matrix["predicate"]["rows"].items()}
    (good / layout.MATRIX).write_bytes(envelope.sign(canonical(matrix), KEY))
    refuse(good, "no pair twice")


def test_life(good: Path) -> None:
    """An expired matrix and one from the future are refused by name; expiry alone can be allowed."""
    refuse(good, "expired at 2027-02-14", now=NOW + VALID_S)
    refuse(good, "not valid before", now=NOW - CLOCK_SKEW_S - 1)
    refuse(good, "not valid before", now=0)
    refuse(good, "expired", now=4_102_444_800)
    assert check(good, now=NOW + VALID_S - 1).exit_code is Exit.OK
    assert check(good, now=NOW - CLOCK_SKEW_S).exit_code is Exit.OK
    assert check(good, now=4_102_444_800, allow_expired=True).exit_code is Exit.OK
    assert check(good, now=0, allow_expired=True).exit_code is Exit.UNTRUSTED


def test_local_files(good: Path, tmp_path: Path) -> None:
    """Only rows about exactly these bytes count; a renamed other object has none."""
    mine, kernel, other = tmp_path / "x.bpf.o", tmp_path / "vmlinuz", tmp_path / "y.bpf.o"
    mine.write_bytes(OBJECT)
    kernel.write_bytes(VMLINUZ)
    other.write_bytes(OBJECT + b"\0")
    assert len(check(good, object_file=mine).rows) == 2
    assert [r.kernel_name for r in check(good, object_file=mine, kernel_file=kernel).rows] == ["debian-12"]
    refuse(good, "no row for object_digest", object_file=other)
    refuse(good, "no row for vmlinuz", kernel_file=other)
    with pytest.raises(ConfigError, match="cannot read"):
        check(good, object_file=tmp_path / "none")


def test_not_as_expected(tmp_path: Path) -> None:
    """Trusted and wrong is exit code 1, and says what was expected."""
    _, bad = two_claims()
    put(tmp_path, [item(bad)], [row(bad, "compatible")], KEY, now=NOW)
    found = check(tmp_path)
    assert found.exit_code is Exit.UNEXPECTED
    assert "incompatible helper-missing  expected compatible" in format_verification(found)


def test_lying_index(good: Path) -> None:
    """An index that says something else than its bundles, or names one that is missing or damaged, is refused."""
    made = claim()
    path = good / layout.pair_path(pair_id(made))
    bundle = row(made).bundle or ""
    for entry in (
        layout.Entry(bundle, Answer.INCOMPATIBLE, "x"),
        layout.Entry(row(two_claims()[1]).bundle or "", Answer.INCOMPATIBLE, "helper-missing"),
        layout.Entry(digest_bytes(b"none"), Answer.COMPATIBLE, ""),
    ):
        path.write_bytes(layout.index_bytes((entry,)))
        assert check(good).exit_code is Exit.UNTRUSTED
    path.write_bytes(b"[" * 100_000)
    refuse(good, "pair index")
    path.unlink()
    assert check(good).exit_code is Exit.OK


def test_odd_files(good: Path) -> None:
    """A link, a FIFO, a directory and a sparse giant in a bundle's place are refused without hanging."""
    path = min((good / "bundles").iterdir())
    kept = path.rename(path.with_name("kept"))
    for make in (lambda: path.symlink_to(kept), lambda: os.mkfifo(path), path.mkdir, lambda: _giant(path)):
        make()
        assert check(good).exit_code is Exit.UNTRUSTED
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    kept.rename(path)
    shutil.move(good / "bundles", good / "elsewhere")
    (good / "bundles").symlink_to("elsewhere")
    refuse(good, "bundles: expected a folder, got a symbolic link")


def _giant(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 40)


def test_newer_format(good: Path) -> None:
    """A registry of a newer format is not guessed at."""
    (good / layout.FORMAT_FILE).write_text('{"format":2}')
    refuse(good, "format 2, this program knows 1")


def test_terminal(tmp_path: Path) -> None:
    """Names and causes cannot move the cursor, hide text, or fill the screen."""
    hostile = claim(object_name="a\x1b[2J\u202eb" * 99, verdict=replace(BAD, cause="\r\x9b31mx"))
    registry(tmp_path, hostile)
    for found in (check(tmp_path), verify(Folder(tmp_path), [OTHER.public_key()], now=NOW)):
        shown = format_verification(found)
        assert all(char.isprintable() or char == "\n" for char in shown)
        assert max(map(len, shown.splitlines())) < 1000
    page = (tmp_path / layout.INDEX).read_text()
    assert all(char.isprintable() or char == "\n" for char in page)


def test_who_loaded(tmp_path: Path) -> None:
    """The line of a pair that was asked by another loader than libbpf names it; its words cannot move the cursor."""
    own = {"command": {"loader": {"name": "bpf\x1b[2Jtool", "digest": "sha256:" + "1" * 64}}}
    registry(tmp_path, claim(spec=own))
    shown = format_verification(check(tmp_path)).splitlines()[0]
    assert "compatible  by bpf" in shown and "tool sha256:111" in shown
    assert shown.isprintable()
    registry(tmp_path / "plain", claim())
    assert " by " not in format_verification(check(tmp_path / "plain")).splitlines()[0]


def test_all_registries_of_random_bytes(tmp_path: Path) -> None:
    """Random bytes in every place end in exit code 4."""
    dice = random.Random(2)
    for name in ("bundles", "evidence", "pairs"):
        (tmp_path / name).mkdir()
    for name in (layout.FORMAT_FILE, layout.MATRIX, "bundles/" + "a" * 64 + ".json", "evidence/x"):
        for data in (b"", b"null", b"[]", b"{}", dice.randbytes(500), b'"' * 500):
            (tmp_path / name).write_bytes(data)
            assert check(tmp_path).exit_code is Exit.UNTRUSTED


# Over HTTP: what a server may do to a reader.


def over_http(answer: object) -> Verification:
    with serving(answer) as server:  # type: ignore[arg-type]
        return verify(open_source(server.url), [KEY.public_key()], now=NOW)


def from_folder(folder: Path, **instead: object) -> Verification:
    """Verify a folder behind an honest server, but for the paths in `instead`."""

    def answer(handler: object) -> None:
        name = handler.path[1:]  # type: ignore[attr-defined]
        if name in instead:
            instead[name](handler)  # type: ignore[operator]
        elif (folder / name).is_file():
            reply(handler, 200, (folder / name).read_bytes())  # type: ignore[arg-type]
        else:
            reply(handler, 404)  # type: ignore[arg-type]

    return over_http(answer)


def test_honest_server(good: Path) -> None:
    """The same registry verifies over HTTP."""
    assert from_folder(good).exit_code is Exit.OK


BAD_ANSWERS = {
    "500": lambda h: reply(h, 500),
    "404": lambda h: reply(h, 404),
    "206": lambda h: reply(h, 206, b"{}"),
    "empty": lambda h: reply(h, 200, b""),
    "endless": lambda h: reply(h, 200, b"x" * (MAX_MATRIX_BYTES + 1)),
    "compressed": lambda h: reply(h, 200, b"x", Content_Encoding="gzip"),
    "short": lambda h: reply(h, 200, b"{}", Content_Length="9"),
    "redirect to a file": lambda h: reply(h, 302, Location="file:///etc/passwd"),
    "redirect elsewhere": lambda h: reply(h, 302, Location="http://127.0.0.1:1/x"),
    "redirect without end": lambda h: reply(h, 302, Location="/matrix.json"),
    "redirect to nonsense": lambda h: reply(h, 302, Location="http://[::1"),
    "hang-up": lambda h: h.connection.close(),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_bad_answers(good: Path, answer: object) -> None:
    """Whatever a server answers instead of the matrix, the reader refuses."""
    assert from_folder(good, **{layout.MATRIX: answer}).exit_code is Exit.UNTRUSTED


def test_redirect_within_the_origin(good: Path) -> None:
    """A redirect within the same origin is followed."""
    (good / "moved").write_bytes((good / layout.MATRIX).read_bytes())
    found = from_folder(good, **{layout.MATRIX: lambda h: reply(h, 302, Location="/moved")})
    assert found.exit_code is Exit.OK


def test_index_over_http(good: Path) -> None:
    """Over HTTP the bundles that a pair's index names are checked too."""
    entries = (layout.Entry(digest_bytes(b"none"), Answer.COMPATIBLE, ""),)
    (good / layout.pair_path(pair_id(claim()))).write_bytes(layout.index_bytes(entries))
    assert from_folder(good).exit_code is Exit.UNTRUSTED


@pytest.mark.parametrize("base", ["ftp://x/", "http://", "https:///x", "http://x/?q"])
def test_addresses(base: str) -> None:
    """Only plain http and https addresses name a registry."""
    with pytest.raises(ConfigError):
        Web(base)


def test_nobody_there(tmp_path: Path) -> None:
    """A server that is not there is not trusted; a folder that is not there is the user's mistake."""
    found = verify(open_source("http://127.0.0.1:1"), [KEY.public_key()], now=NOW)
    assert "cannot fetch" in found.problems[0]
    with pytest.raises(ConfigError, match="no such folder"):
        Folder(tmp_path / "none")


def test_proxy_settings_are_not_used(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxy does not get to see or answer a check."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert from_folder(good).exit_code is Exit.OK


def test_json_of_a_matrix_is_plain(good: Path) -> None:
    """The matrix's bundle is ordinary JSON for ordinary tools."""
    assert set(json.loads((good / layout.MATRIX).read_bytes())) == {"mediaType", "verificationMaterial", "dsseEnvelope"}
