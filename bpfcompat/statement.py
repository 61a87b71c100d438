"""A verdict as an in-toto Statement, and back; manifest.py does the same for a matrix.  Pure.

A verdict statement says what was asked (object, kernel, guest, recipe: all by digest) and what the answer was; it
holds no time, host name or path, so equal work gives equal bytes.  An inconclusive verdict is never stated.  Reading is
strict: the payload must be, byte for byte, what this module writes for the value it was read as; so nothing can hide
beside the fields we know, and no two spellings mean the same.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bpfcompat.behaviour import Outcome, TestVerdict
from bpfcompat.costs import measures_from_json
from bpfcompat.digest import as_json, canonical, digest_bytes, digest_json, hex_of
from bpfcompat.envelope import MAX_BYTES
from bpfcompat.errors import TrustError
from bpfcompat.model import Answer, Attach, Creation, MapVerdict, ProgramVerdict, Verdict
from bpfcompat.strictjson import parse_json

FORMAT = 1  # of the fields under `bpfcompat` in the predicate
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
VERDICT_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
_RESULTS = {Answer.COMPATIBLE: "PASSED", Answer.INCOMPATIBLE: "FAILED"}
WRONG_SHAPE = (KeyError, TypeError, ValueError, AttributeError)  # what a look-up in a stranger's JSON raises
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
    _payload: bytes | None = field(default=None, init=False, repr=False, compare=False)

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
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": claim.object_name, "digest": sha256_set(claim.object_digest)}],
        "predicateType": VERDICT_TYPE,
        "predicate": {
            "configuration": _configuration(claim),
            "bpfcompat": _told(claim.classifier, verdict),
            **_results(verdict),
        },
    }


def _told(classifier: str, verdict: Verdict) -> dict[str, Any]:
    return {"format": FORMAT, "classifier": classifier, **as_json(verdict)}


def _results(verdict: Verdict) -> dict[str, Any]:
    """The verdict as a test-result has it."""
    passed = [*(p.name for p in verdict.programs if _works(p)), *_tests(verdict, passed=True)]
    broken = [*(p.name for p in verdict.programs if not _works(p)), *_tests(verdict, passed=False)]
    compatible = verdict.answer is Answer.COMPATIBLE
    return {
        "result": _RESULTS[verdict.answer],
        "passedTests": passed,
        "warnedTests": broken if compatible else [],
        "failedTests": [] if compatible else broken,
    }


def parse_verdict_statement(payload: bytes) -> Claim:
    """The claim in a payload whose signature has been checked; TrustError unless it is exactly one of ours."""
    claim = _PARTS.compose(payload)
    if claim is None:
        claim = _parsed(payload)
        _PARTS.learn(payload, claim)
    object.__setattr__(claim, "_payload", payload)
    return claim


def _parsed(payload: bytes) -> Claim:
    statement = parse_json(payload, "statement", MAX_BYTES)
    check_type(statement, VERDICT_TYPE)
    try:
        claim = _claim(statement)
        same = canonical(verdict_statement(claim)) == payload
    except WRONG_SHAPE as error:
        raise TrustError(f"statement: not as docs/statement.md says: {brief(error)}") from None
    if not same:
        raise TrustError("statement: has other fields or another spelling than docs/statement.md says")
    return claim


class _Parts:
    """Parts of statements that were read in full, so that the next with the same parts is put together, not parsed.

    A matrix has few kernels and few recipes; verdicts that name their kernel's release are many, and a new one is read
    without what was asked.  What is put together is what would have been read: the parts are whole JSON values in the
    same place as before, what joins them is literal, and what one part says of another (the lists of tests) belongs to
    the same part.
    """

    HEAD = f'{{"_type":"{STATEMENT_TYPE}","predicate":{{"bpfcompat":'.encode()
    ASKED = b',"configuration":['
    REPORT = b'"},"name":"report"}],'
    OBJECT = f'}},"predicateType":"{VERDICT_TYPE}","subject":[{{"digest":{{"sha256":"'.encode()
    END = re.compile(rb'([0-9a-f]{64})"\},"name":"([ !#-\[\]-~]*)"\}\]\}')
    HEX = re.compile(rb"[0-9a-f]{64}")
    MOST, LONGEST = 4096, 16 << 10

    def __init__(self) -> None:
        self._said: dict[tuple[bytes, bytes], tuple[str, Verdict]] = {}
        self._asked: dict[bytes, tuple[tuple[Any, ...], str | None, Mapping[str, Any]]] = {}

    def compose(self, payload: bytes) -> Claim | None:
        """The claim, when what was asked is known, and what is said is known or reads as it should."""
        cut = self._cut(payload)
        found = self._asked.get(cut[1]) if cut is not None else None
        if cut is None or found is None:
            return None
        verdict, _, report, end = cut
        said = self._said.get(verdict) or _read_said(*verdict)
        if said is None:
            return None
        question, modules, conditions = found
        name, digest = end[2].decode(), "sha256:" + end[1].decode()
        fields: tuple[Any, ...] = (name, digest, *question, f"sha256:{report.decode()}", *said, modules, conditions)
        return Claim(*fields)

    def learn(self, payload: bytes, claim: Claim) -> None:
        """Remember the parts of a statement that was read in full."""
        cut = self._cut(payload) if len(payload) <= self.LONGEST else None
        if cut is None:
            return
        if max(len(self._said), len(self._asked)) >= self.MOST:
            self.__init__()  # type: ignore[misc]
        question = (claim.kernel_name, claim.kernel_release, claim.kernel_arch, claim.vmlinuz, claim.config,
                    claim.validator, claim.libbpf_version, claim.libbpf_source, claim.initramfs, claim.command_line,
                    claim.machine, claim.spec)  # fmt: skip
        self._said[cut[0]] = (claim.classifier, claim.verdict)
        self._asked[cut[1]] = (question, claim.modules, claim.conditions)

    def _cut(self, payload: bytes) -> tuple[tuple[bytes, bytes], bytes, bytes, re.Match[bytes]] | None:
        """What is said, what was asked, the report's digest, and the object."""
        asked = payload.find(self.ASKED)
        report = payload.find(self.REPORT, asked)
        subject = payload.rfind(self.OBJECT)
        if not payload.startswith(self.HEAD) or not 0 < asked < report - 64 < subject:
            return None
        end = self.END.fullmatch(payload, subject + len(self.OBJECT))
        digest = payload[report - 64 : report]
        if end is None or self.HEX.fullmatch(digest) is None:
            return None
        said = payload[len(self.HEAD) : asked], payload[report + len(self.REPORT) : subject]
        return said, payload[asked + len(self.ASKED) : report - 64], digest, end


