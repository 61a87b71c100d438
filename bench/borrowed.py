"""A machine that has everything but answers, and a registry on this very host that has them."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import toml

from bench.measure import DOIT, Row, environ, once, output
from bench.synthetic import REPORTS, Size, large
from bpfcompat.errors import BuildError
from bpfcompat.process import spawned

SMALL, LARGE = Size(60, 5), Size(100, 100)
ACCESS = "access.log"
LEFT_BEHIND = shutil.ignore_patterns("keys", "registry", "reports", "doit.db", "index", "names")


def borrowed(quick: bool) -> Iterator[Row]:
    """From Python's start to the end of `doit borrow`, and of `doit matrix`, where all answers are borrowed."""
    for size in (SMALL,) if quick else (SMALL, LARGE):
        with large(size) as lender:
            alone, whole, said = [], [], ""
            with _served(lender) as url:
                for _ in range(3 if size is SMALL else 1):
                    alone.append(_once("borrow", lender, url)[0])
                    took, said = _once("matrix", lender, url)
                    whole.append(took)
            asked = _requests(lender) / (len(alone) + len(whole))
        note = f"{asked:g} requests; signature, log, question and report checked, stored, said"
        yield Row(f"borrowed-{size.pairs}", tuple(alone), note=f"`doit borrow`: {note}")
        yield Row(f"borrowed-{size.pairs}: matrix", tuple(whole), note=said.rstrip().rpartition("\n")[2])


def _once(task: str, lender: Path, url: str) -> tuple[float, str]:
    """Seconds of one run that knows nothing yet, no log either, and its words; BuildError when not all is borrowed."""
    with _borrower(lender, url) as root:
        took, said = once([DOIT, task], root, environ(XDG_STATE_HOME=str(root / "state")))
    if "!! borrow" in said or not re.search(r"borrowed: (\d+) of \1 pairs", said):
        raise BuildError(f"borrowed: {said[-300:]}")
    return took, said


def _requests(lender: Path) -> int:
    """How many requests the lender's server has answered until it ended."""
    return len((lender / ACCESS).read_text().splitlines())


@contextmanager
def _served(lender: Path) -> Iterator[str]:
    """The lender's registry behind HTTP, freshly published."""
    output([DOIT, "matrix"], lender, environ())
    argv = [sys.executable, "-m", "bpfcompat", "serve", str(lender / ".bpfcompat/registry"), "--port", "0",
            "--access-log", ACCESS]  # fmt: skip
    with spawned(argv, cwd=lender, env=environ(), stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        line = child.stdout.readline().decode()
        yield next(word for word in line.split() if word.startswith("http://"))


@contextmanager
def _borrower(lender: Path, url: str) -> Iterator[Path]:
    """The same project elsewhere: with kernels, validator and objects, and without a report, a verdict or a key."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=lender.parent) as folder:
        root = Path(folder) / "project"
        shutil.copytree(lender, root, ignore=lambda where, names: {*REPORTS(where, names), *LEFT_BEHIND(where, names)})
        shutil.copy(lender / "keys/signing.pem.pub", root / "lender.pub")
        settings = toml.loads((root / "bpfcompat.toml").read_text())
        (vkey,) = (lender / "keys/log-records").glob("*.vkey")
        shutil.copy(vkey, root / "lender.vkey")
        settings["substituters"] = {"url": [url], "keys": ["lender.pub"], "log_keys": ["lender.vkey"]}
        settings["fetch"] = {"allow": [url.removeprefix("http://").rstrip("/")]}
        (root / "bpfcompat.toml").write_text(toml.dumps(settings))
        yield root
