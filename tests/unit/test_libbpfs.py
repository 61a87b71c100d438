"""Several loaders side by side: how columns are named and chosen, and what all answers say of the libbpf one needs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bpfcompat import libbpfs, plan, reports
from bpfcompat.config import Config, from_dict, object_spec
from bpfcompat.errors import ConfigError
from bpfcompat.expected import expected_on
from bpfcompat.libbpfs import SHIPPED, Loader, Need, Told, need, read_loaders
from bpfcompat.model import Answer, DirSource, Expectation, KernelSpec
from tests.rows import NO, UNKNOWN, YES, row

KERNELS = {k: KernelSpec(k, "amd64", DirSource(Path(k)), about=f"kernel {k}") for k in ("k1", "k2")}


def config(objects: dict[str, Any], **sections: Any) -> Config:
    """Settings of a project with two kernels."""
    tables = {name: {"prebuilt": f"{name}.o", **table} for name, table in objects.items()}
    return from_dict(
        {"objects": tables, **sections, "matrix": {"kernels": ["*"], **sections.get("matrix", {})}}, Path()
    )


def matrix(objects: dict[str, Any], **sections: Any) -> plan.Matrix:
    """The matrix of such a project."""
    found = config(objects, **sections)
    return plan.matrix(found, found.objects, KERNELS)


# --- which pairs


def test_none() -> None:
    """Without a loader beside the project's own, the matrix is what it was: same kernels, columns and rows."""
    plain = matrix({"a": {}})
    assert (plain.columns, plain.loaders, plain.kernels) == (("k1", "k2"), (), KERNELS)


def test_one_object() -> None:
    """An object's loaders are columns beside those of its kernels, oldest first, and no other object is asked there."""
    found = matrix({"a": {"libbpf": ["1.7", "1.1"], "kernels": ["k2"]}, "b": {}})
    assert found.columns == ("k1", "k2", "k2+libbpf-1.1", "k2+libbpf-1.7")
    assert found.rows["a"] == {"k2", "k2+libbpf-1.1", "k2+libbpf-1.7"}
    assert found.rows["b"] == {"k1", "k2"}
    assert found.loaders == ("1.1", "1.7")


def test_all_objects() -> None:
    """[matrix] libbpf asks every pair with each of them; an object's own come to that."""
    found = matrix({"a": {"libbpf": ["1.7"]}, "b": {}}, matrix={"libbpf": ["1.1"]})
    assert {str(p) for p in found.pairs if p.object == "b"} == {
        "b@k1", "b@k2", "b@k1+libbpf-1.1", "b@k2+libbpf-1.1",
    }  # fmt: skip
    assert sum(p.object == "a" for p in found.pairs) == 6


def test_variant() -> None:
    """Asked with another loader, a kernel is the same files under the same conditions."""
    spec = replace(KERNELS["k1"], libbpf="1.1", base="k1", name="k1+libbpf-1.1", about="kernel k1, with libbpf 1.1")
    found = matrix({"a": {"libbpf": ["1.1"]}}).kernels["k1+libbpf-1.1"]
    assert found == spec and found.locked_as == "k1"
    assert plan.kernel_action(found, {}).key() == plan.kernel_action(KERNELS["k1"], {}).key()
    on_variant = libbpfs.variant(replace(KERNELS["k1"], name="k1-lockdown", base="k1"), "1.4")
    assert (on_variant.name, on_variant.locked_as) == ("k1-lockdown+libbpf-1.4", "k1")


def test_keys() -> None:
    """Another loader's validator is another action, which keeps its sources and borrows the project's Linux headers."""
    own = plan.validator_action({"main.c": "sha256:0"}, "sha256:1", "cc", "amd64")
    other = plan.loader_action("1.1", own, "sha256:2")
    assert own.label == "validator" and other.label == "validator:1.1"
    assert other.inputs == {**own.inputs, "libbpf": "sha256:2", "uapi": "sha256:1"}
    assert own.key() != other.key()


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"matrix": {"libbpf": ["1.2"]}}, "[matrix]: libbpf: no loader is named '1.2' (hint: known loaders: 1.1, 1.4,"),
        ({"libbpf": {"x": {"suite": "s"}}}, "[libbpf]: x: expected a version of libbpf such as 1.1"),
        ({"libbpf": {"1.2": {"siute": "s"}}}, "[libbpf]: 1.2: expected a table of suite and version"),
        ({"libbpf": {"1.2": {"version": "1.2.*"}}}, '[libbpf]: 1.2: expected suite = "trixie" or the like'),
        ({"libbpf": ["1.2"]}, "[libbpf]: expected entries such as"),
    ],
)
def test_refused(sections: dict[str, Any], words: str) -> None:
    """A loader that nobody knows, or whose entry is not as it must be, is refused before anything is made."""
    with pytest.raises(ConfigError) as refused:
        matrix({"a": {}}, **sections)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"libbpf": ["1.1", "1.1"]}, "[objects.a]: libbpf: '1.1' is there twice"),
        ({"libbpf": ["1.1"], "command": {"argv": ["x"], "rootfs": "r"}}, "libbpf: its own loader is asked"),
        ({"libbpf": ["9"]}, "[objects.a]: libbpf: no loader is named '9'"),
        ({"libbpf": ["1.1"], "expect": {"*+libbpf-1.4": "any"}}, "expect: no kernel with a loader is named"),
        ({"expect": {"*+libbpf-1.1": "any"}}, "expect: no kernel with a loader is named"),
    ],
)
def test_refused_of_an_object(table: dict[str, Any], words: str) -> None:
    """So is an object that names one twice, or expects something of a loader that it is not asked with."""
    with pytest.raises(ConfigError) as refused:
        matrix({"a": table})
    assert words in str(refused.value)


