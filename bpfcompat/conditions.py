"""Under what a kernel is asked, and what its entry asserts: read strictly, and put into words for guest and key.

Everything that reaches the guest is checked here: no control characters, bounded, and nothing that would take from us
the console, the ports or the end of a guest.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from bpfcompat.errors import ConfigError
from bpfcompat.model import PLAIN, Asserts, Conditions, KernelSpec

CONDITION_KEYS = ("command_line", "lsm", "sysctls", "lockdown", "modules", "btf", "user")
ASSERT_KEYS = ("release", "btf", "lockdown", "lsm", "modules", "config", "sysctls")
LOCKDOWN = ("integrity", "confidentiality")
USERS = ("root", "unprivileged")
MAX_WORDS = 64
MAX_SYSCTLS, MAX_SYSCTL = 24, 120  # in one table, characters of a name: what validator/env.c has room to tell
MAX_COMMAND_LINE = 1024  # of the 2048 bytes that x86 takes

_MODULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,55}")
_LSM = re.compile(r"[a-z][a-z0-9_]{0,31}")
_SYSCTL = re.compile(r"[a-z][a-z0-9_-]{0,63}(\.[A-Za-z0-9_-]{1,64}){1,6}")
_OPTION = re.compile(r"CONFIG_[A-Z0-9_a-z]{1,100}")
_VALUE = re.compile(r"[ -~]{1,200}")
# What would take the console, the ports, our init or the end of a guest from us, and what to write instead.
_OURS = {
    **dict.fromkeys(("console", "earlyprintk", "earlycon", "loglevel", "quiet", "debug", "ignore_loglevel"), ""),
    **dict.fromkeys(("init", "rdinit", "root", "initrd", "noinitrd", "panic", "reboot", "8250.nr_uarts", "--"), ""),
    **dict.fromkeys(("mem", "memmap", "maxcpus", "nr_cpus", "acpi", "pci"), ""),
    "lsm": 'lsm = ["lockdown", "bpf"]',
    "security": 'lsm = ["lockdown", "apparmor", "bpf"]',
    "lockdown": 'lockdown = "integrity"',
}


def read_conditions(table: Mapping[str, Any], where: str) -> Conditions:
    """The conditions in a kernel's table; ConfigError names the key, what was expected and what came."""
    return Conditions(
        command_line=_command_line(table.get("command_line", ""), where),
        lsm=_words(table, "lsm", _LSM, "names of LSMs", where),
        sysctls=_sysctls(table, where),
        lockdown=_one_of(table, "lockdown", LOCKDOWN, where),
        modules=module_names(table, where),
        btf=_flag(table.get("btf", True), f"{where}: btf"),
        user=_one_of(table, "user", USERS, where) or "root",
    )


def read_asserts(table: Any, where: str) -> Asserts:
    """The `asserts` of a kernel's table, whose keys are known ones."""
    if not isinstance(table, dict):
        raise _not(where, f"a table of {', '.join(ASSERT_KEYS)}", table)
    release = table.get("release", "")
    if not isinstance(release, str) or (release and not _VALUE.fullmatch(release)):
        raise _not(f"{where}: release", "a pattern such as 6.1.*", release)
    return Asserts(
        release=release,
        btf=_flag(table["btf"], f"{where}: btf") if "btf" in table else None,
        lockdown=_one_of(table, "lockdown", ("none", *LOCKDOWN), where),
        lsm=_words(table, "lsm", _LSM, "names of LSMs", where),
        modules=module_names(table, where),
        config=_config(table.get("config", {}), f"{where}: config"),
        sysctls=_sysctls(table, where),
    )


