"""Which files a C source reads: found by reading `#include` lines, so that they can enter the key.

The compiler runs in a folder that holds these files and no others, so one that was missed fails the build instead of
going stale unseen.  Absolute paths would reach around that, and are refused.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from bpfcompat.errors import ConfigError, ObjectError
from bpfcompat.files import read_bounded

MAX_FILES = 2000
MAX_BYTES = 16 << 20
SYSTEM = (Path("/usr/include"), Path("/usr/include/x86_64-linux-gnu"))  # where a distribution keeps <linux/bpf.h>
OURS = ("bpf/", "vmlinux.h")  # come with libbpf's source and a kernel's BTF, whatever the host has
_ABSOLUTE = re.compile(r"(-(I|isystem|iquote|idirafter|include|imacros|isysroot|-sysroot=?))?[ =]?/")
_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*["<]([^">\n]{1,400})[">]', re.MULTILINE)


def source_files(source: Path, root: Path, cflags: Sequence[str]) -> tuple[Path, ...]:
    """The source and every file of the project that it includes, sorted; paths that exist below `root`.

    ObjectError when the source is not below the project or there is no end to what it includes.
    """
    for flag in cflags:
        if _ABSOLUTE.match(flag):
            raise ConfigError(f"cflags: {flag}: an absolute path is in no key", hint="name a folder below the project")
    base = root.resolve()
    if not source.resolve().is_relative_to(base):
        raise ObjectError(
            f"{source}: not below the project {root}", hint="give prebuilt = … for objects from elsewhere"
        )
    folders = [base / flag[2:] for flag in cflags if flag.startswith("-I") and len(flag) > 2]
    found: dict[Path, None] = {}
    queue = [source.resolve()]
    while queue:
        path = queue.pop()
        if path in found:
            continue
        found[path] = None
        if len(found) > MAX_FILES:
            raise ObjectError(f"{source}: includes more than {MAX_FILES} files")
        text = read_bounded(path, MAX_BYTES, ConfigError)
        queue.extend(_resolved(text, [path.parent, *folders], base))
    return tuple(sorted(found))


def system_files(sources: Sequence[Path], folders: Sequence[Path] = SYSTEM) -> dict[str, Path]:
    """The host's headers that these files include, and theirs: name below their folder → path, sorted by name."""
    found: dict[str, Path] = {}
    queue = [name for path in sources for name in _names(read_bounded(path, MAX_BYTES, ConfigError))]
    while queue:
        name = queue.pop()
        here = next((f / name for f in folders if (f / name).is_file()), None)
        if here is None or name in found or name.startswith(OURS) or ".." in name.split("/"):
            continue
        found[name] = here
        if len(found) > MAX_FILES:
            raise ObjectError(f"{name}: includes more than {MAX_FILES} files")
        queue.extend(_names(read_bounded(here, MAX_BYTES, ConfigError)))
    return dict(sorted(found.items()))


def _names(text: bytes) -> list[str]:
    return [match.group(1).decode("utf-8", "replace") for match in _INCLUDE.finditer(text)]


def _resolved(text: bytes, folders: Sequence[Path], base: Path) -> list[Path]:
    found = []
    for name in _names(text):
        if name.startswith("/"):
            raise ObjectError(f'#include "{name[:200]}": an absolute path is in no key', hint="copy it to the project")
        here = next((f / name for f in folders if (f / name).is_file()), None)
        if here is not None and here.resolve().is_relative_to(base):
            found.append(here.resolve())
    return found
