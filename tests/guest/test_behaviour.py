"""Behaviour tests in real guests, thawed: they pass where the behaviour is right, and fail where it is not."""

import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bpfcompat import wire
from bpfcompat.asking import Asker
from bpfcompat.behave import parse_tests, spec_lines
from bpfcompat.behaviour import BehaviourTest, Outcome, TestReport
from bpfcompat.config import object_spec
from bpfcompat.elf import facts_or_fault
from bpfcompat.guest import run_clone
from bpfcompat.guestfiles import GuestFile, archive
from bpfcompat.model import Answer, Attach, AttachMode, Verdict
from bpfcompat.plan import Pair
from bpfcompat.verdict import classify
from tests.guest.conftest import KERNELS, ROOT
from tests.guest.sources import HEAD
from tests.guest.test_command import asking
from tests.guest.test_detail import Build, build  # noqa: F401  (fixture)

pytestmark = pytest.mark.guest

Behave = Callable[..., tuple[Verdict, dict[str, TestReport]]]


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """tests/guest/command.c, static."""
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    made = tmp_path_factory.mktemp("command") / "command"
    source = Path(__file__).parent / "command.c"
    subprocess.run([compiler, "-static", "-Os", "-s", "-w", "-o", made, source], check=True)
    return made.read_bytes()


@pytest.fixture
def behave(asker: Asker, command: bytes) -> Behave:
    """Ask one thawed guest: an example's verdict under these tests, and what was reported of each."""

    def run(name: str, kernel: str, *tables: dict[str, Any]) -> tuple[Verdict, dict[str, TestReport]]:
        tests = declared(*tables)
        nonce, content = secrets.token_hex(16), asker.shop.store.checked(asker.object(name))
        spec = wire.spec(nonce, AttachMode.ATTACH, time.time_ns(), secrets.token_hex(32), (), spec_lines(tests))
        job = replace(asker.job(kernel, content, spec), files=archive({"command": GuestFile(command, 0o755)}))
        limits = asker.limits().longer(sum(t.timeout_s for t in tests))
        ended = run_clone(asker.qemu(kernel), job, asker.template(kernel).frozen, limits, wire.is_complete)
        assert ended.splats == ()
        report = wire.parse(ended.report, nonce)
        verdict = classify(report, facts_or_fault(content.read_bytes()), AttachMode.ATTACH, tests)
        return verdict, {test.name: test for test in report.tests}

    return run


def declared(*tables: dict[str, Any]) -> tuple[BehaviourTest, ...]:
    return parse_tests([{"name": str(n), **table} for n, table in enumerate(tables)], ROOT, "test")


def outcomes(verdict: Verdict) -> list[Outcome]:
    return [test.outcome for test in verdict.tests]


YES, NO, NOT = Outcome.PASSED, Outcome.FAILED, Outcome.NOT_ATTEMPTED
SEEN = {
    "maps": ["counts[7].execs == 1", "execs == 1"],
    "ringbuf": {"map": "events", "contains": "init"},
    "trace": "of init",
}
EVERY_STEP = [
    "fork", "getpid", "open:/proc/version", "read:/proc/version", "write:/tmp/x", "mkdir:/tmp/d", "remove:/tmp/d",
    "sleep:1ms", "kill:0", "kill:TERM", "connect:127.0.0.1:9 = ECONNREFUSED", "bind:127.0.0.1:8080",
    "tcp:127.0.0.1:8081", "tcp:[::1]:8081", "udp:127.0.0.1:53", "ping:127.0.0.1",
    f"packet:lo:{'ff' * 12}0800{'00' * 20}", "mkdir:/x = EROFS", "write:/dev/x = EROFS", "open:/x = ENOENT",
]  # fmt: skip


