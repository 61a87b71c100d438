"""Behaviour tests as they are declared, checked before anything boots, and as lines of the guest's spec.

Everything textual that reaches a guest is checked here: printable, bounded, of the shape that the guest's parser takes.
"""

import errno
import ipaddress
import re
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bpfcompat.behaviour import BehaviourTest, Check, Events, Run, Step
from bpfcompat.config import check_keys
from bpfcompat.errors import ConfigError
from bpfcompat.files import read_bounded
from bpfcompat.model import ShippedFile

# as in validator/test.h, behave.c, steps.c
TESTS_MAX, LIST_MAX, EVENTS_MAX = 64, 64, 8
DATA_MAX, CONTEXT_MAX, PACKET_MAX = 16 << 10, 4096, 4096
REPEAT_MAX = 1_000_000
TEXT_MAX = 4096
READING_MAX = 4000  # as the guest takes it, in bytes
SPEC_MAX = 512 << 10  # of all tests of an object; a spec has 1 MiB
TIMEOUT_MAX_S = 300
OPERATORS = ("==", "!=", ">=", "<=", ">", "<", "contains", "present", "absent")

KEYS = (
    "name", "required", "timeout_s", "programs", "do", "command", "files", "exit", "stdout", "stderr", "maps",
    "ringbuf", "trace", "run",
)  # fmt: skip
_EVENT_KEYS = ("map", "at_least", "at_most", "contains")
_RUN_KEYS = ("program", "input", "context", "repeat", "return", "output", "context_out")
_IDENTIFIER = re.compile(r"[A-Za-z_.][A-Za-z0-9_.$]{0,127}")
_CHECK = re.compile(
    r"""\s*(?:len\(\s*(?P<length>[A-Za-z_][\w.]{0,127})\s*\)
        |(?P<name>[A-Za-z_]\w{0,127})(?:\[\s*(?P<key>-?\d{1,20}|0x[0-9a-fA-F]{1,16}|hex:[0-9a-fA-F]{2,1024}|"[^"]{1,256}")\s*\])?
         (?P<path>(?:\.[A-Za-z_]\w{0,127}|\[\d{1,9}\]){0,16}))
        \s*(?P<operator>==|!=|>=|<=|>|<|\bcontains\b|\bpresent\b|\babsent\b)\s*(?P<operand>.*?)\s*""",
    re.VERBOSE,
)
_NUMBER = re.compile(r"-?(?:0x[0-9a-fA-F]{1,16}|\d{1,20})")
_SLEEP = re.compile(r"(\d{1,6})(ms|s)")
_Found = TypeVar("_Found")
_INTERFACE = re.compile(r"[A-Za-z0-9_.@-]{1,15}")


def parse_tests(given: Any, root: Path, where: str) -> tuple[BehaviourTest, ...]:
    """An object's `tests`; ConfigError that names the test, the key, what was expected and what came."""
    if not isinstance(given, list | tuple) or not all(isinstance(table, dict) for table in given):
        raise ConfigError(
            f"{where}: tests: expected tables, got {str(given)[:80]!r}", hint="write [[objects.NAME.tests]]"
        )
    if len(given) > TESTS_MAX:
        raise ConfigError(f"{where}: tests: {len(given)} tests, at most {TESTS_MAX} expected")
    tests = tuple(_test(table, root, f"{where}: tests: {_label(table, n)}") for n, table in enumerate(given, start=1))
    names = [test.name for test in tests]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where}: tests: {name!r}: two tests have this name")
    size = sum(len(line.encode()) + 1 for line in spec_lines(tests))
    if size > SPEC_MAX:
        raise ConfigError(f"{where}: tests: {size} bytes of steps, words and packets, at most {SPEC_MAX} expected")
    return tests


def shipped(table: Mapping[str, Any], root: Path, where: str) -> tuple[ShippedFile, ...]:
    """The files that an object's table and its checked tests name, each below /files under its own last name.

    ConfigError for one name twice.
    """
    tests = [(f"{where}: tests: {_label(test, 0)}", test) for test in table.get("tests", ())]
    found: dict[str, ShippedFile] = {}
    for place, given in ((where, table), *tests):
        for path in _each(given, "files", place, lambda v, w: root / _text(v, w, 1024)):
            known = found.setdefault(path.name, ShippedFile(path.name, path, 0o755))
            if known.source != path or not path.name:
                raise ConfigError(f"{place}: files: two files would be /files/{path.name}", hint="rename one")
    return tuple(found.values())


