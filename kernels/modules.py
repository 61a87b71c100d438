"""A kernel's loadable modules: what each is and needs, and the few that a guest is given, in the order to load them.

Bytes in, values out.  Debian's packages carry no modules.dep (depmod writes that on the installed machine), so each
module's own `.modinfo` says what it depends on.  `-` and `_` are the same in a name, as for the kernel.
"""

import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bpfcompat.btf import named_section
from bpfcompat.digest import canonical, digest_bytes
from bpfcompat.errors import KernelError

MAX_MODULE = 64 << 20  # bytes of one .ko, expanded; Debian's largest has some 10 MiB
MAX_ALL = 2 << 30  # bytes of all, as they lie in the package
MAX_MODULES = 20_000
MAX_INFO = 1 << 20  # bytes of one .modinfo
MAX_WORDS = 4096  # of one kind in one module
MAX_GIVEN = 64  # modules that a guest is given
MAX_GIVEN_BYTES = 64 << 20
ORDER = "bpfcompat.order"  # beside modules in an initramfs; validator/modules.c reads it
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

# What attaching needs, and what holds no kfunc of its own: a module with kfuncs changes what loads, so it is declared.
DEFAULT = ("veth", "dummy", "tun", "sch_ingress", "cls_bpf", "act_bpf")

_PATH = re.compile(r"(?:usr/)?lib/modules/([^/]+)/((?:[^/]+/)*([^/]+)\.ko)(?:\.(?:xz|zst|gz))?")
_BUILTIN = re.compile(r"(?:usr/)?lib/modules/([^/]+)/modules\.builtin")
_COMPRESSED = (b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"\x1f\x8b")
# BTF_ID(func, NAME) of include/linux/btf_ids.h leaves a symbol __BTF_ID__func__NAME__N.  Kfuncs are listed so, and
# struct_ops members; from 7.x on tracepoints too, which nobody could take for one.
_KFUNC = re.compile(rb"\0__BTF_ID__func__(?!__bpf_trace_)([A-Za-z_][A-Za-z0-9_]{0,126}?)__[0-9]{1,12}(?=\0)")


@dataclass(frozen=True, slots=True)
class Module:
    """One module: its path below lib/modules/RELEASE, what must be loaded before it, other names it answers to.

    `before` are soft dependencies, which may be absent.  `kfuncs` may hold a few functions that are none.  `digest` and
    `size` are those of the expanded file.
    """

    name: str
    path: str
    depends: tuple[str, ...]
    before: tuple[str, ...]
    aliases: tuple[str, ...]
    kfuncs: tuple[str, ...]
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Index:
    """All modules of one kernel by name, and the names of those that are built into it."""

    release: str
    builtin: frozenset[str]
    modules: Mapping[str, Module]

    def find(self, name: str) -> Module | None:
        """A module by its name, or else the first by name that has it for an alias."""
        wanted = plain(name)
        if wanted in self.modules or wanted in self.builtin:
            return self.modules.get(wanted)
        return next((m for _, m in sorted(self.modules.items()) if wanted in m.aliases), None)

    def homes(self) -> dict[str, str]:
        """kfunc → the module that holds it, the first by name where several do."""
        return {kfunc: name for name, m in sorted(self.modules.items(), reverse=True) for kfunc in m.kfuncs}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a guest is given: modules in the order to load them, and the names that this kernel has no module for."""

    order: tuple[Module, ...]
    absent: tuple[str, ...]


def plain(name: str) -> str:
    """A module's name as the kernel writes it."""
    return name.replace("-", "_")


def wanted_path(path: str) -> bool:
    """True for the members of a package that `read` is to be given."""
    return bool(_PATH.fullmatch(path) or _BUILTIN.fullmatch(path))


def below_release(path: str) -> str:
    """`lib/modules/RELEASE/kernel/x.ko.xz` as an index has it: `kernel/x.ko`; "" for no module."""
    found = _PATH.fullmatch(path)
    return found[2] if found else ""


def may_hold(deb: str) -> bool:
    """True for the packages of a kernel that can have something to say of modules: all but a split one's vmlinuz."""
    return not deb.rsplit("/", 1)[-1].startswith("linux-binary-")


