"""Objects and kernels in, actions out.  Pure: touches no disk, asks no clock.

Each function names everything that can change its output and nothing else; tests/unit/test_plan.py holds both halves.
"""

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from bpfcompat import conditions, libbpfs
from bpfcompat.action import Action
from bpfcompat.config import Config, match_names
from bpfcompat.digest import canonical, digest_json, raw_digest, short
from bpfcompat.errors import ConfigError, did_you_mean
from bpfcompat.expected import halves, inherited
from bpfcompat.model import PLAIN, AptSource, Blob, Conditions, Expectation, Kernel, KernelSpec, ObjectSpec
from bpfcompat.slugs import SLUGS

EXTRACTOR = 2  # raise when kernels/ takes other bytes from the same package
HEADER = 1  # raise when libbpf.py writes another vmlinux.h from the same BTF
FILES = 2  # raise when guestfiles.py packs other bytes from the same files
INITRAMFS = 1  # raise when initramfs.py packs other bytes from the same inputs
INVENTORY = 3  # raise when builds.py reads another inventory from the same kernel
MODULES = 1  # raise when kernels/modules.py reads another index from the same package


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """One object on one kernel, by name."""

    object: str
    kernel: str

    def __str__(self) -> str:
        return f"{self.object}@{self.kernel}"


@dataclass(frozen=True)
class Matrix:
    """Every object and kernel that is known by name, and what is to be asked: rows of objects, columns of kernels.

    `rows` maps an object to the kernels that it is asked on; a row or column without a pair is left out.
    """

    objects: Mapping[str, ObjectSpec]
    kernels: Mapping[str, KernelSpec]
    columns: tuple[str, ...]
    rows: Mapping[str, frozenset[str]]

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """Every pair, those of one kernel together; a null run of a large matrix does without."""
        return tuple(Pair(o, k) for k in self.columns for o, asked in self.rows.items() if k in asked)

    @cached_property
    def loaders(self) -> tuple[str, ...]:
        """The loaders beside the project's own, oldest first."""
        names = {spec.libbpf for spec in self.kernels.values() if spec.libbpf}
        return tuple(sorted(names, key=libbpfs.version))

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return sum(map(len, self.rows.values()))

    def only(self, pairs: Iterable[Pair]) -> "Matrix":
        """A matrix of these pairs of it."""
        asked: dict[str, set[str]] = {}
        for pair in pairs:
            asked.setdefault(pair.object, set()).add(pair.kernel)
        every = frozenset[str]().union(*asked.values())
        rows = {o: frozenset(kernels) for o, kernels in asked.items()}
        return Matrix(self.objects, self.kernels, tuple(k for k in self.columns if k in every), rows)

    def ordered(self, pairs: Iterable[Pair]) -> list[Pair]:
        """Some of the pairs, in the matrix's order."""
        across = {k: n for n, k in enumerate(self.columns)}
        down = {o: n for n, o in enumerate(self.rows)}
        return sorted(pairs, key=lambda p: (across[p.kernel], down[p.object]))


def matrix(config: Config, objects: Mapping[str, ObjectSpec], kernels: Mapping[str, KernelSpec]) -> Matrix:
    """Select pairs; pairs of one kernel stay together.  A selection that matches nothing is a ConfigError."""
    where = "bpfcompat.toml: [matrix]"
    if not objects:
        raise ConfigError(f"{where}: no objects", hint='add [objects.NAME] with source = "…" or prebuilt = "…"')
    everywhere = match_names(config["matrix.kernels"], kernels, "kernel", f"{where} kernels")
    based = [name for name, spec in kernels.items() if spec.base]
    wanted = [p for p in config["matrix.variants"] if based or p != "*"]
    variants = match_names(wanted, based, "kernel with a base", f"{where} variants")
    columns = tuple(dict.fromkeys((*everywhere, *variants)))
    chosen = match_names(config["matrix.objects"], objects, "object", f"{where} objects")
    # many objects say the same of the same kernels: each list of patterns is looked at once
    asked: dict[tuple[str, ...], frozenset[str]] = {}
    expects: set[tuple[Any, ...]] = set()
    for spec in (objects[o] for o in chosen):
        if spec.kernels not in asked:
            asked[spec.kernels] = frozenset(_kernels_of(spec, kernels, everywhere)).intersection(columns)
        said = (*spec.expect.items(), spec.optional_on)
        if said not in expects:  # a misspelt kernel or cause in `expect` would expect nothing, or what cannot be
            _check_expect(config, spec, kernels)
            expects.add(said)
    rows = {o: asked[objects[o].kernels] for o in chosen if asked[objects[o].kernels]}
    if not rows:
        raise ConfigError(f"{where}: no pair is left", hint="compare [matrix] kernels with the objects' own kernels")
    used = frozenset[str]().union(*asked.values())
    _check_beside(objects)
    objects = _with_patterns(config, objects, kernels)
    return _with_loaders(config, Matrix(dict(objects), dict(kernels), tuple(k for k in columns if k in used), rows))


