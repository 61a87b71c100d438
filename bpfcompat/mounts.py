"""On which kind of file system a path lies, and on which kinds a store cannot live.

A store needs three promises: flock() holds against everybody, a rename is seen at once and whole, and what was synced
stays.  Refused are the kinds that break one of them silently.  Cluster file systems whose locks span machines (ceph,
gfs2, ocfs2, glusterfs, lustre with `flock`) keep them and are allowed; where flock() fails, `files` explains it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from bpfcompat.errors import StoreError

TABLE = Path("/proc/self/mountinfo")
_LATE = "locks can be lost without a word, and other machines see a rename late"
_HERE = "locks are known to this machine only"
_COPY = "a rename is a copy, and there are no locks"
UNFIT = {
    **dict.fromkeys(("nfs", "nfs4", "afs", "coda"), _LATE),
    **dict.fromkeys(("cifs", "smb3", "smbfs", "ncpfs"), "a lock keeps others from reading, and renames are seen late"),
    **dict.fromkeys(("9p", "fuse.sshfs", "fuse.curlftpfs"), _HERE),
    **dict.fromkeys(
        ("fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.goofys", "fuse.blobfuse2", "fuse.davfs2"), _COPY
    ),
}
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system: where, of which kind, and from what."""

    point: str
    kind: str
    source: str


def mount_of(table: str, path: str) -> Mount | None:
    """The mount on which an absolute path without links lies; of mounts at one point the last covers the others.

    `table` is the text of /proc/self/mountinfo (proc_pid_mountinfo(5)); lines that are not as written there are passed
    over.
    """
    best: Mount | None = None
    for line in table.split("\n"):
        before, _, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if len(fields) < 6 or len(rest) < 2:
            continue
        point = _plain(fields[4])
        if (best is None or len(point) >= len(best.point)) and _covers(point, path):
            best = Mount(point, rest[0], _plain(rest[1]))
    return best


def check_fit(path: Path, table: Path = TABLE) -> None:
    """StoreError when a store at this path, there or not, would lie on a file system that cannot hold one."""
    try:
        text = table.read_text("utf-8", "surrogateescape")
        found = mount_of(text, str(path.resolve()))
    except (OSError, RuntimeError):  # no /proc, or a loop of links: what comes next will say what matters
        return
    if found is not None and found.kind in UNFIT:
        raise StoreError(
            f"{path}: lies on {found.kind} ({found.point} from {found.source}): {UNFIT[found.kind]}",
            hint="point [paths] store at a disk of this machine, such as /var/tmp/bpfcompat",
        )


def _covers(point: str, path: str) -> bool:
    return point == "/" or path == point or path.startswith(point + "/")


def _plain(text: str) -> str:
    """Blank, tab, newline and backslash come as three octal digits, one byte each."""
    return _OCTAL.sub(lambda m: chr(int(m[1], 8)), text) if "\\" in text else text
