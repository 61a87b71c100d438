"""The project's own loader, as an object's `command` table declares it, checked before anything is started.

What reaches the guest as text has no control character and a bound; validator/command.c reads it line by line.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from bpfcompat.config import check_keys
from bpfcompat.errors import ConfigError
from bpfcompat.model import CommandSpec, PackageSet

KEYS = ("argv", "binary", "rootfs", "packages", "expect_exit", "timeout_s", "env", "cwd", "shell")
OBJECT = "/files/object.bpf.o"  # where the object lies in the loader's root; validator/command.c puts it there
PLACE = "{object}"
MAX_WORDS = 256
MAX_WORD = 4096
MAX_TIMEOUT = 3600
SHELL = "/bin/sh"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OURS = "BPFCOMPAT_"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]{1,99}")


def command_spec(table: Any, root: Path, where: str) -> CommandSpec:
    """An object's `command` table; ConfigError names the key, what was expected and what came."""
    where = f"{where}: command"
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: expected a table with argv, got {str(table)[:80]!r}")
    check_keys(table, KEYS, where)
    sources = [key for key in ("binary", "rootfs", "packages") if key in table]
    if len(sources) != 1:
        got = ", ".join(sources) or "none"
        raise ConfigError(f"{where}: expected exactly one of binary, rootfs, packages, got {got}")
    shell = _flag(table, "shell", where)
    return CommandSpec(
        argv=_argv(table, shell, where),
        binary=_binary(table, root, where),
        rootfs=_path(table, "rootfs", root, where),
        packages=_packages(table["packages"], f"{where}: packages") if "packages" in table else None,
        expect_exit=_whole(table, "expect_exit", 0, 0, 255, where),
        timeout_s=_whole(table, "timeout_s", 30, 1, MAX_TIMEOUT, where),
        env=_env(table.get("env", {}), where),
        cwd=_cwd(table, "/files" if "binary" in table else "/", where),
        by_shell=shell,
    )


def words(spec: CommandSpec) -> tuple[str, ...]:
    """The argv that runs in the guest: {object} filled in, a shell before it where one was asked for."""
    found = tuple(word.replace(PLACE, OBJECT) for word in spec.argv)
    return (SHELL, "-c", *found) if spec.by_shell else found


def environment(spec: CommandSpec) -> dict[str, str]:
    """The whole environment of the loader: nothing of this host."""
    return {"PATH": PATH, "HOME": "/", "LC_ALL": "C.UTF-8", **spec.env, f"{OURS}OBJECT": OBJECT}


def settings(spec: CommandSpec, stretched: float = 1.0) -> tuple[str, ...]:
    """The lines of the validator's spec for this loader, on a host that is so much slower than others."""
    return (
        *(f"arg {word}" for word in words(spec)),
        *(f"env {name}={value}" for name, value in environment(spec).items()),
        f"cwd {spec.cwd}",
        f"timeout {math.ceil(spec.timeout_s * stretched)}",
    )


def name(spec: CommandSpec) -> str:
    """What the loader is called in verdicts: its program's file name, or `sh` where a shell runs it."""
    return PurePosixPath(words(spec)[0]).name or words(spec)[0]


def asked(spec: CommandSpec, digest: str) -> dict[str, Any]:
    """What of a command enters the probe's key; `digest` is of the binary, or of the packed root file system."""
    return {
        "argv": list(words(spec)),
        "env": environment(spec),
        "cwd": spec.cwd,
        "timeout_s": spec.timeout_s,
        "expect_exit": spec.expect_exit,
        "loader": {"name": name(spec), "digest": digest},
    }


def _argv(table: Mapping[str, Any], shell: bool, where: str) -> tuple[str, ...]:
    value = table.get("argv")
    if not isinstance(value, list | tuple) or not 0 < len(value) <= MAX_WORDS:
        raise ConfigError(f"{where}: argv: expected a list of 1 to {MAX_WORDS} words, got {str(value)[:80]!r}")
    found = tuple(_word(word, f"{where}: argv") for word in value)
    if not found[0]:
        raise ConfigError(f"{where}: argv: the first word names the program, and is empty")
    if shell and len(found) != 1:
        raise ConfigError(f"{where}: argv: with shell = true, expected one text for the shell, got {len(found)} words")
    return found


def _word(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value.encode()) > MAX_WORD:
        raise ConfigError(f"{where}: expected a text of at most {MAX_WORD} bytes without control characters, "
                          f"got {str(value)[:80]!r}")  # fmt: skip
    return value


def _env(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, Mapping) or len(value) > MAX_WORDS:
        raise ConfigError(f"{where}: env: expected a table of at most {MAX_WORDS} names, got {str(value)[:80]!r}")
    for key in value:
        if not isinstance(key, str) or not _NAME.fullmatch(key) or key.startswith(OURS):
            raise ConfigError(f"{where}: env: expected a name that does not begin with {OURS}, got {str(key)[:80]!r}")
    return {key: _word(text, f"{where}: env: {key}") for key, text in value.items()}


def _cwd(table: Mapping[str, Any], default: str, where: str) -> str:
    value = _word(table.get("cwd", default), f"{where}: cwd")
    if not value.startswith("/") or ".." in value.split("/"):
        raise ConfigError(f"{where}: cwd: expected an absolute path without .., got {value[:80]!r}")
    return value


def _packages(table: Any, where: str) -> PackageSet:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: expected a table with suite and names, got {str(table)[:80]!r}")
    check_keys(table, ("suite", "names", "arch"), where)
    names = table.get("names")
    good = isinstance(names, list | tuple) and all(isinstance(n, str) and _PACKAGE.fullmatch(n) for n in names)
    if not good or not names or len(names) > MAX_WORDS or len(set(names)) != len(names):
        raise ConfigError(f"{where}: names: expected different names of packages, got {str(names)[:80]!r}")
    suite, arch = _word(table.get("suite"), f"{where}: suite"), _word(table.get("arch", "amd64"), f"{where}: arch")
    return PackageSet(suite, tuple(names), arch)


def _binary(table: Mapping[str, Any], root: Path, where: str) -> Path | None:
    path = _path(table, "binary", root, where)
    if path is not None and not (path.name.isprintable() and path.name not in ("", ".", "..", "object.bpf.o")):
        raise ConfigError(f"{where}: binary: expected a program's path, got {str(path)[:80]!r}")
    return path


def _path(table: Mapping[str, Any], key: str, root: Path, where: str) -> Path | None:
    if key not in table:
        return None
    text = _word(table[key], f"{where}: {key}")
    if not text:
        raise ConfigError(f"{where}: {key}: expected a path, got ''")
    return root / Path(text)


def _flag(table: Mapping[str, Any], key: str, where: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise ConfigError(f"{where}: {key}: expected true or false, got {str(value)[:80]!r}")
    return value


def _whole(table: Mapping[str, Any], key: str, default: int, low: int, high: int, where: str) -> int:
    value = table.get(key, default)
    if type(value) is not int or not low <= value <= high:
        raise ConfigError(f"{where}: {key}: expected a whole number from {low} to {high}, got {str(value)[:80]!r}")
    return value
