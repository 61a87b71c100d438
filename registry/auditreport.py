"""An audit as values for machines, and as a page and lines for people: all three say the same.  Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bpfcompat import __version__
from bpfcompat.model import Answer
from bpfcompat.registry import pages
from bpfcompat.registry.audit import Audit, Pair, Standing
from bpfcompat.registry.text import plain
from bpfcompat.rootdoc import time_text
from bpfcompat.statement import Claim

FORMAT = 1
MAX_LINES = 20
SIGNS = {
    Standing.VERIFIED: "◆",
    Standing.SIGNED: "◇",
    Standing.REFUSED: "⊘",
    Standing.MISSING: "□",
    Standing.NONE: "–",
}
ANSWERS = {Answer.COMPATIBLE: "✓", Answer.INCOMPATIBLE: "✕", Answer.INCONCLUSIVE: "?"}
NOTHING = "none to believe"  # where no claim holds an answer up, or there are two
MEANING = "verified: the claim is its signer's, and in the log; what it says is the answer"


def to_json(found: Audit, registry: str, release: str | None = None) -> dict[str, Any]:
    """The report as JSON values; docs/audit.md has the fields."""
    setups, numbers = _setups(found.pairs)
    return {
        "format": FORMAT,
        "tool": f"bpfcompat {__version__}",
        "release": release,
        "registry": registry,
        "at": time_text(found.at),
        "exit_code": int(found.exit_code),
        "trusted": found.trusted,
        "problems": list(found.problems),
        "claims": {str(standing): sum(p.standing is standing for p in found.pairs) for standing in Standing},
        "answers": {str(answer): sum(p.answer is answer for p in found.pairs) for answer in Answer},
        "not_as_expected": [pair.row.label for pair in found.unexpected],
        "conflicts": list(found.conflicts),
        "missing": [gap._asdict() for gap in found.gaps],
        "matrix": _matrix(found),
        "log": _log(found),
        "keys": [_key(key._asdict()) for key in found.keys],
        "setups": setups,
        "pairs": [_pair(pair, found, setup) for pair, setup in zip(found.pairs, numbers, strict=True)],
    }


def _matrix(found: Audit) -> dict[str, Any] | None:
    if not found.signer:
        return None
    return {
        "signer": found.signer,
        "not_before": time_text(found.not_before),
        "expires": time_text(found.expires),
        "other_bundles_void": found.void,
    }


def _log(found: Audit) -> dict[str, Any] | None:
    log = found.log
    if log is None:
        return None
    return {
        "origin": log.origin,
        "size": log.size,
        "root": log.root.hex(),
        "signers": list(log.signers),
        "witnesses": [{"name": name, "time": time_text(time)} for name, time in log.witnesses],
        "seen": _maybe(log.seen),
        "leaves_on_their_way": found.unborn,
    }


def _key(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, **{name: _maybe(value[name]) for name in ("not_before", "not_after")}}


def _pair(pair: Pair, found: Audit, setup: int | None) -> dict[str, Any]:
    row, claim = pair.row, pair.claim
    seen = found.log.seen if found.log is not None and pair.index is not None else None
    return {
        "object": {"name": row.object_name, "digest": row.object_digest},
        "kernel": {"name": row.kernel_name, "release": row.kernel_release, "vmlinuz": row.vmlinuz},
        "claim": {
            "standing": str(pair.standing),
            "why": pair.why,
            "signer": pair.signer or None,
            "bundle": row.bundle,
            "log_index": pair.index,
            "logged_by": _maybe(seen),
        },
        "answer": None if pair.answer is None else str(pair.answer),
        "cause": row.cause if pair.answer is not None else "",
        "sentence": claim.verdict.sentence if claim else "",
        "as_declared": claim.as_declared if claim else False,
        "loader": claim.loader if claim else None,
        "expected": str(row.expected),
        "required": row.required,
        "as_expected": pair.as_expected,
        "conflict": pair.conflict,
        "evidence": {"digest": claim.report if claim else None, "state": str(pair.evidence)},
        "setup": setup,
    }


def _setups(pairs: Sequence[Pair]) -> tuple[list[dict[str, Any]], list[int | None]]:
    """What claims ran on, each different one once, and for each pair which of them."""
    found: list[dict[str, Any]] = []
    places: dict[str, int] = {}
    numbers: list[int | None] = []
    for pair in pairs:
        if pair.claim is None:
            numbers.append(None)
            continue
        setup = _setup(pair.claim)
        number = places.setdefault(repr(setup), len(found))
        if number == len(found):
            found.append(setup)
        numbers.append(number)
    return found, numbers


def _setup(claim: Claim) -> dict[str, Any]:
    """What a claim says that it ran on.  The accelerator is no part of a question, so most claims do not say it."""
    return {
        "kernel": claim.kernel_name,
        "release": claim.kernel_release,
        "arch": claim.kernel_arch,
        "vmlinuz": claim.vmlinuz,
        "config": claim.config,
        "modules": claim.modules,
        "validator": claim.validator,
        "libbpf": {"version": claim.libbpf_version, "source": claim.libbpf_source},
        "initramfs": claim.initramfs,
        "command_line": claim.command_line,
        "machine": dict(claim.machine),
        "accelerator": claim.machine.get("accelerator"),
        "conditions": dict(claim.conditions),
    }


def _maybe(seconds: int | None) -> str | None:
    return None if seconds is None else time_text(seconds)


# --- for people


def text(told: Mapping[str, Any]) -> str:
    """The report as JSON text."""
    return json.dumps(told, indent=1, ensure_ascii=True) + "\n"


def page(told: Mapping[str, Any]) -> str:
    """The report as one HTML file; `told` is to_json()."""
    return pages.audit(told, {**{str(k): v for k, v in SIGNS.items()}, **{str(k): v for k, v in ANSWERS.items()}})


def summary(told: Mapping[str, Any]) -> str:
    """The report in a few lines; `told` is to_json()."""
    return "\n".join(_lines(told))


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    release = f" of release {plain(told['release'], 80)}" if told["release"] else ""
    yield f"audit{release}: {plain(told['registry'])}, {len(told['pairs'])} pairs, at {told['at']}"
    yield from _listed("not trusted", told["problems"])
    if told["pairs"]:
        yield "claims   " + _counts(told["claims"], {str(k): v for k, v in SIGNS.items()})
        yield "answers  " + _counts(told["answers"], {str(k): v for k, v in ANSWERS.items()}) + _unbelieved(told)
        yield f"         {MEANING}"
    yield from _log_lines(told)
    yield from _listed("conflict", told["conflicts"])
    yield from _listed(
        "missing", [f"{gap['what']} {gap['where']}: {gap['why']}" for gap in told["missing"] if not gap["expected"]]
    )
    if silent := sum(gap["expected"] for gap in told["missing"]):
        yield f"missing: a verdict of {silent} pairs that are expected to have none"
    wrong = {pair_label(pair): pair for pair in told["pairs"]}
    yield from _listed("not as expected", [_wrong(wrong[label]) for label in told["not_as_expected"]])
    yield _end(told)


def _counts(counted: Mapping[str, int], signs: Mapping[str, str]) -> str:
    return "  ".join(f"{signs[word]} {count} {word}" for word, count in counted.items() if count)


def _unbelieved(told: Mapping[str, Any]) -> str:
    count = sum(pair["answer"] is None for pair in told["pairs"])
    return f"  · {count} {NOTHING}" if count else ""


def _log_lines(told: Mapping[str, Any]) -> Iterator[str]:
    log = told["log"]
    if log is None:
        yield "log      was not checked: a claim that is only signed can be taken back unseen"
        return
    by = ", ".join(log["signers"])
    yield f"log      {log['origin']}: {log['size']} leaves, signed by {by}; {logged_words(log['seen'])}"


def logged_words(seen: str | None) -> str:
    """When leaves were there, by somebody other than the signer."""
    return f"witnessed at {seen}: no leaf is younger" if seen else "no trusted time: no witness that counts has signed"


def pair_label(pair: Mapping[str, Any]) -> str:
    """OBJECT@KERNEL."""
    return f"{pair['object']['name']}@{pair['kernel']['name']}"


def _wrong(pair: Mapping[str, Any]) -> str:
    got = f"{pair['answer']} {pair['cause']}".rstrip() if pair["answer"] else NOTHING
    return f"{pair_label(pair)}: expected {pair['expected']}, got {got}; its claim is {pair['claim']['standing']}"


def _listed(word: str, texts: Sequence[str]) -> Iterator[str]:
    yield from (f"{word}: {plain(text)}" for text in texts[:MAX_LINES])
    if len(texts) > MAX_LINES:
        yield f"{word}: {len(texts) - MAX_LINES} more"


def _end(told: Mapping[str, Any]) -> str:
    trusted = "trusted" if told["trusted"] else "not trusted"
    ends = {0: "and as expected", 1: "and not as expected", 3: "and something required is missing"}
    return trusted if not told["trusted"] else f"{trusted}, {ends[told['exit_code']]}"