def spec_lines(tests: Iterable[BehaviourTest], stretch: float = 1.0) -> list[str]:
    """The lines of the guest's spec; time limits are multiplied by `stretch`, for a host that is so much slower."""
    return [line for test in tests for line in _lines(test, stretch)]


def _lines(test: BehaviourTest, stretch: float) -> Iterator[str]:
    yield f"test={test.name}"
    yield f"test_ms={round(test.timeout_s * 1000 * stretch)}"
    yield from (f"test_program={name}" for name in test.programs)
    yield from (f"test_do={step.asked}" for step in test.steps)
    yield from (f"test_argv={word}" for word in test.command)
    yield from (f"test_read={check.asked}" for check in test.checks)
    yield from (f"test_events={events.map}" for events in test.events)
    if test.trace is not None:
        yield "test_trace=1"
    if test.run is not None:
        yield from _run_lines(test.run)


def _run_lines(run: Run) -> Iterator[str]:
    yield f"test_run={run.program}"
    if run.input is not None:
        yield f"test_input={run.input.hex()}"
    if run.context is not None:
        yield f"test_context={run.context.hex()}"
    if run.repeat > 1:
        yield f"test_repeat={run.repeat}"


# --- one test


def _label(table: Mapping[str, Any], number: int) -> str:
    name = table.get("name")
    return repr(name[:60]) if isinstance(name, str) else f"number {number}"


def _test(table: Mapping[str, Any], root: Path, where: str) -> BehaviourTest:
    check_keys(table, KEYS, where)
    test = BehaviourTest(
        name=_text(_required(table, "name", where), f"{where}: name", 100),
        required=_flag(table.get("required", True), f"{where}: required"),
        timeout_s=_seconds(table.get("timeout_s", 10), f"{where}: timeout_s"),
        programs=_each(table, "programs", where, _identifier),
        steps=_each(table, "do", where, _step),
        command=_each(table, "command", where, _word),
        exit=_exit(table.get("exit", 0), f"{where}: exit"),
        stdout=_said(table, "stdout", where),
        stderr=_said(table, "stderr", where),
        checks=_each(table, "maps", where, _check),
        events=_each_table(table, "ringbuf", where, _events, EVENTS_MAX),
        trace=_said(table, "trace", where),
        run=_run(table["run"], root, f"{where}: run") if "run" in table else None,
    )
    return _sensible(test, table, where)


def _sensible(test: BehaviourTest, table: Mapping[str, Any], where: str) -> BehaviourTest:
    """The same, if it does something and could fail."""
    if not (test.attaches or test.run):
        raise ConfigError(f"{where}: nothing to do", hint="add do, command or run")
    if not test.command and (idle := [k for k in ("exit", "stdout", "stderr") if k in table]):
        raise ConfigError(f"{where}: {idle[0]}: there is no command that could give it", hint="add command")
    if "files" in table and not test.command:
        raise ConfigError(f"{where}: files: there is no command that could use them", hint="add command")
    if test.programs and not test.attaches:
        raise ConfigError(f"{where}: programs: BPF_PROG_RUN needs nothing attached", hint="remove programs")
    steps = any(step.errno != "any" for step in test.steps)
    run = test.run is not None and (test.run.returns, test.run.output, test.run.context_out) != (None, None, None)
    said = test.trace is not None or test.checks or test.events or test.command
    if not (steps or run or said):
        raise ConfigError(f"{where}: nothing is expected: it could not fail", hint="add maps, ringbuf, trace or return")
    return test


# --- steps