def holds(deb: str) -> bool:
    """True for the package with the modules: from 6.19 on one of its own."""
    return deb.rsplit("/", 1)[-1].startswith(("linux-modules-", "linux-image-"))


def is_apart(deb: str) -> bool:
    """True for a package that has modules and nothing else of a kernel."""
    return deb.rsplit("/", 1)[-1].startswith("linux-modules-")


def folder_files(folder: Path) -> list[str]:
    """The files below a folder's lib/modules that `read` is to be given, relative, in order."""
    top = folder / "lib" / "modules"
    found: list[str] = []
    for path in top.rglob("*") if top.is_dir() else ():
        name = path.relative_to(folder).as_posix()
        if wanted_path(name) and path.is_file():
            found.append(name)
        if len(found) > MAX_MODULES:
            raise KernelError(f"{folder}: more than {MAX_MODULES} modules")
    return sorted(found)


def read(members: Iterable[tuple[str, bytes]], release: str) -> tuple[Index, dict[str, bytes]]:
    """The index of a package's modules, and their bytes as they came, by name; KernelError for a damaged one."""
    modules: dict[str, Module] = {}
    raw: dict[str, bytes] = {}
    builtin: frozenset[str] = frozenset()
    total = 0
    for path, data in members:
        total += len(data)
        if total > MAX_ALL or len(modules) >= MAX_MODULES:
            raise KernelError(f"modules: more than {MAX_ALL} bytes or {MAX_MODULES} modules")
        if (listed := _BUILTIN.fullmatch(path)) and listed[1] == release:
            builtin = builtin_names(data)
        elif (found := _PATH.fullmatch(path)) and found[1] == release:
            module = module_of(found[2], data, release)
            if module.name in modules:
                raise KernelError(f"modules: {module.name}: there twice: {modules[module.name].path}, {module.path}")
            modules[module.name], raw[module.name] = module, data
    return Index(release, builtin, modules), raw


def module_of(path: str, data: bytes, release: str) -> Module:
    """What one module says of itself; `path` ends in .ko, `data` may be compressed."""
    code = unpacked(path, data)
    info = _info(path, code)
    built = (info.get("vermagic") or [""])[0].split(" ")[0]
    if built != release:
        raise KernelError(f"modules: {path}: built for {built[:64]!r}, this kernel is {release!r}")
    name = plain(path.rsplit("/", 1)[1].removesuffix(".ko"))
    if not NAME.fullmatch(name):
        raise KernelError(f"modules: {path[:100]!r}: expected a file named after its module")
    # some name a device (platform:apollolake_pinctrl), which no guest has
    words = [w for entry in info.get("softdep", []) for w in _pre(entry) if NAME.fullmatch(w)]
    return Module(
        name=name,
        path=path,
        depends=_names(",".join(info.get("depends", [])).split(",")),
        before=_names(words),
        aliases=_names(a for a in info.get("alias", []) if NAME.fullmatch(a)),
        kfuncs=tuple(sorted({k.decode() for k in _KFUNC.findall(code)}))[:MAX_WORDS],
        digest=digest_bytes(code),
        size=len(code),
    )


def unpacked(path: str, data: bytes) -> bytes:
    """A module as the kernel takes it: not every kernel can decompress one, so the host does."""
    if data.startswith(_COMPRESSED):
        from bpfcompat.kernels.expand import expanded  # its decoders are slow to import, and a null run needs none

        return expanded(data, MAX_MODULE, f"modules: {path}")
    if len(data) > MAX_MODULE:
        raise KernelError(f"modules: {path}: {len(data)} bytes, at most {MAX_MODULE} expected")
    return data


def builtin_names(data: bytes) -> frozenset[str]:
    """The names in a modules.builtin: one path a line."""
    lines = data.decode("ascii", "replace").splitlines()
    return frozenset(plain(line.rsplit("/", 1)[-1].removesuffix(".ko")) for line in lines if line.endswith(".ko"))


