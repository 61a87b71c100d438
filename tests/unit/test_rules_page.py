"""The page of a run: self-contained, and inert whatever a guest said."""

import html.parser
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.gate import Row
from bpfcompat.rules import page
from tests.claims import explanation
from tests.rows import HOSTILE, NO, UNKNOWN, YES, expects, row

TAGS = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "span", "table", "thead", "tbody", "tr",
    "th", "td", "a", "small", "details", "summary", "strong", "pre", "code",
    "dl", "dt", "dd", "ol", "li", "br",
}  # fmt: skip


class Reader(html.parser.HTMLParser):
    """Collects what a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def read(rows: list[Row], text: str = "") -> Reader:
    """A rendered page, parsed; with `text`, each pair is explained with it."""
    reader = Reader()
    reader.feed(page.render(rows, {str(r.pair): explanation(text) for r in rows if text}))
    reader.close()
    return reader


def hostile_rows(text: str) -> list[Row]:
    """Rows that carry a stranger's text wherever one can."""
    return [
        row(NO, "verifier-rejected", expects(YES), name="a@k", evidence=(text,), notes=(text,), sentence=text),
        row(None, name="b@k", trouble=text),
        row(NO, text, expects(NO, text), name=f"{text.replace('@', '')}@k"),
        row(YES, name=f"a@{text.replace('@', '')}"),
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text(text: str) -> None:
    """No text makes an element, an attribute or an address."""
    plain, odd = read(hostile_rows("x"), "x"), read(hostile_rows(text), text)
    assert odd.tags == plain.tags
    assert [name for name, _ in odd.attributes] == [name for name, _ in plain.attributes]
    assert all((value or "").startswith("#") for name, value in odd.attributes if name in ("href", "src"))


@given(st.text(max_size=30))
def test_any_text(text: str) -> None:
    """Whatever the text, the page has its own elements and no others."""
    assert set(read(hostile_rows(text), text).tags) <= TAGS


@pytest.mark.parametrize("text", HOSTILE)
def test_evidence_is_shown(text: str) -> None:
    """Evidence is shown as text, and what does not print is a question mark: no override turns a line around."""
    shown = read([row(NO, "x", name="a@k", evidence=(text,))]).text
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert "".join(c if c.isprintable() else "?" for c in text) in shown


def test_explained() -> None:
    """A pair that is explained has the source line, what to change and how sure it is in the open, its log folded."""
    text = page.render([row(NO, "x", name="a@k")], {"a@k": explanation()})
    for words in ("probe.bpf.c:14", "use a bounded loop", "proven: its own words", "upstream Linux 5.17",
                  "<dt>helper</dt><dd><code>bpf_loop", "<small>uapi</small>", "sha256:" + "0" * 64,
                  "doit forget probe:x@k &amp;&amp; doit probe:x@k"):  # fmt: skip
        assert words in text, words
    assert "   7  invalid func bpf_loop#181" in text


def test_nothing_is_fetched_or_run() -> None:
    """No script, no image, no address of anybody, and a policy that would forbid them."""
    text = page.render([row(NO, "x", evidence=("e",))])
    assert not re.search(r"<(script|img|link|iframe|object|form|base)|https?:|//[a-z]|url\(|@import|\bon[a-z]+=", text)
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text


def test_headline() -> None:
    """The first line says how it went; a required row that is not as expected is counted and stands open."""
    assert "<h1>As expected</h1>" in page.render([row(YES)])
    text = page.render([row(NO, "x", expects(YES)), row(None, name="y@k")])
    assert "<h1>2 not as expected</h1>" in text
    assert len(re.findall(r"<details [^>]* open", text)) == 2


def test_cells() -> None:
    """Each kind of answer has its own cell, and a pair that was not asked says so."""
    rows = [
        row(YES, name="a@k1"), row(NO, "helper-missing", name="a@k2"), row(UNKNOWN, "guest-resources", name="b@k1"),
        row(None, name="c@k1"), row(None, name="c@k2", not_to_be_had=True),
    ]  # fmt: skip
    shown = read(rows).text
    for said in ("✓ compatible", "✕ helper-missing", "? guest-resources", "? no answer", "not to be had", "not asked"):
        assert said in shown


def test_links_lead_somewhere() -> None:
    """Each cell's link has its target on the page, once."""
    found = read([row(YES, name="a@k"), row(NO, "x", name="b@k")]).attributes
    links = [value for name, value in found if name == "href"]
    assert links == [f"#{value}" for name, value in found if name == "id"] == ["#a@k", "#b@k"]


def test_release_from_any_row() -> None:
    """A kernel's release is shown when any of its rows knows it, whichever comes last."""
    unknown = Row(**{**{f: getattr(row(None, name="b@k"), f) for f in Row.__slots__}, "release": ""})
    assert "<small>6.1.0</small>" in page.render([row(YES, name="a@k"), unknown])


def test_empty() -> None:
    """A run without rows is a page too."""
    assert "<h1>As expected</h1>" in page.render([])