def _step(given: Any, where: str) -> Step:
    text, marker, wanted = _text(given, where, 2 * PACKET_MAX + 200).partition(" = ")
    name, _, argument = text.strip().partition(":")
    if name not in STEPS:
        raise ConfigError(f"{where}: {name[:40]!r}: no such step", hint="known here: " + ", ".join(STEPS))
    shape, check = STEPS[name]
    found = check(argument)
    if found is None:
        raise ConfigError(f"{where}: {text[:80]!r}: expected {name}{shape}")
    if marker and wanted.strip() != "any" and wanted.strip() not in errno.errorcode.values():
        raise ConfigError(
            f"{where}: {wanted[:40]!r}: expected an errno's name, or any", hint='as in "open:/x = ENOENT"'
        )
    return Step(f"{name}:{found}" if found else name, wanted.strip())


def _nothing(argument: str) -> str | None:
    return None if argument else ""


def _program(argument: str) -> str | None:
    return _path(argument) if argument else ""


def _path(argument: str) -> str | None:
    return argument if argument.startswith("/") and len(argument) < 1024 else None


def _pause(argument: str) -> str | None:
    found = _SLEEP.fullmatch(argument)
    milliseconds = int(found[1]) * (1 if found[2] == "ms" else 1000) if found else TIMEOUT_MAX_S * 1001
    return str(milliseconds) if milliseconds <= TIMEOUT_MAX_S * 1000 else None


def _signal(argument: str) -> str | None:
    if argument.isascii() and argument.isdecimal() and len(argument) < 3 and int(argument) <= 64:
        return str(int(argument))
    name = argument if argument.startswith("SIG") else f"SIG{argument}"
    return str(int(signal.Signals[name])) if name in signal.Signals.__members__ else None


def _address(argument: str) -> str | None:
    host, _, port = argument.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    known = _ip(bare)
    if known is None or (known.version == 6) != (bare != host) or not port.isascii() or not port.isdecimal():
        return None
    return (
        f"{f'[{known}]' if known.version == 6 else known}:{int(port)}" if len(port) < 6 and int(port) < 65536 else None
    )


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _ipv4(argument: str) -> str | None:
    known = _ip(argument)
    return str(known) if known is not None and known.version == 4 else None


def _packet(argument: str) -> str | None:
    interface, _, text = argument.partition(":")
    data = _hex(text)
    sound = data is not None and 14 <= len(data) <= PACKET_MAX and _INTERFACE.fullmatch(interface)
    return f"{interface}:{data.hex()}" if data is not None and sound else None


# name: what stands behind it, and how that is told to the guest (None: not as it must be); validator/steps.c
STEPS: Mapping[str, tuple[str, Callable[[str], str | None]]] = {
    "exec": (" or exec:/PATH", _program),
    "fork": ("", _nothing),
    "getpid": ("", _nothing),
    "open": (":/PATH", _path),
    "read": (":/PATH", _path),
    "write": (":/PATH", _path),
    "mkdir": (":/PATH", _path),
    "remove": (":/PATH", _path),
    "sleep": (":Nms or :Ns, at most 300 s", _pause),
    "kill": (":SIGNAL, a name or 0 to 64", _signal),
    "connect": (":ADDRESS:PORT", _address),
    "bind": (":ADDRESS:PORT", _address),
    "tcp": (":ADDRESS:PORT", _address),
    "udp": (":ADDRESS:PORT", _address),
    "ping": (":IPV4-ADDRESS", _ipv4),
    "packet": (f":INTERFACE:HEX, 14 to {PACKET_MAX} bytes", _packet),
}


# --- maps


def _check(given: Any, where: str) -> Check:
    text = _text(given, where, TEXT_MAX)
    found = _CHECK.fullmatch(text)
    if found is None:
        raise ConfigError(f"{where}: {text[:80]!r}: expected NAME[KEY].FIELD OPERATOR VALUE or len(MAP) OPERATOR VALUE",
                          hint=f"operators: {' '.join(OPERATORS)}")  # fmt: skip
    operator, operand = found["operator"], _operand(found["operand"], found["operator"], f"{where}: {text[:80]!r}")
    if found["length"]:
        if not isinstance(operand, int):
            raise ConfigError(f"{where}: {text[:80]!r}: a length is compared with a number")
        return Check(text, f"length {found['length']} - -", operator, operand)
    asked = f"value {found['name']} {_key(found['key'])} {found['path'] or '-'}"
    if len(asked) > READING_MAX:
        raise ConfigError(f"{where}: {text[:80]!r}: expected a key and a path of at most {READING_MAX} bytes together")
    return Check(text, asked, operator, operand)


