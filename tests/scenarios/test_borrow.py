"""Two monorepos: what A's guests said, B need not ask again; and whatever is wrong with A, B asks its own."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from bpfcompat.keys import keygen
from tests.scenarios.conftest import PAIRS, Repo, copy
from tests.servers import nginx, ours
from tests.serving import Answer, Server, files, reply, serving

pytestmark = pytest.mark.scenario
REGISTRY = ".bpfcompat/registry"


def tree(repo: Repo) -> dict[str, bytes]:
    """A registry as a server knows it."""
    return {f"/{name}": data for name, data in repo.digests(REGISTRY).items()}


@contextmanager
def lending(*answers: Answer) -> Iterator[list[Server]]:
    """Registries behind HTTP, one for each way of answering."""
    with ExitStack() as stack:
        yield [stack.enter_context(serving(answer)) for answer in answers]


@pytest.fixture
def lender(first_run: tuple[Repo, object]) -> Repo:
    """A, which has published; not to be touched."""
    return first_run[0]


@pytest.fixture
def borrower(plain: Repo, lender: Repo, tmp_path: Path) -> Repo:
    """B, with A's public key and nothing asked."""
    made = copy(plain, tmp_path / "borrower")
    (made.root / "keys/a.pub").write_bytes((lender.root / "keys/signing.pem.pub").read_bytes())
    return made


def trusting(repo: Repo, *servers: Server, **more: object) -> None:
    """B's settings: from whom it borrows."""
    sites = [server.url.partition("//")[2] for server in servers]
    given = {"url": [server.url for server in servers], "keys": ["keys/a.pub"], **more}
    repo.settings(lambda s: s.update(substituters=given, fetch={"allow": sites}))


def test_borrowed(lender: Repo, borrower: Repo) -> None:
    """All pairs are borrowed with two requests and no boot, and say so; afterwards nothing is asked of anybody."""
    with lending(files(tree(lender))) as servers:
        trusting(borrower, *servers)
        ran = borrower.doit("matrix")
        assert [seen["path"][:7] for seen in servers[0].seen] == ["/matrix", "/packs/"]
    assert borrower.boots() == {}
    said = ran.out.split("\n")
    for pair in PAIRS:
        assert any(line.startswith(f"-  {pair}") and f"borrowed from {servers[0].url}" in line for line in said)
    again = borrower.doit("matrix")  # and there is no server any more
    counts = "9 pairs: 5 compatible, 4 incompatible; 0 ran, 0 already proved, 9 borrowed; all as expected"
    assert counts in ran.out and counts in again.out
    assert "borrow:" not in ran.out + again.out
    assert borrower.boots() == {}


@pytest.mark.parametrize("server", [ours, nginx])
def test_borrowed_from_a_server(
    lender: Repo, borrower: Repo, tmp_path: Path, server: Callable[[Path], AbstractContextManager[int]]
) -> None:
    """A run borrows all pairs from our own server, and from nginx with the configuration that we publish."""
    served = Path(shutil.copytree(lender.root / REGISTRY, tmp_path / "served"))
    with server(served) as port:
        site = f"127.0.0.1:{port}"
        given = {"url": [f"http://{site}"], "keys": ["keys/a.pub"]}
        borrower.settings(lambda s: s.update(substituters=given, fetch={"allow": [site]}))
        ran = borrower.doit("matrix")
    assert "0 ran, 0 already proved, 9 borrowed; all as expected" in ran.out and "borrow:" not in ran.out
    assert borrower.boots() == {}


def trail_of(repo: Repo) -> list[tuple[str, str]]:
    """Event and facts of each record of the audit trail, whose chain holds."""
    repo.bpfcompat("trail", "verify")
    rows = map(json.loads, (repo.root / ".bpfcompat/trail.jsonl").read_text().splitlines())
    return [(row["event"], json.dumps(row["facts"])) for row in rows]


