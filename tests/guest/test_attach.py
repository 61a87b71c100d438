"""Attaching on real kernels: every section name has a row, the kernel's word is told, and nothing is left behind."""

import errno
import re
import subprocess
import tarfile
from functools import cache
from pathlib import Path

import pytest

from bpfcompat.asking import Asker
from bpfcompat.attachtable import attach_rows
from bpfcompat.model import Answer, Attach, ProgramReport
from bpfcompat.plan import Pair
from bpfcompat.rules.attachpage import PAGE, current
from bpfcompat.rules.session import open_session
from tests.guest.conftest import ROOT
from tests.guest.sources import HEAD
from tests.guest.test_detail import Ask, Build, ask, build  # noqa: F401  (fixtures)

pytestmark = pytest.mark.guest


def programs(asker: Asker, name: str, kernel: str) -> dict[str, ProgramReport]:
    """An example's programs by name, from its report."""
    return {p.name: p for p in asker.report(Pair(name, kernel)).programs}


LOADERS = ("", "1.1", "1.4", "1.7")  # "": the project's own


def table(asker: Asker, loader: str = "") -> str:
    """What the validator says of itself."""
    return asker.shop.store.read(asker.validator(loader=loader).outputs["attach.tsv"]).decode()


@cache
def libbpf_sections(asker: Asker, loader: str) -> frozenset[str]:
    """The section names in libbpf's own table, from the very source that the validator is built with."""
    with tarfile.open(asker.tarball(loader, "test")) as archive:
        member = next(m for m in archive if m.name.endswith("/src/libbpf.c"))
        source = archive.extractfile(member)
        assert source is not None
        text = source.read().decode()
    return frozenset(re.findall(r'^\tSEC_DEF\("([^"]+)"', text, re.MULTILINE))


def test_every_loader_is_looked_at(asker: Asker) -> None:
    """No version of libbpf that a validator is built with goes without these tests."""
    assert set(asker.shop.matrix.loaders) | {""} == set(LOADERS)


@pytest.mark.parametrize("loader", LOADERS)
def test_every_section_has_a_row(loader: str, asker: Asker) -> None:
    """Whatever a libbpf has a name for, the table of the validator that is built with it says how it is attached."""
    names = libbpf_sections(asker, loader)
    assert len(names) > 80
    assert names <= {row.section for row in attach_rows(table(asker, loader))}


@pytest.mark.parametrize("loader", LOADERS)
def test_no_row_for_nothing(loader: str, asker: Asker) -> None:
    """No table has a section that no libbpf knows, and the project's own has those of its libbpf alone."""
    known = (
        libbpf_sections(asker, "") if not loader else frozenset().union(*(libbpf_sections(asker, v) for v in LOADERS))
    )
    assert {row.section for row in attach_rows(table(asker, loader))} <= known


def test_the_page_is_current() -> None:
    """The tables of docs/validator.md are those of this code and these reports; `doit attach_page` writes them."""
    page = (ROOT / PAGE).read_text()
    assert current(open_session(ROOT), page) == page


HOW = [
    ("probes", "debian-11", "on_kprobe", "libbpf: perf event"),
    ("probes", "debian-12", "on_kprobe", "libbpf: perf_event link"),
    ("probes", "debian-11", "on_perf_event", "libbpf, on the software event cpu-clock"),
    ("xdp", "debian-11", "pass_all", "link: xdp on lo, generic; on veth0, native"),
    ("xdp", "debian-12", "behind_a_device", "map entry: a devmap's entry of lo"),
    ("tc", "debian-11", "act", "tc action: bpf, by itself"),
    ("tc", "debian-13", "filter", "tc filter: clsact of lo, ingress"),
    ("tcx", "debian-13", "pass_egress", "link: tcx on lo, egress"),
    ("netkit", "debian-13", "peer", "link: netkit on netkit0, peer"),
    ("lwt", "debian-11", "xmit", "route: 192.0.2.1 dev lo, encap bpf xmit"),
    ("sockets", "debian-11", "message", "bpf_prog_attach: sk_msg_verdict on the object's map 'peers'"),
    ("cgroup", "debian-12", "on_sysctl", "link: cgroup_sysctl on /sys/fs/cgroup/bpfcompat"),
    ("struct_ops", "debian-11", "ssthresh", "libbpf: tcp_congestion_ops registered from map 'control'"),
    ("iter_map", "debian-11", "sockets", "libbpf, over the object's map 'peers': iter link, created and read"),
    ("uprobes", "debian-12", "on_usdt_named", "libbpf: perf_event link"),
]


