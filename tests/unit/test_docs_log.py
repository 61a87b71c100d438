"""docs/log.md followed from top to bottom: what a witness and a publisher type there, and what they read."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfcompat.cli import main
from bpfcompat.note import NoteKey
from tests.histories import LOG_PRIVATE, History, leaves

PAGE = Path(__file__).parents[2] / "docs" / "log.md"
ORIGIN = "results.example"


def commands() -> Iterator[tuple[str, str]]:
    """Every command of the example, with what it prints, as a pattern."""
    example = PAGE.read_text("utf-8").partition("## Example")[2].partition("\n## ")[0]
    for block in re.findall(r"```\n\$ (.*?)```", example, re.DOTALL):
        command, _, printed = block.partition("\n")
        yield command, "\n".join(" *".join([""] + [_word(w) for w in line.split()]) for line in printed.splitlines())


def _word(word: str) -> str:
    """A word as a pattern; one that differs from day to day is written with an ellipsis."""
    return ".*" if "…" in word else re.escape(word)


def log(seed: str, count: int) -> History:
    """The log of the example, or with another seed another history of it."""
    return History([*leaves(5, seed), *leaves(count - 5)], LOG_PRIVATE, ORIGIN)


def test_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command of the page does what the page says, the refusal included."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    Path("results.vkey").write_text(NoteKey(ORIGIN, LOG_PRIVATE.public_key()).vkey + "\n")
    before = [nothing, seen_at_390, nothing, rewritten]
    codes = []
    for prepare, (command, pattern) in zip(before, commands(), strict=True):
        prepare()
        capsys.readouterr()
        codes.append(main(shlex.split(command.replace("https://results.example/", "registry"))[1:]))
        printed = "\n".join(line.rstrip() for line in "".join(capsys.readouterr()).splitlines())
        assert re.fullmatch(pattern, printed), f"{command}\n{printed}"
    assert codes == [0, 0, 0, 4]


def seen_at_390() -> None:
    """The witness has been here before."""
    for count in (390, 412):
        log("honest", count).save(Path("registry"))
        if count == 390:
            assert main(shlex.split("witness registry --log-key results.vkey --key eyes --out old")) == 0


def rewritten() -> None:
    """The publisher has another history, and has gone on with it."""
    log("rewritten", 420).save(Path("registry"))


def nothing() -> None:
    """Nothing happened in between."""
