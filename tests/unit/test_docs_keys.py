"""The commands of docs/keys.md, run as they are printed, one after the other."""

import re
import sys
from pathlib import Path

from bpfcompat import process
from bpfcompat.rootchain import newest, pinned
from tests.histories import History
from tests.hosting import needs

ROOT = Path(__file__).parents[2]


@needs("bash", "rm")
def test_a_life_of_keys(tmp_path: Path) -> None:
    """Every command of the page does what it says: five versions, each believed through the one before."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs" / "keys.md").read_text(), re.MULTILINE | re.DOTALL)
    script = f"set -e\nbpfcompat() {{ '{sys.executable}' -m bpfcompat \"$@\"; }}\n" + "".join(blocks)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "checkpoint").write_bytes(History([b"leaf"] * 48).note)
    done = process.run(["bash", "-c", script], cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"})
    assert done.code == 0, done.stderr
    files = {n: (tmp_path / "results" / "root" / f"{n}.json").read_bytes() for n in range(1, 6)}
    chain = newest(pinned(files[1]), files.get)
    assert [d.root.version for d in chain] == [1, 2, 3, 4, 5]
    last = {key.name: key for key in chain[-1].root.keys}
    assert (last["runner"].below, last["runner-2"].below) == (48, 1234)
    told = done.stdout.decode()
    assert f"signed by {', '.join(sorted(chain[-1].signatures))}" in told
    assert "version 1 → 2" in told
