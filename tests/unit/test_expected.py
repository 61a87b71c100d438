"""Expectations: their words, which of several patterns is meant, and the table [expect] below an object's own."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat import plan
from bpfcompat.config import from_dict, object_spec
from bpfcompat.errors import ConfigError
from bpfcompat.expected import expectation, expected_on, inherited, read_patterns, required_on, whole
from bpfcompat.model import Answer, DirSource, Expectation, KernelSpec, ObjectSpec

ROOT = Path("/nowhere")
KERNELS = {k: KernelSpec(k, "amd64", DirSource(Path(k))) for k in ("k-a", "k-b", "k-c")}


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("any", Expectation(None)),
        ("compatible", Expectation(Answer.COMPATIBLE)),
        ("incompatible", Expectation(Answer.INCOMPATIBLE)),
        ("incompatible:helper-missing", Expectation(Answer.INCOMPATIBLE, "helper-missing")),
        ("inconclusive:guest-resources", Expectation(Answer.INCONCLUSIVE, "guest-resources")),
        ("may-fail", Expectation(None, None, "may-fail")),
        ("may-fail:helper-missing", Expectation(None, "helper-missing", "may-fail")),
        ("unknown", Expectation(None, None, "unknown")),
    ],
)
def test_expectation(text: str, meaning: Expectation) -> None:
    """The grammar, and back to the same text."""
    assert expectation(text, "x") == meaning
    assert str(meaning) == text


@pytest.mark.parametrize(("short", "full"), [("pass", "compatible"), ("fail", "incompatible"),
                                             ("fail:helper-missing", "incompatible:helper-missing")])  # fmt: skip
def test_short_words(short: str, full: str) -> None:
    """pass and fail are other words for compatible and incompatible."""
    assert expectation(short, "x") == expectation(full, "x")


@pytest.mark.parametrize(
    "text",
    [
        "", "yes", "pass:x", "unknown:x", "may-fail:", "may_fail", "Compatible", "compatible:x", "compatible:",
        "incompatible:", "incompatible: x", "incompatible:a:b",
        "incompatible:A", "incompatible:a\n", "incompatible:\u202e", "any:x", "any ", "inconclusive:", ":x",
    ],
)  # fmt: skip
def test_no_expectation(text: str) -> None:
    """What could never be met, or only by accident, is refused."""
    with pytest.raises(ConfigError, match=r"^x: expected pass, fail\[:cause\], may-fail"):
        expectation(text, "x")


def test_expected_on() -> None:
    """The exact kernel wins, then the longest pattern, then nothing is expected."""
    table = {"*": "any", "debian-*": "compatible", "debian-1*": "incompatible:a", "debian-12": "incompatible:b"}
    spec = object_spec("x", {"source": "x", "expect": table}, ROOT, "x")
    asked = ("debian-12", "debian-13", "debian-9", "mine")
    assert [str(expected_on(spec, k)) for k in asked] == [
        "incompatible:b",
        "incompatible:a",
        "compatible",
        "any",
    ]
    assert expected_on(ObjectSpec("x"), "mine") == Expectation(None)


def test_required_on() -> None:
    """An object is required, unless it is optional everywhere or on this kernel, with whatever loader."""
    table = {"source": "x", "optional": ["debian-1?", "mine+libbpf-1.1"]}
    some = object_spec("x", table, ROOT, "x")
    asked = ("debian-11", "debian-11+libbpf-1.1", "mine", "mine+libbpf-1.1")
    assert [required_on(some, k) for k in asked] == [False, False, True, False]
    assert not required_on(ObjectSpec("x", optional=True), "mine") and required_on(ObjectSpec("x"), "m")


# --- the table [expect]


def matrix(patterns: dict[str, str], **objects: Any) -> plan.Matrix:
    """A project with these patterns, and objects x-one, x-two (or so) on three kernels."""
    tables = {n.replace("_", "-"): {"prebuilt": "o", **({"expect": e} if e else {})} for n, e in objects.items()}
    found = from_dict({"objects": tables, "expect": patterns, "matrix": {"kernels": ["*"]}}, ROOT)
    return plan.matrix(found, found.objects, KERNELS)


def said(found: plan.Matrix, name: str) -> list[str]:
    """What is expected of an object on each kernel."""
    return [str(expected_on(found.objects[name], kernel)) for kernel in KERNELS]


@pytest.mark.parametrize(
    ("patterns", "own", "wanted"),
    [
        ({}, None, "any any any"),
        ({"*@k-a": "may-fail"}, None, "may-fail any any"),
        ({"*@k-a": "may-fail"}, "pass", "may-fail compatible compatible"),  # the kernel's name says more than *
        ({"*@k-a": "may-fail"}, {"k-a": "fail", "*": "pass"}, "incompatible compatible compatible"),
        ({"*@k-*": "may-fail", "*@*": "unknown"}, {"*": "pass"}, "may-fail may-fail may-fail"),
        ({"*@*": "may-fail", "x-one@*": "unknown"}, {"k-a": "pass"}, "compatible unknown unknown"),
        ({"*@*": "may-fail"}, "pass", "compatible compatible compatible"),  # of two equal ones the object's own
        ({"x-*@k-a": "fail", "x-o*@k-a": "pass", "*@k-a": "any"}, None, "compatible any any"),
        ({"x-one@k-b": "fail", "x-o*@k-b": "pass"}, None, "any incompatible any"),
        ({"y@k-a": "fail", "x-one@k-c": "pass"}, None, "any any compatible"),
    ],
)
def test_patterns(patterns: dict[str, str], own: Any, wanted: str) -> None:
    """The kernel's half decides first: its name, the longest pattern; then the object's half, its own table first."""
    assert said(matrix(patterns, x_one=own, y="any"), "x-one") == wanted.split()


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        ({"z@k-a": "pass"}, r"\[expect\]: z@k-a: no object is named 'z'"),
        ({"*@k-z": "pass"}, r"\[expect\]: \*@k-z: no kernel is named 'k-z'"),
        ({"*@*+libbpf-1.1": "pass"}, "no kernel with a loader is named"),
        (
            {"*@k-a": "fail:helper-mising"},
            r"\[expect\]: \*@k-a: .*no cause is named 'helper-mising' .*did you mean helper-missing",
        ),
        ({"k-a": "pass"}, r'expected OBJECT@KERNEL.*write "k-a@\*" or "\*@k-a"'),
        ({"": "pass"}, r"""got '' \(hint: such as "\*@debian-11" or "NAME@\*"\)"""),
        ({"@k-a": "pass"}, "expected OBJECT@KERNEL.*such as"),
        ({"x@": "pass"}, "expected OBJECT@KERNEL"),
        ({"x@k@a": "pass"}, "expected OBJECT@KERNEL"),
        ({"*@k-a": "perhaps"}, r"\[expect\]: \*@k-a: expected pass, fail"),
        ({"*@k-a": 5}, r"\[expect\]: expected entries such as"),
        (["*@k-a"], r"\[expect\]: expected entries such as"),
    ],
)
def test_patterns_that_name_nothing(patterns: Any, words: str) -> None:
    """A pattern without an object, a kernel, a cause or a half is an error that says which."""
    with pytest.raises(ConfigError, match=words):
        matrix(patterns, x="pass")


HALVES = st.sampled_from(["*", "x*", "x-*", "x-one", "y"])
PATTERNS = st.dictionaries(st.tuples(HALVES, st.sampled_from(["*", "k*", "k-*", "k-a"])).map("@".join),
                           st.sampled_from(["pass", "fail", "may-fail", "unknown"]), max_size=6)  # fmt: skip


@given(PATTERNS, st.randoms())
def test_order_means_nothing(patterns: dict[str, str], chance: Any) -> None:
    """Patterns of different halves mean the same in whatever order they are written."""
    mixed = list(patterns.items())
    chance.shuffle(mixed)
    one, other = (matrix(p, x_one="pass", y=None) for p in (patterns, dict(mixed)))
    assert all(said(one, name) == said(other, name) for name in ("x-one", "y"))


@given(PATTERNS)
def test_own_half_is_kept(patterns: dict[str, str]) -> None:
    """Whatever [expect] says, an object's own entry holds where the kernel's half is the same."""
    own = {"*": expectation("pass", "x"), "k-a": expectation("fail", "x")}
    read = read_patterns(patterns, "x")
    below = {k: read[p] for k, p in inherited(read, "x-one").items()}
    merged = whole(ObjectSpec("x-one", expect=own, below=below))
    assert {k: merged[k] for k in own} == own and set(merged) == set(own) | set(below)