def test_the_trail_of_a_borrower(lender: Repo, borrower: Repo) -> None:
    """A project that only borrows tells whom it believes, when that changed, and what it did not believe of whom."""
    with lending(files(tree(lender))) as servers:
        trusting(borrower, *servers)
        borrower.doit("matrix")
        ((event, _),) = trail_of(borrower)
        assert event == "settings"
        shutil.rmtree(borrower.root / ".bpfcompat/store")
        keygen(borrower.root / "keys/b.pem")
        (borrower.root / "keys/b.pem.pub").replace(borrower.root / "keys/a.pub")  # signed nothing there
        assert "9 ran, 0 already proved" in borrower.doit("matrix").out
    _, settings, (event, facts), *later = trail_of(borrower)
    assert (settings[0], event) == ("settings", "refusal")
    assert '"what": "borrow"' in facts and f'"why": "{servers[0].url}: ' in facts
    made = [facts for event, facts in later if event == "key" and "made to try out: " in facts]
    assert len(made) == 2 and "keys/signing.pem" in made[0] and "keys/log.pem" in made[1]


def test_nothing_to_ask_asks_nobody(lender: Repo, borrower: Repo) -> None:
    """A run with nothing to do asks nobody, and loads nothing that could."""
    with lending(files(tree(lender))) as servers:
        trusting(borrower, *servers)
        borrower.doit("matrix")
        count = len(servers[0].seen)
        time.sleep(2.1)  # shelves this young are not trusted by any index
        borrower.doit("matrix")
        code = "import sys; from doit.doit_cmd import DoitMain; DoitMain().run(['matrix']); print(sorted(sys.modules))"
        modules = borrower.run("python", "-c", code).out.rpartition("[")[2]
        assert len(servers[0].seen) == count
    for name in ("requests", "urllib3", "cryptography", "bpfcompat.registry.client", "bpfcompat.registry.borrow"):
        assert f"'{name}'" not in modules
    assert "'bpfcompat.borrowing'" in modules


def test_as_a_local_one(lender: Repo, borrower: Repo) -> None:
    """A borrowed verdict is explained, reported and planned with as one that was asked here; `why` says whose it is."""
    with lending(files(tree(lender))) as servers:
        trusting(borrower, *servers)
        borrower.doit("matrix")
    assert "no guest was asked here; borrowed from http://" in borrower.doit("why", "probe:beta@k-a").out
    assert "verifier" in borrower.bpfcompat("explain", "beta@k-a").out
    assert "9 pairs: 9 proved, 0 to ask" in borrower.doit("plan").out
    ours, theirs = (repo.digests(".bpfcompat/reports")["matrix.md"] for repo in (borrower, lender))
    assert ours.split(b"\n\n")[0] == theirs.split(b"\n\n")[0]
    assert borrower.bpfcompat("store", "verify").code == 0
    borrower.age()
    borrower.bpfcompat("gc", "--keep-days", "1")
    assert "9 borrowed" in borrower.doit("matrix").out
    assert borrower.boots() == {}


def test_asked_here_after_all(lender: Repo, borrower: Repo) -> None:
    """Without borrowing, or without the registry, all is asked here; that stands from then on."""
    with lending(files(tree(lender))) as servers:
        trusting(borrower, *servers)
        borrower.doit("matrix")
        assert "9 ran, 0 already proved; all" in borrower.doit("matrix", "--no-borrow").out
        assert borrower.boots() == dict.fromkeys(PAIRS, 1)
        assert "0 ran, 9 already proved; all" in borrower.doit("matrix").out
        assert borrower.entries("borrowed") == {}