def _read_said(told: bytes, results: bytes) -> tuple[str, Verdict] | None:
    """Classifier and verdict from `bpfcompat` and from what follows the configuration; None unless exactly that."""
    try:
        extra = parse_json(told, "statement", MAX_BYTES)
        classifier, verdict = text(extra["classifier"]), _verdict(extra)
        same = canonical(_told(classifier, verdict)) == told and canonical(_results(verdict)) == b"{%b}" % results
        right = (verdict.answer is Answer.COMPATIBLE) == (verdict.cause == "")
    except (*WRONG_SHAPE, TrustError):
        return None  # whoever reads it in full says why
    return (classifier, verdict) if same and right else None


_PARTS = _Parts()


def pair_id(claim: Claim) -> str:
    """64 hex digits that name the question: object, kernel, guest, recipe; never the answer or a display name."""
    return question_id(question_of(claim))


def question_of(claim: Claim) -> dict[str, Any]:
    """What a claim is an answer to, all by digest or as JSON."""
    return {
        "object": claim.object_digest,
        "kernel": {
            "vmlinuz": claim.vmlinuz,
            "config": claim.config,
            **({"modules": claim.modules} if claim.modules is not None else {}),
        },
        "validator": claim.validator,
        "initramfs": claim.initramfs,
        "command_line": claim.command_line,
        "machine": as_json(claim.machine),
        "spec": as_json(claim.spec),
        **({"conditions": as_json(claim.conditions)} if claim.conditions else {}),
    }


def question_id(question: Mapping[str, Any]) -> str:
    """The pair id of a question: what all probes of a kernel share, the object's digest, and the recipe as `spec`."""
    return hex_of(digest_json({"format": FORMAT, "pair": question}))


def verdict_payload(claim: Claim) -> bytes:
    """The exact bytes that are signed for a claim; TrustError if `parse_verdict_statement` would refuse them."""
    if claim._payload is None:
        payload = canonical(verdict_statement(claim))
        parse_verdict_statement(payload)
        object.__setattr__(claim, "_payload", payload)
        return payload
    return claim._payload


def _configuration(claim: Claim) -> list[dict[str, Any]]:
    """Everything the answer hangs on, as in-toto ResourceDescriptors; what is text or settings rides in annotations."""
    kernel = {"name": claim.kernel_name, "release": claim.kernel_release, "arch": claim.kernel_arch}
    return [
        _resource("kernel", sha256_set(claim.vmlinuz), kernel),
        *([_resource("kernel-config", sha256_set(claim.config))] if claim.config is not None else []),
        *([_resource("kernel-modules", sha256_set(claim.modules))] if claim.modules is not None else []),
        _resource("validator", sha256_set(claim.validator)),
        _resource("libbpf", sha256_set(claim.libbpf_source), {"version": claim.libbpf_version}),
        _resource("initramfs", sha256_set(claim.initramfs)),
        _resource("command-line", sha256_set(digest_bytes(claim.command_line.encode())), {"text": claim.command_line}),
        *_conditions(claim.conditions),
        _resource("machine", sha256_set(digest_json(claim.machine)), {"machine": as_json(claim.machine)}),
        _resource("recipe", sha256_set(digest_json(claim.spec)), {"spec": as_json(claim.spec)}),
        _resource("report", sha256_set(claim.report)),
    ]