@pytest.mark.parametrize("kernel", KERNELS)
def test_behaviour(kernel: str, behave: Behave) -> None:
    """On every kernel: what was done is seen in maps, variables, events and trace, and its absence is seen as well."""
    verdict, told = behave(
        "counts", kernel,
        {"do": ["exec"], **SEEN},
        {"do": EVERY_STEP, "maps": ["execs == 0", "counts[7] absent"], "ringbuf": {"map": "events", "at_most": 0},
         "trace": ""},
        {"do": ["exec", "exec"], "required": False, **SEEN},
        {"do": ["fork"], "required": False, **SEEN},
        {"command": ["./command", "say", "a b", "$HOME; *"], "exit": 4, "stdout": "[a b][$HOME; *] /files*",
         "stderr": "done", "maps": ["execs == 1"], "ringbuf": {"map": "events", "contains": "command"}},
        {"command": ["./command", "crash"], "exit": "SIGSEGV"},
        {"command": ["./absent"], "required": False},
    )  # fmt: skip
    assert outcomes(verdict) == [YES, YES, NO, NO, YES, YES, NOT], verdict.tests
    assert verdict.answer is Answer.COMPATIBLE
    assert verdict.tests[2].detail == ("counts[7].execs == 1: got 2", "execs == 1: got 2")
    assert verdict.tests[3].detail[0] == "counts[7].execs == 1: got no such entry"
    assert verdict.tests[6].detail == ("./absent: cannot be run: ENOENT",)
    assert told["4"].exit == 4


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/guest/app.c, static and with its symbols."""
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    made = tmp_path_factory.mktemp("app") / "app"
    subprocess.run([compiler, "-static", "-Os", "-o", made, Path(__file__).parent / "app.c"], check=True)
    return made


SHIPPED = {
    "source": "examples/uprobe_declared.bpf.c", "cflags": ["-Iexamples/include"],
    "programs": {"at_entry": {"target": "/files/app:work"}, "at_return": {"target": "/files/app:work"},
                 "at_probe": {"target": "/files/app:app:done"}},
    "tests": [
        {"name": "run by a step", "do": ["exec:/files/app"],
         "maps": ["entered == 1", "asked == 21", "answered == 42", "seen == 21"]},
        {"name": "run by a command", "command": ["/files/app"], "stdout": "42", "maps": ["entered == 1"]},
        {"name": "another is run", "do": ["exec:/tmp/target"], "maps": ["entered == 0"]},
    ],
}  # fmt: skip


@pytest.mark.parametrize("kernel", ["debian-11", "debian-13-backports"])
def test_probes_of_a_shipped_file(kernel: str, app: Path) -> None:
    """Probes are placed in a file that the object's table ships, and fire when it runs, and not when another does."""
    spec = object_spec("shipped", {**SHIPPED, "files": [str(app)]}, ROOT, "test")
    pair = Pair(spec.name, kernel)
    asker = asking(spec)
    found = {p.name: (p.attach, p.how) for p in asker.report(pair).programs}
    assert found["at_entry"][0] is Attach.ATTACHED
    assert found["at_entry"][1].startswith("libbpf, on /files/app:work as declared: perf")
    verdict = asker.verdict(pair)
    assert (verdict.answer, outcomes(verdict)) == (Answer.COMPATIBLE, [YES, YES, YES]), verdict.tests


def test_a_file_that_nobody_ships(app: Path) -> None:
    """Where the table ships no such file, nothing is attached, and it is no fault of the kernel."""
    spec = object_spec("shipped", {k: v for k, v in SHIPPED.items() if k != "tests"}, ROOT, "test")
    asker, pair = asking(spec), Pair("shipped", "debian-12")
    found = {p.name: (p.attach, p.attach_reason) for p in asker.report(pair).programs}
    assert set(found.values()) == {(Attach.NOT_ATTEMPTED, "the guest has no file /files/app")}


@pytest.mark.parametrize("kernel", ["debian-13", "debian-13-backports"])
def test_a_section_that_names_a_shipped_file(kernel: str, app: Path, build: Build, tmp_path: Path) -> None:  # noqa: F811
    """A section may name the file's place in the guest itself, with many functions by one link, too."""
    (tmp_path / "named.bpf.o").write_bytes(build(NAMED))
    table = {"prebuilt": str(tmp_path / "named.bpf.o"), "files": [str(app)], "tests": [
        {"name": "it fires", "do": ["exec:/files/app"], "maps": ["calls == 2"]}]}  # fmt: skip
    asker, pair = asking(object_spec("named", table, ROOT, "test")), Pair("named", kernel)
    assert {p.attach for p in asker.report(pair).programs} == {Attach.ATTACHED}
    assert asker.verdict(pair).answer is Answer.COMPATIBLE


NAMED = HEAD + (
    "int calls;\n"
    'SEC("uprobe//files/app:work") int one(struct pt_regs *ctx) { calls++; return 0; }\n'
    'SEC("uprobe.multi//files/app:wor*") int many(struct pt_regs *ctx) { calls++; return 0; }\n'
)


def test_the_guests_own_program(behave: Behave) -> None:
    """The program that probes stand in on is there for a stimulus to run, and cannot be changed or taken away by it."""
    verdict, _ = behave(
        "counts", "debian-12",
        {"do": ["exec:/tmp/target", "write:/tmp/target = EROFS", "remove:/tmp/target = EBUSY"],
         "maps": ["execs == 1"]},
        {"do": ["exec:/tmp/absent = ENOENT", "exec:/tmp/target"], "maps": ["execs == 1"]},
        {"command": ["/tmp/target"], "maps": ["execs == 1"]},
    )  # fmt: skip
    assert outcomes(verdict) == [YES, YES, YES], verdict.tests


def test_not_attempted(behave: Behave) -> None:
    """What the object or the guest does not have is not attempted, with the reason; nothing of it passes or fails."""
    verdict, _ = behave(
        "counts", "debian-12",
        {"do": ["exec"], "maps": ["nothing == 0"]},
        {"do": ["exec"], "maps": ["counts[7].nothing == 0"]},
        {"do": ["exec"], "maps": ['counts["five5"].execs == 0']},
        {"do": ["exec"], "ringbuf": {"map": "counts"}},
        {"do": ["exec"], "trace": "x", "programs": ["nobody"]},
        {"do": [f"packet:eth9:{'00' * 14}"]},
        {"run": {"program": "on_exec", "input": "zeros:14", "return": 0}},
    )  # fmt: skip
    assert outcomes(verdict) == [NOT] * 7, verdict.tests
    assert (verdict.answer, verdict.cause) == (Answer.INCONCLUSIVE, "behaviour-not-attempted")
    words = [" ".join(test.detail) for test in verdict.tests]
    expected = ["no map and no variable", "no such member", "key does not fit", "neither a ring buffer",
                "no program 'nobody'", "no such interface", "cannot run programs of its type"]  # fmt: skip
    assert [part in said for part, said in zip(expected, words, strict=True)] == [True] * 7, words


