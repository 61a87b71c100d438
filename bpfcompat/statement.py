"""A verdict as an in-toto Statement, a matrix as another, and both back.  Pure: takes values, gives values.

A verdict statement says what was asked (object, kernel, guest, recipe: all by digest) and what the answer was; it
holds no time, host name or path, so equal work gives equal bytes.  An inconclusive verdict is never stated.  Reading is
strict: the payload must be, byte for byte, what this module writes for the value it was read as; so nothing can hide
beside the fields we know, and no two spellings mean the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from bpfcompat.behaviour import Outcome, TestVerdict
from bpfcompat.costs import measures_from_json
from bpfcompat.digest import canonical, digest_bytes, digest_json, hex_of
from bpfcompat.envelope import MAX_BYTES, pae_digest
from bpfcompat.errors import TrustError
from bpfcompat.gate import meets
from bpfcompat.model import Answer, Attach, Creation, Expectation, MapVerdict, ProgramVerdict, Verdict
from bpfcompat.strictjson import parse_json
from bpfcompat.tlog import MAX_SIZE, Checkpoint, check_origin

FORMAT = 1  # of the fields under `bpfcompat` in the predicate
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
VERDICT_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
MATRIX_TYPE = "urn:bpfcompat:matrix:v1"
MAX_MATRIX_BYTES = 16 << 20
NOT_TO_BE_HAD = "not-to-be-had"  # the cause of an inconclusive row whose optional kernel or object could not be got
_RESULTS = {Answer.COMPATIBLE: "PASSED", Answer.INCOMPATIBLE: "FAILED"}
_WRONG_SHAPE = (KeyError, TypeError, ValueError, AttributeError)  # what a look-up in a stranger's JSON raises
_CONFIGURATION = (
    "kernel", "kernel-config", "kernel-modules", "validator", "libbpf", "initramfs", "command-line", "conditions",
    "machine", "recipe", "report",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Claim:
    """What one verdict statement says.

    Digests are `sha256:…`: the object, the kernel's `vmlinuz`, `config` and index of `modules` (None: the kernel came
    without), the validator, libbpf's source, the initramfs, the report.  `machine`, `spec` and `conditions` are JSON
    values of the probe's action; `conditions` is empty for a kernel as it comes.
    """

    object_name: str
    object_digest: str
    kernel_name: str
    kernel_release: str
    kernel_arch: str
    vmlinuz: str
    config: str | None
    validator: str
    libbpf_version: str
    libbpf_source: str
    initramfs: str
    command_line: str
    machine: Mapping[str, Any]
    spec: Mapping[str, Any]
    report: str
    classifier: str
    verdict: Verdict
    modules: str | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def as_declared(self) -> bool:
        """True when something was set before loading: the answer is not about the object as it came."""
        return "declared" in self.spec

    @property
    def loader(self) -> str:
        """Who loaded the object: `bpftool sha256:…` where the recipe names the project's own loader, else libbpf."""
        command = self.spec.get("command")
        loader = command.get("loader") if isinstance(command, Mapping) else None
        if not isinstance(loader, Mapping):
            return f"libbpf {self.libbpf_version}"
        return f"{loader.get('name')} {loader.get('digest')}"


@dataclass(frozen=True, slots=True)
class Row:
    """One pair of a published matrix.

    `bundle` is the pae digest of the verdict's bundle, None exactly when the answer is inconclusive; `cause` is then
    NOT_TO_BE_HAD or why the kernel could not be asked.  Digests and pair id are None where there was nothing to name.
    """

    object_name: str
    object_digest: str | None
    kernel_name: str
    kernel_release: str
    vmlinuz: str | None
    pair: str | None
    bundle: str | None
    answer: Answer
    cause: str
    expected: Expectation
    required: bool = True

    @property
    def as_expected(self) -> bool:
        """The gate's rule; a kernel that is optional and not to be had is nobody's failure."""
        return self.cause == NOT_TO_BE_HAD or meets(self.expected, self.answer, self.cause)

    @property
    def label(self) -> str:
        """The pair as people type it: `ringbuf@debian-12`."""
        return f"{self.object_name}@{self.kernel_name}"


