"""Which file systems a store cannot live on, and how that is found out."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.errors import StoreError
from bpfcompat.mounts import TABLE, UNFIT, Mount, check_fit, mount_of
from bpfcompat.store import Store

PLAIN = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
28 27 0:25 / /home rw,nosuid shared:7 master:1 - nfs4 server:/export/home rw,vers=4.2
29 28 8:1 / /home/me/local rw - xfs /dev/sda1 rw
30 27 0:30 / /mnt/two\040words\134x rw - fuse.sshfs me@there:/a\040b rw
31 27 0:31 / /auto rw - autofs systemd-1 rw
32 31 0:32 / /auto rw - cifs //server/share rw
33 27 0:33 / /covered rw - nfs server:/old rw
34 27 8:2 / /covered rw - ext4 /dev/sdb rw
"""


@pytest.mark.parametrize(
    ("path", "point", "kind", "source"),
    [
        ("/", "/", "ext4", "/dev/vda"),
        ("/var/lib", "/", "ext4", "/dev/vda"),
        ("/home", "/home", "nfs4", "server:/export/home"),
        ("/home/me/x", "/home", "nfs4", "server:/export/home"),
        ("/homes/me", "/", "ext4", "/dev/vda"),
        ("/home/me/local/store", "/home/me/local", "xfs", "/dev/sda1"),
        ("/home/me/localx", "/home", "nfs4", "server:/export/home"),
        (r"/mnt/two words\x/s", r"/mnt/two words\x", "fuse.sshfs", "me@there:/a b"),
        ("/auto/s", "/auto", "cifs", "//server/share"),
        ("/covered/s", "/covered", "ext4", "/dev/sdb"),
    ],
)
def test_mount_of(path: str, point: str, kind: str, source: str) -> None:
    """The longest mount point above a path counts, whole names only, and the last of those at one point."""
    assert mount_of(PLAIN, path) == Mount(point, kind, source)


@pytest.mark.parametrize("line", ["", "x", "1 2 3:4 / / rw", "1 2 3:4 / / rw - ext4", "1 2 - ext4 x", " - "])
def test_other_lines(line: str) -> None:
    """A line that is not as the kernel writes them is passed over."""
    assert mount_of(line, "/a") is None
    assert mount_of(f"{line}\n{PLAIN}", "/a") == Mount("/", "ext4", "/dev/vda")


@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    """Whatever the table says, the answer is a mount or none."""
    found = mount_of(text, "/a/b")
    assert found is None or "/a/b".startswith(found.point)


def test_this_machine() -> None:
    """The kernel's own table names the file system below a path."""
    found = mount_of(TABLE.read_text(), "/proc/self")
    assert found is not None and (found.point, found.kind) == ("/proc", "proc")


@pytest.mark.parametrize("kind", sorted(UNFIT))
def test_unfit(kind: str, tmp_path: Path) -> None:
    """A store on a file system that breaks a promise is refused before anything is written, with what to do."""
    (tmp_path / "mounts").write_text(
        f"1 0 0:1 / / rw - ext4 /dev/vda rw\n2 1 0:2 / {tmp_path} rw - {kind} there:/x rw\n"
    )
    with pytest.raises(StoreError) as told:
        Store(tmp_path / "store").open(tmp_path / "mounts")
    assert told.value.message.startswith(f"{tmp_path}/store: lies on {kind} ({tmp_path} from there:/x): ")
    assert told.value.hint is not None and "a disk of this machine" in told.value.hint
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "ceph", "virtiofs", "fuse.glusterfs"]
)
def test_fit(kind: str, tmp_path: Path) -> None:
    """Local file systems, and those whose locks and renames hold between machines, are taken."""
    (tmp_path / "mounts").write_text(f"2 1 0:2 / {tmp_path} rw - {kind} there rw\n")
    Store(tmp_path / "store").open(tmp_path / "mounts")


def test_through_a_link(tmp_path: Path) -> None:
    """A link to a network file system does not hide it."""
    (tmp_path / "net").mkdir()
    (tmp_path / "here").symlink_to(tmp_path / "net")
    (tmp_path / "mounts").write_text(f"2 1 0:2 / {tmp_path}/net rw - nfs there:/x rw\n")
    with pytest.raises(StoreError, match="lies on nfs"):
        check_fit(tmp_path / "here/store", tmp_path / "mounts")
    check_fit(tmp_path / "other", tmp_path / "mounts")


def test_no_table(tmp_path: Path) -> None:
    """Without /proc nothing is refused: what fails later explains itself."""
    check_fit(tmp_path, tmp_path / "nowhere")
