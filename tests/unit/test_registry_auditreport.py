"""An audit's report: two columns that are never one, and nothing on the page that a hostile object put there."""

import base64
import json
import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bpfcompat.cli import main
from bpfcompat.digest import digest_bytes, raw_digest
from bpfcompat.errors import Exit
from bpfcompat.keys import public_pem
from bpfcompat.registry import layout
from bpfcompat.registry.audit import audit
from bpfcompat.registry.auditreport import ANSWERS, MEANING, SIGNS, page, summary, text, to_json
from bpfcompat.registry.client import Folder
from bpfcompat.rootdoc import Key, Root
from bpfcompat.statement import Claim
from tests.claims import KEY, LOG, NOW, OTHER, POLICY, claim, item, put, row, two_claims
from tests.roots import FROM, HOLDERS, signed
from tests.serving import reply, serving

HOSTILE = "{{ 7*7 }}<script>alert(1)</script>\"'><img src=x onerror=x> \u202e\x1b[31m" + "x" * 2000
GOOD, OLD = two_claims()
FRESH = Key("verdict", "newer", OTHER.public_key(), FROM)
FIELDS = {
    "format", "tool", "release", "registry", "at", "exit_code", "trusted", "problems", "claims", "answers",
    "not_as_expected", "conflicts", "missing", "matrix", "log", "keys", "setups", "pairs",
}  # fmt: skip


class Page(HTMLParser):
    """Rows of the table of pairs as lists of cells' text, and every tag and attribute."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[tuple[str, frozenset[str]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, frozenset(name for name, _ in attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def told(folder: Path, *claims: Claim, release: str | None = None, registry: str = "results") -> dict[str, Any]:
    """The report about a registry of these claims."""
    put(folder, [item(c) for c in claims], [row(c) for c in claims])
    return to_json(audit(Folder(folder), POLICY, now=NOW), registry, release)


def test_verified_incompatible_shows_both(tmp_path: Path) -> None:
    """A verified incompatible pair says `verified` in one column and `incompatible` in another, on each surface."""
    made = told(tmp_path / "r", OLD)
    (pair,) = made["pairs"]
    assert (pair["claim"]["standing"], pair["answer"]) == ("verified", "incompatible")
    found = next(cells for cells in Page(page(made)).rows if cells and cells[0].startswith("ringbuf"))
    claimed, answered = found[2], found[5]
    assert ("verified" in claimed, "compatible" in claimed) == (True, False)
    assert ("verified" in answered, "incompatible" in answered) == (False, True)
    assert SIGNS["verified"] in claimed and ANSWERS["incompatible"] in answered  # type: ignore[index]
    lines = summary(made).splitlines()
    assert any(line.startswith("claims ") and "1 verified" in line and "compatible" not in line for line in lines)
    assert any(line.startswith("answers ") and "1 incompatible" in line and "verified" not in line for line in lines)
    assert MEANING in summary(made)


def test_no_sign_is_shared() -> None:
    """No sign of a standing is one of an answer, and no word either."""
    assert not set(SIGNS.values()) & set(ANSWERS.values())
    assert len({*SIGNS.values(), *ANSWERS.values()}) == len(SIGNS) + len(ANSWERS)
    assert not {str(word) for word in SIGNS} & {str(word) for word in ANSWERS}


def test_what_it_ran_on(tmp_path: Path) -> None:
    """Each claim's setup is in the report once: kernel, validator, libbpf, machine; the accelerator if it is stated."""
    kvm = claim(kernel_name="kvm", vmlinuz=digest_bytes(b"kvm"), machine={"machine": "q35", "accelerator": "kvm"})
    other = claim(object_name="other", object_digest=digest_bytes(b"other"))
    made = told(tmp_path / "r", GOOD, other, kvm)
    assert [pair["setup"] for pair in made["pairs"]] == [0, 0, 1]
    first, second = made["setups"]
    assert (first["release"], first["vmlinuz"], first["validator"]) == (
        GOOD.kernel_release, GOOD.vmlinuz, GOOD.validator,
    )  # fmt: skip
    assert first["libbpf"] == {"version": "1.5.0", "source": GOOD.libbpf_source}
    assert (first["machine"], first["accelerator"], second["accelerator"]) == (dict(GOOD.machine), None, "kvm")
    assert "not stated" in page(made)


def test_json(tmp_path: Path) -> None:
    """The JSON has the documented fields, every one of them named in docs/audit.md, and no others."""
    made = told(tmp_path / "r", GOOD, OLD, release="1.2")
    assert json.loads(text(made)) == made
    assert set(made) == FIELDS
    doc = (Path(__file__).parents[2] / "docs" / "audit.md").read_text("utf-8")
    pair = made["pairs"][0]
    names = [*FIELDS, *pair, *pair["claim"], *made["setups"][0], *made["keys"][0], *made["log"], *made["matrix"]]
    assert [name for name in names if f"`{name}`" not in doc] == []


