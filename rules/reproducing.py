"""A signed verdict asked again: its inputs by digest, a fresh guest here, and whether both say the same.

A project's own kernels, validator and object are taken where they are the verdict's.  Where they are not, a registry
that lends the inputs of its verdicts is enough, and there need be no project: the guest is made of what the verdict
names, byte for byte.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bpfcompat import envelope, plan
from bpfcompat.config import object_spec
from bpfcompat.control import Controller
from bpfcompat.digest import canonical, digest_bytes, digest_file, is_digest, short
from bpfcompat.errors import BpfcompatError, ConfigError, Exit, NotHereError, ObjectError, TrustError
from bpfcompat.files import read_bounded
from bpfcompat.model import ObjectSpec, Report
from bpfcompat.plan import Matrix, Pair
from bpfcompat.policy import Policy
from bpfcompat.realise import NotThere
from bpfcompat.registry import layout
from bpfcompat.registry.client import Folder, Source, open_source
from bpfcompat.registry.text import plain
from bpfcompat.registry.verify import Trust
from bpfcompat.rules.roots import sessions_of
from bpfcompat.rules.session import Session
from bpfcompat.rules.stranger import PAIR, Inputs, as_asked, attach_mode
from bpfcompat.statement import Claim, parse_verdict_statement, question_id, question_of
from bpfcompat.wire import report_from_bytes, report_to_json

TOOLS = ("validator", "initramfs")  # what differs where another compiler built the same sources
SHOWN = 12  # differences that are told


def reproduce(root: Path, bundle: str, registry: str | None, policy: Policy | None, given: Path | None,
              other_tools: bool) -> tuple[Exit, list[str]]:  # fmt: skip
    """Ask a verdict's question again in the project at `root`; exit code and what to say.

    0 report and answer agree, 1 they do not.  NotHereError or GuestError (3) where it could not be asked,
    TrustError for a bundle that `policy` does not believe; without a policy its signature is not checked.
    """
    data, digest, source = _bundle(bundle, registry)
    claim, trust = _claim(data, digest, policy)
    theirs = _evidence(source, claim)
    asker, pair = _prepared_anyhow(root, claim, given, source)
    label = plain(f"{claim.object_name}@{claim.kernel_name}", 120)
    differing = _differences(asker, pair, claim)
    if differing and not (other_tools and all(line.startswith(TOOLS) for line in differing)):
        hint = "the same compiler and libbpf, or --other-tools" if differing[0].startswith(TOOLS) else None
        raise NotHereError(f"{label}: cannot be asked here as it was: {'; '.join(differing)[:1000]}", hint)
    report, _attempts = asker.ask_anew(pair)
    code, lines = _compared(asker, pair, claim, theirs, report)
    return code, [f"{label}: {trust}", *(f"other tools: {line}" for line in differing), *lines]


def _bundle(bundle: str, registry: str | None) -> tuple[bytes, str | None, Source | None]:
    """A bundle from a file, or by its pae digest from a registry; and where its report may lie."""
    source = open_source(registry) if registry else None
    place = Path(bundle)
    if place.is_file():
        beside = place.absolute().parent.parent
        folder = Folder(beside) if source is None and (beside / layout.FORMAT_FILE).is_file() else None
        return read_bounded(place, envelope.MAX_BYTES, ConfigError), None, source or folder
    digest = bundle if bundle.startswith("sha256:") else f"sha256:{bundle}"
    if source is None or not is_digest(digest):
        raise ConfigError(f"{bundle[:200]}: no such file", hint="a bundle's file, or its pae digest with --registry")
    data = source.read(layout.bundle_path(digest), envelope.MAX_BYTES)
    if data is None:
        raise TrustError(f"{layout.bundle_path(digest)}: is missing", hint="is this the registry it is in?")
    return data, digest, source


def _claim(data: bytes, digest: str | None, policy: Policy | None) -> tuple[Claim, str]:
    """What a bundle says, and in words whether that is to be believed."""
    signed = envelope.parse(data)
    if policy is None:
        return parse_verdict_statement(signed.payload), "its signature was not checked (no --key)"
    found = Trust(policy, int(time.time())).claim(data, digest or envelope.pae_digest(signed.payload))
    return found, f"signed by {signed.keyid}, which is trusted"


def _evidence(source: Source | None, claim: Claim) -> bytes | None:
    """The report that the verdict rests on, if it is to be had and is that one."""
    data = source.read(layout.evidence_path(claim.report), layout.MAX_EVIDENCE_BYTES) if source else None
    if data is not None and digest_bytes(data) != claim.report:
        raise TrustError(f"{layout.evidence_path(claim.report)}: its bytes are not what its name says")
    return data


def _prepared_anyhow(root: Path, claim: Claim, given: Path | None, source: Source | None) -> tuple[Controller, Pair]:
    """By the project here, or else with what the verdict's registry lends."""
    try:
        return _prepared(root, claim, given)
    except (ConfigError, NotHereError):
        lent = Inputs.fetched(source, claim, given) if source else None
        if lent is None:
            raise
        return lent.asker(root, claim), PAIR


