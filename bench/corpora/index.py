"""What was gathered: each object once, by digest, and every place that it came from."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bpfcompat.digest import digest_bytes, hex_of
from bpfcompat.elf import facts_or_fault
from bpfcompat.files import ensure_dir, read_bounded, write_atomic

FORMAT = 1
MAX_INDEX = 64 << 20
MAX_OBJECT = 64 << 20
CORPORA = ("packages", "libbpf-tools", "selftests")


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Where an object was found.

    `corpus` is one of CORPORA; `path` is of the file in the package or of the source; `offset` in bytes within it.
    """

    corpus: str
    package: str
    version: str
    path: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """One object: a short name, its digest, its programs as (section, name), and its origins, sorted.

    `fault` says why its ELF could not be read, "" when it could.
    """

    name: str
    digest: str
    size: int
    programs: tuple[tuple[str, str], ...]
    origins: tuple[Origin, ...]
    fault: str = ""

    @property
    def corpora(self) -> frozenset[str]:
        """Which corpora it is of."""
        return frozenset(origin.corpus for origin in self.origins)


class Shelf:
    """A folder of objects by digest, with their index beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._found: dict[str, tuple[bytes, set[Origin]]] = {}

    def path(self, item: Item) -> Path:
        """An object's file."""
        return self.folder / "objects" / f"{hex_of(item.digest)}.o"

    def add(self, data: bytes, origin: Origin) -> bool:
        """Keep an object; True if it is a new one."""
        digest = digest_bytes(data)
        new = digest not in self._found
        self._found.setdefault(digest, (data, set()))[1].add(origin)
        return new

    def keep(self, wanted: Callable[[Origin], bool]) -> None:
        """Take from the index, if one is there, what is of wanted origins."""
        if not (self.folder / "index.json").exists():
            return
        for item in self.read():
            for origin in filter(wanted, item.origins):
                self.add(read_bounded(self.path(item), MAX_OBJECT), origin)

    def write(self, about: Mapping[str, Any]) -> tuple[Item, ...]:
        """Objects and index to disk; `about` says what was looked at and could not be had."""
        items = tuple(sorted((_item(d, data, o) for d, (data, o) in self._found.items()), key=lambda i: i.name))
        ensure_dir(self.folder / "objects")
        for item in items:
            if not self.path(item).is_file():
                write_atomic(self.path(item), self._found[item.digest][0])
        body = {"format": FORMAT, "about": dict(about), "objects": [asdict(item) for item in items]}
        write_atomic(self.folder / "index.json", json.dumps(body, indent=1).encode() + b"\n")
        return items

    def read(self) -> tuple[Item, ...]:
        """The objects of the index."""
        return read_index(read_bounded(self.folder / "index.json", MAX_INDEX))


def read_index(data: bytes) -> tuple[Item, ...]:
    """The objects of an index's bytes."""
    body = json.loads(data)
    if body["format"] != FORMAT:
        raise ValueError(f"index: expected format {FORMAT}, got {body['format']}; fetch anew")
    return tuple(
        Item(
            programs=tuple((section, name) for section, name in item.pop("programs")),
            origins=tuple(Origin(**origin) for origin in item.pop("origins")),
            **item,
        )
        for item in body["objects"]
    )


def _item(digest: str, data: bytes, origins: Iterable[Origin]) -> Item:
    facts, ordered = facts_or_fault(data), tuple(sorted(origins))
    programs = () if isinstance(facts, str) else tuple((p.section, p.name) for p in facts.programs)
    fault = facts if isinstance(facts, str) else ""
    return Item(f"{_stem(ordered[0])}-{hex_of(digest)[:8]}", digest, len(data), programs, ordered, fault)


def _stem(origin: Origin) -> str:
    """A word for people: the file's name without its endings."""
    stem = re.sub(r"(\.bpf)?(\.[ocs]|\.so[.\d]*|\.elf|\.bpf)$", "", origin.path.rsplit("/", 1)[-1])
    return re.sub(r"[^A-Za-z0-9_.-]", "_", stem).strip("._-")[:60] or "object"
