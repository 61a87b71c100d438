"""A root file system for a loader, as files of a guest: from a folder, a tar archive, Debian packages or an OCI image.

Nothing is unpacked to this host's disk and no link is followed on it.  What a guest is not given is left out and
counted: device nodes, FIFOs, sockets; set-uid bits are taken off.  What would leave the root is turned back at it, as
the kernel does at a root.  What is damaged, climbs by name or has no bound is refused.
"""

import gzip
import io
import os
import stat
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from bpfcompat.errors import ConfigError, KernelError
from bpfcompat.files import kind_of, read_bounded
from bpfcompat.guestfiles import MAX_BYTES, MAX_FILES, MAX_PATH, link_stays, path_fault
from bpfcompat.initramfs import Entry
from bpfcompat.kernels.deb import Header, data_tar
from bpfcompat.kernels.expand import Pieces, expand

TOP = "root"  # where it lies below the guest's /files
MAX_EXPANDED = 2 << 30  # bytes of a tar archive
MAX_LINKS = 40  # that may follow one another, as in the kernel
# validator/command.c mounts on the first four; what else every loader takes for granted
NEEDED = {
    **dict.fromkeys(("proc", "sys", "dev", "boot", "files", "run"), 0o755),
    "tmp": 0o1777,
}
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
_GZIP = b"\x1f\x8b"
_PACKED = (b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18")


@dataclass(slots=True)
class File:
    """A regular file: permission bits and bytes."""

    mode: int
    data: bytes


@dataclass(slots=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(slots=True)
class Folder:
    """A folder: permission bits and what is in it."""

    mode: int = 0o755
    inside: "dict[str, File | Link | Folder]" = field(default_factory=dict)


Node = File | Link | Folder


class Tree:
    """A root file system that grows, layer by layer; `where` begins every error."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.top = Folder()
        self.left_out: Counter[str] = Counter()
        self._fresh: set[tuple[int, str]] = set()  # what the layer at hand has put: folder and name
        self._count = self._bytes = 0

    def refuse(self, path: str, fault: str, hint: str = "") -> ConfigError:
        """The error for a path."""
        return ConfigError(f"{self.where}: {path[:200]!r}: {fault}", hint=hint or None)

    def layer(self) -> None:
        """From now on files may replace those that are there."""
        self._fresh.clear()

    def put(self, path: str, node: Node) -> None:
        """Add a file, link or folder; ConfigError for what comes twice in a layer or has no bound."""
        parts = self._parts(path)
        if not parts:
            return  # the root itself
        self._count += 1
        self._bytes += len(node.data) if isinstance(node, File) else 0
        if self._count > MAX_FILES or self._bytes > MAX_BYTES:
            raise self.refuse(path, f"more than {MAX_FILES} files or {MAX_BYTES} bytes before it")
        folder, name = self.folder(parts[:-1]), parts[-1]
        there = folder.inside.get(name)
        if isinstance(node, Folder) and there is not None and self._is_folder(parts):
            if isinstance(there, Folder):
                there.mode = node.mode
            return
        if (id(folder), name) in self._fresh or (isinstance(there, Folder) and self._holds_fresh(there)):
            raise self.refuse(path, "occurs twice")
        folder.inside[name] = node
        self._fresh.add((id(folder), name))

    def drop(self, path: str) -> None:
        """Remove what lower layers have at a path, if they have it."""
        *parents, name = self._parts(path) or [""]
        folder = self._walk(parents, make=False)
        if isinstance(folder, Folder):
            folder.inside.pop(name, None)

    def empty(self, path: str) -> None:
        """Remove what lower layers have in a folder."""
        folder = self._walk(self._parts(path), make=False)
        if isinstance(folder, Folder):
            folder.inside.clear()

    def find(self, path: str) -> Node | None:
        """What is at a path, links on the way followed, the last one not."""
        parts = self._parts(path)
        if not parts:
            return self.top
        folder = self._walk(parts[:-1], make=False)
        return folder.inside.get(parts[-1]) if isinstance(folder, Folder) else None

    def folder(self, parts: list[str]) -> Folder:
        """The folder at a path, links followed within the root, made where it is missing."""
        found = self._walk(parts, make=True)
        if not isinstance(found, Folder):
            raise self.refuse("/".join(parts), "expected a folder")
        return found

    def _is_folder(self, parts: list[str]) -> bool:
        return isinstance(self._walk(parts, make=False), Folder)

    def _walk(self, parts: list[str], make: bool) -> Node | None:
        """Resolve a path as a kernel with this root would; `..` of a link's target stops at the root."""
        trail, todo, links = [self.top], list(reversed(parts)), 0
        while todo:
            name = todo.pop()
            if name == "..":
                trail = trail[:-1] or trail
                continue
            node = trail[-1].inside.get(name)
            if node is None and make:
                node = trail[-1].inside[name] = Folder()
            if isinstance(node, Link):
                links += 1
                if links > MAX_LINKS:
                    raise self.refuse("/".join(parts), "links that go round and round")
                trail = [self.top] if node.target.startswith("/") else trail
                todo += [p for p in reversed(node.target.split("/")) if p not in ("", ".")]
            elif isinstance(node, Folder):
                trail.append(node)
            else:
                return None if todo else node
        return trail[-1]

    def _holds_fresh(self, folder: Folder) -> bool:
        return any(
            (id(folder), name) in self._fresh or (isinstance(node, Folder) and self._holds_fresh(node))
            for name, node in folder.inside.items()
        )

    def _parts(self, path: str) -> list[str]:
        if path.startswith("/"):
            raise self.refuse(path, "an absolute path", "name what is in it relative to its root (tar does by itself)")
        parts = [p for p in path.split("/") if p not in ("", ".")]
        if ".." in parts:
            raise self.refuse(path, "a path that climbs")
        fault = path_fault("/".join(parts)) if parts else ""
        if fault:
            raise self.refuse(path, fault)
        return parts

    # --- as entries of a guest's archive

    def entries(self) -> list[Entry]:
        """The whole tree below TOP, with the folders that a running system needs."""
        for name, mode in NEEDED.items():
            if not isinstance(self.top.inside.setdefault(name, Folder(mode)), Folder):
                raise self.refuse(name, "expected a folder: something is mounted there")
        if "object.bpf.o" in self.folder(["files"]).inside:
            raise self.refuse("files/object.bpf.o", "the object's own place is taken")
        return list(self._entries(TOP, self.top))

    def _entries(self, path: str, node: Node) -> Iterator[Entry]:
        if isinstance(node, File):
            yield Entry(path, stat.S_IFREG | node.mode, node.data)
        elif isinstance(node, Link):
            yield Entry(path, stat.S_IFLNK | 0o777, self._inside(path, node.target).encode())
        else:
            yield Entry(path, stat.S_IFDIR | node.mode)
            for name, inner in node.inside.items():
                yield from self._entries(f"{path}/{name}", inner)

    def _inside(self, path: str, target: str) -> str:
        """A link's target as it means the same below TOP: absolute ones made relative, none above the root."""
        own = path.removeprefix(f"{TOP}/")
        up = "../" * own.count("/")
        plain = (up + target.lstrip("/") or ".") if target.startswith("/") else target
        if link_stays(own, plain):
            return plain
        if not target or len(target) > MAX_PATH:
            raise self.refuse(own, "a link to nowhere")
        self.left_out["links turned back at the root"] += 1
        parts: list[str] = [] if target.startswith("/") else own.split("/")[:-1]
        for part in target.split("/"):
            parts = parts[:-1] if part == ".." else parts if part in ("", ".") else [*parts, part]
        return up + "/".join(parts) or "."


# --- sources


def add_binary(tree: Tree, path: Path) -> None:
    """One static program, at /files/NAME."""
    tree.put(f"files/{path.name}", File(0o755, read_bounded(path, MAX_BYTES, ConfigError)))


def add_folder(tree: Tree, path: Path) -> None:
    """A folder of this host, with modes and links as they are."""
    for name, found in walk(path, tree.where):
        place, mode = path / name, found.st_mode
        if stat.S_ISLNK(mode):
            tree.put(name, _link(tree, name, os.readlink(place)))
        elif stat.S_ISDIR(mode):
            tree.put(name, Folder(mode & 0o1777))
        elif stat.S_ISREG(mode):
            tree.put(name, File(_bits(tree, mode), read_bounded(place, MAX_BYTES, ConfigError, follow=False)))
        else:
            tree.left_out[kind_of(mode).removeprefix("a ") + "s"] += 1


def folder_key(path: Path, where: str, digest: Callable[[Path], str]) -> list[list[Any]]:
    """All that a folder's archive depends on: names, modes, digests of files, targets of links."""
    found = []
    for name, state in walk(path, where):
        mode, place = state.st_mode, path / name
        what = digest(place) if stat.S_ISREG(mode) else os.readlink(place) if stat.S_ISLNK(mode) else ""
        found.append([name, mode, what])
    return sorted(found)


def walk(path: Path, where: str) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below a folder: relative path and lstat(), folders first; no link is followed."""
    todo, count = [""], 0
    try:
        while todo:
            below = todo.pop()
            for entry in sorted(os.scandir(path / below), key=lambda e: e.name):
                name = f"{below}/{entry.name}" if below else entry.name
                count += 1
                if count > MAX_FILES:
                    raise ConfigError(f"{where}: {path}: more than {MAX_FILES} files and folders")
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    todo.append(name)
                yield name, found
    except OSError as error:
        raise ConfigError(f"{where}: {error.filename}: cannot read: {error.strerror}") from error


def add_tar_file(tree: Tree, path: Path) -> None:
    """A tar archive: plain, or packed by gzip, xz, zstd or lz4."""
    try:
        with open(path, "rb") as stream:
            add_tar(tree, plain(stream, tree.where))
    except OSError as error:
        raise ConfigError(f"{tree.where}: {path}: cannot read: {error.strerror or error}") from error


def add_deb(tree: Tree, path: Path, name: str) -> None:
    """What a Debian package installs; its scripts are not run."""
    tree.where, before = f"{tree.where}: {name}", tree.where
    with open(path, "rb") as stream:
        add_tar(tree, data_tar(stream, name))
    tree.where = before


def plain(stream: BinaryIO, where: str) -> BinaryIO:
    """The same stream, expanded if it is packed; ConfigError for damage and beyond MAX_EXPANDED bytes."""
    head = stream.read(6)
    stream.seek(-len(head), io.SEEK_CUR)
    if head.startswith(_PACKED):
        return io.BufferedReader(Pieces(_said(expand(stream, MAX_EXPANDED, "packed"), where)))
    source: Any = gzip.GzipFile(fileobj=stream) if head.startswith(_GZIP) else stream
    return io.BufferedReader(Pieces(_said(iter(lambda: source.read(1 << 20), b""), where)))


def _said(pieces: Iterator[bytes], where: str) -> Iterator[bytes]:
    """The same pieces, bounded, with their errors in our words."""
    done = 0
    try:
        for piece in pieces:
            done += len(piece)
            if done > MAX_EXPANDED:
                raise ConfigError(f"{where}: expands to more than {MAX_EXPANDED} bytes")
            yield piece
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{where}: damaged after {done} bytes: {error}") from error
    except KernelError as error:
        raise ConfigError(f"{where}: {error.message}") from error


def add_tar(tree: Tree, stream: BinaryIO) -> None:
    """The members of a tar archive."""
    _each(tree, stream, lambda archive, member: _add_member(tree, archive, member))


def add_layer(tree: Tree, data: bytes) -> None:
    """An OCI layer: what its marks take away first, then what it adds (image-spec, layer.md)."""
    tree.layer()
    _each(tree, io.BytesIO(data), lambda _archive, member: _take_away(tree, member.name))
    _each(
        tree, io.BytesIO(data),
        lambda archive, member: None if _is_mark(member.name) else _add_member(tree, archive, member),
    )  # fmt: skip


def _each(tree: Tree, stream: BinaryIO, do: Callable[[tarfile.TarFile, tarfile.TarInfo], None]) -> None:
    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=Header) as archive:
            for count, member in enumerate(archive):
                if count >= MAX_FILES:
                    raise ConfigError(f"{tree.where}: more than {MAX_FILES} members")
                do(archive, member)
        while stream.read(1 << 20):  # to its end, where its own checksums are
            pass
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise ConfigError(f"{tree.where}: not a whole tar archive: {error}") from error
    except KernelError as error:
        raise ConfigError(f"{tree.where}: {error.message}") from error


def _is_mark(name: str) -> bool:
    return name.rstrip("/").rpartition("/")[2].startswith(WHITEOUT)


def _take_away(tree: Tree, name: str) -> None:
    folder, _, last = name.rstrip("/").rpartition("/")
    if last == OPAQUE:
        tree.empty(folder)
    elif last.startswith(WHITEOUT):
        tree.drop(f"{folder}/{last.removeprefix(WHITEOUT)}".removeprefix("/"))


def _add_member(tree: Tree, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    path = member.name
    if member.isdir():
        tree.put(path, Folder(member.mode & 0o1777))
    elif member.issym():
        tree.put(path, _link(tree, path, member.linkname))
    elif member.islnk():
        tree.put(path, _linked(tree, path, member.linkname))
    elif member.isreg() and not member.issparse():
        if member.size > MAX_BYTES:
            raise tree.refuse(path, f"{member.size} bytes, at most {MAX_BYTES} expected")
        stream = archive.extractfile(member)
        data = stream.read() if stream else b""
        if len(data) != member.size:
            raise tree.refuse(path, "cut short")
        tree.put(path, File(_bits(tree, member.mode), data))
    elif member.ischr() or member.isblk() or member.isfifo():
        tree.left_out["FIFOs" if member.isfifo() else "device nodes"] += 1
    else:
        raise tree.refuse(path, "a kind of member that is not known here")


def _linked(tree: Tree, path: str, target: str) -> File:
    found = tree.find(target)
    if not isinstance(found, File):
        raise tree.refuse(path, f"a hard link to {target[:200]!r}, which is no file before it")
    return found


def _link(tree: Tree, path: str, target: str) -> Link:
    if not target.isprintable() or not target:
        raise tree.refuse(path, "a link whose target cannot be printed")
    return Link(target)


def _bits(tree: Tree, mode: int) -> int:
    """A file's permission bits as a guest may have them."""
    if mode & (stat.S_ISUID | stat.S_ISGID):
        tree.left_out["set-uid or set-gid bits"] += 1
    return mode & 0o777


def told(left_out: Mapping[str, int]) -> str:
    """What was not taken over, in words; "" when all was."""
    return ", ".join(f"{count} {what}" for what, count in sorted(left_out.items()))