def choose(index: Index, names: Sequence[str]) -> Chosen:
    """These modules and all that they need, each after what it needs; built-in ones need nothing.

    KernelError for modules that wait for each other, for one that is not in the package, or for too many.
    """
    order: dict[str, Module] = {}
    absent: list[str] = []
    for name in names:
        found = index.find(name)
        if found is not None:
            _visit(index, found, order, ())
        elif plain(name) not in index.builtin:
            absent.append(plain(name))
    if len(order) > MAX_GIVEN or sum(m.size for m in order.values()) > MAX_GIVEN_BYTES:
        most = f"{MAX_GIVEN} modules or {MAX_GIVEN_BYTES} bytes"
        raise KernelError(f"modules: {', '.join(names)[:200]}: with what they need, more than {most}")
    return Chosen(tuple(order.values()), tuple(dict.fromkeys(absent)))


def _visit(index: Index, module: Module, order: dict[str, Module], above: tuple[str, ...]) -> None:
    if module.name in order:
        return
    path = (*above, module.name)
    if module.name in above or len(path) > MAX_GIVEN:
        raise KernelError(f"modules: they depend on each other: {' -> '.join(path)[:300]}")
    for name in module.depends:
        found = index.find(name)
        if found is None and name not in index.builtin:
            raise KernelError(f"modules: {module.name}: depends on {name}, which is not among this kernel's modules")
        if found is not None:
            _visit(index, found, order, path)
    for name in module.before:
        found = index.find(name)
        if found is not None and found.name not in path:
            _visit(index, found, order, path)
    order[module.name] = module


# --- as bytes


def index_bytes(index: Index) -> bytes:
    """An index as canonical JSON."""
    modules = [asdict(m) for _, m in sorted(index.modules.items())]
    return canonical({"release": index.release, "builtin": sorted(index.builtin), "modules": modules})


def index_from_bytes(data: bytes) -> Index:
    """An index that `index_bytes` wrote; KernelError for anything else."""
    try:
        raw = json.loads(data)
        modules = [_module(entry) for entry in raw["modules"]]
        return Index(str(raw["release"]), frozenset(map(str, raw["builtin"])), {m.name: m for m in modules})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise KernelError(f"modules: expected an index, got {data[:40]!r}") from error


def pack(given: Sequence[tuple[str, bytes]], absent: Sequence[str]) -> bytes:
    """Modules for a guest that runs already: `NAME SIZE` and so many bytes each, `NAME -` for one there is none of."""
    parts = [b"%s %d\n%s" % (name.encode(), len(data), data) for name, data in given]
    return b"".join([*parts, *(b"%s -\n" % name.encode() for name in absent)])


def order_lines(given: Sequence[Module]) -> bytes:
    """The order file beside modules in an initramfs: a line `NAME PATH` each."""
    return "".join(f"{m.name} {m.path}\n" for m in given).encode()


def _module(raw: Mapping[str, Any]) -> Module:
    read: dict[str, Any] = {
        f.name: tuple(map(str, v)) if isinstance(v := raw[f.name], list) else v for f in fields(Module)
    }
    return Module(**read)


# --- .modinfo


def _info(path: str, code: bytes) -> dict[str, list[str]]:
    """The section's `key=value` words."""
    try:
        section = named_section(code, b".modinfo")
    except (struct.error, OverflowError, KernelError) as error:
        said = error.message if isinstance(error, KernelError) else str(error)
        raise KernelError(f"modules: {path}: damaged: {said}") from error
    if section is None or len(section) > MAX_INFO:
        raise KernelError(f"modules: {path}: expected a .modinfo of at most {MAX_INFO} bytes")
    found: dict[str, list[str]] = {}
    for word in section.split(b"\0"):
        key, _, value = word.decode("ascii", "replace").partition("=")
        found.setdefault(key, []).append(value)
    return found


def _pre(softdep: str) -> Iterator[str]:
    """The names after `pre:` of a soft dependency."""
    pre = False
    for word in softdep.split():
        if word in ("pre:", "post:"):
            pre = word == "pre:"
        elif pre:
            yield word


def _names(words: Iterable[str]) -> tuple[str, ...]:
    found = dict.fromkeys(plain(w) for w in words if w)
    if len(found) > MAX_WORDS or not all(map(NAME.fullmatch, found)):
        raise KernelError(f"modules: expected at most {MAX_WORDS} names, got {', '.join(found)[:200]!r}")
    return tuple(found)