@pytest.mark.parametrize(("name", "kernel", "program", "how"), HOW)
def test_how(name: str, kernel: str, program: str, how: str, asker: Asker) -> None:
    """A report says in words how a program was attached, and the kernel named the program."""
    found = programs(asker, name, kernel)[program]
    assert (found.attach, found.how) == (Attach.ATTACHED, how)


@pytest.mark.parametrize("kernel", ["debian-11", "debian-13-backports"])
@pytest.mark.parametrize("name", ["lwt", "struct_ops", "tc", "xdp"])
def test_nothing_is_left(name: str, kernel: str, asker: Asker) -> None:
    """What one program at a time can have, each has in its turn: a route, an algorithm's name, an action, XDP on lo."""
    assert {p.attach for p in programs(asker, name, kernel).values()} == {Attach.ATTACHED}


def controls(names: tuple[str, ...]) -> str:
    """An object whose programs are called by TCP congestion controls of these names, each a map of its own."""
    text = (ROOT / "examples/struct_ops.bpf.c").read_text()
    head, last, body = text.partition('SEC(".struct_ops")')
    return head + "".join(
        last + body.replace("control =", f"control_{n} =").replace('"bpfcompat"', f'"{name}"')
        for n, name in enumerate(names)
    )


@pytest.mark.parametrize("kernel", ["debian-11", "debian-13-backports"])
def test_many_struct_ops_maps(kernel: str, build: Build, ask: Ask) -> None:  # noqa: F811
    """A program that many maps call is attached when all are registered, and the last one's refusal is its refusal."""
    names = tuple(f"own{n}" for n in range(9))
    for given, found in ((names, (Attach.ATTACHED, 0)), ((*names, names[0]), (Attach.FAILED, errno.EEXIST))):
        programs = ask(build(controls(given)), kernel).programs
        assert [(p.attach, p.attach_errno) for p in programs] == [found] * 3
        assert {p.how for p in programs} == {
            f"libbpf: tcp_congestion_ops registered from map 'control_{len(given) - 1}'"
        }


ITERATOR = HEAD + (
    'SEC("iter/task") int silent(struct bpf_iter__task *ctx) { return 0; }\n'
    'SEC("iter/task") int never(struct bpf_iter__task *ctx) { return 1; }\n'
    'SEC("iter/task") int once(struct bpf_iter__task *ctx) {\n'
    ' static const char words[] = "words"; if (ctx->meta->seq_num > 1) return 1;\n'
    " bpf_seq_write(ctx->meta->seq, words, sizeof(words)); return 0; }\n"
)


@pytest.mark.parametrize("kernel", ["debian-11", "debian-13-backports"])
def test_an_iterator_that_cannot_be_read(kernel: str, build: Build, ask: Ask) -> None:  # noqa: F811
    """An iterator that cannot be read is not proved to be one; one that ends badly later is, and both are told."""
    found = {p.name: p for p in ask(build(ITERATOR), kernel).programs}
    ends = "reading the iterator ends with Resource temporarily unavailable"
    assert (found["silent"].attach, found["silent"].attach_reason) == (Attach.ATTACHED, "")
    assert (found["never"].attach, found["never"].attach_reason) == (
        Attach.NOT_ATTEMPTED,
        f"not proved: the link names it, and {ends}",
    )
    assert (found["once"].attach, found["once"].attach_reason) == (Attach.ATTACHED, ends)


def test_a_file_that_the_guest_has_not(asker: Asker) -> None:
    """A probe of a file that is not in the guest says nothing about the kernel: not attempted, with the file's name."""
    found = programs(asker, "uprobes", "debian-12")["elsewhere"]
    assert (found.attach, found.attach_reason) == (Attach.NOT_ATTEMPTED, "the guest has no file /usr/bin/bash")
    verdict = asker.verdict(Pair("uprobe_elsewhere", "debian-12"))
    assert (verdict.answer, verdict.cause) == (Answer.INCONCLUSIVE, "attach-not-attempted")
    assert asker.verdict(Pair("uprobes", "debian-12")).answer is Answer.COMPATIBLE


def test_the_table_is_no_guest(asker: Asker, tmp_path: Path) -> None:
    """Run on a host, the guest's init prints its table and does nothing else."""
    init = asker.shop.store.checked(asker.validator().outputs["validator"])
    program = tmp_path / "validator"
    program.write_bytes(init.read_bytes())
    program.chmod(0o755)
    done = subprocess.run([program, "--table"], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == table(asker)
    assert subprocess.run([program], capture_output=True, timeout=30, check=True).stdout == b""
