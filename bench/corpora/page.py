"""docs/agreement.md from the answers that were kept."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.corpora.compare import UNANSWERED, UNEXPLAINED, Compared, Reason, explain
from bench.corpora.index import CORPORA, Item
from bench.corpora.ours import Ours

HEAD = Path(__file__).with_name("head.md")
EXAMPLES = 4
SLOW_S = 20.0


def page(
    about: Mapping[str, Any], items: Sequence[Item], pairs: Sequence[Compared], reasons: Sequence[Reason],
    commit: str, attached: Sequence[Ours],
) -> str:  # fmt: skip
    """The whole page."""
    by_name = {i.name: i for i in items}
    why = [(pair, explain(pair, reasons)) for pair in pairs]
    parts = [
        HEAD.read_text("utf-8"),
        _about(about),
        _corpora(pairs, by_name),
        _agreement(about, why),
        _reasons(why, reasons),
    ]
    parts += [_unexplained(why), _causes(about, pairs), _attached(commit, attached, by_name), _slowest(pairs)]
    return "\n".join(part.rstrip() + "\n" for part in parts if part)


def _about(about: Mapping[str, Any]) -> str:
    tools = " and ".join(f"{version} of {suite}" for suite, version in about["bpftool"].items())
    ours = f"Last full run: {about['date']}. Ours: commit {about['commit']}, libbpf {about['libbpf']}. "
    return f"{ours}Theirs: bpftool {tools}; the second is asked only where the first differs from us.\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |" for line in lines) + "\n"


def _corpora(pairs: Sequence[Compared], by_name: Mapping[str, Item]) -> str:
    asked = [by_name[n] for n in sorted({p.ours.object for p in pairs}) if n in by_name]
    rows: list[Sequence[object]] = []
    for corpus in CORPORA:
        own = [i for i in asked if corpus in i.corpora]
        sources = {o.package for i in own for o in i.origins if o.corpus == corpus}
        rows.append((corpus, len(own), sum(len(i.programs) for i in own), ", ".join(sorted(sources))))
    rows.append(("all, each once", len(asked), sum(len(i.programs) for i in asked), ""))
    return "## Objects\n\n" + _table(("corpus", "objects", "programs", "packages"), rows)


def _agreement(about: Mapping[str, Any], why: Sequence[tuple[Compared, str]]) -> str:
    rows = []
    for kernel, release in about["kernels"].items():
        own = [(p, w) for p, w in why if p.ours.kernel == kernel]
        same = Counter(p.ours.outcome for p, w in own if p.same)
        open_ = {UNEXPLAINED, UNANSWERED, ""}
        rows.append((
            kernel, release, len(own), same["loads"], same["refused"], same["dies"],
            sum(w not in open_ for _, w in own), sum(w == UNEXPLAINED for _, w in own),
            sum(w == UNANSWERED for _, w in own),
        ))  # fmt: skip
    head = ("kernel", "release", "pairs", "both load", "both refuse", "dies of both", "differ, explained",
            "differ, unexplained", "no answer")  # fmt: skip
    return "## Loading\n\n" + _table(head, rows)


def _reasons(why: Sequence[tuple[Compared, str]], reasons: Sequence[Reason]) -> str:
    rows = []
    for reason in reasons:
        own = [p for p, w in why if w == reason.name]
        names = list(dict.fromkeys(p.ours.object for p in own))
        more = f" and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else ""
        if own:
            rows.append((f"`{reason.name}`", len(own), len(names), reason.text, ", ".join(names[:EXAMPLES]) + more))
    return "## Reasons for differences\n\n" + _table(("reason", "pairs", "objects", "why", "such as"), rows)


def _unexplained(why: Sequence[tuple[Compared, str]]) -> str:
    rows = [
        (f"{p.ours.object}@{p.ours.kernel}", w, _said(p.ours.outcome, p.ours.cause), p.theirs.outcome,
         _brief(p.theirs.words))
        for p, w in why if w in (UNEXPLAINED, UNANSWERED)
    ]  # fmt: skip
    head = ("pair", "what", "ours", "bpftool's", "its last words")
    return "## Not explained, or not answered\n\n" + (_table(head, rows) if rows else "None.\n")


def _said(outcome: str, cause: str) -> str:
    return f"{outcome}: {cause}" if cause else outcome


def _brief(words: str) -> str:
    lines = [line for line in words.split("\n") if line.strip()]
    return " / ".join(lines[-2:])[:160]


def _causes(about: Mapping[str, Any], pairs: Sequence[Compared]) -> str:
    kernels = list(about["kernels"])
    counts = Counter((p.ours.cause or p.ours.outcome, p.ours.kernel) for p in pairs)
    causes = sorted({c for c, _ in counts}, key=lambda c: -sum(counts[c, k] for k in kernels))
    rows = [(c, *(counts[c, k] or "" for k in kernels), sum(counts[c, k] for k in kernels)) for c in causes]
    refusals = sum(bool(p.ours.cause) for p in pairs)
    unknown = sum(p.ours.cause == "unknown" for p in pairs)
    share = f"`unknown` is {unknown} of {refusals} causes given, {100 * unknown / max(refusals, 1):.1f} %.\n"
    return "## Causes\n\n" + _table(("cause", *kernels, "all"), rows) + "\n" + share


def _attached(commit: str, answers: Sequence[Ours], by_name: Mapping[str, Item]) -> str:
    """How many programs of objects that load were attached, or failed to, by program type."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    why: Counter[tuple[str, str]] = Counter()
    for kind, attach, detail in _programs(answers, by_name):
        for key in (kind, "all"):
            rows[key][attach] += 1
        if attach == "not-attempted":
            why[kind, detail] += 1
    table = [(k, c.total(), c["attached"], c["failed"], c["not-attempted"], _share(c)) for k, c in sorted(rows.items())]
    head = ("program type", "programs × kernels", "attached", "failed", "not attempted", "attempted")
    reasons = [(k, d, n) for (k, d), n in why.most_common(25)]
    objects = len({a.object for a in answers})
    text = f"Every program that loads, of {objects} objects of libbpf-tools and packages, in {len(answers)} pairs; "
    text += f"commit {commit}.\n\n"
    return ("## Attaching\n\n" + text + _table(head, table)
            + "\n" + _table(("program type", "why not attempted", "programs × kernels"), reasons))  # fmt: skip


def _share(counts: Counter[str]) -> str:
    return f"{100 * (counts['attached'] + counts['failed']) / counts.total():.1f} %"


def _programs(answers: Sequence[Ours], by_name: Mapping[str, Item]) -> Iterator[tuple[str, str, str]]:
    for answer in answers:
        item = by_name.get(answer.object)
        if item is None or item.corpora == {"selftests"}:
            continue
        for program in answer.programs:
            if program.loaded:
                yield program.type, program.attach, program.detail


def _slowest(pairs: Sequence[Compared]) -> str:
    slow = sorted(pairs, key=lambda p: -p.ours.seconds)[:10]
    rows = [
        (
            f"{p.ours.object}@{p.ours.kernel}",
            f"{p.ours.seconds:.1f}",
            len(p.ours.programs),
            _said(p.ours.outcome, p.ours.cause),
        )
        for p in slow
    ]
    return "## Slowest\n\n" + _table(("pair", "seconds of the guest", "programs", "answer"), rows)
