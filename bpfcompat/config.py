"""bpfcompat.toml as one frozen value.

Every key has a default here, a bound, and a line in this repository's own bpfcompat.toml.  An unknown key is an error
that names its nearest neighbour.  `BPFCOMPAT_<SECTION>_<KEY>` in the environment overrides the file, and
`section.key=value` on the command line overrides both.
"""

import contextlib
import fnmatch
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import toml

from bpfcompat.conditions import ASSERT_KEYS, CONDITION_KEYS, module_names, read_asserts, read_conditions
from bpfcompat.declared import Declared
from bpfcompat.digest import is_digest
from bpfcompat.errors import ConfigError, did_you_mean
from bpfcompat.expected import read_own, read_patterns
from bpfcompat.files import read_bounded
from bpfcompat.libbpfs import SHIPPED, Loader, read_loaders
from bpfcompat.model import (
    AptSource,
    AttachMode,
    CommandSpec,
    DirSource,
    Expectation,
    KernelSpec,
    ObjectSpec,
    ShippedFile,
    UrlSource,
)

if TYPE_CHECKING:
    from bpfcompat.behaviour import BehaviourTest

FILE = "bpfcompat.toml"
MAX_BYTES = 4 << 20
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
ARCHES = ("amd64",)
PATIENT = 4  # times as many guests at once, where they wait most of the time


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: what it must be, in words and as a check, and its default."""

    default: Any
    expected: str
    accepts: Callable[[Any], bool]


def _text(default: str) -> Key:
    return Key(default, "a string", lambda v: isinstance(v, str) and len(v) < 4096 and "\0" not in v)


def _texts(default: tuple[str, ...]) -> Key:
    text = _text("").accepts
    return Key(default, "a list of strings", lambda v: isinstance(v, list | tuple) and all(text(i) for i in v))


def _flag(default: bool) -> Key:
    return Key(default, "true or false", lambda v: isinstance(v, bool))


def _whole(default: int, low: int, high: int, why: str = "") -> Key:
    return Key(default, f"a whole number from {low} to {high}{why}",
               lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high)  # fmt: skip


def _workers() -> Key:
    whole = _whole(1, 1, 1024).accepts
    return Key("auto", "auto (one per core) or a whole number from 1 to 1024", lambda v: v == "auto" or whole(v))


def _sites() -> Key:
    def accepts(value: Any) -> bool:
        if not isinstance(value, list | tuple) or not all(isinstance(site, str) for site in value):
            return False
        if value:
            from bpfcompat.origins import allowed  # a run that has nothing to fetch does not need it

            allowed(value)
        return True

    return Key((), "a list of exact hosts, each host or host:port", accepts)


def _number(default: float, low: float, high: float) -> Key:
    return Key(default, f"a number from {low:g} to {high:g}",
               lambda v: isinstance(v, int | float) and not isinstance(v, bool) and low <= v <= high)  # fmt: skip


def _one_of(default: str, *words: str) -> Key:
    return Key(default, "one of " + ", ".join(words), lambda v: v in words)


def _some_of(default: tuple[str, ...], *words: str) -> Key:
    return Key(default, "a list of some of " + ", ".join(words),
               lambda v: isinstance(v, list | tuple) and all(i in words for i in v))  # fmt: skip


SETTINGS: Mapping[str, Mapping[str, Key]] = {
    "paths": {
        "store": _text(".bpfcompat/store"),
        "registry": _text(".bpfcompat/registry"),
        "reports": _text(".bpfcompat/reports"),
        "lock": _text("bpfcompat.lock"),
        "catalogue": _texts(()),
        "trail": _text(".bpfcompat/trail.jsonl"),
    },
    "run": {
        "workers": _workers(),
        "retries": _whole(1, 0, 10),
        "confirm": _whole(2, 1, 10),
        "control_percent": _number(2, 0, 100),
    },
    "guest": {
        "accelerator": _one_of("auto", "auto", "kvm", "tcg"),
        "qemu": _text(""),
        "cold": _flag(False),
        "user": _one_of("own", "own", "same"),
        "memory_mb": _whole(256, 128, 65536, ": with less a kernel does not get to user space"),
        "deadline_s": _number(180, 10, 86400),
        "boot_s": _number(60, 5, 86400),
        "silence_s": _number(15, 2, 86400),
        "log_kb": _whole(1024, 16, 16384),
    },
    "build": {"cc": _text("cc"), "clang": _text("clang"), "cflags": _texts(()), "vmlinux": _text("debian-13")},
    "mirror": {
        "debian": _text(""),
        "keyring": _text("/usr/share/keyrings/debian-archive-keyring.gpg"),
        "allow_expired": _flag(False),
    },
    "fetch": {"allow": _sites()},
    "validator": {"libbpf": _text("1.5.0"), "suite": _text("trixie")},
    "signing": {
        "key": _text("~/.config/bpfcompat/signing-key.pem"),
        "passphrase_env": _text("BPFCOMPAT_PASSPHRASE"),
        "log_key": _text("~/.config/bpfcompat/log-key.pem"),
        "root": _text(""),
        "origin": _text(""),
        "valid_days": _whole(90, 1, 3650),
    },
    "substituters": {
        "url": _texts(()),
        "keys": _texts(()),
        "log_keys": _texts(()),
        "root": _texts(()),
        "witnesses": _texts(()),
        "witnessed": _whole(0, 0, 16),
        "max_age_hours": _whole(0, 0, 87600),
        "needed": _whole(1, 1, 16),
        "borrow": _some_of(("verdicts",), "verdicts", "kernels", "validators"),
    },
    "serve": {
        "host": _text("127.0.0.1"),
        "port": _whole(8080, 0, 65535),
        "lend": _some_of((), "kernels", "validators", "inputs"),
    },
    "matrix": {
        "objects": _texts(("*",)),
        "kernels": _texts(("debian-11", "debian-12", "debian-13", "debian-13-backports")),
        "variants": _texts(("*",)),
        "libbpf": _texts(()),
        "predict": _one_of("ask", "ask", "skip-certain-failures"),
    },
}

DECLARED_KEYS = ("maps", "programs", "variants", "constants", "kconfig")  # read by declare.py
OBJECT_KEYS = (
    "source", "prebuilt", "package", "member", "embedded", "cflags", "attach", "kernels", "optional", "expect", "tests",
    "files", "modules", "libbpf", "command", *DECLARED_KEYS,
)  # fmt: skip
KERNEL_KEYS = ("arch", "optional", "about", "apt", "dir", "url", "base", *CONDITION_KEYS, "asserts")


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of one project.  `values` holds `section.key` → value; relative paths are below `root`."""

    root: Path
    values: Mapping[str, Any]
    objects: Mapping[str, ObjectSpec] = field(default_factory=dict)
    kernels: Mapping[str, KernelSpec] = field(default_factory=dict)
    libbpf: Mapping[str, Loader] = field(default_factory=lambda: SHIPPED)
    expect: Mapping[str, Expectation] = field(default_factory=dict)  # by patterns of OBJECT@KERNEL

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def path(self, key: str) -> Path:
        """A `paths.…` or other path setting, `~` expanded, made absolute below the project."""
        return _below(self.root, self.values[key], key)

    def paths(self, key: str) -> list[Path]:
        """The same for a setting that is a list of paths."""
        return [_below(self.root, text, key) for text in self.values[key]]

    @property
    def workers(self) -> int:
        """How many guests may run at once; one per core unless set."""
        wanted = self.values["run.workers"]
        return (os.cpu_count() or 1) if wanted == "auto" else int(wanted)

    @property
    def patient_workers(self) -> int:
        """The same for guests that wait most of the time: a number that was set holds for them, too."""
        return self.workers * (PATIENT if self.values["run.workers"] == "auto" else 1)