@dataclass(frozen=True, slots=True)
class Matrix:
    """A whole published matrix: rows in the order of the plan, its life in Unix seconds, and the log it was cut from.

    Every bundle of its rows is in that log; None of a registry without one (format 1).
    """

    rows: tuple[Row, ...]
    not_before: int
    expires: int
    log: Checkpoint | None = None

    @property
    def as_expected(self) -> bool:
        """True when every required row is as expected."""
        return all(row.as_expected for row in self.rows if row.required)


def verdict_statement(claim: Claim) -> dict[str, Any]:
    """The in-toto Statement of a claim: a test-result about the object alone.

    The object is the only subject, because tools take "any subject matches" for a match: with the kernel beside it,
    a kernel image would pass as tested.  TrustError for an inconclusive verdict or a digest that is none.
    """
    verdict = claim.verdict
    if verdict.answer not in _RESULTS:
        raise TrustError(f"{claim.object_name}@{claim.kernel_name}: an inconclusive verdict is never stated")
    if (verdict.answer is Answer.COMPATIBLE) != (verdict.cause == ""):
        raise TrustError(f"answer {verdict.answer}: cause {verdict.cause[:80]!r}: exactly incompatible has a cause")
    passed = [*(p.name for p in verdict.programs if _works(p)), *_tests(verdict, passed=True)]
    broken = [*(p.name for p in verdict.programs if not _works(p)), *_tests(verdict, passed=False)]
    compatible = verdict.answer is Answer.COMPATIBLE
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": claim.object_name, "digest": _sha256(claim.object_digest)}],
        "predicateType": VERDICT_TYPE,
        "predicate": {
            "result": _RESULTS[verdict.answer],
            "configuration": _configuration(claim),
            "passedTests": passed,
            "warnedTests": broken if compatible else [],
            "failedTests": [] if compatible else broken,
            "bpfcompat": {"format": FORMAT, "classifier": claim.classifier, **_as_json(asdict(verdict))},
        },
    }


def parse_verdict_statement(payload: bytes) -> Claim:
    """The claim in a payload whose signature has been checked; TrustError unless it is exactly one of ours."""
    statement = parse_json(payload, "statement", MAX_BYTES)
    _check_type(statement, VERDICT_TYPE)
    try:
        claim = _claim(statement)
        same = canonical(verdict_statement(claim)) == payload
    except _WRONG_SHAPE as error:
        raise TrustError(f"statement: not as docs/statement.md says: {_brief(error)}") from None
    if not same:
        raise TrustError("statement: has other fields or another spelling than docs/statement.md says")
    return claim


def pair_id(claim: Claim) -> str:
    """64 hex digits that name the question: object, kernel, guest, recipe; never the answer or a display name."""
    question = {
        "object": claim.object_digest,
        "kernel": {
            "vmlinuz": claim.vmlinuz,
            "config": claim.config,
            **({"modules": claim.modules} if claim.modules is not None else {}),
        },
        "validator": claim.validator,
        "initramfs": claim.initramfs,
        "command_line": claim.command_line,
        "machine": _as_json(claim.machine),
        "spec": _as_json(claim.spec),
        **({"conditions": _as_json(claim.conditions)} if claim.conditions else {}),
    }
    return hex_of(digest_json({"format": FORMAT, "pair": question}))


def verdict_payload(claim: Claim) -> bytes:
    """The exact bytes that are signed for a claim; TrustError if `parse_verdict_statement` would refuse them."""
    payload = canonical(verdict_statement(claim))
    parse_verdict_statement(payload)
    return payload


