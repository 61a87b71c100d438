"""Objects and kernels in, actions out.  Pure: touches no disk, asks no clock.

Each function names everything that can change its output and nothing else; tests/unit/test_plan.py holds both halves.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bpfcompat.action import Action
from bpfcompat.config import Config, match_names
from bpfcompat.digest import short
from bpfcompat.errors import ConfigError
from bpfcompat.model import Blob, Kernel, KernelSpec, ObjectSpec

EXTRACTOR = 1  # raise when kernels/ takes other bytes from the same package
HEADER = 1  # raise when libbpf.py writes another vmlinux.h from the same BTF
INITRAMFS = 1  # raise when initramfs.py packs other bytes from the same inputs


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """One object on one kernel, by name."""

    object: str
    kernel: str

    def __str__(self) -> str:
        return f"{self.object}@{self.kernel}"


@dataclass(frozen=True, slots=True)
class Matrix:
    """Every object and kernel that is known by name, and the pairs of them that are to be asked."""

    objects: Mapping[str, ObjectSpec]
    kernels: Mapping[str, KernelSpec]
    pairs: tuple[Pair, ...]


def matrix(config: Config, objects: Mapping[str, ObjectSpec], kernels: Mapping[str, KernelSpec]) -> Matrix:
    """Select pairs; pairs of one kernel stay together.  A selection that matches nothing is a ConfigError."""
    where = "bpfcompat.toml: [matrix]"
    if not objects:
        raise ConfigError(f"{where}: no objects", hint='add [objects.NAME] with source = "…" or prebuilt = "…"')
    columns = match_names(config["matrix.kernels"], kernels, "kernel", f"{where} kernels")
    rows = match_names(config["matrix.objects"], objects, "object", f"{where} objects")
    allowed = {o: set(_kernels_of(objects[o], kernels)) for o in rows}
    for name in rows:  # a misspelt kernel in `expect` would expect nothing, and the gate would never fail on it
        match_names(objects[name].expect, kernels, "kernel", f"bpfcompat.toml: [objects.{name}] expect")
    pairs = tuple(Pair(o, k) for k in columns for o in rows if k in allowed[o])
    if not pairs:
        raise ConfigError(f"{where}: no pair is left", hint="compare [matrix] kernels with the objects' own kernels")
    return Matrix(dict(objects), dict(kernels), pairs)


def _kernels_of(spec: ObjectSpec, kernels: Mapping[str, KernelSpec]) -> tuple[str, ...]:
    if spec.kernels == ("*",):
        return tuple(kernels)
    return match_names(spec.kernels, kernels, "kernel", f"bpfcompat.toml: [objects.{spec.name}] kernels")


def kernel_action(spec: KernelSpec, files: Mapping[str, str]) -> Action:
    """A kernel from the digests of the files it comes from (role or position → digest)."""
    return Action("kernel", spec.name, {"arch": spec.arch, "files": dict(files), "extractor": EXTRACTOR})


def validator_action(sources: Mapping[str, str], libbpf: str, compiler: str, arch: str) -> Action:
    """The validator and libbpf, from C sources, libbpf's source tarball and the compiler's identity."""
    return Action("validator", "", {"sources": dict(sources), "libbpf": libbpf, "compiler": compiler, "arch": arch})


def header_action(btf: str, libbpf: str) -> Action:
    """vmlinux.h from one kernel's BTF, written by libbpf."""
    return Action("header", "", {"btf": btf, "libbpf": libbpf, "writer": HEADER})


def compiled_action(
    spec: ObjectSpec, sources: Mapping[str, str], header: str, libbpf: str, compiler: str, flags: Sequence[str]
) -> Action:
    """An object that clang makes: sources by path below the project, vmlinux.h, libbpf's headers, flags."""
    inputs = {"sources": dict(sources), "header": header, "libbpf": libbpf, "compiler": compiler, "flags": list(flags)}
    return Action("object", spec.name, inputs)


def prebuilt_action(spec: ObjectSpec, file: str) -> Action:
    """An object that is already there: its bytes are its identity."""
    return Action("object", spec.name, {"file": file})


def member_action(spec: ObjectSpec, package: str) -> Action:
    """An object that a Debian package ships."""
    return Action("object", spec.name, {"package": package, "member": spec.member})


def initramfs_action(kernel: Kernel, validator: str) -> Action:
    """What a guest of this kernel boots into: the validator as init, and the kernel's config."""
    config = kernel.config.digest if kernel.config else None
    inputs = {"validator": validator, "release": kernel.release, "config": config, "packer": INITRAMFS}
    return Action("guest", kernel.name, inputs)


@dataclass(frozen=True, slots=True)
class Column:
    """What all pairs of one kernel share: the probe's inputs but for the object and its spec."""

    kernel: Kernel
    inputs: Mapping[str, Any]


def column(kernel: Kernel, initramfs: Blob, validator: str, command_line: str, machine: Mapping[str, Any]) -> Column:
    """The shared inputs of a kernel's probes.

    The validator and the config are inside the initramfs already; they are named so that `why` can name them.
    """
    inputs = {
        "kernel": {"vmlinuz": kernel.vmlinuz.digest, "config": kernel.config.digest if kernel.config else None},
        "initramfs": initramfs.digest,
        "validator": validator,
        "command_line": command_line,
        "machine": dict(machine),
    }
    return Column(kernel, inputs)


def probe_action(pair: Pair, column: Column, object_digest: str, spec: Mapping[str, Any]) -> Action:
    """Ask one kernel about one object."""
    return Action("probe", str(pair), {**column.inputs, "object": object_digest, "spec": dict(spec)})


def verdict_action(pair: Pair, report: str, object_digest: str, attach: str, classifier: str) -> Action:
    """Classify one report; needs no boot."""
    inputs = {"report": report, "object": object_digest, "attach": attach, "classifier": classifier}
    return Action("verdict", str(pair), inputs)


def matrix_action(rows: Iterable[tuple[str, str, str, bool]], classifier: str, presentation: str) -> Action:
    """The whole matrix: (pair, probe key, expectation, required) per row, in order.

    `presentation` is the digest of what turns rows into text, because the text is kept.
    """
    inputs = {"rows": [list(r) for r in rows], "classifier": classifier, "presentation": presentation}
    return Action("matrix", "", inputs)


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
