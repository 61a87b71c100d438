"""`python -m bench.corpora [--fetch] [--compare] [--page]`: real objects, ours against Debian's bpftool.

Everything lies in .bpfcompat/corpora: objects, their index, answers.  What was answered before is not asked again: ours
in the store, bpftool's in theirs/; `--anew` forgets the latter.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from bench.corpora import ours, theirs
from bench.corpora.compare import UNEXPLAINED, explain, joined, pair_from_json, pair_to_json, read_reasons
from bench.corpora.index import CORPORA, Item, Shelf
from bench.corpora.ours import KERNELS, Ours, session_of, spec_of
from bench.corpora.packages import shipped
from bench.corpora.page import page
from bench.corpora.sources import TREES, compiled
from bench.corpora.theirs import Loader, Theirs
from bench.measure import ROOT, environ, output
from bpfcompat.digest import hex_of
from bpfcompat.errors import BpfcompatError, ConfigError
from bpfcompat.files import ensure_dir, write_atomic
from bpfcompat.kernels.apt import Archive, gpgv, mirror
from bpfcompat.model import AttachMode
from bpfcompat.plan import Pair
from bpfcompat.rules.session import open_session
from bpfcompat.voice import Terminal

FOLDER = ROOT / ".bpfcompat/corpora"
FIRST, SECOND = "bookworm", "trixie"
MOST = {"packages": 200, "selftests": 100}  # a full run takes some 20 minutes on two cores without KVM
PAGE = ROOT / "docs/agreement.md"


def say(text: str) -> None:
    """One line, at once."""
    print(text, file=sys.stderr, flush=True)


def archive() -> Archive:
    """The archive that this machine's apt uses; an index that has expired will do, for nothing here is a product."""
    return Archive(mirror(""), ensure_dir(FOLDER / "cache"), gpgv(), allow_expired=True)


def fetch(shelf: Shelf, corpora: Sequence[str]) -> None:
    """Gather these corpora anew; what the index has of the others stays."""
    notes: list[str] = []
    if set(corpora) != set(CORPORA):
        shelf.keep(lambda origin: origin.corpus not in corpora)

    def note(text: str) -> None:
        notes.append(text)
        say(text)

    source, cache = archive(), ensure_dir(FOLDER / "cache")
    for data, origin in shipped(source, cache, note) if "packages" in corpora else ():
        shelf.add(data, origin)
    with tempfile.TemporaryDirectory(prefix="corpora-") as work:
        for tree in (t for t in TREES if t.corpus in corpora):
            for data, origin in compiled(tree, source, open_session(ROOT).asker, cache, Path(work), note):
                shelf.add(data, origin)
    items = shelf.write({"notes": notes})
    say(f"{len(items)} objects, {sum(len(i.programs) for i in items)} programs")


def chosen(items: Sequence[Item], only: str, most: Mapping[str, int]) -> list[Item]:
    """The objects to ask: of each corpus so many, those of lowest digest, so that a new object moves few others.

    An object of two corpora counts in the first.
    """
    picked: list[Item] = []
    for corpus in CORPORA:
        own = [i for i in items if next(c for c in CORPORA if c in i.corpora) == corpus]
        picked += sorted(own, key=lambda i: i.digest)[: most.get(corpus)]
    return [i for i in sorted(picked, key=lambda i: i.name) if fnmatchcase(i.name, only)]


def ask_ours(shelf: Shelf, items: Sequence[Item], kernels: Sequence[str]) -> list[Ours]:
    """Our answers."""
    usual, larger = (session_of(ROOT, shelf, items, Terminal(sys.stderr), mb).asker for mb in ("", ours.LARGER_MB))
    found: list[Ours] = []
    for answer in ours.ask_all(usual, [i.name for i in items], kernels, larger=larger):
        found.append(answer)
        if len(found) % 50 == 0:
            say(f"ours: {len(found)} of {len(items) * len(kernels)}, at {answer.object}@{answer.kernel}")
    return found


def attached(shelf: Shelf, items: Sequence[Item], kernels: Sequence[str]) -> None:
    """What attaching came to in all pairs that were asked about by now, to attached.json; asks nothing."""
    asker = session_of(ROOT, shelf, items, Terminal(sys.stderr)).asker
    pairs = [Pair(i.name, k) for k in kernels for i in items if spec_of(shelf, i).attach is not AttachMode.LOAD]
    found = [ours.ask(asker, p) for p in pairs if asker.there(partial(asker.verdict_entry, p, make=False))]
    body = {"commit": commit(), "answers": list(map(asdict, found))}
    write_atomic(FOLDER / "attached.json", json.dumps(body).encode())
    say(f"attached.json: {len(found)} of {len(pairs)} pairs")


def commit() -> str:
    """Which tree was asked."""
    return output(["git", "rev-parse", "--short", "HEAD"], ROOT, environ()).strip()


def ask_theirs(shelf: Shelf, tool: Loader, wanted: Sequence[tuple[Item, str]], anew: bool) -> list[Theirs]:
    """bpftool's answers, two kernels at once; what was answered before by the same bpftool is not asked again."""
    kernels = list(dict.fromkeys(kernel for _, kernel in wanted))

    def ask(kernel: str) -> list[Theirs]:
        return _ask_theirs(shelf, tool, [i for i, k in wanted if k == kernel], kernel, anew)

    with ThreadPoolExecutor(2) as pool:
        return [answer for answers in pool.map(ask, kernels) for answer in answers]


