"""Behaviour tests as they are declared: what is taken, how it reaches the guest, what is refused before one starts."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.behave import STEPS, TESTS_MAX, parse_tests, spec_lines
from bpfcompat.behaviour import BehaviourTest, Check, Events, Run, Step, asked, expected
from bpfcompat.config import object_spec
from bpfcompat.errors import ConfigError

WHERE = "[objects.x]"
HERE = Path(__file__).resolve().parents[2]


def one(**fields: Any) -> BehaviourTest:
    """A test that expects something whatever its fields."""
    given = {"name": "t", "do": ["exec"], **fields}
    (test,) = parse_tests([{k: v for k, v in given.items() if v is not None}], HERE, WHERE)
    return test


def refusal(**fields: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        one(**fields)
    return str(caught.value)


def test_everything() -> None:
    """Each key ends where the nouns say; the guest's lines hold what it must do, and nothing of what is expected."""
    test = one(
        name="all of it", required=False, timeout_s=2.5, programs=["on_exec"], do=["sleep:1s", "open:/x = ENOENT"],
        command=["./probe", "", "a b"], exit=3, stdout="ready", stderr="", maps=["counts[0x10].hits >= -1"],
        ringbuf={"map": "events", "at_most": 3, "contains": ["text", "hex:00ff"]}, trace=["a*b"],
        run={"program": "f", "input": "zeros:3", "context": "hex:01", "repeat": 2, "return": -1, "output": "hex:aa"},
    )  # fmt: skip
    assert test == BehaviourTest(
        "all of it", False, 2.5, ("on_exec",), (Step("sleep:1000"), Step("open:/x", "ENOENT")),
        ("./probe", "", "a b"), 3, ("ready",), (),
        (Check("counts[0x10].hits >= -1", "value counts 16 .hits", ">=", -1),),
        (Events("events", 0, 3, (b"text", b"\0\xff")),), ("a*b",),
        Run("f", b"\0\0\0", b"\1", 2, 0xFFFFFFFF, b"\xaa"),
    )  # fmt: skip
    assert spec_lines([test], stretch=2) == [
        "test=all of it", "test_ms=5000", "test_program=on_exec", "test_do=sleep:1000", "test_do=open:/x",
        "test_argv=./probe", "test_argv=", "test_argv=a b", "test_read=value counts 16 .hits", "test_events=events",
        "test_trace=1", "test_run=f", "test_input=000000", "test_context=01", "test_repeat=2",
    ]  # fmt: skip


def test_key_and_expectation() -> None:
    """What is asked and what is expected share nothing, so that another expectation asks no guest again."""
    was = one(maps=["a[0] >= 1"], trace="x")
    for changed in (one(maps=["a[0] == 7"], trace="x"), one(maps=["a[0] >= 1"], trace="y"),
                    one(maps=["a[0] >= 1"], trace="x", required=False)):  # fmt: skip
        assert asked(changed) == asked(was)
        assert expected(changed) != expected(was)
    for changed in (one(maps=["b[0] >= 1"], trace="x"), one(maps=["a[0] >= 1"], trace="x", timeout_s=11),
                    one(maps=["a[0] >= 1"], trace="x", do=["fork"])):  # fmt: skip
        assert asked(changed) != asked(was)


@pytest.mark.parametrize(
    ("text", "told", "operator", "operand"),
    [
        ("counts[0] >= 1", "value counts 0 -", ">=", 1),
        ("counts[-1]==0xff", "value counts -1 -", "==", 255),
        ("counts[hex:0A00].a.b[3] != 0", "value counts x0a00 .a.b[3]", "!=", 0),
        ('names["bash"] contains "ba"', "value names t62617368 -", "contains", b"ba"),
        ('comm == "init"', "value comm - -", "==", b"init"),
        ("hist[3] < 5", "value hist 3 -", "<", 5),
        ("state.slots[2].n > -3", "value state - .slots[2].n", ">", -3),
        ("len( events ) <= 10", "length events - -", "<=", 10),
        ("counts[5] absent", "value counts 5 -", "absent", None),
        ("counts[5]  present", "value counts 5 -", "present", None),
        ("v == hex:00ff", "value v - -", "==", b"\0\xff"),
    ],
)
def test_checks(text: str, told: str, operator: str, operand: Any) -> None:
    """An expectation of a map or a variable names what is read, and what it is compared with."""
    (check,) = one(maps=[text]).checks
    assert (check.asked, check.operator, check.operand) == (told, operator, operand)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("exec", "exec"), ("exec:/files/app", "exec:/files/app"),
        ("open:/proc/version", "open:/proc/version"), ("sleep:10ms", "sleep:10"),
        ("kill:TERM", "kill:15"), ("kill:0", "kill:0"),
        ("connect:127.0.0.1:9", "connect:127.0.0.1:9"), ("tcp:[::1]:080", "tcp:[::1]:80"),
        ("ping:127.0.0.1", "ping:127.0.0.1"), ("packet:lo:" + "0A" * 14, "packet:lo:" + "0a" * 14),
    ],
)  # fmt: skip
def test_steps(step: str, told: str) -> None:
    """A step reaches the guest in one spelling."""
    assert one(do=[step]).steps == (Step(told),)