def _check_beside(objects: Mapping[str, ObjectSpec]) -> None:
    """ConfigError for a target_object that names no object."""
    for spec in objects.values():
        for name in spec.beside.values():
            if name not in objects:
                hint = did_you_mean(name, sorted(objects), "it names another [objects.NAME]")
                where = f"bpfcompat.toml: [objects.{spec.name}]: programs"
                raise ConfigError(f"{where}: target_object: no object is named {name!r}", hint=hint)


def _with_patterns(
    config: Config, objects: Mapping[str, ObjectSpec], kernels: Mapping[str, KernelSpec]
) -> Mapping[str, ObjectSpec]:
    """Each object with what [expect] says of it; ConfigError for a pattern that names no object or no kernel."""
    if not config.expect:
        return objects
    where = "bpfcompat.toml: [expect]"
    _check_causes(config.expect, where)
    for pattern in config.expect:
        of_object, of_kernel = halves(pattern)
        match_names([of_object], objects, "object", f"{where}: {pattern[:100]}")
        loaders = sorted({v for o in fnmatch.filter(objects, of_object) for v in loaders_of(config, objects[o])})
        plain = libbpfs.MARK not in of_kernel
        names = kernels if plain else [libbpfs.column(k, v) for v in loaders for k in kernels]
        what = "kernel" if plain else "kernel with a loader"
        match_names([of_kernel], names, what, f"{where}: {pattern[:100]}")
    below = {name: inherited(config.expect, name) for name in objects}
    return {
        name: replace(spec, below={k: config.expect[p] for k, p in below[name].items()}) if below[name] else spec
        for name, spec in objects.items()
    }


def _check_expect(config: Config, spec: ObjectSpec, kernels: Mapping[str, KernelSpec]) -> None:
    """ConfigError for a pattern that no kernel answers to, by itself or with one of the object's loaders."""
    where = f"bpfcompat.toml: [objects.{spec.name}] expect"
    _check_causes(spec.expect, where)
    match_names(spec.optional_on, kernels, "kernel", f"bpfcompat.toml: [objects.{spec.name}] optional")
    plain = [p for p in spec.expect if libbpfs.MARK not in p]
    match_names(plain, kernels, "kernel", where)
    if len(plain) < len(spec.expect):
        names = [libbpfs.column(k, v) for v in loaders_of(config, spec) for k in kernels]
        match_names([p for p in spec.expect if libbpfs.MARK in p], names, "kernel with a loader", where)


def _check_causes(table: Mapping[str, Expectation], where: str) -> None:
    for pattern, wanted in table.items():
        if wanted.cause and wanted.cause not in SLUGS:
            hint = did_you_mean(wanted.cause, sorted(SLUGS), "docs/causes.md has all causes")
            said = f"{where}: {pattern[:100]}: {wanted}: no cause is named {wanted.cause!r}"
            raise ConfigError(said, hint=hint)


def loaders_of(config: Config, spec: ObjectSpec) -> tuple[str, ...]:
    """The loaders beside the project's own that are asked about an object; ConfigError for one that nobody knows."""
    if spec.command is not None and spec.libbpf:
        raise ConfigError(f"bpfcompat.toml: [objects.{spec.name}]: libbpf: its own loader is asked, and no libbpf",
                          hint="leave libbpf or command out")  # fmt: skip
    if spec.command is not None or not (config["matrix.libbpf"] or spec.libbpf):
        return ()
    for names, where in ((config["matrix.libbpf"], "[matrix]"), (spec.libbpf, f"[objects.{spec.name}]")):
        libbpfs.check_names(names, config.libbpf, f"bpfcompat.toml: {where}")
    return tuple(dict.fromkeys((*config["matrix.libbpf"], *spec.libbpf)))


