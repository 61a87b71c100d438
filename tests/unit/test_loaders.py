"""The `command` table: what it gives, and what is refused before a guest starts."""

import re
from pathlib import Path
from typing import Any

import pytest

from bpfcompat import loaders, wire
from bpfcompat.config import object_spec
from bpfcompat.errors import ConfigError
from bpfcompat.loaders import command_spec
from bpfcompat.model import AttachMode, CommandSpec, PackageSet

ROOT = Path("/project")
GOOD: dict[str, Any] = {"argv": ["./loader", "--object={object}", "a b"], "binary": "bin/loader"}


def spec(**changes: Any) -> CommandSpec:
    """The table GOOD with these changes, None takes a key out."""
    table = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
    return command_spec(table, ROOT, "x")


def test_defaults() -> None:
    """A binary runs in its own folder, must exit with 0 within 30 s, and no shell sees its words."""
    assert spec() == CommandSpec(("./loader", "--object={object}", "a b"), binary=ROOT / "bin/loader", cwd="/files")
    assert loaders.words(spec()) == ("./loader", "--object=/files/object.bpf.o", "a b")
    assert loaders.name(spec()) == "loader"


def test_all() -> None:
    """Every key is taken over."""
    found = spec(
        binary=None,
        packages={"suite": "s", "names": ["bb", "aa"]},
        expect_exit=3,
        timeout_s=9,
        env={"A": "b"},
        cwd="/tmp",
    )
    assert found == CommandSpec(
        tuple(GOOD["argv"]),
        packages=PackageSet("s", ("bb", "aa")), expect_exit=3, timeout_s=9, env={"A": "b"}, cwd="/tmp",
    )  # fmt: skip
    assert spec(binary=None, rootfs="r.tar").cwd == "/"


def test_shell() -> None:
    """A shell is there only when it was asked for, and gets one text."""
    found = spec(argv=['a && b "$BPFCOMPAT_OBJECT"'], shell=True)
    assert loaders.words(found) == ("/bin/sh", "-c", 'a && b "$BPFCOMPAT_OBJECT"')


def test_environment() -> None:
    """The loader's environment is what is declared and ours, nothing of this host."""
    found = loaders.environment(spec(env={"PATH": "/x", "B": "é"}))
    assert found == {
        "PATH": "/x", "HOME": "/", "LC_ALL": "C.UTF-8", "B": "é", "BPFCOMPAT_OBJECT": "/files/object.bpf.o",
    }  # fmt: skip


def test_spec_lines() -> None:
    """The guest reads one line a setting, and a word may hold any = and blank."""
    settings = loaders.settings(spec(env={"A": "b=c "}))
    lines = wire.spec("n", AttachMode.LOAD, 1, 2, "s", command=settings).decode().split("\n")
    assert "command=arg a b" in lines
    assert "command=env A=b=c " in lines
    assert "command=cwd /files" in lines
    assert "command=timeout 30" in lines


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"argv": None}, "argv: expected a list of 1 to 256 words, got 'None'"),
        ({"argv": "x"}, "argv: expected a list"),
        ({"argv": []}, "argv: expected a list"),
        ({"argv": [""]}, "is empty"),
        ({"argv": ["a\nb"]}, "without control characters"),
        ({"argv": ["a", 1]}, "argv: expected a text"),
        ({"argv": ["x" * 5000]}, "at most 4096 bytes"),
        ({"argv": ["x"] * 257}, "1 to 256 words"),
        ({"argv": ["a", "b"], "shell": True}, "one text for the shell, got 2 words"),
        ({"shell": 1}, "shell: expected true or false"),
        ({"binary": None}, "exactly one of binary, rootfs, packages, got none"),
        ({"rootfs": "x"}, "exactly one of binary, rootfs, packages, got binary, rootfs"),
        ({"binary": ""}, "binary: expected a path"),
        ({"binary": "/"}, "binary: expected a program's path"),
        ({"binary": "x/object.bpf.o"}, "binary: expected a program's path"),
        ({"expect_exit": 256}, "expect_exit: expected a whole number from 0 to 255"),
        ({"expect_exit": True}, "expect_exit: expected a whole number"),
        ({"timeout_s": 0}, "timeout_s: expected a whole number from 1 to 3600"),
        ({"env": {"A B": "x"}}, "env: expected a name"),
        ({"env": {"BPFCOMPAT_OBJECT": "x"}}, "does not begin with BPFCOMPAT_"),
        ({"env": {"A": "x\0"}}, "env: A: expected a text"),
        ({"env": []}, "env: expected a table"),
        ({"cwd": "tmp"}, "cwd: expected an absolute path"),
        ({"cwd": "/a/../.."}, "cwd: expected an absolute path without"),
        ({"binary": None, "packages": []}, "packages: expected a table with suite and names"),
        ({"binary": None, "packages": {"suite": "s", "names": ["aa", "aa"]}}, "names: expected different names"),
        ({"binary": None, "packages": {"suite": "s", "names": ["../a"]}}, "names: expected different names"),
        (
            {"binary": None, "packages": {"suite": "s", "nmaes": ["a"]}},
            "nmaes: unknown key (hint: did you mean names?)",
        ),
        ({"argvv": 1}, "argvv: unknown key (hint: did you mean argv?)"),
    ],
)
def test_refused(change: dict[str, Any], words: str) -> None:
    """A wrong key says which, what was expected and what came."""
    with pytest.raises(ConfigError, match=re.escape(words)):
        spec(**change)


@pytest.mark.parametrize(("key", "value"), [("attach", "load"), ("files", ["app"]), ("maps", {})])
def test_one_loader(key: str, value: object) -> None:
    """What tells our loader something cannot stand beside another loader."""
    table = {"prebuilt": "x", "command": GOOD, key: value}
    with pytest.raises(ConfigError, match=f"{key}: says what our loader does"):
        object_spec("o", table, ROOT, "x")


def test_in_an_object() -> None:
    """The table belongs to an object, in Python as in TOML."""
    assert object_spec("o", {"prebuilt": "x", "command": GOOD}, ROOT, "x").command == spec()
