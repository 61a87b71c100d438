"""Verdicts as statements: equal work, equal bytes, one reading."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfcompat import statement
from bpfcompat.digest import canonical, digest_bytes, hex_of
from bpfcompat.errors import TrustError
from bpfcompat.manifest import MATRIX_TYPE, parse_matrix_statement
from bpfcompat.model import Answer, Attach, ProgramVerdict, Verdict
from bpfcompat.statement import Claim, pair_id, parse_verdict_statement, verdict_payload, verdict_statement
from tests.claims import BAD, GOOD, OBJECT, VMLINUZ, claim, two_claims

LINE = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.mark.parametrize("made", two_claims(), ids=["compatible", "incompatible"])
def test_round_trip(made: Any) -> None:
    """A claim comes back from its payload as it was."""
    assert parse_verdict_statement(verdict_payload(made)) == made


@given(LINE, st.lists(LINE, max_size=3), st.sampled_from(Attach), st.booleans())
def test_any_verdict_comes_back(line: str, lines: list[str], attach: Attach, loaded: bool) -> None:
    """Whatever text a guest brought is stated and read back unchanged."""
    programs = (ProgramVerdict(line, line, line, loaded, attach, line, line),)
    verdict = Verdict(Answer.INCOMPATIBLE, "x", line, tuple(lines), line, line, line, tuple(lines), programs)
    made = claim(verdict=verdict)
    assert parse_verdict_statement(verdict_payload(made)) == made


def test_the_object_is_the_only_subject() -> None:
    """Tools take any matching subject for a match, so the kernel must not be one."""
    statement = verdict_statement(claim())
    assert statement["subject"] == [{"name": "ringbuf", "digest": {"sha256": hex_of(digest_bytes(OBJECT))}}]
    kernel = next(r for r in statement["predicate"]["configuration"] if r["name"] == "kernel")
    assert kernel["digest"] == {"sha256": hex_of(digest_bytes(VMLINUZ))}


def test_result_and_tests() -> None:
    """PASSED and FAILED; a program that fails beside a compatible answer is a warning, never hidden."""
    _, bad = two_claims()
    predicate = verdict_statement(bad)["predicate"]
    assert (predicate["result"], predicate["passedTests"], predicate["failedTests"]) == ("FAILED", ["count"], ["emit"])
    predicate = verdict_statement(claim(verdict=replace(GOOD, programs=BAD.programs)))["predicate"]
    assert (predicate["result"], predicate["warnedTests"], predicate["failedTests"]) == ("PASSED", ["emit"], [])


def test_never_stated() -> None:
    """An inconclusive verdict, and one whose cause contradicts its answer, are never stated."""
    for verdict in (Verdict(Answer.INCONCLUSIVE, "deadline", ""), replace(GOOD, cause="x"), replace(BAD, cause="")):
        with pytest.raises(TrustError):
            verdict_payload(claim(verdict=verdict))


def test_no_config() -> None:
    """A kernel without a config is stated without one."""
    made = claim(config=None)
    assert parse_verdict_statement(verdict_payload(made)) == made
    assert pair_id(made) != pair_id(claim())


def test_conditions() -> None:
    """Conditions and modules are stated as they were asked, and a kernel as it comes has no word of them."""
    told = {"lockdown": "integrity", "sysctls": {"kernel.kptr_restrict": 0}, "modules": ["veth"]}
    made = claim(conditions=told, modules=digest_bytes(b"index"))
    assert parse_verdict_statement(verdict_payload(made)) == made
    assert b'"conditions"' not in verdict_payload(claim()) and b"kernel-modules" not in verdict_payload(claim())


ASKED = {
    "object_digest": digest_bytes(b"2"), "vmlinuz": digest_bytes(b"2"), "config": digest_bytes(b"2"),
    "validator": digest_bytes(b"2"), "initramfs": digest_bytes(b"2"), "command_line": "quiet",
    "modules": digest_bytes(b"2"), "conditions": {"lockdown": "integrity"},
    "machine": {"machine": "microvm"}, "spec": {"attach": "load"},
}  # fmt: skip
ANSWERED = {
    "object_name": "other", "kernel_name": "other", "kernel_release": "1", "kernel_arch": "arm64",
    "libbpf_version": "2", "report": digest_bytes(b"2"), "classifier": "9", "verdict": BAD,
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_pair_id_changes_with_the_question(name: str) -> None:
    """Everything that was asked is in the pair id."""
    assert pair_id(claim(**{name: ASKED[name]})) != pair_id(claim())


@pytest.mark.parametrize("name", ANSWERED)
def test_pair_id_does_not_change_with_the_answer(name: str) -> None:
    """What was answered, and what things are called, is not."""
    assert pair_id(claim(**{name: ANSWERED[name]})) == pair_id(claim())


def changed(change: Any) -> bytes:
    """A verdict payload after a change to its parsed form."""
    statement = json.loads(verdict_payload(two_claims()[1]))
    change(statement)
    return canonical(statement)


CHANGES: dict[str, Any] = {
    "type missing": lambda s: s.pop("_type"),
    "type v0.1": lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
    "other predicate": lambda s: s.update(predicateType=MATRIX_TYPE),
    "unknown field": lambda s: s.update(extra=1),
    "unknown predicate field": lambda s: s["predicate"].update(extra=1),
    "two subjects": lambda s: s["subject"].append(s["subject"][0]),
    "no subject": lambda s: s["subject"].clear(),
    "subject is text": lambda s: s.update(subject="x"),
    "subject's name is a number": lambda s: s["subject"][0].update(name=1),
    "result lower case": lambda s: s["predicate"].update(result="failed"),
    "result list": lambda s: s["predicate"].update(result=["FAILED"]),
    "result missing": lambda s: s["predicate"].pop("result"),
    "passed with failed tests": lambda s: s["predicate"].update(result="PASSED"),
    "tests moved": lambda s: s["predicate"].update(passedTests=["count", "emit"], failedTests=[]),
    "answer flipped": lambda s: s["predicate"]["bpfcompat"].update(answer="compatible"),
    "answer inconclusive": lambda s: s["predicate"]["bpfcompat"].update(answer="inconclusive"),
    "newer format": lambda s: s["predicate"]["bpfcompat"].update(format=2),
    "digest md5": lambda s: s["subject"][0].update(digest={"md5": "0" * 32}),
    "two digests": lambda s: s["subject"][0]["digest"].update(sha512="0" * 128),
    "no digest": lambda s: s["subject"][0].update(digest={}),
    "upper-case digest": lambda s: s["subject"][0]["digest"].update(sha256="A" * 64),
    "short digest": lambda s: s["subject"][0]["digest"].update(sha256="a" * 63),
    "prefixed digest": lambda s: s["subject"][0]["digest"].update(sha256="sha256:" + "a" * 64),
    "look-alike digits": lambda s: s["subject"][0]["digest"].update(sha256="٣" * 64),
    "digest is a number": lambda s: s["subject"][0]["digest"].update(sha256=7),
    "kernel missing": lambda s: s["predicate"]["configuration"].pop(0),
    "kernel twice": lambda s: s["predicate"]["configuration"].append(s["predicate"]["configuration"][0]),
    "unknown resource": lambda s: s["predicate"]["configuration"].append({"name": "x", "digest": {"sha256": "a" * 64}}),
    "resource without name": lambda s: s["predicate"]["configuration"].append({}),
    "command line swapped": lambda s: s["predicate"]["configuration"][5]["annotations"].update(text="quiet"),
    "machine is a list": lambda s: s["predicate"]["configuration"][6]["annotations"].update(machine=[]),
    "loaded is a number": lambda s: s["predicate"]["bpfcompat"]["programs"][0].update(loaded=0),
    "program is text": lambda s: s["predicate"]["bpfcompat"].update(programs=["x"]),
    "evidence is text": lambda s: s["predicate"]["bpfcompat"].update(evidence="x"),
    "predicate is null": lambda s: s.update(predicate=None),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_strict_reading(change: Any) -> None:
    """A payload that is not what we write for some claim is refused, though its signature would hold."""
    with pytest.raises(TrustError):
        parse_verdict_statement(changed(change))


@pytest.mark.parametrize("data", [b"[]", b"null", b'"x"', b"{}"])
def test_not_a_statement(data: bytes) -> None:
    """JSON that is no statement at all is refused as well, by both readers."""
    for read in (parse_verdict_statement, parse_matrix_statement):
        with pytest.raises(TrustError, match="_type"):
            read(data)


def test_one_spelling() -> None:
    """The same statement with blanks is refused."""
    with pytest.raises(TrustError, match="spelling"):
        parse_verdict_statement(json.dumps(verdict_statement(claim())).encode())


def test_loader() -> None:
    """A claim says who loaded the object: libbpf, or the project's own loader with its digest."""
    assert claim().loader == "libbpf 1.5.0"
    own = {"command": {"loader": {"name": "bpftool", "digest": "sha256:12"}}}
    assert claim(spec=own).loader == "bpftool sha256:12"
    assert claim(spec={"command": "nonsense"}).loader == claim(spec={"command": {"loader": 3}}).loader == "libbpf 1.5.0"


