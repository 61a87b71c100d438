"""The pages: what is on them, and what a hostile object cannot put there."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bpfcompat.behaviour import Outcome, TestVerdict
from bpfcompat.digest import digest_bytes
from bpfcompat.manifest import NOT_TO_BE_HAD, Matrix, Row
from bpfcompat.model import Answer, Expectation
from bpfcompat.registry import layout, pages
from bpfcompat.statement import Claim, pair_id
from tests.claims import BAD, NOW, claim, explanation, registry, row, two_claims

HOSTILE = "{{ 7*7 }}<script>alert(1)</script>\"'><img src=x onerror=x> \u202e\x1b[31m\x00" + "x" * 20_000


class Tags(HTMLParser):
    """Collects tags, attributes and links, and checks that what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def index_of(*rows: Row) -> str:
    return pages.index(Matrix(rows, NOW, NOW + 60), digest_bytes(b""), "SHA256:x", set())


def pair_of(made: Claim, expected: str | None = None) -> str:
    return pages.pair(made, row(made, expected), (), "SHA256:x")


def explained(made: Claim, text: str = "") -> str:
    return pages.pair(made, row(made), (), "SHA256:x", explanation(text))


def hostile_claim() -> Claim:
    """A claim whose every text comes from an attacker."""
    program = replace(BAD.programs[0], name=HOSTILE, section=HOSTILE, type=HOSTILE, cause=HOSTILE, detail=HOSTILE)
    verdict = replace(BAD, cause=HOSTILE, sentence=HOSTILE, evidence=(HOSTILE,), errno=HOSTILE, hint=HOSTILE,
                      notes=(HOSTILE,), programs=(program,),
                      tests=(TestVerdict(HOSTILE, True, Outcome.FAILED, (HOSTILE,)),))  # fmt: skip
    return claim(object_name=HOSTILE, kernel_name=HOSTILE, kernel_release=HOSTILE, kernel_arch=HOSTILE,
                 libbpf_version=HOSTILE, command_line=HOSTILE, machine={"x": HOSTILE}, spec={"x": HOSTILE},
                 verdict=verdict)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [index_of(row(hostile_claim())), pair_of(hostile_claim()), explained(hostile_claim(), HOSTILE)],
    ids=["index", "pair", "explained"],
)
def test_hostile_names(text: str) -> None:
    """Nothing out of an object becomes a tag, an attribute, an invisible character, or a flood."""
    tags = Tags(text)
    assert not {"script", "img", "style", "iframe", "object", "form"} & set(tags.tags)
    assert not {a for a in tags.attributes if a.startswith("on") or a == "style"}
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "{{ 7*7 }}" in text
    assert len(text) < 100_000


def test_index() -> None:
    """Every pair is a cell with sign and word, in a table that can be heard as well as seen."""
    good, bad = two_claims()
    absent = Row("other", None, "sid", "", None, None, None, Answer.INCONCLUSIVE, NOT_TO_BE_HAD, Expectation(None))
    text = index_of(row(good), row(bad, "compatible"), absent)
    Tags(text)
    assert text.count('scope="col"') == 4 and text.count('scope="row"') == 2
    assert "✓" in text and "✕" in text and "not asked" in text and "not-to-be-had" in text
    assert "expected <b>compatible</b>, got <b>incompatible</b>" in text
    assert "Not everything as expected" in text
    assert "Everything as expected" in index_of(row(good), row(bad))
    assert "two answers" in pages.index(Matrix((row(good),), 0, 1), digest_bytes(b""), "SHA256:x", {pair_id(good)})


def test_pair() -> None:
    """A pair's page has the answer, the cause, the evidence, the programs, and the command that repeats it."""
    _, bad = two_claims()
    text = pair_of(bad, "compatible")
    Tags(text)
    for words in ("calls bpf_ringbuf_output, which", "helper-missing", "invalid func", "not as expected", "emit",
                  "kprobe/do_exit", "doit probe:ringbuf@debian-10", "EINVAL", "use a perf buffer"):  # fmt: skip
        assert words in text, words
    assert "Evidence" not in pair_of(claim()) and "Kernel config" not in pair_of(claim(config=None))


def test_explained() -> None:
    """With an explanation a page has the source line, what to change, how sure it is, and the log folded; unsigned."""
    text = explained(two_claims()[1])
    tags = Tags(text).tags
    for words in ("probe.bpf.c:14", "bpf_loop(4, f, 0, 0);", "use a bounded loop", "proven", "upstream Linux 5.17",
                  "flips between debian-11", "absent: bpf_loop", "   7</span> invalid",
                  "this explanation is not"):  # fmt: skip
        assert words in text, words
    assert "details" in tags and "<details open" not in text
    assert text.index("What to change") < text.index("<details")


def test_links_lead_somewhere(tmp_path: Path) -> None:
    """Every link of a published page is a file of the registry, reached without leaving it."""
    registry(tmp_path)
    for page in [tmp_path / layout.INDEX, *(tmp_path / "pair").iterdir()]:
        for link in Tags(page.read_text()).links:
            target = (page.parent / link).resolve()
            assert target.is_file() and target.is_relative_to(tmp_path), link


def test_no_colours_outside_the_sheet() -> None:
    """The content policy allows one style sheet, so no served page carries styles or scripts of its own."""
    found = (Path(pages.__file__).parent / "templates").glob("*.j2")
    for template in (path for path in found if path.name != "audit.html.j2"):  # never served: test_registry_auditreport
        assert not re.search(r"style=|<style|<script|javascript:|https?://", template.read_text())