def row_of(claim: Claim, expected: Expectation, required: bool = True) -> Row:
    """A claim as a row of a matrix; its bundle has a name before it is signed, as no signature is part of that."""
    verdict = claim.verdict
    return Row(
        claim.object_name, claim.object_digest, claim.kernel_name, claim.kernel_release, claim.vmlinuz,
        pair_id(claim), pae_digest(verdict_payload(claim)), verdict.answer, verdict.cause, expected, required,
    )  # fmt: skip


def matrix_statement(matrix: Matrix) -> dict[str, Any]:
    """The in-toto Statement of a matrix: every object is a subject, every pair a row of the predicate."""
    labels = [row.label for row in matrix.rows]
    if not labels or len(set(labels)) != len(labels):
        raise TrustError("matrix: expected at least one row and no pair twice")
    known = {(row.object_name, row.object_digest) for row in matrix.rows if row.object_digest}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": _sha256(digest)} for name, digest in sorted(known) if digest],
        "predicateType": MATRIX_TYPE,
        "predicate": {
            "format": FORMAT,
            "not_before": _time(matrix.not_before),
            "expires": _time(matrix.expires),
            "as_expected": matrix.as_expected,
            **({"log": _log_json(matrix.log)} if matrix.log is not None else {}),
            "rows": [_row_json(row) for row in matrix.rows],
        },
    }


def matrix_payload(matrix: Matrix) -> bytes:
    """The exact bytes that are signed for a matrix."""
    payload = canonical(matrix_statement(matrix))
    parse_matrix_statement(payload)
    return payload


def parse_matrix_statement(payload: bytes) -> Matrix:
    """The matrix in a payload whose signature has been checked; TrustError unless it is exactly one of ours."""
    statement = parse_json(payload, "matrix", MAX_MATRIX_BYTES)
    _check_type(statement, MATRIX_TYPE)
    try:
        predicate = statement["predicate"]
        rows = tuple(_row(entry) for entry in predicate["rows"])
        log = _log(predicate["log"]) if "log" in predicate else None
        matrix = Matrix(rows, _seconds(predicate["not_before"]), _seconds(predicate["expires"]), log)
        same = canonical(matrix_statement(matrix)) == payload
    except _WRONG_SHAPE as error:
        raise TrustError(f"matrix: not as docs/statement.md says: {_brief(error)}") from None
    if not same:
        raise TrustError("matrix: has other fields or another spelling than docs/statement.md says")
    return matrix


def parse_expectation(text: str) -> Expectation:
    """`any`, `may-fail[:CAUSE]`, `unknown`, or an answer, as Expectation prints itself; ValueError otherwise."""
    word, _, cause = text.partition(":")
    lenient = word in ("any", "may-fail", "unknown")
    found = Expectation(None, cause or None, word) if lenient else Expectation(Answer(word), cause or None)
    if str(found) != text or (cause and word in ("any", "unknown")):
        raise ValueError(f"expectation {text[:80]!r}")
    return found


def _configuration(claim: Claim) -> list[dict[str, Any]]:
    """Everything the answer hangs on, as in-toto ResourceDescriptors; what is text or settings rides in annotations."""
    kernel = {"name": claim.kernel_name, "release": claim.kernel_release, "arch": claim.kernel_arch}
    return [
        _resource("kernel", _sha256(claim.vmlinuz), kernel),
        *([_resource("kernel-config", _sha256(claim.config))] if claim.config is not None else []),
        *([_resource("kernel-modules", _sha256(claim.modules))] if claim.modules is not None else []),
        _resource("validator", _sha256(claim.validator)),
        _resource("libbpf", _sha256(claim.libbpf_source), {"version": claim.libbpf_version}),
        _resource("initramfs", _sha256(claim.initramfs)),
        _resource("command-line", _sha256(digest_bytes(claim.command_line.encode())), {"text": claim.command_line}),
        *_conditions(claim.conditions),
        _resource("machine", _sha256(digest_json(claim.machine)), {"machine": _as_json(claim.machine)}),
        _resource("recipe", _sha256(digest_json(claim.spec)), {"spec": _as_json(claim.spec)}),
        _resource("report", _sha256(claim.report)),
    ]