def _with_loaders(config: Config, plain: Matrix) -> Matrix:
    """Each kernel of an object once more for each loader that the object is to be asked with."""
    wanted = {o: loaders_of(config, plain.objects[o]) for o in plain.rows}
    every = sorted({v for names in wanted.values() for v in names}, key=libbpfs.version)
    if not every:
        return plain
    odd = next((k for k in plain.kernels if libbpfs.MARK in k), None)
    if odd is not None:
        raise ConfigError(f"kernel {odd!r}: {libbpfs.MARK!r} is what a kernel with another loader has in its name")
    rows = {
        o: kernels.union(libbpfs.column(k, v) for k in kernels for v in wanted[o]) for o, kernels in plain.rows.items()
    }
    used = frozenset[str]().union(*rows.values())
    columns = [libbpfs.column(k, v) for k in plain.columns for v in ("", *every)]
    more = [libbpfs.variant(plain.kernels[k], v) for k in plain.columns for v in every]
    kernels = {**plain.kernels, **{spec.name: spec for spec in more if spec.name in used}}
    return Matrix(plain.objects, kernels, tuple(c for c in columns if c in used), rows)


def _kernels_of(spec: ObjectSpec, kernels: Mapping[str, KernelSpec], everywhere: tuple[str, ...]) -> tuple[str, ...]:
    """The kernels that an object names; `*` is all of [matrix] kernels, and no variant."""
    named = [k for k in spec.kernels if k != "*"]
    found = match_names(named, kernels, "kernel", f"bpfcompat.toml: [objects.{spec.name}] kernels")
    return (*(everywhere if "*" in spec.kernels else ()), *found)


def kernel_action(spec: KernelSpec, files: Mapping[str, str]) -> Action:
    """A kernel from the digests of the files it comes from (role or position → digest)."""
    return Action("kernel", spec.name, {"arch": spec.arch, "files": dict(files), "extractor": EXTRACTOR})


def inventory_action(kernel: Kernel) -> Action:
    """What one exact build has, read from its BTF, its configuration and the vmlinux inside its image."""
    files = {role: blob.digest if blob else None for role, blob in
             (("btf", kernel.btf), ("config", kernel.config), ("image", kernel.image))}  # fmt: skip
    return Action("inventory", kernel.name, {**files, "release": kernel.release, "reader": INVENTORY})


def validator_action(sources: Mapping[str, str], libbpf: str, compiler: str, arch: str) -> Action:
    """The validator and libbpf, from C sources, libbpf's source tarball and the compiler's identity."""
    return Action("validator", "", {"sources": dict(sources), "libbpf": libbpf, "compiler": compiler, "arch": arch})


def recipe_of(validator: Action) -> str:
    """What a validator is built of, whoever builds it: its inputs without the compiler."""
    return digest_json({name: value for name, value in validator.inputs.items() if name != "compiler"})


def loader_action(name: str, own: Action, libbpf: str) -> Action:
    """The validator on another libbpf: the project's own lends its Linux headers."""
    return Action("validator", name, {**own.inputs, "libbpf": libbpf, "uapi": own.inputs["libbpf"]})


def header_action(btf: str, libbpf: str) -> Action:
    """vmlinux.h from one kernel's BTF, written by libbpf."""
    return Action("header", "", {"btf": btf, "libbpf": libbpf, "writer": HEADER})


def types_action(btf: str) -> Action:
    """The index of one kernel's types, from its BTF."""
    from bpfcompat.btfindex import VERSION

    return Action("types", "", {"btf": btf, "index": VERSION})


def compiled_action(
    spec: ObjectSpec, sources: Mapping[str, str], header: str, libbpf: str, compiler: str, flags: Sequence[str]
) -> Action:
    """An object that clang makes: sources by path below the project, vmlinux.h, libbpf's headers, flags."""
    inputs = {"sources": dict(sources), "header": header, "libbpf": libbpf, "compiler": compiler, "flags": list(flags)}
    return Action("object", spec.name, inputs)