def test_steps_are_the_guests() -> None:
    """Every step that is taken here is in the validator's table, and every one of the table is taken here."""
    source = (HERE / "validator/steps.c").read_text()
    table = source[source.index("} steps[] = {") :]
    assert sorted(re.findall(r'\{ "(\w+)", do_', table)) == sorted(STEPS)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"do": None}, "nothing to do"),
        ({"do": ["exec = any"]}, "it could not fail"),
        ({"do": ["reboot"]}, "'reboot': no such step"),
        ({"do": ["exec:sh"]}, "expected exec or exec:/PATH"),
        ({"do": ["open:relative"]}, "expected open:/PATH"),
        ({"do": ["sleep:301s"]}, "at most 300 s"),
        ({"do": ["kill:65"]}, "expected kill:SIGNAL"),
        ({"do": ["connect:localhost:1"]}, "expected connect:ADDRESS:PORT"),
        ({"do": ["connect:::1:1"]}, "expected connect:ADDRESS:PORT"),
        ({"do": ["udp:127.0.0.1:65536"]}, "expected udp:ADDRESS:PORT"),
        ({"do": ["packet:lo:00"]}, "14 to 4096 bytes"),
        ({"do": ["open:/x = NOPE"]}, "expected an errno's name"),
        ({"do": ["open:/x\ny"]}, "expected printable text"),
        ({"do": ["exec"] * 65}, "at most 64"),
        ({"do": "exec"}, "expected a list"),
        ({"name": ""}, "name: expected printable text"),
        ({"name": "a\x1b[2J"}, "expected printable text"),
        ({"nane": "x"}, "did you mean name?"),
        ({"timeout_s": 301}, "0.1 to 300 seconds"),
        ({"timeout_s": float("nan")}, "0.1 to 300 seconds"),
        ({"required": 1}, "true or false"),
        ({"exit": 0}, "there is no command"),
        ({"stdout": "x"}, "there is no command"),
        ({"command": ["./x"], "exit": 256}, "whole number from 0 to 255"),
        ({"command": ["./x"], "exit": "SIGNOPE"}, "a signal's name"),
        ({"command": ["./x", "a\0"]}, "expected printable text"),
        ({"programs": ["a b"]}, "a name as C has them"),
        ({"maps": ["counts[0]"]}, "NAME[KEY].FIELD OPERATOR VALUE"),
        ({"maps": ["counts[0] >= one"]}, "expected a number"),
        ({"maps": ['counts[0] >= "one"']}, ">= takes a number"),
        ({"maps": ["counts[0] contains 1"]}, "contains takes text"),
        ({"maps": ["counts[0] present 1"]}, "nothing stands behind present"),
        ({"maps": ['len(counts) == "x"']}, "compared with a number"),
        ({"ringbuf": {"at_least": 1}}, "map: missing"),
        ({"ringbuf": {"map": "m", "at_least": 2, "at_most": 1}}, "expected 2 or more"),
        ({"ringbuf": {"map": "m", "at_least": 0}}, "could not fail"),
        ({"ringbuf": [{"map": "m"}] * 9}, "at most 8"),
        ({"run": {"program": "f", "input": "zeros:99999", "return": 0}}, "whole number from 0 to 8192"),
        ({"run": {"program": "f", "input": "hex:0", "return": 0}}, "hex digits"),
        ({"run": {"program": "f", "input": "file:no/such/file", "return": 0}}, "No such file"),
        ({"run": {"program": "f", "return": 1 << 32}}, "32 bits"),
        ({"run": {"program": "f", "context_out": "hex:00"}}, "add context"),
        ({"do": None, "run": {"program": "f"}}, "it could not fail"),
        ({"do": None, "programs": ["f"], "run": {"program": "f", "return": 0}}, "needs nothing attached"),
    ],
)  # fmt: skip
def test_refused(fields: dict[str, Any], words: str) -> None:
    """What no guest should be asked is refused with the test's name and what was expected."""
    message = refusal(**fields)
    assert words in message
    assert message.startswith("[objects.x]: tests: ")


