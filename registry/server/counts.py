"""What a listener counts, and how Prometheus reads it."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

BUCKETS_S = (0.001, 0.005, 0.025, 0.1, 1.0, 10.0)


class Counts:
    """Numbers that only grow, and `open`, how many connections there are."""

    def __init__(self) -> None:
        self.open = 0
        self.accepted = 0
        self.cut: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        self.bytes = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(BUCKETS_S) + 1)

    def answered(self, status: int, size: int, seconds: float) -> None:
        """An answer has left, whole or cut short: `size` bytes of body went to the kernel."""
        self.answers[status] += 1
        self.bytes += size
        self.seconds += seconds
        self.buckets[bisect_left(BUCKETS_S, seconds)] += 1

    def text(self) -> str:
        """These numbers for Prometheus."""
        lines = family("connections_open", "gauge", "connections that are open now", {"": self.open})
        lines += family("connections_total", "counter", "connections that were accepted", {"": self.accepted})
        cut = {f'why="{why}"': number for why, number in sorted(self.cut.items())}
        lines += family("connections_cut_total", "counter", "connections that we ended, and why", cut)
        answers = {f'status="{status}"': number for status, number in sorted(self.answers.items())}
        lines += family("answers_total", "counter", "answers by status", answers)
        lines += family("body_bytes_total", "counter", "bytes of bodies handed to the kernel", {"": self.bytes})
        return "\n".join([*lines, *self._histogram(), ""])

    def _histogram(self) -> Iterable[str]:
        name = "bpfcompat_answer_seconds"
        yield f"# HELP {name} from a whole request to the last byte handed to the kernel"
        yield f"# TYPE {name} histogram"
        total = 0
        for bound, number in zip((*map(str, BUCKETS_S), "+Inf"), self.buckets, strict=True):
            total += number
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self.seconds:.6f}"
        yield f"{name}_count {total}"


def family(name: str, kind: str, words: str, values: Mapping[str, float]) -> list[str]:
    """One metric's lines; `values` by labels as Prometheus writes them, `""` for none."""
    full = f"bpfcompat_{name}"
    shown = [f"{full}{{{labels}}} {value}" if labels else f"{full} {value}" for labels, value in values.items()]
    return [f"# HELP {full} {words}", f"# TYPE {full} {kind}", *shown]