def prebuilt_action(spec: ObjectSpec, file: str) -> Action:
    """An object that is already there: its bytes are its identity."""
    return Action("object", spec.name, {"file": file, **_embedded(spec)})


def member_action(spec: ObjectSpec, package: str) -> Action:
    """An object that a Debian package ships."""
    return Action("object", spec.name, {"package": package, "member": spec.member, **_embedded(spec)})


def _embedded(spec: ObjectSpec) -> dict[str, int]:
    return {"embedded": spec.embedded} if spec.embedded else {}


def packages_of(spec: ObjectSpec) -> dict[str, AptSource]:
    """The Debian packages of an object by their names in the lock: the one it is in, and those of its loader."""
    found = {spec.name: spec.package} if spec.package else {}
    packages = spec.command.packages if spec.command else None
    if packages:
        found |= {f"{spec.name}/{n}": AptSource(packages.suite, packages.arch, n) for n in packages.names}
    return found


def files_action(spec: ObjectSpec, inputs: Mapping[str, Any]) -> Action:
    """What an object's guests have beside it, as one archive; `inputs` name each part by digest."""
    return Action("files", spec.name, {**inputs, "packer": FILES})


def modules_action(name: str, files: Mapping[str, str], release: str, keep: Sequence[str]) -> Action:
    """The index of a kernel's modules, from the files that hold them; the bytes of `keep` are kept beside it."""
    inputs = {"files": dict(files), "release": release, "keep": sorted(keep), "reader": MODULES}
    return Action("modules", name, inputs)


def pack_action(name: str, index: str, modules: Sequence[str]) -> Action:
    """Modules beyond those that are kept, for a guest that runs already; an index names them by digest."""
    return Action("pack", name, {"index": index, "modules": list(modules), "reader": MODULES})


def initramfs_action(
    kernel: Kernel, validator: str, under: Conditions = PLAIN, modules: Mapping[str, Any] | None = None
) -> Action:
    """What a guest of this kernel boots into: the validator as init, the kernel's config, conditions and modules.

    `modules` holds the index's digest and the names of those that are given.
    """
    config = kernel.config.digest if kernel.config else None
    inputs = {"validator": validator, "release": kernel.release, "config": config, "packer": INITRAMFS}
    told = list(conditions.guest_lines(under))
    more = {**({"conditions": told} if told else {}), **({"modules": dict(modules)} if modules else {})}
    return Action("guest", kernel.name, {**inputs, **more})


@dataclass(frozen=True, slots=True)
class Column:
    """What all pairs of one kernel share: the probe's inputs but for the object and its spec."""

    kernel: Kernel
    inputs: Mapping[str, Any]


def column(
    kernel: Kernel,
    initramfs: Blob,
    validator: str,
    command_line: str,
    machine: Mapping[str, Any],
    under: Conditions = PLAIN,
    modules: str | None = None,
) -> Column:
    """The shared inputs of a kernel's probes.

    The validator, the config and the conditions are inside the initramfs already; they are named so that `why` can
    name them.  `modules` is the digest of the index of all modules, of which an object may declare some.
    """
    files = {"vmlinuz": kernel.vmlinuz.digest, "config": kernel.config.digest if kernel.config else None}
    inputs = {
        "kernel": {**files, **({"modules": modules} if modules else {})},
        "initramfs": initramfs.digest,
        "validator": validator,
        "command_line": command_line,
        "machine": dict(machine),
    }
    told = conditions.keyed(under)
    return Column(kernel, {**inputs, **({"conditions": told} if told else {})})


def hello_action(name: str, column: Column, sysctls: Sequence[str]) -> Action:
    """What a guest of this kernel says of itself; `sysctls` are those that it is to tell beside its usual ones."""
    return Action("hello", name, {**column.inputs, "sysctls": list(sysctls)})


def abilities_action(name: str, column: Column, inventory: str, asked: int) -> Action:
    """Which helper each program type may call, asked of guests; `inventory` is the digest of what there is to call."""
    return Action("abilities", name, {**column.inputs, "inventory": inventory, "asked": asked})


def probe_action(pair: Pair, column: Column, object_digest: str, spec: Mapping[str, Any]) -> Action:
    """Ask one kernel about one object."""
    return Action("probe", str(pair), {**column.inputs, "object": object_digest, "spec": dict(spec)})