def test_names_and_number() -> None:
    """Tests are told apart by name, and there are not too many."""
    twice = [{"name": "a", "do": ["exec"]}] * 2
    with pytest.raises(ConfigError, match="two tests have this name"):
        parse_tests(twice, HERE, WHERE)
    many = [{"name": str(n), "do": ["exec"]} for n in range(TESTS_MAX + 1)]
    with pytest.raises(ConfigError, match="65 tests, at most 64"):
        parse_tests(many, HERE, WHERE)
    with pytest.raises(ConfigError, match="expected tables"):
        parse_tests({"name": "a"}, HERE, WHERE)


def test_size() -> None:
    """All tests of an object fit into the guest's spec."""
    full = {"do": ["packet:lo:" + "00" * 4096] * 64}
    with pytest.raises(ConfigError, match="at most 524288 expected"):
        parse_tests([{"name": "t", **full}], HERE, WHERE)


TEXTS = st.text(max_size=40) | st.from_regex(r"[\w.:\[\]\"= <>-]{1,40}") | st.sampled_from(sorted(STEPS))


@given(name=TEXTS, do=st.lists(TEXTS, max_size=3), maps=st.lists(TEXTS, max_size=3), word=TEXTS, trace=TEXTS)
def test_whatever_is_taken_is_a_line(name: str, do: list[str], maps: list[str], word: str, trace: str) -> None:
    """Every line that reaches a guest is printable, whatever was declared; anything else is a ConfigError."""
    table = {"name": name, "do": [*do, "exec"], "maps": [*maps, "a >= 1"], "command": [word], "trace": trace}
    try:
        tests = parse_tests([table], HERE, WHERE)
    except ConfigError:
        return
    assert all(line.isprintable() and "=" in line for line in spec_lines(tests))


def test_file_input(tmp_path: Path) -> None:
    """A packet may lie in a file of the project; its bytes are what counts."""
    (tmp_path / "p.bin").write_bytes(b"\1\2")
    (test,) = parse_tests([{"name": "t", "run": {"program": "f", "input": "file:p.bin", "return": 0}}], tmp_path, WHERE)
    assert test.run is not None
    assert test.run.input == b"\1\2"
    (tmp_path / "p.bin").write_bytes(bytes(9000))
    with pytest.raises(ConfigError, match="at most 8192"):
        parse_tests([{"name": "t", "run": {"program": "f", "input": "file:p.bin", "return": 0}}], tmp_path, WHERE)


def test_files(tmp_path: Path) -> None:
    """What an object or a test needs lies below /files by its own name; two files of one name are refused."""
    test = {"name": "t", "command": ["./probe"], "files": ["a/probe", "a/data"]}
    table: dict[str, Any] = {"prebuilt": "x.o", "tests": [test, {**test, "name": "u"}]}
    files = object_spec("x", table, tmp_path, WHERE).files
    assert [(f.path, f.source, f.mode) for f in files] == [
        ("probe", tmp_path / "a/probe", 0o755), ("data", tmp_path / "a/data", 0o755),
    ]  # fmt: skip
    table["files"] = ["a/app", "a/probe"]
    assert [f.path for f in object_spec("x", table, tmp_path, WHERE).files] == ["app", "probe", "data"]
    table["tests"][1]["files"] = ["b/probe"]
    with pytest.raises(ConfigError, match="two files would be /files/probe"):
        object_spec("x", table, tmp_path, WHERE)
    with pytest.raises(ConfigError, match="no command that could use them"):
        one(files=["x"])


def test_load_only_attaches_nothing() -> None:
    """With attach = "load" only BPF_PROG_RUN can be tested."""
    table: dict[str, Any] = {"prebuilt": "x.o", "attach": "load"}
    run = {"name": "t", "run": {"program": "f", "return": 0}}
    assert object_spec("x", {**table, "tests": [run]}, HERE, WHERE).tests[0].name == "t"
    with pytest.raises(ConfigError, match="nothing is attached"):
        object_spec("x", {**table, "tests": [{**run, "do": ["exec"]}]}, HERE, WHERE)