def _ask_theirs(shelf: Shelf, tool: Loader, items: Sequence[Item], kernel: str, anew: bool) -> list[Theirs]:
    asker = open_session(ROOT).asker
    image = hex_of(asker.kernel(kernel).vmlinuz.digest)[:16]
    place = FOLDER / "theirs" / f"{tool.suite}-{tool.version}-{image}.json"
    kept = json.loads(place.read_text()) if place.is_file() and not anew else []
    known = {row["object"]: Theirs(**{**row, "kernel": kernel}) for row in kept}
    with tempfile.TemporaryDirectory(prefix="corpora-") as work:
        waiting = [i for i in items if i.name not in known]
        for answer in theirs.ask_all(asker, shelf, tool, waiting, kernel, Path(work), say):
            known[answer.object] = answer
            if len(known) % 50 == 0:
                keep(place, map(asdict, known.values()))
                say(f"bpftool@{tool.suite}: {len(known)} of {len(items)}, at {answer.object}@{kernel}")
    keep(place, map(asdict, known.values()))
    return [known[i.name] for i in items if i.name in known]


def keep(place: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Answers as JSON."""
    write_atomic(place, json.dumps(list(rows), indent=0).encode() + b"\n")


def read(name: str) -> Any:
    """Answers as they were kept; ConfigError where there are none."""
    place = FOLDER / name
    if not place.is_file():
        raise ConfigError(f"{place}: nothing was compared yet", hint="python -m bench.corpora --compare")
    return json.loads(place.read_text())


def compare(shelf: Shelf, items: Sequence[Item], kernels: Sequence[str], anew: bool) -> None:
    """Ask us and bpftool, and a newer bpftool about what differs; all of it goes to results.json."""
    own, by_name = ask_ours(shelf, items, kernels), {i.name: i for i in items}
    tools = [theirs.loader(archive(), ensure_dir(FOLDER / "cache"), suite, say) for suite in (FIRST, SECOND)]
    said = theirs.merged(ask_theirs(shelf, tools[0], [(i, k) for k in kernels for i in items], anew))
    reasons = read_reasons()
    differ = [p.ours for p in joined(own, said, {}, {}) if explain(p, reasons) == UNEXPLAINED]
    again = theirs.merged(ask_theirs(shelf, tools[1], [(by_name[o.object], o.kernel) for o in differ], anew))
    pairs = joined(own, said, again, {i.name: i.digest for i in items})
    asker = open_session(ROOT).asker
    about = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit(),
        "libbpf": asker.validator().facts["libbpf"],
        "kernels": {k: asker.kernel(k).release for k in kernels},
        "bpftool": {tool.suite: tool.version for tool in tools},
    }
    write_atomic(
        FOLDER / "results.json", json.dumps({"about": about, "pairs": list(map(pair_to_json, pairs))}).encode()
    )


def main() -> int:
    """Do what was asked for, in this order."""
    parser = argparse.ArgumentParser(prog="python -m bench.corpora", description=__doc__)
    parser.add_argument("--fetch", nargs="*", choices=CORPORA, metavar="CORPUS", help=f"gather {', '.join(CORPORA)}")
    parser.add_argument("--theirs", action="store_true", help="ask bpftool only, to have its answers")
    parser.add_argument(
        "--compare", action="store_true", help="load and attach every object with us, load it with bpftool"
    )
    parser.add_argument("--attached", action="store_true", help="look what attaching came to in what was asked so far")
    parser.add_argument("--page", action="store_true", help="write docs/agreement.md from what was answered")
    parser.add_argument("--anew", action="store_true", help="forget what bpftool said before")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="objects by name")
    for corpus, count in MOST.items():
        parser.add_argument(f"--{corpus}", type=int, default=count, metavar="N", help="how many of them, at most")
    parser.add_argument("--kernels", nargs="+", default=KERNELS, metavar="NAME")
    args = parser.parse_args()
    shelf = Shelf(FOLDER)
    if args.fetch is not None:
        fetch(shelf, args.fetch or CORPORA)
    items = chosen(shelf.read(), args.only, {c: getattr(args, c) for c in MOST})
    if args.theirs:
        tool = theirs.loader(archive(), ensure_dir(FOLDER / "cache"), FIRST, say)
        ask_theirs(shelf, tool, [(i, k) for k in args.kernels for i in items], args.anew)
    if args.compare:
        compare(shelf, items, args.kernels, args.anew)
    if args.compare or args.attached:
        attached(shelf, items, args.kernels)
    if args.page:
        results = read("results.json")
        pairs = tuple(map(pair_from_json, results["pairs"]))
        attaching = read("attached.json")
        answers = list(map(ours.from_json, attaching["answers"]))
        write_atomic(
            PAGE, page(results["about"], shelf.read(), pairs, read_reasons(), attaching["commit"], answers).encode()
        )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BpfcompatError as error:
        sys.exit(f"bench.corpora: {error}")