PARTS = [
    claim(),
    claim(verdict=BAD),
    claim(object_name="other"),
    claim(object_name='ü"\\', kernel_name="\u202e"),
    claim(config=None),
    claim(modules=digest_bytes(b"m")),
    claim(conditions={"format": 1, "x": ["},{", '"name":"report"']}),
    claim(spec={"attach": '],"failedTests":[', "configuration": [{"digest": {}}]}),
    claim(classifier=',"configuration":['),
    claim(report=digest_bytes(b"other")),
    claim(object_digest=digest_bytes(b"x"), kernel_release='"},"name":"report"}],'),
]


@pytest.mark.parametrize("made", PARTS)
def test_known_parts(made: Claim) -> None:
    """A statement of parts that were read before is put together as the very claim that reading it in full gives."""
    payload = canonical(verdict_statement(made))
    parts = statement._Parts()
    for other in PARTS:
        spelled = canonical(verdict_statement(other))
        parts.learn(spelled, statement._parsed(spelled))
    found = parts.compose(payload)
    assert statement._parsed(payload) == made
    assert found in (None, made)
    assert (found is None) == ("ü" in made.object_name)  # such names are always read in full


def test_parts_of_several() -> None:
    """Parts of several statements go together, and what comes of it is what was stated."""
    parts = statement._Parts()
    for other in PARTS:
        spelled = canonical(verdict_statement(other))
        parts.learn(spelled, statement._parsed(spelled))
    mixed = claim(object_name="new", object_digest=digest_bytes(b"new"), verdict=BAD, modules=digest_bytes(b"m"))
    assert parts.compose(canonical(verdict_statement(mixed))) == mixed