def _prepared(root: Path, claim: Claim, given: Path | None) -> tuple[Controller, Pair]:
    """Who asks, by the settings that the verdict was made with, and the pair by its names here."""
    session = sessions_of(root)[0]
    spec = _object(session, claim, given)
    pair = Pair(spec.name, _kernel(session, claim))
    shop = session.asker.shop
    objects, kernels = {**shop.matrix.objects, spec.name: spec}, shop.matrix.kernels
    matrix = Matrix(objects, kernels, (pair.kernel,), {spec.name: frozenset((pair.kernel,))})
    return Controller(replace(shop, matrix=matrix, config=as_asked(shop.config, claim))), pair


def _object(session: Session, claim: Claim, given: Path | None) -> ObjectSpec:
    """The object with the verdict's digest: the given file, or one of the project's, the one of that name first."""
    attach = attach_mode(claim)
    if given is not None:
        if not given.is_file() or digest_file(given) != claim.object_digest:
            raise ObjectError(f"{given}: expected the object {short(claim.object_digest)}, got another or none")
        return replace(
            object_spec("object", {"prebuilt": str(given.absolute())}, Path.cwd(), "--object"), attach=attach
        )
    matrix, asker = session.matrix, session.asker
    for name in sorted(matrix.objects, key=lambda n: n != claim.object_name):
        try:
            if asker.object(name, make=name == claim.object_name).digest == claim.object_digest:
                return matrix.objects[name]
        except (NotThere, BpfcompatError):
            continue
    raise NotHereError(f"{plain(claim.object_name, 60)}: object {short(claim.object_digest)} is not in this project",
                      hint="--object FILE")  # fmt: skip


def _kernel(session: Session, claim: Claim) -> str:
    """The kernel with the verdict's image, by its name here; that of the verdict's name is fetched if need be."""
    for name in sorted(session.matrix.kernels, key=lambda n: n != claim.kernel_name):
        try:
            if session.asker.kernel(name, make=name == claim.kernel_name).vmlinuz.digest == claim.vmlinuz:
                return name
        except (NotThere, BpfcompatError):
            continue
    known = f"{plain(claim.kernel_name, 60)} ({plain(claim.kernel_release, 60)})"
    raise NotHereError(f"kernel {known}: {short(claim.vmlinuz)} is none of this project's kernels",
                      hint="put its package into the catalogue and lock: docs/kernels.md")  # fmt: skip


def _differences(asker: Controller, pair: Pair, claim: Claim) -> list[str]:
    """What is asked here that was not asked there, one input a line."""
    shared, digest = asker.column(pair.kernel).inputs, asker.object(pair.object).digest
    ours = {**shared, "object": digest, "spec": asker.recipe(pair)}
    theirs = question_of(claim)
    return [] if question_id(ours) == question_id(theirs) else list(plan.changes(theirs, ours))


def _compared(asker: Controller, pair: Pair, claim: Claim, theirs: bytes | None, report: Report
              ) -> tuple[Exit, list[str]]:  # fmt: skip
    verdict, body = asker.classify(pair, report), canonical(report_to_json(report))
    there = (claim.verdict.answer, claim.verdict.cause)
    here = (verdict.answer, verdict.cause)
    same = digest_bytes(body) == claim.report
    alike = same or (theirs is not None and asker.as_good(pair, report_from_bytes(theirs), report))
    lines = [
        f"there  {_words(there)}  report {short(claim.report)}",
        f"here   {_words(here)}  report {short(digest_bytes(body))}",
    ]
    if alike and here == there:
        how = (
            "the report is the same, byte for byte" if same else "the reports differ in what hangs on the moment alone"
        )
        return Exit.OK, [*lines, f"agrees: {how}"]
    return Exit.UNEXPECTED, [*lines, *_told(theirs, report, alike), "differs"]


def _told(theirs: bytes | None, report: Report, alike: bool) -> Iterator[str]:
    """In what two reports differ, as far as there are two."""
    if alike:
        yield "the reports agree, and are judged differently"
    elif theirs is None:
        yield "their report is not here to compare: --registry says where it is"
    else:
        found = plan.changes(json.loads(theirs), _as_table(report))
        yield from (plain(line, 300) for line in found[:SHOWN])
        if len(found) > SHOWN:
            yield f"and {len(found) - SHOWN} more"


def _as_table(report: Report) -> Mapping[str, Any]:
    table: Mapping[str, Any] = json.loads(canonical(report_to_json(report)))
    return table


def _words(outcome: tuple[str, str]) -> str:
    answer, cause = outcome
    return f"{answer}{cause and ': ' + plain(cause, 60)}"
