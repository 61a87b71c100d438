"""Several versions of libbpf side by side: names for the columns that they make, and what their answers add up to.

A loader other than the project's own makes a kernel a column of its own, `debian-12+libbpf-1.1`: another init in the
guest, and so other keys; the object and the kernel's files are the same.  Pure.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bpfcompat.errors import ConfigError
from bpfcompat.model import Answer, KernelSpec

MARK = "+libbpf-"
OWN = "own"  # the task name of the project's own validator, where it is not the only one
SOURCE = "libbpf"  # what the lock calls the source package
_NAME = re.compile(r"\d{1,3}(\.\d{1,3}){1,2}")


@dataclass(frozen=True, slots=True)
class Loader:
    """Where a libbpf comes from: the Debian suite, and a pattern for the source package's upstream version."""

    suite: str
    version: str


SHIPPED: Mapping[str, Loader] = {
    "1.1": Loader("bookworm", "1.1.*"),
    "1.4": Loader("bookworm-backports", "1.4.*"),
    "1.5": Loader("trixie", "1.5.*"),
    "1.7": Loader("forky", "1.7.*"),
}


def read_loaders(table: Any, where: str) -> dict[str, Loader]:
    """The table [libbpf], over those that ship with bpfcompat; ConfigError names the key and what was expected."""
    if not isinstance(table, dict):
        raise ConfigError(f'{where}: expected entries such as "1.1" = {{ suite = …, version = … }}, got {table!r}')
    return {**SHIPPED, **{name: _loader(name, entry, f"{where}: {name[:40]}") for name, entry in table.items()}}


def _loader(name: str, entry: Any, where: str) -> Loader:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: expected a version of libbpf such as 1.1 for a name, got {name[:40]!r}")
    if not isinstance(entry, dict) or not set(entry) <= {"suite", "version"}:
        raise ConfigError(f"{where}: expected a table of suite and version, got {entry!r}")
    suite, version = entry.get("suite", ""), entry.get("version", f"{name}.*")
    if not isinstance(suite, str) or not isinstance(version, str) or not suite or not version:
        raise ConfigError(f'{where}: expected suite = "trixie" or the like, and a version pattern, got {entry!r}')
    return Loader(suite, version)


def check_names(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """ConfigError for a loader that nobody knows, or one that is named twice."""
    seen: set[str] = set()
    for name in names:
        if name not in known:
            hint = f"known loaders: {', '.join(sorted(known, key=version))}; add others to [libbpf]"
            raise ConfigError(f"{where}: libbpf: no loader is named {name[:40]!r}", hint=hint)
        if name in seen:
            raise ConfigError(f"{where}: libbpf: {name!r} is there twice")
        seen.add(name)


def source_of(loader: str) -> str:
    """What the lock calls a loader's source package; "" is the project's own loader."""
    return f"{SOURCE}-{loader}" if loader else SOURCE


def column(kernel: str, loader: str) -> str:
    """The name of a kernel asked with a loader: `debian-12+libbpf-1.1`; with the project's own, the kernel's."""
    return f"{kernel}{MARK}{loader}" if loader else kernel


def split(name: str) -> tuple[str, str]:
    """Kernel and loader of a column's name; the loader is "" for the project's own."""
    kernel, _, loader = name.partition(MARK)
    return kernel, loader


def variant(spec: KernelSpec, loader: str) -> KernelSpec:
    """A kernel as it is, asked with another loader."""
    about = f"{spec.about}, with libbpf {loader}"
    return replace(spec, name=column(spec.name, loader), base=spec.locked_as, libbpf=loader, about=about)


def version(text: str) -> tuple[int, ...]:
    """A version for comparing: numbers only, what is not one counts as 0."""
    return tuple(int(n) for n in re.findall(r"\d{1,9}", text)[:4]) or (0,)


# --- which libbpf does an object need?


@dataclass(frozen=True, slots=True)
class Told:
    """One loader's answer of an object on a kernel; `answer` is None where nobody could be asked."""

    libbpf: str
    answer: Answer | None
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Need:
    """Which libbpf an object needs on a kernel.

    `oldest` is the oldest that passes, "" if none does; `refused` those that do not, with their causes; `unasked` those
    of which there is no answer, so that an older one may pass too.
    """

    oldest: str
    asked: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    unasked: tuple[str, ...]


def need(told: Sequence[Told]) -> Need:
    """Of all answers for one object on one kernel."""
    ordered = sorted(told, key=lambda t: version(t.libbpf))
    passing = [t.libbpf for t in ordered if t.answer is Answer.COMPATIBLE]
    refused = [(t.libbpf, t.cause) for t in ordered if t.answer not in (None, Answer.COMPATIBLE)]
    return Need(
        oldest=passing[0] if passing else "",
        asked=tuple(dict.fromkeys(t.libbpf for t in ordered)),
        refused=tuple(dict.fromkeys(refused)),
        unasked=tuple(t.libbpf for t in ordered if t.answer is None),
    )


def in_words(found: Need) -> str:
    """`libbpf 1.4 or newer; not 1.1.2 (loader-unsupported)`; what was not answered is said too."""
    if not found.oldest:
        text = f"with none of libbpf {', '.join(found.asked)}"
    else:
        newer = [v for v, _ in found.refused if version(v) > version(found.oldest)]
        text = f"libbpf {found.oldest}" + (", but not every newer one" if newer else " or newer")
    refused = ", ".join(f"{v} ({cause})" if cause else v for v, cause in found.refused)
    text += f"; not {refused}" if refused else ""
    return text + (f"; no answer with {', '.join(found.unasked)}" if found.unasked else "")
