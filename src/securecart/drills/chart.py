"""The chart of a drill: successes by tenths of a second, drawn in a terminal with blocks and in a file as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Self

from msgspec import Struct

from securecart.drills.timeline import BIN_S, Timeline

__all__ = ["Chart", "Event", "draw_svg", "draw_text"]

KINDS = {"checkout": "checkouts", "read": "pages read"}

# in the terminal: ten seconds a row, a character a tenth
ROW_BINS = 100
BLOCKS = " ▁▂▃▄▅▆▇█"
NOTHING, DEED = "·", "▼"
LABEL_WIDTH = 11

# in the picture, in pixels
WIDTH, LEFT, RIGHT = 960, 90, 20
TRACK, GAP, HEAD_ROW, AXIS, TOP = 90, 34, 16, 40, 46
CHARACTER = 6.6
TICKS_S = (1, 2, 5, 10)
TICKS_MAX = 20

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #444 }
.title { font-size: 15px; font-weight: 600; fill: #1f1f1f }
.checkout { fill: #1a7f64 } .read { fill: #3b6fb6 }
.axis { stroke: #999 } .event { stroke: #b4541a; stroke-dasharray: 3 3 } .hole { fill: #b4541a; fill-opacity: .14 }
.says { fill: #b4541a }
@media (prefers-color-scheme: dark) {
text { fill: #bbb } .title { fill: #eee } .checkout { fill: #45c19f } .read { fill: #7fa9e8 }
.axis { stroke: #777 } .event { stroke: #f0a05a } .hole { fill: #f0a05a; fill-opacity: .18 } .says { fill: #f0a05a }
}
""".strip()


class Event(Struct, frozen=True):
    """Something that happened, in seconds from the deed on."""

    at_s: float
    what: str


class Chart(Struct, frozen=True):
    """Successes in each `bin_s` seconds; the first bin begins `from_s` seconds from the deed, so a minus is before it."""

    from_s: float
    checkout: list[int]
    read: list[int]
    bin_s: float = BIN_S

    @classmethod
    def of(cls, line: Timeline, *, since: float, deed: float, until: float) -> Self:
        """The chart of these moments, its bins counted from the deed to both sides."""
        before = math.ceil((deed - since) / BIN_S)
        begin = deed - before * BIN_S
        end = begin + (before + math.ceil((until - deed) / BIN_S)) * BIN_S
        checkout, read = (line.counts(kind, since=begin, until=end) for kind in KINDS)
        return cls(round(-before * BIN_S, 1), checkout, read)

    def counts(self, kind: str) -> list[int]:
        """The bins of "checkout" or "read"."""
        found: list[int] = getattr(self, kind)
        return found


def draw_text(chart: Chart) -> str:
    """Both kinds as blocks, ten seconds a row; `·` stands for a tenth in which nobody got anything, `▼` above the deed."""
    most = {kind: max(chart.counts(kind), default=0) for kind in KINDS}
    rows = []
    for start in range(0, len(chart.checkout), ROW_BINS):
        rows.append(" " * LABEL_WIDTH + _ruler(chart, start))
        for kind, label in KINDS.items():
            bins = chart.counts(kind)[start : start + ROW_BINS]
            rows.append(f"{label:<{LABEL_WIDTH}}" + "".join(_block(count, most[kind]) for count in bins))
    return "\n".join(rows)


def draw_svg(chart: Chart, events: Sequence[Event], *, title: str) -> str:
    """The same as a picture that reads on a light and on a dark page; `events` are marked and named."""
    rows = _rows_of_labels(chart, events)
    top = TOP + HEAD_ROW * (max(rows, default=0) + 1)
    height = top + len(KINDS) * TRACK + GAP + AXIS
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">',
        f"<style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="22">{escape(title)}</text>',
    ]
    for number, (kind, label) in enumerate(KINDS.items()):
        parts += _track(chart, kind, label, bottom=top + TRACK * (number + 1) + GAP * number)
    bottom = top + len(KINDS) * TRACK + GAP
    for event, row in zip(events, rows, strict=True):
        x, y = _x(chart, event.at_s), TOP + HEAD_ROW * row
        parts.append(f'<line class="event" x1="{x:.1f}" x2="{x:.1f}" y1="{y + 4}" y2="{bottom}"/>')
        side = ' text-anchor="end"' if x + len(_named(event)) * CHARACTER > WIDTH else ""
        parts.append(f'<text class="says" x="{x + (-4 if side else 4):.1f}" y="{y + 4}"{side}>{escape(_named(event))}</text>')
    parts += _axis(chart, bottom)
    return "\n".join([*parts, "</svg>", ""])


