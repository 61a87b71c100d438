"""What an explanation is held against: other kernels as they are, and one program's own answers."""

from types import SimpleNamespace

from bpfcompat.explanation import Result
from bpfcompat.model import Answer, Attach, ProgramVerdict, Verdict
from bpfcompat.plan import Pair
from bpfcompat.rules.explained import Explainer, _outcome

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