def module_names(table: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The key `modules` of a kernel or an object: names, as the kernel writes them."""
    found = _words(table, "modules", _MODULE, "names of modules, without .ko", where)
    return tuple(dict.fromkeys(name.replace("-", "_") for name in found))


def based(kernels: Mapping[str, KernelSpec]) -> dict[str, KernelSpec]:
    """The same kernels, those with a `base` with that one's source."""
    return {name: _based(spec, kernels) if spec.base else spec for name, spec in kernels.items()}


def _based(spec: KernelSpec, kernels: Mapping[str, KernelSpec]) -> KernelSpec:
    base = kernels.get(spec.base)
    if base is None or base.base:
        what = "is no kernel" if base is None else f"is itself based on {base.base!r}"
        raise ConfigError(f"kernel {spec.name!r}: base: {spec.base!r} {what}", hint="name one with apt, dir or url")
    return replace(spec, source=base.source, arch=base.arch, optional=spec.optional or base.optional)


# --- in words


def added_words(conditions: Conditions) -> str:
    """What a kernel's conditions add to the command line, with a blank before it; "" for none."""
    words = [f"lsm={','.join(conditions.lsm)}"] if conditions.lsm else []
    words += [conditions.command_line] if conditions.command_line else []
    return "".join(f" {word}" for word in words)


def keyed(conditions: Conditions) -> dict[str, Any]:
    """What enters a key beside the command line, and is stated; {} for a plain kernel."""
    values: dict[str, Any] = {}
    for name in ("sysctls", "lockdown", "modules", "btf", "user"):
        value = getattr(conditions, name)
        if value != getattr(PLAIN, name):
            values[name] = list(value) if isinstance(value, tuple) else dict(value) if name == "sysctls" else value
    return values


def guest_lines(conditions: Conditions) -> tuple[str, ...]:
    """What the guest's init is told, a line each; it says back in its hello frame what it did."""
    return (
        *(f"sysctl={name}={value}" for name, value in sorted(conditions.sysctls.items())),
        *(["btf=hidden"] if not conditions.btf else []),
        *([f"lockdown={conditions.lockdown}"] if conditions.lockdown else []),
        *([f"user={conditions.user}"] if conditions.user != "root" else []),
    )


# --- checks


def _command_line(value: Any, where: str) -> str:
    where = f"{where}: command_line"
    words = value.split() if isinstance(value, str) else []
    fits = isinstance(value, str) and len(value) <= MAX_COMMAND_LINE and value.isascii() and value.isprintable()
    if not fits or '"' in value or " ".join(words) != value:  # a kernel takes quotes off, and sees another word then
        what = f"words of printable ASCII without quotes, one blank between them, at most {MAX_COMMAND_LINE} characters"
        raise _not(where, what, value)
    for word in words:
        name = word.partition("=")[0].replace("-", "_") if word != "--" else word
        if name in _OURS:
            hint = f"write {_OURS[name]}" if _OURS[name] else "leave it out: guests depend on it"
            raise ConfigError(f"{where}: {word[:80]!r}: not to be set here", hint=hint)
    return str(value)


def _sysctls(table: Mapping[str, Any], where: str) -> dict[str, int]:
    value = table.get("sysctls", {})
    if not isinstance(value, dict) or len(value) > MAX_SYSCTLS:
        raise _not(f"{where}: sysctls", f"a table of at most {MAX_SYSCTLS} sysctls and numbers", value)
    for name, number in value.items():
        if not _SYSCTL.fullmatch(name) or len(name) > MAX_SYSCTL:
            raise _not(f"{where}: sysctls", "a name such as kernel.unprivileged_bpf_disabled", name)
        if type(number) is not int or not -(1 << 31) <= number < 1 << 31:
            raise _not(f"{where}: sysctls: {name}", "a whole number", number)
    return dict(value)


def _config(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > MAX_WORDS * 4:
        raise _not(where, "a table of CONFIG_… and values", value)
    for name, text in value.items():
        if not _OPTION.fullmatch(name):
            raise _not(where, "an option such as CONFIG_BPF_LSM", name)
        if not isinstance(text, str) or not _VALUE.fullmatch(text):
            raise _not(f"{where}: {name}", 'a string: "y", "m", "n" for not set, or the value', text)
    return dict(value)


def _words(table: Mapping[str, Any], key: str, shape: re.Pattern[str], what: str, where: str) -> tuple[str, ...]:
    value = table.get(key, [])
    fits: Callable[[Any], bool] = lambda word: isinstance(word, str) and bool(shape.fullmatch(word))  # noqa: E731
    if not isinstance(value, list | tuple) or len(value) > MAX_WORDS or not all(map(fits, value)):
        raise _not(f"{where}: {key}", f"a list of at most {MAX_WORDS} {what}", value)
    return tuple(value)


def _one_of(table: Mapping[str, Any], key: str, words: tuple[str, ...], where: str) -> str:
    value = table.get(key, "")
    if key in table and value not in words:
        raise _not(f"{where}: {key}", f"one of {', '.join(words)}", value)
    return str(value)


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise _not(where, "true or false", value)
    return value


def _not(where: str, expected: str, got: Any) -> ConfigError:
    return ConfigError(f"{where}: expected {expected}, got {repr(got)[:200]}")