def test_new_verdict_of_a_known_question() -> None:
    """Where only what was asked is known, what is said is read alone; what is wrong with it a full reading tells."""
    parts = statement._Parts()
    payload = canonical(verdict_statement(claim()))
    parts.learn(payload, statement._parsed(payload))
    said = replace(BAD, sentence="this kernel (6.1.0-9) has no such helper")
    spelled = canonical(verdict_statement(claim(verdict=said)))
    assert parts.compose(spelled) == claim(verdict=said)
    for old, new in [(b'"result":"FAILED"', b'"result":"PASSED"'), (b'"failedTests":[', b'"failedTests":["x",'),
                     (b'"format":1', b'"format":2'), (b'"hint":', b'"hint": '), (b'"errno":', b'"more":1,"errno":'),
                     (b'"answer":"incompatible"', b'"answer":"inconclusive"')]:  # fmt: skip
        changed = spelled.replace(old, new, 1)
        assert changed != spelled
        assert parts.compose(changed) is None


@settings(max_examples=300)
@given(st.data())
def test_no_changed_byte_is_put_together(data: st.DataObject) -> None:
    """Whatever byte of a known statement is changed, reading it by parts and in full come to the same end."""
    payload = canonical(verdict_statement(claim()))
    parts = statement._Parts()
    parts.learn(payload, statement._parsed(payload))
    place = data.draw(st.integers(0, len(payload) - 1))
    changed = payload[:place] + bytes([data.draw(st.integers(0, 255))]) + payload[place + 1 :]
    found = parts.compose(changed)
    if found is not None:
        assert found == statement._parsed(changed)


def test_claims_remember_their_bytes() -> None:
    """A claim that was read gives back the bytes it was read from; one that was changed does not."""
    payload = canonical(verdict_statement(claim()))
    read = parse_verdict_statement(payload)
    assert verdict_payload(read) is payload
    assert verdict_payload(replace(read, object_name="other")) != payload
