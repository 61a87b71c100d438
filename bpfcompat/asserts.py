"""What a kernel entry asserts, against what was found: a list of what does not hold, in words.  Pure."""

import fnmatch
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from bpfcompat.kernels.modules import plain
from bpfcompat.model import PLAIN, Asserts, Conditions


def on_host(asserts: Asserts, conditions: Conditions, release: str, btf: bool, config: bytes | None) -> Iterator[str]:
    """What can be held against a kernel's own files, without a boot; `btf`: there are types in its vmlinux."""
    if asserts.release and not fnmatch.fnmatchcase(release, asserts.release):
        yield f"release: asserted {asserts.release!r}, found {release!r}"
    if asserts.btf is not None and asserts.btf != (btf and conditions.btf):
        found = "none" if not btf else "the kernel's" if conditions.btf else "hidden from the loader"
        yield f"btf: asserted {_yes(asserts.btf)}, found {found}"
    if asserts.config and config is None:
        yield "config: asserted options, and the kernel came without its config"
    elif config is not None:
        yield from _config(asserts.config, options(config))


def needs_guest(asserts: Asserts, conditions: Conditions) -> bool:
    """True where only a booted guest can tell whether all holds."""
    return bool(
        asserts.lockdown or asserts.lsm or asserts.modules or asserts.sysctls or asserts.btf is not None
    ) or bool(conditions != PLAIN)


# A kernel takes these from a list only if they are built in, and one of those that exclude each other; the list is a
# wish and an order (Documentation/admin-guide/LSM).  What verdicts hang on, and what nobody knows, has to be active.
_LEFT_OUT = frozenset((
    "apparmor", "evm", "ima", "integrity", "ipe", "landlock", "loadpin", "safesetid", "selinux", "smack", "tomoyo",
    "yama",
))  # fmt: skip


def in_guest(
    asserts: Asserts, conditions: Conditions, hello: Mapping[str, Any], builtin: Collection[str] = ()
) -> Iterator[str]:
    """What can be held against what a guest says of itself: asserts, and that each condition is really in force.

    `builtin` are the names of the modules that are part of this kernel.
    """
    for unmet in hello.get("unmet", ()):
        yield f"condition: {unmet}"
    if asserts.btf is not None and asserts.btf != hello["btf"]:
        yield f"btf: asserted {_yes(asserts.btf)}, the guest has {_yes(hello['btf'])}"
    for asserted in (asserts.lockdown, conditions.lockdown):
        if asserted and asserted != hello["lockdown"]:
            yield f"lockdown: asserted {asserted}, found {hello['lockdown'] or 'no lockdown in this kernel'}"
    active = hello["lsm"] or []
    in_force = (name for name in conditions.lsm if name not in _LEFT_OUT)
    for name in dict.fromkeys((*in_force, *asserts.lsm)):
        if name not in active:
            yield f"lsm: asserted {name}, active are {','.join(active) or 'none'}"
    for name, wanted in {**conditions.sysctls, **asserts.sysctls}.items():
        found = hello["sysctls"].get(name)
        if found != wanted:
            yield f"sysctl {name}: asserted {wanted}, found {'none of this name' if found is None else found}"
    yield from _modules(asserts, conditions, hello, builtin)


def _modules(
    asserts: Asserts, conditions: Conditions, hello: Mapping[str, Any], builtin: Collection[str]
) -> Iterator[str]:
    """A module that is built in is not told: nothing had to be loaded.  One that nobody loaded is not there."""
    told: dict[str, int] = {m["name"]: m["errno"] for m in hello.get("modules", ())}
    for name in dict.fromkeys((*conditions.modules, *asserts.modules)):
        if told.get(name, 0):
            yield f"module {name}: asserted, and loading it gave errno {told[name]}"
        elif name in asserts.modules and name not in told and plain(name) not in builtin:
            yield f"module {name}: asserted, found neither built in nor loaded"


def asked_sysctls(asserts: Asserts, conditions: Conditions) -> tuple[str, ...]:
    """The sysctls that a guest must tell for `in_guest`."""
    return tuple(sorted({*asserts.sysctls, *conditions.sysctls}))


def options(config: bytes) -> dict[str, str]:
    """A kernel's configuration, option to value without quotes; what is not set is not in it."""
    lines = (line.partition("=") for line in config.decode("utf-8", "replace").splitlines() if line[:7] == "CONFIG_")
    return {name: value.strip().strip('"') for name, equals, value in lines if equals}


def _config(asserted: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    for name, wanted in asserted.items():
        value = found.get(name, "n")
        if value != wanted:
            yield f"config: asserted {name}={wanted}, found {'it not set' if value == 'n' else value}"


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