def _conditions(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_resource("conditions", sha256_set(digest_json(told)), {"conditions": as_json(told)})] if told else []


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
        object_name=text(subject["name"]),
        object_digest=_digest(subject),
        kernel_name=text(noted["kernel"]["name"]),
        kernel_release=text(noted["kernel"]["release"]),
        kernel_arch=text(noted["kernel"]["arch"]),
        vmlinuz=digest["kernel"],
        config=digest.get("kernel-config"),
        validator=digest["validator"],
        libbpf_version=text(noted["libbpf"]["version"]),
        libbpf_source=digest["libbpf"],
        initramfs=digest["initramfs"],
        command_line=text(noted["command-line"]["text"]),
        machine=_mapping(noted["machine"]["machine"]),
        spec=_mapping(noted["recipe"]["spec"]),
        report=digest["report"],
        classifier=text(extra["classifier"]),
        verdict=_verdict(extra),
        modules=digest.get("kernel-modules"),
        conditions=_mapping(noted["conditions"]["conditions"]) if "conditions" in noted else {},
    )


def _verdict(extra: Mapping[str, Any]) -> Verdict:
    return Verdict(
        answer=Answer(extra["answer"]),
        cause=text(extra["cause"]),
        sentence=text(extra["sentence"]),
        evidence=_texts(extra["evidence"]),
        errno=text(extra["errno"]),
        hint=text(extra["hint"]),
        subject=text(extra["subject"]),
        notes=_texts(extra["notes"]),
        programs=tuple(_program(entry) for entry in extra["programs"]),
        maps=tuple(_map(entry) for entry in extra["maps"]),
        tests=tuple(_test(entry) for entry in extra["tests"]),
    )


def _test(entry: Mapping[str, Any]) -> TestVerdict:
    if not isinstance(entry["required"], bool):
        raise TypeError("required: expected true or false")
    return TestVerdict(text(entry["name"]), entry["required"], Outcome(entry["outcome"]), _texts(entry["detail"]))


def _program(entry: Mapping[str, Any]) -> ProgramVerdict:
    if not isinstance(entry["loaded"], bool):
        raise TypeError("loaded: expected true or false")
    return ProgramVerdict(
        name=text(entry["name"]),
        section=text(entry["section"]),
        type=text(entry["type"]),
        loaded=entry["loaded"],
        attach=Attach(entry["attach"]),
        cause=text(entry["cause"]),
        detail=text(entry["detail"]),
        measures=measures_from_json(entry["measures"]),
        how=text(entry["how"]),
    )


def _map(entry: Mapping[str, Any]) -> MapVerdict:
    return MapVerdict(
        text(entry["name"]), text(entry["type"]), Creation(entry["outcome"]), text(entry["errno"]),
        text(entry["detail"]),
    )  # fmt: skip


def _tests(verdict: Verdict, passed: bool) -> list[str]:
    """The behaviour tests that passed, or did not; a word before the name, so that no program has it."""
    return [f"test:{t.name}" for t in verdict.tests if (t.outcome is Outcome.PASSED) == passed]


def _works(program: ProgramVerdict) -> bool:
    """A passed test: the program loaded when asked alone, and where attaching was tried, it attached."""
    return program.loaded and program.attach is not Attach.FAILED


def check_type(statement: Any, predicate_type: str) -> None:
    """TrustError unless this is a Statement v1 of this predicate."""
    found = statement if isinstance(statement, dict) else {}
    for name, wanted in (("_type", STATEMENT_TYPE), ("predicateType", predicate_type)):
        if found.get(name) != wanted:
            raise TrustError(f"statement: {name}: expected {wanted}, got {str(found.get(name))[:80]!r}")


def sha256_set(digest: str) -> dict[str, str]:
    """A digest as in-toto writes it: a DigestSet of one."""
    return {"sha256": hex_of(digest)}


def _digest(entry: Mapping[str, Any]) -> str:
    (algorithm,) = entry["digest"]
    if algorithm != "sha256":
        raise TrustError(f"statement: digest: expected sha256 alone, got {str(algorithm)[:40]!r}")
    return "sha256:" + text(entry["digest"]["sha256"])


def brief(error: Exception) -> str:
    """What a look-up in a stranger's JSON raised, for the end of a sentence."""
    return f"{type(error).__name__}: {str(error)[:80]}"


def text(value: Any) -> str:
    """A string as it is; TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {type(value).__name__}")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(f"expected a list, got {type(values).__name__}")
    return tuple(text(value) for value in values)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, got {type(value).__name__}")
    return value
