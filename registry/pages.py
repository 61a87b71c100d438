"""Verified values in, static HTML out: the matrix at a glance, and a page for each pair.

Autoescaped, without script, style in one file, so that the server's strict content policy holds.  Text from objects and
guests goes through `plain` first; a colour never stands alone, a sign and a word go with it.
"""

import base64
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2

from bpfcompat.builds import ENUMS, Build
from bpfcompat.buildtext import Asked, said_bytes, telling, title
from bpfcompat.digest import canonical, digest_bytes, raw_digest
from bpfcompat.manifest import Matrix, Row
from bpfcompat.model import Answer
from bpfcompat.registry import layout
from bpfcompat.registry.layout import Entry
from bpfcompat.registry.text import plain, when
from bpfcompat.reports import costs_of
from bpfcompat.statement import Claim
from bpfcompat.telling import passes

_TEMPLATES = Path(__file__).parent / "templates"
_SIGNS = {Answer.COMPATIBLE: "✓", Answer.INCOMPATIBLE: "✕", Answer.INCONCLUSIVE: "?"}


def style() -> str:
    """The style sheet."""
    return (_TEMPLATES / "style.css").read_text(encoding="utf-8")


def index(
    matrix: Matrix,
    digest: str,
    signer: str,
    conflicting: Collection[str],
    noted: Collection[str] = (),
    declared: Collection[str] = (),
    pages: Mapping[str, str] | None = None,
) -> str:
    """The matrix as a page: a row an object, a column a kernel.

    `conflicting` are pair ids with two signed answers, `noted` those whose verdict says more than its answer does,
    `declared` objects whose verdicts are as declared, `pages` the page of each kernel that has one.
    """
    kernels = list(dict.fromkeys(row.kernel_name for row in matrix.rows))
    objects = list(dict.fromkeys(row.object_name for row in matrix.rows))
    return _render(
        "index.html.j2",
        matrix=matrix,
        kernels=kernels,
        releases={row.kernel_name: row.kernel_release for row in matrix.rows if row.kernel_release},
        objects=objects,
        digests={row.object_name: row.object_digest for row in matrix.rows if row.object_digest},
        cells={(row.object_name, row.kernel_name): row for row in matrix.rows},
        counts=Counter(str(row.answer) for row in matrix.rows),
        surprises=[row for row in matrix.rows if not row.as_expected],
        conflicting=conflicting,
        noted=noted,
        declared=declared,
        kernel_pages=pages or {},
        manifest=layout.manifest_path(digest),
        signer=signer,
    )


def kernel(
    names: Sequence[str], build: Build, digest: str, signer: str, said: Mapping[str, Asked] = MappingProxyType({})
) -> str:
    """The page of one build: all that its inventory has, and what guests said, by the kernel's name."""
    return _render(
        "kernel.html.j2",
        names=names,
        build=build,
        kinds={kind: build.names(kind) for kind in (*ENUMS, "flags")},
        compiled_out={
            (kind, name): option
            for kind in ENUMS
            for name in build.names(kind)
            if (option := build.switched_off(kind, name))
        },
        options=telling(build),
        title=title,
        said={name: (asked, layout.inventory_path(digest_bytes(said_bytes(asked)))) for name, asked in said.items()},
        inventory=layout.inventory_path(digest),
        signer=signer,
    )


def pair(
    claim: Claim, row: Row, entries: Sequence[Entry], signer: str, explained: Mapping[str, Any] | None = None
) -> str:
    """The page of one pair, from the claim that its row names; `entries` is the pair's index.

    `explained` is explanation.to_json(), which nobody signed: the page says so.
    """
    return _render(
        "pair.html.j2",
        claim=claim,
        verdict=claim.verdict,
        row=row,
        entries=entries,
        conflict=len({entry.answer for entry in entries}) > 1,
        bundle=layout.bundle_path(row.bundle or ""),
        evidence=layout.evidence_path(claim.report),
        signer=signer,
        why=explained,
        passes=passes(explained["nearest_pass"]) if explained else (),
    )


def audit(told: Mapping[str, Any], signs: Mapping[str, str]) -> str:
    """An audit's report, all in one file, from auditreport.to_json(); `signs` by standing and by answer."""
    css = style() + (_TEMPLATES / "audit.css").read_text(encoding="utf-8")
    allowed = base64.b64encode(raw_digest(css.encode())).decode()
    return _render("audit.html.j2", told=told, marks=signs, css=css, allowed=allowed)


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"plain": plain, "when": when, "compact": _compact, "costs": costs_of}
    made.globals |= {"signs": _SIGNS, "page_path": layout.page_path, "bundle_path": layout.bundle_path}
    return made


def _compact(value: object) -> str:
    return canonical(value).decode()


def _render(template: str, **values: object) -> str:
    return _environment().get_template(template).render(**values)
