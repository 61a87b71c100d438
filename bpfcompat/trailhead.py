"""The head of an audit trail as a statement, so that it can be a leaf of the registry's log like any verdict.  Pure.

It says how many records a trail had and what the last one's digest was; of the records themselves it says nothing.
Reading is strict, as in statement.py: the payload is what this module writes, byte for byte.
"""

from typing import Any, NamedTuple

from bpfcompat.digest import canonical, is_digest
from bpfcompat.envelope import MAX_BYTES
from bpfcompat.errors import TrustError
from bpfcompat.statement import STATEMENT_TYPE, WRONG_SHAPE, brief, check_type, sha256_set, text
from bpfcompat.strictjson import parse_json

HEAD_TYPE = "urn:bpfcompat:trail-head:v1"
# no string inside a statement can hold it: there every quote has a backslash before it
_MARK = f'"predicateType":"{HEAD_TYPE}"'.encode()


class Head(NamedTuple):
    """How far a trail went: the number of its last record, from 1, and its digest, `sha256:…`."""

    number: int
    digest: str


def head_payload(head: Head) -> bytes:
    """The statement's bytes."""
    return canonical(_statement(head))


def is_head(payload: bytes) -> bool:
    """Whether a payload means to be a head; `parse_head` says whether it is one."""
    return _MARK in payload


def parse_head(payload: bytes) -> Head:
    """The head in a payload whose signature has been checked; TrustError unless it is exactly one of ours."""
    statement = parse_json(payload, "statement", MAX_BYTES)
    check_type(statement, HEAD_TYPE)
    try:
        (subject,) = statement["subject"]
        head = Head(statement["predicate"]["number"], "sha256:" + text(subject["digest"]["sha256"]))
    except WRONG_SHAPE as error:
        raise TrustError(f"trail head: not as docs/trail.md says: {brief(error)}") from None
    if type(head.number) is not int or head.number < 1 or not is_digest(head.digest) or head_payload(head) != payload:
        raise TrustError("trail head: not as docs/trail.md says")
    return head


def _statement(head: Head) -> dict[str, Any]:
    return {
        "_type": STATEMENT_TYPE,
        "predicateType": HEAD_TYPE,
        "subject": [{"name": "trail", "digest": sha256_set(head.digest)}],
        "predicate": {"number": head.number},
    }