def test_page_is_whole_and_closed(tmp_path: Path) -> None:
    """One file, no script, nothing fetched; its policy allows its own style, by digest, and nothing else."""
    html = page(told(tmp_path / "r", GOOD, OLD))
    (css,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    wanted = base64.b64encode(raw_digest(css.encode())).decode()
    assert f"default-src 'none'; style-src 'sha256-{wanted}'; base-uri 'none'; form-action 'none'" in html
    assert {tag for tag, _ in Page(html).tags} & {"script", "img", "link", "iframe", "object", "form", "base"} == set()
    assert not re.search(r"https?:|url\(|@import|\bon[a-z]+=|style=", html)


def test_hostile_names(tmp_path: Path) -> None:
    """Names, releases and paths from strangers make no element, and nothing invisible."""
    good = told(tmp_path / "r", claim())
    machine = {"machine": HOSTILE}
    bad = claim(object_name=HOSTILE, kernel_name=HOSTILE, kernel_release=HOSTILE, kernel_arch=HOSTILE,
                command_line=HOSTILE, libbpf_version=HOSTILE, machine=machine)  # fmt: skip
    odd = told(tmp_path / "s", bad, registry=HOSTILE)
    plain, read = Page(page(good)), Page(page(odd))
    assert read.tags == plain.tags
    assert not set("\u202e\x1b") & set(page(odd) + summary(odd)) and "49" not in read.rows[1][0]


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A registry `reg` here, and the options that say whom to believe."""
    monkeypatch.chdir(tmp_path)
    put(Path("reg"), [item(GOOD), item(OLD)], [row(GOOD), row(OLD)], now=int(time.time()))
    Path("k.pub").write_bytes(public_pem(KEY.public_key()))
    Path("log.vkey").write_text(LOG.vkey)
    Path("probe.bpf.o").write_bytes(b"\x7fELF an object")
    return ["audit", "reg", "--key", "k.pub", "--log-key", "log.vkey", "--state", "state"]


def test_command(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The command writes both files, names them, and prints the summary."""
    code = main([*given, "--object", "probe.bpf.o", "--release", "1.2", "--html", "a.html", "--json", "a.json"])
    printed = capsys.readouterr().out
    assert code == Exit.OK, printed
    assert printed.startswith("audit of release 1.2: reg, 2 pairs, at ")
    assert printed.endswith("trusted, and as expected\nwritten: a.html\nwritten: a.json\n")
    assert json.loads(Path("a.json").read_bytes())["release"] == "1.2"
    assert "Audit of release 1.2" in Path("a.html").read_text()


def test_exit_codes(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Input 2, something missing 3, not trusted 4; a report is written for the last two as well."""
    assert main([*given, "--object", "other.bpf.o"]) == Exit.INPUT
    assert main([*given, "--object", "ringbuff"]) == Exit.INPUT
    assert "did you mean ringbuf?" in capsys.readouterr().err
    Path("new.bpf.o").write_bytes(b"another build")
    assert main([*given, "--object", "new.bpf.o"]) == Exit.UNTRUSTED
    (Path("reg") / layout.evidence_path(GOOD.report)).unlink()
    assert main([*given, "--json", "3.json"]) == Exit.INCONCLUSIVE
    assert "missing: evidence ringbuf@debian-12" in capsys.readouterr().out
    (Path("reg") / layout.bundle_path(row(OLD).bundle or "")).unlink()
    assert main([*given, "--json", "4.json"]) == Exit.UNTRUSTED
    assert [json.loads(Path(f"{code}.json").read_bytes())["exit_code"] for code in (3, 4)] == [3, 4]


def test_root_document(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With a root document in the place of keys the report names every key by role and name, with its limits."""
    keys = (Key("verdict", "runner", KEY.public_key(), FROM, below=9), Key("log", LOG.name, LOG.key, FROM))
    now = int(time.time())
    mine = Root(LOG.name, 1, now + 99, 2, tuple(h.public_key() for h in HOLDERS[:2]), (*keys, FRESH))
    Path("root.json").write_bytes(signed(mine))
    put(Path("reg"), [], [row(GOOD), row(OLD)], OTHER, now=now + 1)
    assert main(["audit", "reg", "--root", "root.json", "--state", "state", "--json", "a.json"]) == 0
    told = json.loads(Path("a.json").read_bytes())
    found = {key["name"]: key for key in told["keys"] if key["role"] != "root"}
    limits = {name: (key["role"], key["below"], key["current"]) for name, key in found.items()}
    assert limits == {
        "runner": ("verdict", 9, False), LOG.name: ("log", None, True), "newer": ("verdict", None, True),
    }  # fmt: skip
    assert {pair["claim"]["signer"] for pair in told["pairs"]} == {found["runner"]["id"]}
    assert told["matrix"]["signer"] == found["newer"]["id"]
    assert main([*given, "--root", "root.json"]) == Exit.INPUT
    assert "--root: has all keys in it" in capsys.readouterr().err


def test_over_http(given: list[str]) -> None:
    """The report about a server is the one about its folder, missing evidence included."""
    (Path("reg") / layout.evidence_path(GOOD.report)).unlink()
    here = Path.cwd() / "reg"

    def answer(handler: Any) -> None:
        place = here / handler.path[1:]
        reply(handler, *((200, place.read_bytes()) if place.is_file() else (404, b"")))

    told = []
    with serving(answer) as server:
        for where in ("reg", server.url):
            assert main([given[0], where, *given[2:], "--json", "a.json"]) == Exit.INCONCLUSIVE
            told.append({**json.loads(Path("a.json").read_bytes()), "at": "", "registry": ""})
    assert told[0] == told[1]


def test_not_as_expected(tmp_path: Path) -> None:
    """What differs from the expectation is listed with its claim's standing beside its answer."""
    wrong = replace(row(OLD), expected=row(GOOD).expected)
    put(tmp_path / "r", [item(OLD)], [wrong])
    made = to_json(audit(Folder(tmp_path / "r"), POLICY, now=NOW), "results")
    words = "expected compatible, got incompatible helper-missing; its claim is verified"
    assert words in summary(made) and made["exit_code"] == 1