def _conditions(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_resource("conditions", _sha256(digest_json(told)), {"conditions": _as_json(told)})] if told else []


def _resource(name: str, digest: dict[str, str], annotations: Mapping[str, Any] | None = None) -> dict[str, Any]:
    noted = {"annotations": dict(annotations)} if annotations is not None else {}
    return {"name": name, "digest": digest, **noted}


def _claim(statement: Mapping[str, Any]) -> Claim:
    """A statement's fields as a claim; a wrong shape is any of Python's look-up errors, for the caller to explain."""
    (subject,) = statement["subject"]
    predicate = statement["predicate"]
    extra = predicate["bpfcompat"]
    if extra["format"] != FORMAT:
        raise TrustError(f"statement: format {str(extra['format'])[:20]}, this program reads {FORMAT}")
    found = {entry["name"]: entry for entry in predicate["configuration"]}
    if not set(found) <= set(_CONFIGURATION):
        raise TrustError("statement: configuration: unknown resource")
    noted = {name: entry.get("annotations", {}) for name, entry in found.items()}
    digest = {name: _digest(entry) for name, entry in found.items()}
    return Claim(
        object_name=_text(subject["name"]),
        object_digest=_digest(subject),
        kernel_name=_text(noted["kernel"]["name"]),
        kernel_release=_text(noted["kernel"]["release"]),
        kernel_arch=_text(noted["kernel"]["arch"]),
        vmlinuz=digest["kernel"],
        config=digest.get("kernel-config"),
        validator=digest["validator"],
        libbpf_version=_text(noted["libbpf"]["version"]),
        libbpf_source=digest["libbpf"],
        initramfs=digest["initramfs"],
        command_line=_text(noted["command-line"]["text"]),
        machine=_mapping(noted["machine"]["machine"]),
        spec=_mapping(noted["recipe"]["spec"]),
        report=digest["report"],
        classifier=_text(extra["classifier"]),
        verdict=_verdict(extra),
        modules=digest.get("kernel-modules"),
        conditions=_mapping(noted["conditions"]["conditions"]) if "conditions" in noted else {},
    )


def _verdict(extra: Mapping[str, Any]) -> Verdict:
    return Verdict(
        answer=Answer(extra["answer"]),
        cause=_text(extra["cause"]),
        sentence=_text(extra["sentence"]),
        evidence=_texts(extra["evidence"]),
        errno=_text(extra["errno"]),
        hint=_text(extra["hint"]),
        subject=_text(extra["subject"]),
        notes=_texts(extra["notes"]),
        programs=tuple(_program(entry) for entry in extra["programs"]),
        maps=tuple(_map(entry) for entry in extra["maps"]),
        tests=tuple(_test(entry) for entry in extra["tests"]),
    )


def _test(entry: Mapping[str, Any]) -> TestVerdict:
    if not isinstance(entry["required"], bool):
        raise TypeError("required: expected true or false")
    return TestVerdict(_text(entry["name"]), entry["required"], Outcome(entry["outcome"]), _texts(entry["detail"]))


def _program(entry: Mapping[str, Any]) -> ProgramVerdict:
    if not isinstance(entry["loaded"], bool):
        raise TypeError("loaded: expected true or false")
    return ProgramVerdict(
        name=_text(entry["name"]),
        section=_text(entry["section"]),
        type=_text(entry["type"]),
        loaded=entry["loaded"],
        attach=Attach(entry["attach"]),
        cause=_text(entry["cause"]),
        detail=_text(entry["detail"]),
        measures=measures_from_json(entry["measures"]),
        how=_text(entry["how"]),
    )


def _map(entry: Mapping[str, Any]) -> MapVerdict:
    return MapVerdict(
        _text(entry["name"]), _text(entry["type"]), Creation(entry["outcome"]), _text(entry["errno"]),
        _text(entry["detail"]),
    )  # fmt: skip


