"""Lines on a logarithmic grid as SVG, readable on light and on dark paper.  Draws; measures nothing."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 152, 48, 52
COLOURS = ("#1f78c8", "#d2691e")  # both can be told from white and from near-black
STYLE = """text { font: 13px system-ui, sans-serif; fill: #333 }
.title { font-size: 16px; font-weight: 600 } .grid { stroke: #8886; stroke-width: 1 } .paper { fill: #fff }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .paper { fill: #16181c } }"""


@dataclass(slots=True)
class Line:
    """A name and its points: (how many, seconds)."""

    name: str
    points: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Axes:
    """Whole powers of ten around all points."""

    low_x: int
    high_x: int
    low_y: int
    high_y: int

    def x(self, value: float) -> float:
        """Where a count lies."""
        return LEFT + (math.log10(value) - self.low_x) / (self.high_x - self.low_x) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Where a number of seconds lies."""
        return HEIGHT - BOTTOM - (math.log10(value) - self.low_y) / (self.high_y - self.low_y) * (HEIGHT - TOP - BOTTOM)


def draw(lines: Sequence[Line], title: str) -> str:
    """The picture of some lines, each of at least one point."""
    axes = _axes([p for line in lines for p in line.points])
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="{LEFT}" y="26">{escape(title)}</text>',
        *_grid(axes),
        *(part for line, colour in zip(lines, COLOURS, strict=True) for part in _line(line, colour, axes)),
        "</svg>",
    ]
    return "\n".join(body) + "\n"


def _axes(points: Sequence[tuple[int, float]]) -> Axes:
    logs = [[math.log10(v) for v in values] for values in zip(*points, strict=True)]
    lows, highs = [math.floor(min(one)) for one in logs], [math.ceil(max(one)) for one in logs]
    highs = [max(high, low + 1) for low, high in zip(lows, highs, strict=True)]
    return Axes(lows[0], highs[0], lows[1], highs[1])


def _grid(axes: Axes) -> Iterator[str]:
    for power in range(axes.low_x, axes.high_x + 1):
        x = axes.x(10**power)
        yield f'<line class="grid" x1="{x:.0f}" y1="{TOP}" x2="{x:.0f}" y2="{HEIGHT - BOTTOM}"/>'
        yield f'<text x="{x:.0f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{10**power:,}</text>'
    for power in range(axes.low_y, axes.high_y + 1):
        y = axes.y(10.0**power)
        yield f'<line class="grid" x1="{LEFT}" y1="{y:.0f}" x2="{WIDTH - RIGHT}" y2="{y:.0f}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.0f}" text-anchor="end">{10.0**power:g} s</text>'
    yield f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">pairs</text>'


def _line(line: Line, colour: str, axes: Axes) -> Iterator[str]:
    at = [(axes.x(count), axes.y(seconds)) for count, seconds in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
    for (x, y), (count, seconds) in zip(at, line.points, strict=True):
        told = f"<title>{escape(line.name)}: {count:,} pairs, {seconds:.3f} s</title>"
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}">{told}</circle>'
    x, y = at[-1]
    name = f"{escape(line.name)} {line.points[-1][1]:.2f} s"
    yield f'<text x="{x + 10:.0f}" y="{y + 4:.0f}" style="fill: {colour}">{name}</text>'