def _key(text: str | None) -> str:
    """A key as the guest takes it: a number, `x` and all its bytes, or `t` and its first bytes."""
    if text is None:
        return "-"
    if text.startswith('"'):
        return "t" + text[1:-1].encode().hex()
    if text.startswith("hex:"):
        return "x" + text[4:].lower()
    return str(int(text, 0) if text.startswith("0x") else int(text))


def _operand(text: str, operator: str, where: str) -> int | bytes | None:
    if operator in ("present", "absent"):
        if text:
            raise ConfigError(f"{where}: nothing stands behind {operator}")
        return None
    if text.startswith('"') and text.endswith('"') and len(text) > 2:
        value: int | bytes = text[1:-1].encode()
    elif text.startswith("hex:"):
        value = _bytes(text, where, TEXT_MAX)
    elif _NUMBER.fullmatch(text):
        value = int(text, 16) if "x" in text else int(text)
    else:
        raise ConfigError(f'{where}: expected a number, "text" or hex:… behind {operator}, got {text[:40]!r}')
    if isinstance(value, bytes) != (operator == "contains") and operator not in ("==", "!="):
        kind = "text or hex:…" if operator == "contains" else "a number"
        raise ConfigError(f"{where}: {operator} takes {kind}, got {text[:40]!r}")
    return value


# --- events and BPF_PROG_RUN


def _events(given: Mapping[str, Any], where: str) -> Events:
    check_keys(given, _EVENT_KEYS, where)
    most = given.get("at_most")
    contains = given.get("contains", ())
    found = Events(
        map=_identifier(_required(given, "map", where), f"{where}: map"),
        at_least=_whole(given.get("at_least", 0 if most is not None else 1), f"{where}: at_least", 10**9),
        at_most=None if most is None else _whole(most, f"{where}: at_most", 10**9),
        contains=tuple(
            _bytes(part, f"{where}: contains", 256)
            for part in (contains if isinstance(contains, list | tuple) else [contains])
        ),
    )
    if found.at_most is not None and found.at_most < found.at_least:
        raise ConfigError(f"{where}: at_most: expected {found.at_least} or more, got {found.at_most}")
    if found.at_least == 0 and found.at_most is None and not found.contains:
        raise ConfigError(f"{where}: nothing is expected: it could not fail", hint="raise at_least, or add contains")
    return found


def _run(given: Any, root: Path, where: str) -> Run:
    if not isinstance(given, dict):
        raise ConfigError(f"{where}: expected a table with program, got {str(given)[:80]!r}")
    check_keys(given, _RUN_KEYS, where)

    def data(key: str, most: int) -> bytes | None:
        return _data(given[key], root, f"{where}: {key}", most) if key in given else None

    found = Run(
        program=_identifier(_required(given, "program", where), f"{where}: program"),
        input=data("input", DATA_MAX // 2),
        context=data("context", CONTEXT_MAX),
        repeat=_whole(given.get("repeat", 1), f"{where}: repeat", REPEAT_MAX, 1),
        returns=_returned(given["return"], f"{where}: return") if "return" in given else None,
        output=data("output", DATA_MAX),
        context_out=data("context_out", CONTEXT_MAX),
    )
    if found.context_out is not None and found.context is None:
        raise ConfigError(f"{where}: context_out: there is no context that could come back", hint="add context")
    return found


def _returned(given: Any, where: str) -> int:
    """What a program returns is 32 bits; -1 is 0xffffffff."""
    if not isinstance(given, int) or isinstance(given, bool) or not -(1 << 31) <= given < 1 << 32:
        raise ConfigError(f"{where}: expected a number of 32 bits, got {str(given)[:40]}")
    return given % (1 << 32)


def _data(given: Any, root: Path, where: str, most: int) -> bytes:
    """`hex:…`, `zeros:N`, `file:PATH` below the project, or text."""
    text = given if isinstance(given, str) else ""
    kind, _, rest = text.partition(":")
    if kind == "zeros":
        return bytes(_whole(int(rest) if re.fullmatch("[0-9]{1,6}", rest) else -1, where, most))
    if kind != "file":
        return _bytes(given, where, most)
    try:
        return read_bounded(root / rest, most, ConfigError)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}") from None


