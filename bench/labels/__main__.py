"""`python -m bench.labels`: how often the classifier is right, on failures whose cause is known; boots nothing.

--capture asks the kernels about sources/ and writes tests/golden/labels anew, --real does so of real objects that
`python -m bench.corpora --fetch` gathered, --examples keeps reports of this
project's matrix in tests/golden/verdicts for each cause and kernel that none is kept of, --causes asks the kernels
about causes.toml (deaths, loaders, declarations, behaviour) and keeps those reports too, --builds keeps the inventories
of the kernels in tests/golden/builds, --speed measures how long
10,000 stored reports take to be classified again, --page writes docs/accuracy.md.
"""

import argparse
import json
import sys
from collections.abc import Iterator

from bench.labels import score
from bench.labels.score import ROOT, Answer
from bpfcompat.errors import BpfcompatError

PAGE = ROOT / "docs/accuracy.md"
BEGIN, END = "<!-- accuracy -->", "<!-- end of accuracy -->"


def say(text: str) -> None:
    """One line, at once."""
    print(text, file=sys.stderr, flush=True)


def capture() -> None:
    """Ask every kernel about sources/, and write the cases."""
    from bench.labels import capture as asking
    from bpfcompat.voice import Terminal

    session = asking.session_of(ROOT, Terminal(sys.stderr))
    asking.ask_all(session)
    for kernel in asking.ALL:
        found = asking.capture(session, kernel, say)
        text = json.dumps(asking.file_of(session, kernel, found), indent=0, sort_keys=True)
        (score.CASES / f"{kernel}.json").write_text(text + "\n")


def answers() -> dict[str, list[Answer]]:
    """What the classifier says, by where the cases come from; it knows the build's inventory, as in a project."""
    found: dict[str, list[Answer]] = {"by construction": [], "real objects, labelled by a reader": []}
    for case in score.cases():
        found["by construction" if not case.corpus else "real objects, labelled by a reader"].append(_answer(case))
    found["examples of this repository"] = [_answer(case) for case in score.examples()]
    return {name: rows for name, rows in found.items() if rows}


def _answer(case: score.Case) -> Answer:
    return score.answer(case, score.inventory_of(case.kernel))


def lines(found: dict[str, list[Answer]]) -> Iterator[str]:
    """The tables, as Markdown."""
    for name, rows in found.items():
        yield from ("", f"**Labelled: {name}**", "", *score.table(rows))
    every = [a for rows in found.values() for a in rows]
    yield from ("", "**All, by cause**", "", *score.by_cause(every), "")
    yield from ("**Causes of which no log of a kernel is kept**", "", "| causes | kernels | why |", "|---|---|---|")
    for row in score.absent():
        yield f"| {', '.join(f'`{c}`' for c in row.causes)} | {', '.join(f'`{k}`' for k in row.on)} | {row.why} |"
    yield ""
    right, unknown = sum(a.right for a in every), sum(a.unknown for a in every)
    yield f"{len(every)} failures on {len({a.case.kernel for a in every})} kernels: " + (
        f"right {100 * right / len(every):.1f} %, unknown {100 * unknown / len(every):.1f} %, "
        f"wrong but proven {sum(a.wrong_but_proven for a in every)}."
    )


def page(found: dict[str, list[Answer]]) -> str:
    """docs/accuracy.md as it must be."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return f"{before}{BEGIN}\n" + "\n".join(lines(found)) + f"\n\n{END}{rest.partition(END)[2]}"


def main() -> int:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.labels", description=__doc__)
    for name in ("capture", "real", "examples", "builds", "speed", "page"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--causes", nargs="?", const="*", metavar="PATTERN", help="only cases of these names")
    args = parser.parse_args()
    if args.capture:
        capture()
    if args.real:
        from bench.labels import real

        for kernel, body in real.files(real.ask(), say).items():
            text = json.dumps(body, indent=0, sort_keys=True)
            (score.CASES / f"{real.CORPUS}-{kernel}.json").write_text(text + "\n")
    if args.examples:
        from bench.labels.goldens import keep
        from bpfcompat.voice import Terminal

        keep(ROOT, Terminal(sys.stderr), say)
    if args.causes:
        from bench.labels import goldens
        from bpfcompat.voice import Terminal

        goldens.capture(ROOT, Terminal(sys.stderr), say, args.causes)
    if args.builds:
        from bench.labels.goldens import keep_builds
        from bpfcompat.voice import Terminal

        keep_builds(ROOT, Terminal(sys.stderr))
    if args.speed:
        from bench.labels.speed import COUNT, measure

        different, seconds, worked = measure(ROOT)
        say(f"{COUNT} reports ({different} different) classified again in {seconds:.1f} s, {worked:.1f} of one core")
    found = answers()
    print("\n".join(lines(found)))
    for answer in (a for rows in found.values() for a in rows if not a.right):
        say(f"{answer.case.name}: {answer.case.cause}, told {answer.cause} ({answer.certainty}): {answer.case.why}")
    if args.page:
        PAGE.write_text(page(found))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BpfcompatError as error:
        sys.exit(f"bench.labels: {error}")
