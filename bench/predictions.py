"""`python -m bench.predictions [--ask N]`: predictions against what real boots found, over the matrix and all corpora.

Only pairs that have an answer count; `--ask N` gives N objects of the corpora one first, on the default kernels.  Exit
code 1 when anything that was called impossible was found compatible.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial

from bench.corpora import ours
from bench.corpora.__main__ import FOLDER
from bench.corpora.index import Shelf
from bench.corpora.ours import KERNELS, session_of
from bench.measure import ROOT
from bpfcompat.asking import Asker
from bpfcompat.foreseeing import predicted
from bpfcompat.model import Answer, Verdict
from bpfcompat.plan import Pair
from bpfcompat.predicting import Prediction, Word
from bpfcompat.rules.session import open_session
from bpfcompat.voice import Terminal


def compared(asker: Asker) -> Iterator[tuple[Pair, Prediction, Verdict]]:
    """Every pair that has both a prediction and a report, which is classified anew if need be."""
    for pair, found in predicted(asker):
        if asker.there(partial(asker.probe, pair, make=False)):
            yield pair, found, asker.verdict(pair)


def table(title: str, asker: Asker) -> int:
    """Print how predictions fared; the number of those that a boot contradicts."""
    counted: Counter[tuple[Word, Answer]] = Counter()
    causes: Counter[str] = Counter()
    wrong = 0
    for pair, found, verdict in compared(asker):
        counted[found.word, verdict.answer] += 1
        if found.word is Word.IMPOSSIBLE:
            causes["same cause" if verdict.cause in {o.cause for o in found.obstacles} else verdict.cause] += 1
            if verdict.answer is Answer.COMPATIBLE:
                wrong += 1
                print(f"TOO PESSIMISTIC {pair}: {found.obstacles[0].words}")
    print(f"\n{title}: {counted.total()} pairs\n\n| | {' | '.join(Answer)} |\n|---|---|---|---|")
    for word in Word:
        print(f"| {word} | {' | '.join(str(counted[word, answer]) for answer in Answer)} |")
    print(f"\nimpossible, and found: {dict(causes)}")
    return wrong


def main() -> int:
    """Compare, and ask first if that is wanted."""
    parser = argparse.ArgumentParser("python -m bench.predictions", description=__doc__)
    parser.add_argument("--ask", type=int, default=0, metavar="N", help="objects of the corpora to ask about first")
    options = parser.parse_args()
    wrong = table("the matrix", open_session(ROOT).asker)
    shelf = Shelf(FOLDER)
    items = sorted(shelf.read(), key=lambda i: i.digest) if FOLDER.is_dir() else []
    if items:
        asker = session_of(ROOT, shelf, items, Terminal(sys.stderr)).asker
        for answer in ours.ask_all(asker, [i.name for i in items[: options.ask]], KERNELS):
            print(f"{answer.object}@{answer.kernel}: {answer.outcome} {answer.cause}", file=sys.stderr)
        wrong += table("the corpora", asker)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
