"""Files of the validator compiled for this host, with a main() of the test's own, under sanitizers."""

import shutil
import subprocess
from pathlib import Path

from bpfcompat.validator import HERE

CC = shutil.which("cc")
WARNINGS = ("-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror")
_SANITIZED = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def built(folder: Path, main: str, *sources: str, more: tuple[str, ...] = ()) -> Path:
    """The program of a main() and files of validator/, in this folder; `more` are options of the compiler."""
    (folder / "harness.c").write_text(main)
    made, files = folder / "harness", (folder / "harness.c", *(HERE / name for name in sources))
    subprocess.run([str(CC), *WARNINGS, *_SANITIZED, f"-I{HERE}", *files, *more, "-o", made], check=True)
    return made