# --- small shapes


def _required(table: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in table:
        raise ConfigError(f"{where}: {name}: missing")
    return table[name]


def _text(given: Any, where: str, most: int) -> str:
    if not isinstance(given, str) or not given or len(given) > most or not given.isprintable():
        raise ConfigError(f"{where}: expected printable text of 1 to {most} characters, got {str(given)[:80]!r}")
    return given


def _word(given: Any, where: str) -> str:
    """A word of a command line; it may be empty."""
    return "" if given == "" else _text(given, where, TEXT_MAX)


def _identifier(given: Any, where: str) -> str:
    if not isinstance(given, str) or not _IDENTIFIER.fullmatch(given):
        raise ConfigError(f"{where}: expected a name as C has them, got {str(given)[:80]!r}")
    return given


def _flag(given: Any, where: str) -> bool:
    if not isinstance(given, bool):
        raise ConfigError(f"{where}: expected true or false, got {str(given)[:80]!r}")
    return given


def _whole(given: Any, where: str, most: int, least: int = 0) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= most:
        raise ConfigError(f"{where}: expected a whole number from {least} to {most}, got {str(given)[:80]!r}")
    return given


def _seconds(given: Any, where: str) -> float:
    if not isinstance(given, int | float) or isinstance(given, bool) or not 0.1 <= given <= TIMEOUT_MAX_S:
        raise ConfigError(f"{where}: expected 0.1 to {TIMEOUT_MAX_S} seconds, got {str(given)[:80]!r}")
    return given


def _exit(given: Any, where: str) -> int | str:
    if isinstance(given, str) and given in signal.Signals.__members__:
        return given
    if isinstance(given, str):
        raise ConfigError(f"{where}: expected an exit code, or a signal's name such as SIGSEGV, got {given[:80]!r}")
    return _whole(given, where, 255)


def _said(table: Mapping[str, Any], key: str, where: str) -> tuple[str, ...] | None:
    """Texts that must occur; "" for nothing said at all."""
    given = table.get(key)
    if given is None or given == "":
        return None if given is None else ()
    return _each(
        {key: given if isinstance(given, list | tuple) else [given]}, key, where, lambda v, w: _text(v, w, 1024)
    )


def _bytes(given: Any, where: str, most: int) -> bytes:
    """`hex:…` or text, as bytes."""
    if isinstance(given, str) and given.startswith("hex:"):
        found = _hex(given[4:])
        if found is None or not 0 < len(found) <= most:
            raise ConfigError(f"{where}: expected hex: and 1 to {most} bytes as hex digits, got {given[:80]!r}")
        return found
    return _text(given, where, most).encode()


def _hex(text: str) -> bytes | None:
    return bytes.fromhex(text) if re.fullmatch(r"(?:[0-9a-fA-F]{2})+", text) else None


def _each(table: Mapping[str, Any], key: str, where: str, parse: Callable[[Any, str], _Found]) -> tuple[_Found, ...]:
    given = table.get(key, ())
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) > LIST_MAX:
        raise ConfigError(f"{where}: {key}: expected a list of at most {LIST_MAX}, got {str(given)[:80]!r}")
    return tuple(parse(item, f"{where}: {key}") for item in given)


def _each_table(
    table: Mapping[str, Any], key: str, where: str, parse: Callable[[Mapping[str, Any], str], _Found], most: int
) -> tuple[_Found, ...]:
    given = table.get(key, ())
    listed = [given] if isinstance(given, dict) else given
    if not isinstance(listed, list | tuple) or len(listed) > most or not all(isinstance(v, dict) for v in listed):
        raise ConfigError(
            f"{where}: {key}: expected a table with map, or at most {most} of them, got {str(given)[:80]!r}"
        )
    return tuple(parse(item, f"{where}: {key}") for item in listed)