def test_program_run(behave: Behave) -> None:
    """BPF_PROG_RUN is held against what was declared, and an input that the kernel refuses is a failure."""
    packet = "ffffffffffff00000000000008004500001c00000000401100007f0000017f0000013039003500080000"
    verdict, _ = behave(
        "drop_dns", "debian-13",
        {"run": {"program": "drop_dns", "input": f"hex:{packet}", "return": 1, "repeat": 3}},
        {"run": {"program": "drop_dns", "input": f"hex:{packet}", "return": 2}, "required": False},
        {"run": {"program": "drop_dns", "input": "zeros:64", "return": 2, "output": "zeros:64"}},
        {"run": {"program": "drop_dns", "input": "zeros:1", "return": 2}, "required": False},
    )  # fmt: skip
    assert outcomes(verdict) == [YES, NO, YES, NO]
    assert verdict.tests[1].detail == ("BPF_PROG_RUN of drop_dns: expected return 2, got 1",)
    assert verdict.tests[3].detail == ("BPF_PROG_RUN of drop_dns: expected to run, got EINVAL",)


def test_over_devices(behave: Behave) -> None:
    """A packet that is sent on an interface reaches the program that is attached to it, or to the other end of it."""
    packet = "ffffffffffff00000000000008004500001c00000000401100007f0000017f0000013039003500080000"
    verdict, _ = behave(
        "drop_dns", "debian-13",
        {"do": ["udp:127.0.0.1:53", "tcp:127.0.0.1:8080"], "maps": ["dropped == 1"]},
        {"do": [f"packet:lo:{packet}"], "maps": ["dropped == 1"]},
        {"do": [f"packet:veth1:{packet}"], "maps": ["dropped == 1"]},
    )  # fmt: skip
    assert outcomes(verdict) == [YES, YES, YES], verdict.tests


def test_all_at_once(behave: Behave) -> None:
    """Programs of one struct_ops map are attached together, once; each is told as attached."""
    verdict, told = behave("struct_ops", "debian-12", {"do": ["exec"]})
    assert outcomes(verdict) == [YES], verdict.tests
    assert [held.attach for held in told["0"].programs] == ["attached"] * 3


def test_refused_object(behave: Behave) -> None:
    """An object that does not load is not tested: the verdict is why it does not load."""
    verdict, told = behave("helper_missing", "debian-11", {"do": ["exec"]})
    assert verdict.cause == "helper-missing"
    assert outcomes(verdict) == [NOT]
    assert told["0"].reason.startswith("the object does not load")


def test_shipped_files(vmlinuz: dict[str, Path], command: bytes, tmp_path: Path) -> None:
    """Files that the settings name lie beside the command in the guest; with another content it is another question."""
    helper, words = tmp_path / "helper", tmp_path / "words.txt"
    helper.write_bytes(command)
    table = {"name": "reads", "command": ["./helper", "show", "words.txt"], "files": [str(helper), str(words)],
             "stdout": "brought along"}  # fmt: skip
    spec = object_spec("tested", {"source": "examples/counts.bpf.c", "tests": [table]}, ROOT, "test")
    told = []
    for text in ("brought along", "something else"):
        words.write_text(text)
        asker, pair = asking(spec), Pair("tested", "debian-12")
        told.append((asker.probe_action(pair).key(), asker.verdict(pair)))
    (key, verdict), (other, changed) = told
    assert key != other
    assert verdict.answer is Answer.COMPATIBLE and outcomes(verdict) == [YES]
    assert changed.cause == "behaviour-failed"
    assert "something else" in " ".join(changed.tests[0].detail)


def test_expectation_needs_no_boot(asker: Asker) -> None:
    """Another expectation has the same probe and another verdict; what is done differs, and so does the probe."""
    pair = Pair("guard", "debian-11")
    spec = asker.shop.matrix.objects["guard"]

    def keys(**fields: Any) -> tuple[str, str]:
        (test,) = parse_tests([{"name": "t", **fields}], ROOT, "test")
        asker.shop.matrix.objects["guard"] = replace(spec, tests=(test,))  # type: ignore[index]
        return asker.probe_action(pair).key(), asker.recipe(pair)["expected"]

    try:
        was, other, third = (keys(do=[step]) for step in ("mkdir:/tmp/a", "mkdir:/tmp/a = EPERM", "mkdir:/tmp/b"))
    finally:
        asker.shop.matrix.objects["guard"] = spec  # type: ignore[index]
    assert was[0] == other[0] != third[0]
    assert was[1] != other[1]