def test_a_name_that_is_taken() -> None:
    """A kernel whose name looks like one with a loader is refused where there are loaders."""
    found = config({"a": {"libbpf": ["1.1"]}})
    with pytest.raises(ConfigError, match="is what a kernel with another loader has in its name"):
        plan.matrix(found, found.objects, {**KERNELS, "x+libbpf-1.1": KERNELS["k1"]})


def test_own_entries() -> None:
    """[libbpf] adds to those that ship, and its entries win; without a version a name is its own pattern."""
    found = read_loaders({"1.1": {"suite": "s", "version": "1.1.9"}, "1.3": {"suite": "t"}}, "x")
    assert found == {**SHIPPED, "1.1": Loader("s", "1.1.9"), "1.3": Loader("t", "1.3.*")}


def test_expected() -> None:
    """What is expected of a kernel holds with every loader, but for a pattern that names the loader."""
    table = {"*": "compatible", "k1": "incompatible", "*+libbpf-1.1": "inconclusive", "k2+libbpf-1.1": "any"}
    spec = object_spec("a", {"prebuilt": "a.o", "libbpf": ["1.1", "1.4"], "expect": table}, Path(), "a")
    assert expected_on(spec, "k1+libbpf-1.4") == Expectation(Answer.INCOMPATIBLE)
    assert expected_on(spec, "k2+libbpf-1.4") == Expectation(Answer.COMPATIBLE)
    assert expected_on(spec, "k1+libbpf-1.1") == Expectation(Answer.INCONCLUSIVE)
    assert expected_on(spec, "k2+libbpf-1.1") == Expectation(None)


# --- which libbpf is needed


def told(*answers: tuple[str, Answer | None]) -> list[Told]:
    """Answers by version."""
    return [Told(v, a, "" if a is YES else "c") for v, a in answers]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((("1.7.0", YES), ("1.10.0", YES), ("1.1.2", YES)), "libbpf 1.1.2 or newer"),
        ((("1.1.2", UNKNOWN), ("1.4.6", YES), ("1.10.0", YES)), "libbpf 1.4.6 or newer; not 1.1.2 (c)"),
        ((("1.1.2", NO), ("1.4.6", NO)), "with none of libbpf 1.1.2, 1.4.6; not 1.1.2 (c), 1.4.6 (c)"),
        ((("1.1.2", YES), ("1.4.6", NO)), "libbpf 1.1.2, but not every newer one; not 1.4.6 (c)"),
        ((("1.1.2", None), ("1.4.6", YES)), "libbpf 1.4.6 or newer; no answer with 1.1.2"),
        ((("1.5.0", YES), ("1.5.0", YES)), "libbpf 1.5.0 or newer"),
    ],
)
def test_need(answers: tuple[tuple[str, Answer | None], ...], words: str) -> None:
    """The oldest that passes, by number and not by letter; what was refused or not answered is never left out."""
    assert libbpfs.in_words(need(told(*answers))) == words


def test_no_answer_is_no_refusal() -> None:
    """A loader of which there is no answer counts neither as passing nor as refusing."""
    assert need(told(("1.1.2", None), ("1.5.0", YES))) == Need("1.5.0", ("1.1.2", "1.5.0"), (), ("1.1.2",))


ROWS = [
    replace(row(YES, name="a@k1"), libbpf="1.5.0"),
    replace(row(YES, name="b@k1"), libbpf="1.5.0"),
    replace(row(UNKNOWN, "loader-unsupported", name="a@k1+libbpf-1.1"), libbpf="1.1.2"),
    replace(row(NO, "helper-missing", name="a@k2"), libbpf="1.5.0"),
    replace(row(NO, "helper-missing", name="a@k2+libbpf-1.1"), libbpf="1.1.2"),
]


def test_table() -> None:
    """Columns stay kernels; a loader is a line below its object; what each object needs stands below the table."""
    text = reports.table(ROWS)
    assert [line.split()[0] for line in text.splitlines()[2:5]] == ["a", "a+libbpf-1.1", "b"]
    assert text.splitlines()[0].split() == ["object", "k1", "k2"]
    assert text.endswith(
        "which libbpf is needed:\n"
        "  a: libbpf 1.5.0 or newer; not 1.1.2 (loader-unsupported) (k1)\n"
        "  a: with none of libbpf 1.1.2, 1.5.0; not 1.1.2 (helper-missing), 1.5.0 (helper-missing) (k2)"
    )


def test_plain_table() -> None:
    """A matrix without loaders says nothing of them."""
    assert "libbpf" not in reports.table(ROWS[:2]) and '"refused"' not in reports.as_json(ROWS[:2])


def test_reports() -> None:
    """Every report names the loader of each pair, and says which libbpf an object needs."""
    found = reports.as_json(ROWS)
    assert '"libbpf": "1.1.2"' in found and '"oldest": "1.5.0"' in found
    assert "| a+libbpf-1.1 | " in reports.as_markdown(ROWS)
    assert "- `a: libbpf 1.5.0 or newer; not 1.1.2 (loader-unsupported) (k1)`" in reports.as_markdown(ROWS)
    assert 'classname="k1+libbpf-1.1" name="a"' in reports.as_junit(ROWS)


def test_page() -> None:
    """So does the page, whose cells lead to the pair of that loader."""
    from bpfcompat.rules import page

    text = page.render(ROWS)
    assert '<a href="#a@k1+libbpf-1.1">' in text and "Loaded by libbpf 1.1.2." in text
    assert "a: libbpf 1.5.0 or newer" in text