def _tests(verdict: Verdict, passed: bool) -> list[str]:
    """The behaviour tests that passed, or did not; a word before the name, so that no program has it."""
    return [f"test:{t.name}" for t in verdict.tests if (t.outcome is Outcome.PASSED) == passed]


def _works(program: ProgramVerdict) -> bool:
    """A passed test: the program loaded when asked alone, and where attaching was tried, it attached."""
    return program.loaded and program.attach is not Attach.FAILED


def _row_json(row: Row) -> dict[str, Any]:
    conclusive = row.answer is not Answer.INCONCLUSIVE
    if conclusive != (row.bundle is not None) or (conclusive and not (row.pair and row.object_digest and row.vmlinuz)):
        raise TrustError(f"matrix: {row.label}: exactly a conclusive row names a bundle, its pair and its digests")
    for named in (row.object_digest, row.vmlinuz, row.bundle, f"sha256:{row.pair}" if row.pair is not None else None):
        if named is not None:
            hex_of(named)
    return {
        "object": {"name": row.object_name, "digest": row.object_digest},
        "kernel": {"name": row.kernel_name, "release": row.kernel_release, "vmlinuz": row.vmlinuz},
        "pair": row.pair,
        "bundle": row.bundle,
        "answer": str(row.answer),
        "cause": row.cause,
        "expected": str(row.expected),
        "required": row.required,
        "as_expected": row.as_expected,
    }


def _row(entry: Mapping[str, Any]) -> Row:
    if not isinstance(entry["required"], bool):
        raise TypeError("required: expected true or false")
    found, kernel = entry["object"], entry["kernel"]
    return Row(
        _text(found["name"]), _maybe(found["digest"]),
        _text(kernel["name"]), _text(kernel["release"]), _maybe(kernel["vmlinuz"]),
        _maybe(entry["pair"]), _maybe(entry["bundle"]), Answer(entry["answer"]), _text(entry["cause"]),
        parse_expectation(_text(entry["expected"])), entry["required"],
    )  # fmt: skip


def _log_json(log: Checkpoint) -> dict[str, Any]:
    check_origin(log.origin)
    return {"origin": log.origin, "size": log.size, "root": _sha256("sha256:" + log.root.hex())["sha256"]}


def _log(entry: Mapping[str, Any]) -> Checkpoint:
    size = entry["size"]
    if type(size) is not int or not 0 <= size <= MAX_SIZE:
        raise TypeError("log: size: expected a whole number")
    return Checkpoint(_text(entry["origin"]), size, bytes.fromhex(hex_of("sha256:" + _text(entry["root"]))))


def _check_type(statement: Any, predicate_type: str) -> None:
    found = statement if isinstance(statement, dict) else {}
    for name, wanted in (("_type", STATEMENT_TYPE), ("predicateType", predicate_type)):
        if found.get(name) != wanted:
            raise TrustError(f"statement: {name}: expected {wanted}, got {str(found.get(name))[:80]!r}")


def _sha256(digest: str) -> dict[str, str]:
    return {"sha256": hex_of(digest)}


def _digest(entry: Mapping[str, Any]) -> str:
    (algorithm,) = entry["digest"]
    if algorithm != "sha256":
        raise TrustError(f"statement: digest: expected sha256 alone, got {str(algorithm)[:40]!r}")
    return "sha256:" + _text(entry["digest"]["sha256"])


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:80]}"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {type(value).__name__}")
    return value


def _maybe(value: Any) -> str | None:
    return None if value is None else _text(value)


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(f"expected a list, got {type(values).__name__}")
    return tuple(_text(value) for value in values)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, got {type(value).__name__}")
    return value


def _as_json(value: Any) -> Any:
    """A value with Mappings as dicts and sequences as lists: what JSON reads back as."""
    if isinstance(value, Mapping):
        return {str(name): _as_json(inner) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_as_json(inner) for inner in value]
    return value