def test_witnessed(lender: Repo, borrower: Repo, tmp_path: Path) -> None:
    """Where a witness must have seen the log, nothing is borrowed before it has, and everything after."""
    seen = copy(lender, tmp_path / "seen")
    (log,) = seen.root.glob("keys/log-records/*.vkey")
    seen.bpfcompat("keygen", "keys/eyes", "--kind", "witness", "--name", "eyes.example")
    for path in (log, seen.root / "keys/eyes.vkey"):
        (borrower.root / "keys" / path.name).write_bytes(path.read_bytes())
    trust = {"log_keys": [f"keys/{log.name}"], "witnesses": ["keys/eyes.vkey"], "witnessed": 1, "max_age_hours": 24}
    with lending(files(tree(seen))) as servers:
        trusting(borrower, *servers, **trust)
        ran = borrower.doit("borrow")
        assert "borrowed: 0 of 9 pairs" in ran.out and "!! borrow: " in ran.out and "witness" in ran.out
    look = ("--log-key", str(log), "--key", "keys/eyes", "--state", "state", "--out", "line")
    seen.bpfcompat("witness", REGISTRY, *look)
    seen.bpfcompat("witness", REGISTRY, "--add", "line", "--witness", "keys/eyes.vkey")
    with lending(files(tree(seen))) as servers:
        trusting(borrower, *servers, **trust)
        assert "borrowed: 9 of 9 pairs" in borrower.doit("borrow").out
    assert borrower.boots() == {}


def test_another_address(lender: Repo, borrower: Repo) -> None:
    """The same registry elsewhere: all is borrowed anew, and counts in that very run."""
    for _ in range(2):
        with lending(files(tree(lender))) as servers:
            trusting(borrower, *servers)
            assert "0 ran, 0 already proved, 9 borrowed; all as expected" in borrower.doit("matrix").out
            assert servers[0].seen
    assert borrower.boots() == {}


def test_other_trust(lender: Repo, borrower: Repo) -> None:
    """A loan counts only as long as the project trusts the same registries and keys as it did then."""
    with lending(files(tree(lender))) as servers:
        trusting(borrower, *servers)
        borrower.doit("matrix")
    borrower.settings(lambda s: s["substituters"].update(url=[]))
    assert "9 ran" in borrower.doit("matrix").out


def test_forgotten(lender: Repo, borrower: Repo) -> None:
    """A loan that is forgotten is borrowed again, by itself: two files, no pack."""
    with lending(files(tree(lender))) as servers:
        trusting(borrower, *servers)
        borrower.doit("matrix")
        borrower.doit("forget", "probe:alpha@k-a")
        servers[0].seen.clear()
        assert "borrowed: 1 of 1 pairs" in borrower.doit("matrix").out
        assert [seen["path"][:9] for seen in servers[0].seen] == ["/matrix.j", "/bundles/", "/evidence"]
    assert borrower.boots() == {}


def test_another_question(lender: Repo, borrower: Repo) -> None:
    """What A did not ask is asked here: another object, another kernel of the same release, another recipe."""
    borrower.object("alpha", "compatible alpha  ")
    borrower.kernel("k-b", "6.1.0-b", code=b"\xcc")
    borrower.settings(lambda s: s["objects"]["beta"].update(attach="load"))
    with lending(files(tree(lender))) as servers:
        trusting(borrower, *servers)
        ran = borrower.doit("matrix", code=None)
    assert "borrowed: 2 of 9 pairs" in ran.out
    assert set(borrower.boots()) == {p for p in PAIRS if not p.startswith("gamma@") or p == "gamma@k-b"}


