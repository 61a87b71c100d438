"""`python -m bench.predictions [--ask N] [--write]`: predictions against real boots, over the matrix and all corpora.

Only pairs that have an answer count; `--ask N` gives N objects of the corpora one first, on the default kernels.
`--write` keeps the corpora's pairs in tests/golden/predictions.json, which the tests hold the predictions of today
against.  Exit code 1 when anything that was called impossible was found compatible.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.corpora import ours
from bench.corpora.__main__ import FOLDER
from bench.corpora.index import Item, Shelf
from bench.corpora.ours import KERNELS, session_of
from bench.measure import ROOT
from bpfcompat.asking import Asker
from bpfcompat.digest import hex_of
from bpfcompat.foreseeing import predicted
from bpfcompat.model import Answer, Report, Verdict
from bpfcompat.plan import Pair
from bpfcompat.predicting import Prediction, Word
from bpfcompat.rules.session import open_session
from bpfcompat.voice import Terminal

GOLDEN = ROOT / "tests/golden/predictions.json"
_WORDS = dict(zip("pdi", Word, strict=True))  # a letter for each, as the golden file has them
_ANSWERS = dict(zip("cin", Answer, strict=True))


@dataclass(frozen=True, slots=True)
class Kept:
    """One pair of the corpora that was predicted and asked: digest of the object, kernel, and what came of it."""

    digest: str
    kernel: str
    word: Word
    answer: Answer


def kept(path: Path = GOLDEN) -> tuple[Kept, ...]:
    """The pairs of the golden file."""
    told = json.loads(path.read_text())
    return tuple(
        Kept(f"sha256:{digest}", kernel, _WORDS[pair[0]], _ANSWERS[pair[1]])
        for digest, pairs in told["objects"].items()
        for kernel, pair in zip(told["kernels"], pairs.split(), strict=True)
        if pair != "--"
    )


def written(pairs: Iterable[Kept]) -> str:
    """Pairs as the golden file: a line an object, two letters a kernel."""
    words, answers = ({value: letter for letter, value in table.items()} for table in (_WORDS, _ANSWERS))
    found: dict[str, dict[str, str]] = {}
    for pair in pairs:
        found.setdefault(hex_of(pair.digest), {})[pair.kernel] = f"{words[pair.word]}{answers[pair.answer]}"
    objects = {digest: " ".join(own.get(k, "--") for k in KERNELS) for digest, own in sorted(found.items())}
    return json.dumps({"kernels": KERNELS, "objects": objects}, indent=0) + "\n"


def counts(pairs: Iterable[tuple[Word, Answer]]) -> Iterator[str]:
    """How predictions fared, as a table of Markdown."""
    counted = Counter(pairs)
    yield from (f"| | {' | '.join(Answer)} |", "|---|---|---|---|")
    for word in Word:
        yield f"| {word} | {' | '.join(str(counted[word, answer]) for answer in Answer)} |"


def compared(asker: Asker) -> Iterator[tuple[Pair, Prediction, Verdict]]:
    """Every pair that has both a prediction and a report, which is classified anew if need be."""
    for pair, found in predicted(asker):
        if asker.there(partial(asker.probe, pair, make=False)):
            yield pair, found, asker.verdict(pair)


def table(title: str, asker: Asker) -> list[tuple[Pair, Word, Answer]]:
    """Print how predictions fared; every pair that counts."""
    found: list[tuple[Pair, Word, Answer]] = []
    causes: Counter[str] = Counter()
    for pair, seen, verdict in compared(asker):
        found.append((pair, seen.word, verdict.answer))
        if seen.word is Word.IMPOSSIBLE:
            causes["same cause" if verdict.cause in {o.cause for o in seen.obstacles} else verdict.cause] += 1
        if too_pessimistic(seen.word, verdict.answer):
            print(f"TOO PESSIMISTIC {pair}: {seen.obstacles[0].words}")
    print("\n".join(["", f"{title}: {len(found)} pairs", "", *counts((word, answer) for _, word, answer in found)]))
    print(f"\nimpossible, and found: {dict(causes)}")
    return found


def too_pessimistic(word: Word, answer: Answer) -> bool:
    """What may never be: called impossible, and a kernel takes it."""
    return (word, answer) == (Word.IMPOSSIBLE, Answer.COMPATIBLE)


def foretold(found: Prediction) -> dict[str, str]:
    """The programs that cannot load by a prediction, and why: what is certain about them and not asked for first."""
    return {o.program: o.words for o in found.obstacles if o.program and o.certain and not o.guarded}


def refuted(found: Prediction, answer: Answer, report: Report) -> list[str]:
    """Where a kernel took what it cannot take by a prediction: the object, or one of its programs asked alone."""
    sure = foretold(found)
    wrong = [
        f"program '{p.name}' loads: {sure[p.name]}" for p in report.programs if p.name in sure and not p.load_errno
    ]
    return [*(["the object is compatible"] if too_pessimistic(found.word, answer) else []), *wrong]


def gathered() -> tuple[Shelf, list[Item]]:
    """The objects of the corpora by digest; none where nothing was fetched."""
    shelf = Shelf(FOLDER)
    there = (FOLDER / "index.json").is_file()
    return shelf, sorted(shelf.read(), key=lambda i: i.digest) if there else []


def main() -> int:
    """Compare, and ask first if that is wanted."""
    parser = argparse.ArgumentParser("python -m bench.predictions", description=__doc__)
    parser.add_argument("--ask", type=int, default=0, metavar="N", help="objects of the corpora to ask about first")
    parser.add_argument("--write", action="store_true", help="keep the corpora's pairs for the tests")
    options = parser.parse_args()
    found = table("the matrix", open_session(ROOT).asker)
    shelf, items = gathered()
    if items:
        asker = session_of(ROOT, shelf, items, Terminal(sys.stderr)).asker
        for answer in ours.ask_all(asker, [i.name for i in items[: options.ask]], KERNELS):
            print(f"{answer.object}@{answer.kernel}: {answer.outcome} {answer.cause}", file=sys.stderr)
        own = table("the corpora", asker)
        found += own
        digests = {i.name: i.digest for i in items}
        if options.write:
            GOLDEN.write_text(written(Kept(digests[p.object], p.kernel, w, a) for p, w, a in own))
    return 1 if any(too_pessimistic(word, answer) for _, word, answer in found) else 0


if __name__ == "__main__":
    sys.exit(main())
