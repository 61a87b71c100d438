"""What a probe keeps beside its report: whole logs, of which the report has the end, and what hangs on the host.

Neither is compared, stated or signed.  `logs` is a zip archive with a text file for each long log; `costs` is JSON, a
list in the programs' order of {"jited": bytes or null, "verify_us": microseconds or null}.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from bpfcompat.digest import canonical
from bpfcompat.errors import StoreError
from bpfcompat.model import Cost, Log, Report
from bpfcompat.squeezed import archived

OBJECT = "object.log"


def beside(report: Report) -> dict[str, bytes]:
    """The outputs, each only where there is something to keep."""
    logs = {name: log.whole for name, log in _named(report) if log.whole is not None}
    costs = [asdict(p.cost or Cost(None, None)) for p in report.programs]
    found = {"logs": archived(logs)} if logs else {}
    return found | ({"costs": canonical(costs)} if costs else {})


def log_name(index: int) -> str:
    """The name in the archive of the verifier's log of a program, by its place in the object."""
    return f"program-{index:05}.log"


def _named(report: Report) -> Iterator[tuple[str, Log]]:
    yield OBJECT, report.load_log
    yield from ((log_name(n), program.log) for n, program in enumerate(report.programs))


def costs_from_bytes(data: bytes) -> tuple[Cost, ...]:
    """The costs of the bytes of their JSON; StoreError if they are none."""
    try:
        return tuple(Cost(_number(c["jited"]), _number(c["verify_us"])) for c in json.loads(data))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"costs: expected a list of jited and verify_us, got {data[:40]!r}") from error


def _number(value: Any) -> int | None:
    if value is not None and type(value) is not int:
        raise TypeError(f"expected a number, got {type(value).__name__}")
    return value