def cut_pack(known: dict[str, bytes]) -> dict[str, bytes]:
    """Half of the pack."""
    return {path: data[: len(data) // 2] if path.startswith("/packs/") else data for path, data in known.items()}


FAULTS: dict[str, tuple[Callable[[dict[str, bytes]], Answer], str]] = {
    "500": (lambda known: lambda handler: reply(handler, 500), "expected HTTP status 200, got 500"),
    "half a pack": (lambda known: files(cut_pack(known)), ".pack: its bytes are not what its name says"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(lender: Repo, borrower: Repo, fault: str) -> None:
    """A registry that gives nothing to believe is told of, and every pair is asked here; the exit code is as ever."""
    broken, words = FAULTS[fault]
    with lending(broken(tree(lender))) as servers:
        trusting(borrower, *servers)
        ran = borrower.doit("matrix")
    assert f"!! borrow: {servers[0].url}: " in ran.out and words in ran.out
    assert borrower.boots() == dict.fromkeys(PAIRS, 1)
    assert "9 ran, 0 already proved; all as expected" in ran.out


def test_nobody_there(lender: Repo, borrower: Repo) -> None:
    """A registry that is down costs nothing but a line; in the next run it is asked again, and then believed."""
    with lending(files(tree(lender))) as servers:
        trusting(borrower, *servers)
    (borrower.root / "tools/instead").write_text("panic")  # no guest answers either
    assert "cannot fetch" in borrower.doit("matrix", code=None).out
    with lending(files(tree(lender))) as servers:
        trusting(borrower, *servers)
        assert "9 borrowed; all as expected" in borrower.doit("matrix").out


def silent(handler: BaseHTTPRequestHandler) -> None:
    """Say nothing for longer than the reader of `hurried` waits."""
    time.sleep(4)


NOTHING: dict[str, tuple[Answer, str]] = {
    "404": (lambda handler: reply(handler, 404), "matrix.json: is missing"),
    "500": (lambda handler: reply(handler, 500), "expected HTTP status 200, got 500"),
    "timeout": (silent, "matrix.json: cannot fetch: "),
}


def hurried(repo: Repo) -> str:
    """What `doit borrow` says when it waits a second for a file, and not minutes."""
    code = "from bpfcompat.registry import client; client.FILE_S = 1.0; " \
           "from doit.doit_cmd import DoitMain; DoitMain().run(['borrow'])"  # fmt: skip
    return repo.run("python", "-c", code).out


@pytest.mark.parametrize("answer", NOTHING)
def test_no_answer_is_not_remembered(lender: Repo, borrower: Repo, answer: str) -> None:
    """V46: 404, 500 and silence hold for one run; the next one asks the same registry anew, and believes it."""
    broken, words = NOTHING[answer]
    now = [broken]

    def changing(handler: BaseHTTPRequestHandler) -> None:
        now[0](handler)

    with lending(changing) as servers:
        trusting(borrower, *servers)
        assert words in (said := hurried(borrower)) and "borrowed: 0 of 9 pairs" in said
        now[0] = files(tree(lender))
        assert "borrowed: 9 of 9 pairs" in hurried(borrower)
    assert borrower.boots() == {}


def test_garbage_and_good(lender: Repo, borrower: Repo) -> None:
    """Of two registries, one of which is damaged, the other's answers are taken, and the damage is told."""
    known = tree(lender)
    with lending(files(cut_pack(known)), files(known)) as servers:
        trusting(borrower, *servers)
        ran = borrower.doit("matrix")
    assert f"!! borrow: {servers[0].url}: packs/" in ran.out
    assert ran.out.count(f"borrowed from {servers[1].url}") == len(PAIRS)
    assert borrower.boots() == {}


def test_disagreement(plain: Repo, lender: Repo, borrower: Repo, tmp_path: Path) -> None:
    """Where two registries give two answers, both are shown, neither is taken, and the kernel is asked here."""
    liar = copy(plain, tmp_path / "liar")
    (liar.root / "tools/instead").write_text("rejected")
    liar.doit("matrix", code=1)
    shutil.copy(liar.root / "keys/signing.pem.pub", borrower.root / "keys/liar.pub")
    with lending(files(tree(lender)), files(tree(liar))) as servers:
        trusting(borrower, *servers, keys=["keys/a.pub", "keys/liar.pub"])
        ran = borrower.doit("matrix")
    a, b = (server.url for server in servers)
    words = f"alpha@k-b: {a} says compatible, {b} says incompatible: verifier-rejected; asked here"
    assert f"!! borrow: conflict: {words}" in ran.out
    assert {p for p in PAIRS if not p.startswith("beta")} == set(borrower.boots())
    assert "6 ran, 0 already proved, 3 borrowed; all as expected" in ran.out


def test_two_of_two(plain: Repo, lender: Repo, borrower: Repo, tmp_path: Path) -> None:
    """With `needed = 2`, the same answer must come from two registries under two keys."""
    second = copy(plain, tmp_path / "second")
    second.doit("matrix")
    shutil.copy(second.root / "keys/signing.pem.pub", borrower.root / "keys/second.pub")
    keys = ["keys/a.pub", "keys/second.pub"]
    with lending(files(tree(lender)), files(tree(lender))) as twice:
        trusting(borrower, *twice, keys=keys, needed=2)
        assert "borrowed: 0 of 9 pairs" in borrower.doit("matrix", "borrow").out
    assert "never run before" not in borrower.doit("why", "probe:alpha@k-a").out
    shutil.rmtree(borrower.root / ".bpfcompat/store/actions/probe")
    borrower.forget_boots()
    with lending(files(tree(lender)), files(tree(second))) as servers:
        trusting(borrower, *servers, keys=keys, needed=2)
        ran = borrower.doit("matrix")
    assert f"borrowed from {servers[0].url} and {servers[1].url}" in ran.out
    assert borrower.boots() == {}


def rooted(repo: Repo) -> None:
    """Give a registry a root document that lists the keys which signed it."""
    name = json.loads((repo.root / REGISTRY / "registry.json").read_text())["log"].partition("+")[0]
    repo.bpfcompat("keys", "new", "root", "alice")
    repo.bpfcompat("keys", "init", "draft.json", "--name", name, "--threshold", "1", "--root", "alice.pub", "--verdict",
                   "keys/signing.pem.pub", "--log", "keys/log.pem.pub", "--days", "365")  # fmt: skip
    signed(repo)


def signed(repo: Repo) -> None:
    """Sign and publish the draft of a root document."""
    repo.bpfcompat("keys", "sign", "draft.json", "--key", "alice")
    signatures = [path.name for path in repo.root.glob("draft.json.*.sig")]
    repo.bpfcompat("keys", "publish", "draft.json", *signatures, "--registry", REGISTRY)
    for used in repo.root.glob("draft.json*"):
        used.unlink()


def test_root_document(lender: Repo, borrower: Repo, tmp_path: Path) -> None:
    """A root document stands for all keys; with a damaged one nothing is lent, and all is asked here."""
    rooted(made := copy(lender, tmp_path / "rooted"))
    shutil.copy(made.root / REGISTRY / "root/1.json", borrower.root / "keys/root.json")
    with lending(files(tree(made)), files(tree(lender))) as servers:
        trusting(borrower, *servers, keys=[], root=["keys/root.json"] * 2)
        ran = borrower.doit("matrix")
        assert len(servers[0].seen) <= 10
    assert "9 borrowed; all as expected" in ran.out
    assert borrower.boots() == {}
    (borrower.root / "keys/root.json").write_bytes(b"{}")
    with lending(files(tree(made))) as servers:
        trusting(borrower, *servers, keys=[], root=["keys/root.json"])
        ran = borrower.doit("matrix")
    assert f"!! borrow: {servers[0].url}: " in ran.out
    assert borrower.boots() == dict.fromkeys(PAIRS, 1)


def test_revoked_since(lender: Repo, borrower: Repo, tmp_path: Path) -> None:
    """A key that is known to be revoked takes its loans with it; a root document that only lives longer takes none."""
    rooted(made := copy(lender, tmp_path / "rooted"))
    shutil.copy(made.root / REGISTRY / "root/1.json", borrower.root / "keys/root.json")

    def answer(handler: BaseHTTPRequestHandler) -> None:
        """What the registry has at that moment."""
        files(tree(made))(handler)

    with lending(answer) as servers:
        trusting(borrower, *servers, keys=[], root=["keys/root.json"])

        def look(name: str) -> str:
            """What a run says that has to ask for a changed object, and so meets the newest root document."""
            borrower.object("alpha", f"compatible {name}")
            return borrower.doit("matrix", code=None).out

        assert "3 ran, 0 already proved, 6 borrowed" in look("once")
        made.bpfcompat("keys", "draft", REGISTRY, "draft.json")
        made.bpfcompat("keys", "set", "draft.json", "--days", "700")
        signed(made)
        assert "3 ran, 0 already proved, 6 borrowed" in look("twice")
        assert "borrowed: 0 of 3 pairs" in look("and again"), "nothing was asked but what had changed"
        made.bpfcompat("keys", "draft", REGISTRY, "draft.json")
        made.bpfcompat("keys", "revoke", "draft.json", "keys/signing.pem.pub", "--below", "0")
        signed(made)
        assert "!! borrow: the keys that count have changed: the next run asks anew" in look("thrice")
        borrower.forget_boots()
        assert "6 ran, 3 already proved; all" in borrower.doit("matrix", code=None).out
    assert sum(borrower.boots().values()) == 6


def test_borrow_alone(lender: Repo, borrower: Repo) -> None:
    """`doit borrow` takes what there is and boots nothing."""
    borrower.object("alpha", "compatible alpha  ")
    with lending(files(tree(lender))) as servers:
        trusting(borrower, *servers)
        assert "borrowed: 6 of 9 pairs; a log was not checked" in borrower.doit("borrow").out
    assert borrower.boots() == {}
    assert "9 pairs: 6 proved, 3 to ask" in borrower.doit("plan").out


def test_not_signed_again(lender: Repo, borrower: Repo) -> None:
    """What another key signed is not signed again: B publishes only what its own guests said."""
    borrower.object("alpha", "compatible alpha  ")
    with lending(files(tree(lender))) as servers:
        trusting(borrower, *servers)
        ran = borrower.doit("matrix")
    assert "published: without 6 borrowed pairs" in ran.out
    said = borrower.bpfcompat("verify", REGISTRY, "--key", "keys/signing.pem.pub").out
    assert [p for p in PAIRS if p in said] == [p for p in PAIRS if p.startswith("alpha")]


def test_all_borrowed_signs_nothing(lender: Repo, borrower: Repo) -> None:
    """Where all was borrowed there is no registry, and no signing key is made for it."""
    with lending(files(tree(lender))) as servers:
        trusting(borrower, *servers)
        borrower.doit("matrix")
        borrower.doit("matrix")
    assert not (borrower.root / REGISTRY).exists()
    assert not (borrower.root / "keys/signing.pem").exists()


def test_own_key(lender: Repo, borrower: Repo) -> None:
    """A machine that starts empty borrows what its own key has signed before, and publishes it as its own."""
    for name in ("signing.pem", "signing.pem.pub", "log.pem", "log.pem.pub"):
        shutil.copy(lender.root / "keys" / name, borrower.root / "keys")
    with lending(files(tree(lender))) as servers:
        trusting(borrower, *servers)
        ran = borrower.doit("matrix")
    assert "published: without" not in ran.out
    said = borrower.bpfcompat("verify", REGISTRY, "--key", "keys/signing.pem.pub").out
    assert [p for p in PAIRS if p in said] == PAIRS
    assert borrower.boots() == {}


def test_settings(borrower: Repo) -> None:
    """Whom to believe must be said: an address without a key, or more keys needed than there are, is an input error."""
    both = {"url": ["a"], "keys": ["b"]}
    for table in ({"url": ["https://a.example/"]}, {**both, "needed": 2}, {"url": ["a", "a"], "keys": ["b"]},
                  {**both, "root": ["c"]}, {"url": ["a"], "root": ["b", "c"]}):  # fmt: skip
        borrower.settings(lambda s, table=table: s.update(substituters=table))  # type: ignore[misc]
        assert "[substituters]" in borrower.doit("matrix", code=2).err
