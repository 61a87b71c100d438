"""The two servers of a registry's tree: ours, and nginx as docs/nginx.conf sets it up."""

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from bpfcompat import process
from tests.hosting import ROOT, cannot
from tests.peers import running


@contextlib.contextmanager
def nginx(root: Path) -> Iterator[int]:
    """nginx with the published configuration; its port."""
    tool = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if tool is None:
        cannot("nginx is absent")
    folder = root.with_name("nginx")
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    published = (ROOT / "docs/nginx.conf").read_text()
    assert "127.0.0.1:8081" in published and "/srv/registry" in published
    (folder / "registry.conf").write_text(
        published.replace("127.0.0.1:8081", f"127.0.0.1:{port}").replace("/srv/registry", str(root))
    )
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr crit; events {{}}\n"
        f"http {{ access_log off; {temporary} include {folder}/registry.conf; }}\n"
    )
    argv = [tool, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with process.spawned(argv, cwd=folder, env={"PATH": os.environ["PATH"]}) as child:
        until = time.monotonic() + 20
        while not _listens(port):
            assert child.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        yield port


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def ours(root: Path) -> Iterator[int]:
    """Our own; its port."""
    with running(root) as found:
        yield found.port