def _ruler(chart: Chart, start: int) -> str:
    """The seconds above a row of blocks, each at its own tenth, and the deed."""
    ruler = [" "] * ROW_BINS
    for column in range(min(ROW_BINS, len(chart.checkout) - start)):
        tenth = round(chart.from_s / chart.bin_s) + start + column
        if tenth == 0:
            ruler[column] = DEED
        elif tenth % 10 == 0:
            text = f"{tenth // 10} s" if tenth % 20 == 0 else ""
            ruler[column : column + len(text)] = text
    return "".join(ruler[:ROW_BINS]).rstrip()


def _block(count: int, most: int) -> str:
    return BLOCKS[math.ceil(count / most * (len(BLOCKS) - 1))] if count else NOTHING


def _x(chart: Chart, at_s: float) -> float:
    length = len(chart.checkout) * chart.bin_s
    return LEFT + (at_s - chart.from_s) / length * (WIDTH - LEFT - RIGHT)


def _named(event: Event) -> str:
    return f"{event.what} {event.at_s:.1f} s" if event.at_s else event.what


def _rows_of_labels(chart: Chart, events: Sequence[Event]) -> list[int]:
    """A row for each event's name, so that no two are written over each other."""
    ends: list[float] = []
    rows = []
    for event in events:
        x, width = _x(chart, event.at_s), len(_named(event)) * CHARACTER + 8
        begin = x if x + width <= WIDTH else x - width
        row = next((number for number, end in enumerate(ends) if end < begin), len(ends))
        ends[row : row + 1] = [begin + width]
        rows.append(row)
    return rows


def _track(chart: Chart, kind: str, label: str, *, bottom: float) -> list[str]:
    """The bars of one kind, and a shade over each break; breaks between bars are shaded whole."""
    bins = chart.counts(kind)
    most, step = max(bins, default=0) or 1, (WIDTH - LEFT - RIGHT) / len(bins)
    parts = [f'<text x="{LEFT - 8}" y="{bottom - 4}" text-anchor="end">{label}</text>']
    parts.append(f'<text x="{LEFT - 8}" y="{bottom - TRACK + 12}" text-anchor="end">{most}</text>')
    for begin, length in _holes(bins):
        x = LEFT + begin * step
        parts.append(f'<rect class="hole" x="{x:.1f}" y="{bottom - TRACK}" width="{length * step:.1f}" height="{TRACK}"/>')
    bars = "".join(_bar(LEFT + number * step, step, bottom, count / most) for number, count in enumerate(bins) if count)
    parts.append(f'<path class="{kind}" d="{bars}"/>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    return parts


def _bar(x: float, step: float, bottom: float, share: float) -> str:
    return f"M{x:.1f} {bottom}v-{share * (TRACK - 4):.1f}h{step * 0.8:.1f}V{bottom}z"


def _holes(bins: Sequence[int]) -> list[tuple[int, int]]:
    """Where nobody got anything for three tenths or longer: first bin and length."""
    holes, begin = [], 0
    for number, count in enumerate([*bins, 1]):
        if count:
            if number - begin > 2:  # noqa: PLR2004 - two empty tenths in a row happen by chance
                holes.append((begin, number - begin))
            begin = number + 1
    return holes


def _axis(chart: Chart, bottom: float) -> list[str]:
    """Seconds from the deed on, below the tracks."""
    length = len(chart.checkout) * chart.bin_s
    every = next((tick for tick in TICKS_S if length / tick <= TICKS_MAX), TICKS_S[-1])
    first = math.ceil(chart.from_s / every)
    seconds = [number * every for number in range(first, int((chart.from_s + length) // every) + 1)]
    parts = [f'<text x="{_x(chart, at):.1f}" y="{bottom + 18}" text-anchor="middle">{at}</text>' for at in seconds]
    middle = (LEFT + WIDTH - RIGHT) / 2
    says = "seconds from the deed on; a bar is a tenth of a second, its height how many got what they asked for"
    return [*parts, f'<text x="{middle:.0f}" y="{bottom + 35}" text-anchor="middle">{says}</text>']