def load(root: Path, overrides: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read `root`/bpfcompat.toml; ConfigError names file, key, what was expected and what came."""
    path = root / FILE
    raw = parse_toml(read_bounded(path, MAX_BYTES, ConfigError), FILE)
    given = {**from_environ(os.environ if environ is None else environ), **dict(overrides or {})}
    return from_dict(raw, root.resolve(), given)


def parse_toml(data: bytes, name: str) -> dict[str, Any]:
    """TOML text to a dict; ConfigError with the parser's own words.

    The toml package reads some strings wrongly and says nothing, such as one that ends in an escaped quote before a
    comment: where Python's own parser reads another value, neither is taken.
    """
    try:
        text = data.decode("utf-8")
        found, strict = toml.loads(text), tomllib.loads(text)
        same = found == strict or str(found) == str(strict)  # nan is not nan
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: byte {error.start}: not UTF-8") from error
    except (ValueError, IndexError, TypeError, AttributeError, KeyError, RecursionError) as error:
        # the toml package raises its own ValueError for most faults and plain Python errors for some
        raise ConfigError(f"{name}: not TOML: {str(error)[:300]}") from error
    if not same:
        section = next((k for k in strict if found.get(k) != strict[k]), "?")
        raise ConfigError(f"{name}: {section}: a value that the toml package misreads", hint="write it in '…'")
    return found


def from_dict(raw: Mapping[str, Any], root: Path, overrides: Mapping[str, str] | None = None) -> Config:
    """A parsed file to a Config; pure but for nothing."""
    check_keys(raw, (*SETTINGS, "libbpf", "expect", "objects", "kernels"), FILE)
    values = _settings(raw)
    for key, text in (overrides or {}).items():
        values[key] = _override(key, text)
    _check_deadlines(values)
    _check_substituters(values)
    objects = {n: object_spec(n, v, root, f"{FILE}: [objects.{n}]") for n, v in _named(raw, "objects")}
    kernels = {n: kernel_spec(n, v, root, f"{FILE}: [kernels.{n}]") for n, v in _named(raw, "kernels")}
    loaders = read_loaders(raw.get("libbpf", {}), f"{FILE}: [libbpf]")
    return Config(root, values, objects, kernels, loaders, read_patterns(raw.get("expect", {}), f"{FILE}: [expect]"))


def from_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """`BPFCOMPAT_GUEST_MEMORY_MB` → `guest.memory_mb`, for those that name a setting."""
    names = {f"BPFCOMPAT_{s}_{k}".upper(): f"{s}.{k}" for s, keys in SETTINGS.items() for k in keys}
    return {names[n]: v for n, v in environ.items() if n in names}


def check_keys(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """ConfigError for the first key that is not known, with the nearest known one."""
    known = tuple(known)
    for key in table:
        if key not in known:
            hint = did_you_mean(str(key), known, "known here: " + ", ".join(known), most=1)
            raise ConfigError(f"{where}: {key}: unknown key", hint=hint)


def check_name(name: str, where: str) -> None:
    """ConfigError for a name that could not be a file's and a task's name as well."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"{where[:200]}: expected a name of letters, digits, _ . + -, got {name[:100]!r}")


def match_names(patterns: Iterable[str], names: Iterable[str], what: str, where: str) -> tuple[str, ...]:
    """The names that any pattern matches, in the patterns' order; a pattern without a match is an error."""
    names = tuple(names)
    hit: dict[str, None] = {}
    for pattern in patterns:
        found = fnmatch.filter(names, pattern)
        if not found:
            hint = did_you_mean(pattern, names, f"known {what}s: {', '.join(names) or 'none'}")
            raise ConfigError(f"{where}: no {what} is named {pattern!r}", hint=hint)
        hit.update(dict.fromkeys(found))
    return tuple(hit)


def kernel_spec(name: str, table: Mapping[str, Any], root: Path, where: str) -> KernelSpec:
    """One kernel's table (here or in a catalogue file) as a KernelSpec."""
    check_name(name, where)
    check_keys(table, KERNEL_KEYS, where)
    arch = _value(table, "arch", _one_of("amd64", *ARCHES), where)
    sources = [k for k in ("apt", "dir", "url", "base") if k in table]
    if len(sources) != 1:
        raise ConfigError(f"{where}: expected exactly one of apt, dir, url, base, got {', '.join(sources) or 'none'}")
    asserts = table.get("asserts", {})
    check_keys(asserts if isinstance(asserts, dict) else {}, ASSERT_KEYS, f"{where}: asserts")
    return KernelSpec(
        name=name,
        arch=arch,
        source=_kernel_source(table, sources[0], arch, root, where),
        optional=_value(table, "optional", _flag(False), where),
        about=_value(table, "about", _text(""), where),
        base=_required(table, "base", where) if "base" in table else "",
        conditions=read_conditions(table, where),
        asserts=read_asserts(asserts, f"{where}: asserts"),
    )


def apt_source(table: Any, arch: str, where: str) -> AptSource:
    """`{ suite, package, component }` as an AptSource."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: expected a table with suite and package, got {table!r}")
    check_keys(table, ("suite", "package", "component", "arch"), where)
    suite, package = (_required(table, k, where) for k in ("suite", "package"))
    return AptSource(suite, _value(table, "arch", _text(arch), where), package,
                     _value(table, "component", _text("main"), where))  # fmt: skip


def _kernel_source(table: Mapping[str, Any], kind: str, arch: str, root: Path, where: str) -> Any:
    if kind == "apt":
        return apt_source(table["apt"], arch, f"{where}: apt")
    if kind == "base":
        return AptSource("", arch, "")  # until conditions.based() knows all kernels
    if kind == "dir":
        return DirSource(_below(root, _required(table, "dir", where), f"{where}: dir"))
    url = table["url"]
    if not isinstance(url, dict):
        raise ConfigError(f"{where}: url: expected a table with vmlinuz and sha256, got {url!r}")
    check_keys(url, ("vmlinuz", "sha256", "config", "config_sha256"), f"{where}: url")
    digests = [_digest(url, k, f"{where}: url") for k in ("sha256", "config_sha256")]
    if digests[0] is None or (url.get("config") and digests[1] is None):
        raise ConfigError(f"{where}: url: a digest is required beside each address", hint='add sha256 = "…"')
    config = _value(url, "config", _text(""), f"{where}: url") or None
    return UrlSource(_required(url, "vmlinuz", f"{where}: url"), digests[0], config, digests[1])


def _digest(table: Mapping[str, Any], key: str, where: str) -> str | None:
    value = table.get(key)
    if value is None:
        return None
    text = str(value) if str(value).startswith("sha256:") else f"sha256:{value}"
    if not is_digest(text):
        raise ConfigError(f"{where}: {key}: expected 64 hex digits, got {str(value)[:80]!r}")
    return text


def object_spec(name: str, table: Mapping[str, Any], root: Path, where: str) -> ObjectSpec:
    """One object's table as an ObjectSpec."""
    check_name(name, where)
    check_keys(table, OBJECT_KEYS, where)
    origins = [k for k in ("source", "prebuilt", "package") if k in table]
    if len(origins) != 1:
        raise ConfigError(
            f"{where}: expected exactly one of source, prebuilt, package, got {', '.join(origins) or 'none'}"
        )
    if table.get("embedded") and "source" in table:
        raise ConfigError(f"{where}: embedded: what clang makes is one object", hint="leave embedded out")
    package = apt_source(table["package"], "amd64", f"{where}: package") if "package" in table else None
    if package and "member" not in table:
        raise ConfigError(f"{where}: package: which file of it?", hint='add member = "usr/lib/*/bpf/name.o"')
    return ObjectSpec(
        name=name,
        source=_path(table, "source", root, where),
        prebuilt=_path(table, "prebuilt", root, where),
        package=package,
        member=_value(table, "member", _text(""), where) or None,
        cflags=tuple(_value(table, "cflags", _texts(()), where)),
        attach=AttachMode(_value(table, "attach", _one_of("attach", *AttachMode), where)),
        kernels=tuple(_value(table, "kernels", _texts(("*",)), where)),
        optional=table.get("optional") is True,
        optional_on=_optional_on(table, where),
        expect=read_own(table["expect"], where) if "expect" in table else {},
        tests=_tests(table, root, where),
        declared=_declared(table, where),
        files=_files(table, root, where),
        beside=_beside(table),
        embedded=_value(table, "embedded", _whole(0, 0, 1000), where),
        modules=module_names(table, where),
        libbpf=tuple(_value(table, "libbpf", _texts(()), where)),
        command=_command(table, root, where),
    )


def _command(table: Mapping[str, Any], root: Path, where: str) -> CommandSpec | None:
    if "command" not in table:
        return None
    from bpfcompat.loaders import command_spec

    ours = [key for key in ("attach", "tests", "files", *DECLARED_KEYS) if key in table]
    if ours:
        fault = f"{ours[0]}: says what our loader does, and command asks the project's own"
        raise ConfigError(f"{where}: {fault}", hint="declare two objects, one for each")
    return command_spec(table["command"], root, where)


def _tests(table: Mapping[str, Any], root: Path, where: str) -> tuple["BehaviourTest", ...]:
    if "tests" not in table:
        return ()
    from bpfcompat.behave import parse_tests  # few objects have tests, and every run reads the settings

    tests = parse_tests(table["tests"], root, where)
    late = next((t.name for t in tests if t.attaches and table.get("attach") == AttachMode.LOAD), None)
    if late is not None:
        raise ConfigError(f"{where}: tests: {late!r}: nothing is attached with attach = \"load\"",
                          hint="remove attach, or leave run alone in the test")  # fmt: skip
    return tests


def _files(table: Mapping[str, Any], root: Path, where: str) -> tuple[ShippedFile, ...]:
    found: tuple[ShippedFile, ...] = ()
    if "tests" in table or "files" in table:
        from bpfcompat.behave import shipped

        found = shipped(table, root, where)
    if "programs" in table:
        from bpfcompat.declare import target_files

        found += target_files(table, root)
    return found


def _beside(table: Mapping[str, Any]) -> dict[str, str]:
    if "programs" not in table:
        return {}
    from bpfcompat.declare import target_objects

    return target_objects(table)


def _declared(table: Mapping[str, Any], where: str) -> Declared:
    if not any(key in table for key in DECLARED_KEYS):
        return Declared()
    from bpfcompat.declare import declared  # it uses the checks above

    return declared(table, where)


def _optional_on(table: Mapping[str, Any], where: str) -> tuple[str, ...]:
    given, texts = table.get("optional", False), _texts(()).accepts
    if isinstance(given, bool):
        return ()
    if not texts(given) or not given:
        raise ConfigError(f"{where}: optional: expected true or false, or a list of kernel patterns, got {given!r}")
    return tuple(given)


def _named(raw: Mapping[str, Any], section: str) -> Iterable[tuple[str, dict[str, Any]]]:
    tables = raw.get(section, {})
    if not isinstance(tables, dict):
        raise ConfigError(f"{FILE}: [{section}]: expected tables [{section}.NAME], got {tables!r}")
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{FILE}: [{section}]: {name}: expected a table, got {table!r}")
        yield name, table


def _settings(raw: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for section, keys in SETTINGS.items():
        where, table = f"{FILE}: [{section}]", raw.get(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{where}: expected a table, got {table!r}")
        check_keys(table, keys, where)
        values.update({f"{section}.{name}": _value(table, name, key, where) for name, key in keys.items()})
    return values


def _check_deadlines(values: Mapping[str, Any]) -> None:
    total = values["guest.deadline_s"]
    for name, why in (("boot_s", "it would be lost while it boots"), ("silence_s", "its silence would never be heard")):
        if not values[f"guest.{name}"] < total:
            expected = f"more than {name} ({values[f'guest.{name}']:g})"
            raise ConfigError(f"{FILE}: [guest]: deadline_s: expected {expected}, got {total:g}: {why}",
                              hint=f"raise deadline_s, or lower {name}")  # fmt: skip


def _check_substituters(values: Mapping[str, Any]) -> None:
    where = f"{FILE}: [substituters]"
    urls, keys, roots = (values[f"substituters.{name}"] for name in ("url", "keys", "root"))
    if urls and not keys and not roots:
        raise ConfigError(f"{where}: keys: whose signature counts?",
                          hint="give public keys, or root documents, that did not come from the registry")  # fmt: skip
    if roots and (keys or any(values[f"substituters.{n}"] for n in ("log_keys", "witnesses", "witnessed"))):
        raise ConfigError(f"{where}: root: has all keys in it", hint="leave keys, log_keys and witnesses out")
    if roots and len(roots) != len(urls):
        raise ConfigError(f"{where}: root: expected one for each url, in their order")
    if len(set(urls)) < len(urls):
        raise ConfigError(f"{where}: url: the same registry twice")
    if urls and values["substituters.needed"] > min(len(urls), len(keys) or len(urls)):
        raise ConfigError(f"{where}: needed: more than there are registries or keys")
    _check_witnesses(values, where)


def _check_witnesses(values: Mapping[str, Any], where: str) -> None:
    logs, witnesses, witnessed, age, root = (
        values[f"substituters.{name}"] for name in ("log_keys", "witnesses", "witnessed", "max_age_hours", "root")
    )
    if witnesses and not logs:
        raise ConfigError(f"{where}: witnesses: of which log?", hint="give log_keys, or root instead of all keys")
    if witnessed > len(witnesses):
        raise ConfigError(f"{where}: witnessed: expected at most the {len(witnesses)} witnesses, got {witnessed}")
    if age and not (witnessed or root):
        raise ConfigError(f"{where}: max_age_hours: without a witness nobody says how old a log is",
                          hint="give witnesses and witnessed, or root")  # fmt: skip


def _override(key: str, text: str) -> Any:
    section, _, name = key.partition(".")
    if name not in SETTINGS.get(section, {}):
        known = [f"{s}.{k}" for s, keys in SETTINGS.items() for k in keys]
        raise ConfigError(f"{key}: unknown setting", hint=did_you_mean(key, known, "see bpfcompat.toml", most=1))
    spec = SETTINGS[section][name]
    default = 1 if spec.default == "auto" and text.lstrip("-").isdecimal() else spec.default
    return _value({name: _from_text(text, default)}, name, spec, f"{key}={text}")


def _from_text(text: str, default: Any) -> Any:
    if isinstance(default, bool):
        return {"true": True, "false": False, "1": True, "0": False}.get(text.lower(), text)
    if isinstance(default, tuple):
        return [part for part in text.split(",") if part]
    if isinstance(default, int | float):
        for kind in (int, float):
            with contextlib.suppress(ValueError):
                return kind(text)
    return text


def _value(table: Mapping[str, Any], name: str, key: Key, where: str) -> Any:
    value = table.get(name, key.default)
    if not key.accepts(value):
        raise ConfigError(f"{where}: {name}: expected {key.expected}, got {value!r}")
    return value


def _required(table: Mapping[str, Any], name: str, where: str) -> str:
    value = table.get(name)
    if not isinstance(value, str) or not value or "\0" in value:
        raise ConfigError(f"{where}: {name}: expected a string, got {value!r}")
    return value


def _path(table: Mapping[str, Any], name: str, root: Path, where: str) -> Path | None:
    return _below(root, _required(table, name, where), f"{where}: {name}") if name in table else None


def _below(root: Path, text: str, where: str) -> Path:
    try:
        return root / Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(f"{where}: {text}: no such user, or one without a home") from None
