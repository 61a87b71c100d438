"""What an explanation is held against: other kernels as they are, and one program's own answers."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from bpfcompat.errors import ConfigError
from bpfcompat.explanation import Result
from bpfcompat.model import Answer, Attach, ProgramVerdict, Verdict
from bpfcompat.plan import Pair
from bpfcompat.rules import roots
from bpfcompat.rules.explained import Explainer, _outcome

PAIRS = SimpleNamespace(matrix=SimpleNamespace(
    rows={"minimal": {"debian-12"}}, columns=("debian-12", "debian-13"), pairs=(Pair("minimal", "debian-12"),)
))  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said", "hint"),
    [
        ("minmal@debian-12", "no object is named 'minmal'", "did you mean minimal?"),
        ("minimal@debain-12", "no kernel of the matrix is named 'debain-12'", "did you mean debian-12 or debian-13?"),
        ("minimal@debian-13", "minimal is not asked of debian-13", "[objects.minimal] kernels and libbpf"),
        ("minimal", "expected OBJECT@KERNEL", "doit list --all"),
    ],
)
def test_which_half_is_wrong(name: str, said: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pair that is none is told by its wrong half, with the nearest name of that half."""
    monkeypatch.setattr(roots, "sessions_of", lambda _root: (PAIRS,))
    assert roots.pair_named(Path(), "minimal@debian-12")[1] == Pair("minimal", "debian-12")
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        roots.pair_named(Path(), name)
    assert hint in str(caught.value.hint)


def test_outside_of_a_project(tmp_path: Path) -> None:
    """Only commands about stores are told of --store, which no other has."""
    with pytest.raises(ConfigError) as caught:
        roots.pair_named(tmp_path, "a@b")
    assert "--store" not in str(caught.value)
    with pytest.raises(ConfigError, match="--store DIR"):
        roots.stores_here(tmp_path)


KERNELS = {"a": SimpleNamespace(base=""), "b": SimpleNamespace(base=""), "b-locked": SimpleNamespace(base="b")}


def beside(kernel: str, *others: str) -> list[str]:
    """The kernels of these that this one is held against."""
    explainer = Explainer(SimpleNamespace(matrix=SimpleNamespace(kernels=KERNELS)))  # type: ignore[arg-type]
    results = (Result(other, "6.1.0", Answer.COMPATIBLE, "") for other in others)
    return [found.kernel for found in explainer.beside(Pair("o", kernel), results)]


def test_conditions_are_no_release() -> None:
    """A kernel under conditions is no neighbour of others; it has itself, and those that are as they come."""
    assert beside("a", "a", "b", "b-locked") == ["a", "b"]
    assert beside("b-locked", "a", "b", "b-locked") == ["a", "b", "b-locked"]
    assert beside("a+libbpf-1.1", "a+libbpf-1.1", "b-locked+libbpf-1.1") == ["a+libbpf-1.1"]


def program(name: str, loaded: bool = True, attach: Attach = Attach.ATTACHED, cause: str = "") -> ProgramVerdict:
    """One program's part of a verdict."""
    return ProgramVerdict(name, "kprobe/x", "kprobe", loaded, attach, cause)


def test_one_program() -> None:
    """Of a program that is named, its own answer counts, whatever the object's is."""
    programs = (program("good"), program("bad", attach=Attach.FAILED, cause="attach-failed"), program("worse", False))
    found = Verdict(Answer.INCOMPATIBLE, "helper-missing", "", programs=programs)
    assert _outcome(found, "") == (Answer.INCOMPATIBLE, "helper-missing")
    assert _outcome(found, "good") == (Answer.COMPATIBLE, "")
    assert _outcome(found, "bad") == (Answer.INCOMPATIBLE, "attach-failed")
    assert _outcome(found, "worse") == (Answer.INCOMPATIBLE, "")
