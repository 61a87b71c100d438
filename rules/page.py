"""The result of one run as a self-contained page: no script, nothing fetched, nothing hostile unescaped."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2

from bpfcompat import libbpfs, reports
from bpfcompat.as_declared import is_remark
from bpfcompat.gate import Row, decide
from bpfcompat.reports import to_declare
from bpfcompat.telling import passes
from bpfcompat.voice import clean

SIGNS = {"compatible": "✓", "incompatible": "✕", "inconclusive": "?"}


def render(rows: Sequence[Row], explained: Mapping[str, Mapping[str, Any]] = MappingProxyType({})) -> str:
    """The matrix at a glance, then each pair with its cause, evidence and command.

    `explained`: pair → explanation.to_json() of it.
    """
    objects, names, cells = reports.grid(rows)
    releases = {libbpfs.split(r.pair.kernel)[0]: r.release for r in rows if r.release}
    return _template().render(
        rows=rows,
        kernels={name: releases.get(name, "") for name in names},
        objects=list(objects),
        cells=cells,
        needed=reports.needs_lines(rows),
        decision=decide(rows),
        declared={name for name, heading in objects.items() if heading != name},
        signs=SIGNS,
        explained=explained,
    )


@cache
def _template() -> jinja2.Template:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["clean"] = clean
    made.tests["is_remark"] = is_remark
    made.globals["to_declare"] = to_declare
    made.globals["passes"] = passes
    return made.get_template("matrix.html.j2")
