"""Go's checksum database package as an oracle: Debian's copy, asked by a small program of ours."""

import base64
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bpfcompat import process
from tests.hosting import cannot, needs

GOPATH = Path("/usr/share/gocode")  # where Debian's golang-*-dev packages put sources
SOURCE = Path(__file__).parent / "oracles" / "sumdb.go"
Ask = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


ABSENT = [
    *(["go"] if shutil.which("go") is None else []),
    *([] if (GOPATH / "src/golang.org/x/mod/sumdb").is_dir() else ["golang-golang-x-mod-dev"]),
]
needed = needs(also=ABSENT)


def oracle(folder: Path) -> Ask:
    """Questions to Go, answered in order; the program is built in this folder.  Skips where there is no Go."""
    if ABSENT:
        cannot(f"absent: {', '.join(ABSENT)}")
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": str(GOPATH), "GOCACHE": str(folder / "cache"), "GOFLAGS": ""}
    program = folder / "sumdb"
    process.check(["go", "build", "-o", str(program), str(SOURCE)], what="the oracle", cwd=folder, env=env)

    def ask(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        lines = "".join(json.dumps(packed(question)) + "\n" for question in questions)
        out = process.check([str(program)], what="the oracle", cwd=folder, input_bytes=lines.encode())
        answers = [json.loads(line) for line in out.splitlines()]
        assert len(answers) == len(questions)
        return answers

    return ask


def packed(value: Any) -> Any:
    """Bytes as Go's JSON has them."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: packed(one) for name, one in value.items()}
    return [packed(one) for one in value] if isinstance(value, list | tuple) else value