class Template:
    """The probe keys of one kernel's pairs: the key's bytes are the same for all but for the object and its spec.

    They are encoded once; an object's own bytes are put between.  Equal to `probe_action(…).key()`, byte for byte.
    """

    def __init__(self, column: Column) -> None:
        place, told = "\0object", {"\0spec": 0}  # no input can hold a NUL
        whole = probe_action(Pair("", ""), column, place, told).preimage()
        self._head, rest = whole.split(canonical(place))
        self._between, self._tail = rest.split(canonical(told))

    def raw_key(self, object_digest: bytes, spec: bytes) -> bytes:
        """The 32 bytes of a pair's key, from its object's digest and its spec, both as canonical JSON."""
        return raw_digest(self._head + object_digest + self._between + spec + self._tail)


def control_action(pair: Pair, probe_key: str, template_format: int) -> Action:
    """Ask a pair both ways, thawed and booted, and compare; what a template is made like is part of the question."""
    return Action("control", str(pair), {"probe": probe_key, "template": template_format})


def sampled(key: str, percent: float) -> bool:
    """True for that share of all keys, always the same ones."""
    return int(key[7:15], 16) / 2**32 * 100 < percent


def verdict_action(
    pair: Pair,
    report: str,
    object_digest: str,
    attach: str,
    classifier: str,
    expected: Sequence[Any] = (),
    modules: str | None = None,
    command: Mapping[str, Any] | None = None,
    inventory: str | None = None,
) -> Action:
    """Classify one report; needs no boot.

    `expected` is what behaviour tests are held against, `modules` the index that tells in which module a kfunc is,
    `command` what was asked of the project's own loader, `inventory` the key under which the kernel's inventory is
    read: it stands for the files and the reader, so that this key is known before anything is read.
    """
    inputs: dict[str, Any] = {"report": report, "object": object_digest, "attach": attach, "classifier": classifier}
    if expected:
        inputs["expected"] = digest_json(list(expected))
    if modules:
        inputs["modules"] = modules
    if command:
        inputs["command"] = dict(command)
    if inventory:
        inputs["inventory"] = inventory
    return Action("verdict", str(pair), inputs)


@dataclass(frozen=True, slots=True)
class AskedRow:
    """What all pairs of one object share, as far as it enters a key: its digest, its spec, and what is wanted of it."""

    name: str
    object: str
    spec: Mapping[str, Any]
    expect: Mapping[str, str]
    required: bool | list[str]  # the patterns of kernels on which it is optional
    kernels: tuple[str, ...]


def matrix_action(
    rows: Iterable[AskedRow],
    columns: Iterable[tuple[str, Column]],
    classifier: str,
    presentation: str,
    borrowed: Mapping[str, str] = MappingProxyType({}),
) -> Action:
    """The whole matrix, by rows and columns in their order: 100,000 probe keys are made of a few hundred inputs.

    `presentation` is the digest of what turns rows into text, because the text is kept.  `borrowed` says from whom
    answers are taken and which loans there are: a question has one answer here, and what a loan says may be another.
    """
    inputs = {
        "rows": [[r.name, r.object, dict(r.spec), _listed(r.expect), r.required, list(r.kernels)] for r in rows],
        "columns": [[name, digest_json(column.inputs)] for name, column in columns],
        "classifier": classifier,
        "presentation": presentation,
        **({"borrowed": dict(borrowed)} if borrowed else {}),
    }
    return Action("matrix", "", inputs)


def _listed(table: Mapping[str, str]) -> list[list[str]]:
    """A mapping whose order matters: of two patterns of one length that match, the first one is meant."""
    return [list(item) for item in table.items()]


def changes(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> tuple[str, ...]:
    """What differs between the inputs of two actions, one line an input, with old and new digest or value."""
    if old is None:
        return ("never run before",)
    before, now = dict(_flat(old)), dict(_flat(new))
    lines = [
        f"{name} changed: {_brief(before.get(name))} -> {_brief(now.get(name))}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    return tuple(lines)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _brief(value: Any) -> str:
    if value is None:
        return "absent"
    text = str(value)
    return short(text) if text.startswith("sha256:") else text if len(text) <= 60 else text[:57] + "..."
