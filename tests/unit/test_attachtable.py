"""The attach table in Python: what the validator prints, which row a program has, and the page that is made of it."""

import pytest

from bpfcompat.attachtable import END, START, AttachRow, attach_rows, newer_rows, page_part, replaced, result
from bpfcompat.model import Attach, Log, ProgramReport

TABLE = (
    "section\ttype\thow\tneeds\tproof\tmodules\n"
    "kprobe+\tkprobe\tby libbpf\tthe function\ta link\t\n"
    "kprobe.multi+\tkprobe\tby libbpf\tFPROBE\ta link\t\n"
    "tc\tsched_cls\ta filter\tlo\tits id\tsch_ingress cls_bpf\n"
)
ROWS = attach_rows(TABLE)


def asked(attach: Attach = Attach.ATTACHED, section: str = "tc", kind: str = "sched_cls", load: int = 0,
          errno: int = 0, reason: str = "") -> ProgramReport:  # fmt: skip
    """One program's report."""
    return ProgramReport("p", section, kind, True, load, Log(""), attach, errno, reason)


NOT_TRIED = asked(Attach.NOT_ATTEMPTED, reason="no module")


def test_rows() -> None:
    """Each line is a row; modules are separate words."""
    assert ROWS[2] == AttachRow("tc", "sched_cls", "a filter", "lo", "its id", ("sch_ingress", "cls_bpf"))
    assert ROWS[0].modules == ()


@pytest.mark.parametrize("table", ["", "section\ttype\n", TABLE + "x\ty\n"])
def test_other_text(table: str) -> None:
    """What is no table of ours is refused."""
    with pytest.raises(ValueError, match="expected the columns"):
        attach_rows(table)


@pytest.mark.parametrize(
    ("section", "kind", "found"),
    [
        ("kprobe", "kprobe", "kprobe+"),
        ("kprobe/vfs_read", "kprobe", "kprobe+"),
        ("kprobe.multi/vfs_*", "kprobe", "kprobe.multi+"),
        ("kprobes", "kprobe", None),
        ("kprobe/x", "tracing", None),
        ("tc", "sched_cls", "tc"),
        ("tc/ingress", "sched_cls", None),
    ],
)
def test_matches(section: str, kind: str, found: str | None) -> None:
    """A plus takes a slash and a target, and nothing else; without one the whole name must match; so must the type."""
    assert next((row.section for row in ROWS if row.matches(section, kind)), None) == found


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        ([], ""),
        ([asked(Attach.NOT_ATTEMPTED, load=22), NOT_TRIED], "not attempted: no module"),
        ([NOT_TRIED, asked(Attach.FAILED, errno=22)], "no: EINVAL"),
        ([asked(Attach.FAILED, errno=2), asked()], "yes"),
        ([asked(reason="bpf is not an active LSM: attached but inactive")], "yes, inactive"),
        ([asked(Attach.NOT_ATTEMPTED, load=22)], "does not load: EINVAL"),
    ],
)
def test_result(programs: list[ProgramReport], said: str) -> None:
    """The best of what programs of one section got; attached before refused before not tried before not loaded."""
    assert result(programs) == said


def test_page() -> None:
    """The page has a line for each family and for each section, and a reason once, by its number."""
    new = [asked(), asked(section="kprobe/x", kind="kprobe")]
    part = page_part(ROWS, {"old": {"": [NOT_TRIED]}, "new": {"": new}})
    assert "| `tc` | a filter | lo | its id | `sch_ingress`, `cls_bpf` |" in part
    assert "| `tc` | sched_cls | not attempted (1) | yes |" in part
    assert "| `kprobe+` | kprobe | not measured | yes |" in part
    assert "\n1. no module\n" in part


def test_newer() -> None:
    """What only a newer libbpf knows has a row that says so, with what was asked by that libbpf alone."""
    head = TABLE.splitlines()[0]
    rows = newer_rows(
        ROWS, {"1.6": f"{TABLE}fsession+\ttracing\ta\tb\tc\t\n", "1.7": f"{head}\nfsession+\tx\ta\tb\tc\t\n"}
    )
    assert [(row.section, row.since) for row in rows] == [("fsession+", "1.6")]
    own, newer = [asked(section="fsession/f", kind="tracing", load=22)], [asked(section="fsession/f", kind="tracing")]
    part = page_part((*ROWS, *rows), {"old": {"": own}, "new": {"": own, "1.6": newer}})
    assert "| `fsession+` (libbpf 1.6) | tracing | not measured | yes |" in part


def test_replaced() -> None:
    """Only the made part changes, and a page without one is refused."""
    page = f"before\n{START}\nold\n{END}\nafter\n"
    part = page_part(ROWS, {})
    assert replaced(page, part) == f"before\n{part}\nafter\n"
    assert replaced(replaced(page, part), part) == replaced(page, part)
    with pytest.raises(ValueError, match="expected a line"):
        replaced("before", part)
