"""What came out, as a picture: bars of CPU time relative to kazoo's, drawn as plain SVG.

Owns shapes and places. Must not know how anything was measured.
"""

from __future__ import annotations

from html import escape
from typing import List, NamedTuple, Tuple

from .goals import NAMES, UNITS, Results, spread
from .report import number

#: What is shown: text, workload, figure, and who does it; the first is 100 %.
ROWS: Tuple[Tuple[str, str, str, Tuple[str, ...]], ...] = (
    ("get, one at a time", "sequential", "cpu", ("kazoo", "zkwire", "asyncio", "bare")),
    ("get, 1000 in flight", "pipelined", "cpu", ("kazoo", "zkwire", "asyncio", "bare")),
    ("create, 1000 in flight", "creates", "cpu", ("kazoo", "zkwire")),
    ("get_children of 10,000", "children", "cpu", ("kazoo", "zkwire")),
    ("multi of 1000 creates", "multi", "cpu", ("kazoo", "zkwire")),
    ("8 threads of gets", "threads", "cpu", ("kazoo", "zkwire")),
    ("data watch set", "watches", "set", ("kazoo", "zkwire")),
    ("event delivered", "watches", "event", ("kazoo", "zkwire")),
    ("10,000 instances, first load", "instances", "cpu", ("kazoo", "zkwire")),
    ("import, time", "import", "time", ("kazoo", "zkwire")),
    ("import, memory", "import", "memory", ("kazoo", "zkwire")),
)
COLOURS = {"kazoo": "#9aa0a6", "zkwire": "#1a73e8", "asyncio": "#12a4af", "bare": "#dadce0"}
WIDTH, LEFT, RIGHT, TOP, BAR, GAP = 860, 210, 130, 64, 13, 14


class Bar(NamedTuple):
    """One bar: lengths are parts of the first bar of its row."""

    client: str
    length: float
    least: float
    most: float
    text: str


def bars(results: Results, workload: str, figure: str, clients: Tuple[str, ...]) -> List[Bar]:
    """The bars of a row; none if it was not measured."""
    found = [(c, spread([one[figure] for one in results[workload, c]])) for c in clients if (workload, c) in results]
    if not found or found[0][0] != clients[0]:
        return []
    whole = found[0][1].median
    unit = UNITS[workload, figure]
    return [
        Bar(client, one.median / whole, one.least / whole, one.most / whole, f"{number(one.median)} {unit}")
        for client, one in found
    ]


def svg(results: Results, about: str) -> str:
    """The picture."""
    parts: List[str] = []
    y = TOP
    scale = WIDTH - LEFT - RIGHT
    for text, *row in ROWS:
        group = bars(results, *row)  # type: ignore[arg-type]
        if not group:
            continue
        middle = y + len(group) * BAR / 2 + 4
        parts.append(f'<text x="{LEFT - 10}" y="{middle:.1f}" text-anchor="end">{escape(text)}</text>')
        for bar in group:
            parts += _drawn(bar, y, min(1.1, bar.length) * scale, scale)
            y += BAR
        y += GAP
    height = y + 26
    legend = "".join(
        f'<rect x="{LEFT + 150 * i}" y="34" width="12" height="12" fill="{COLOURS[client]}"/>'
        f'<text x="{LEFT + 150 * i + 18}" y="44">{escape(NAMES[client])}</text>'
        for i, client in enumerate(COLOURS)
    )
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#202124">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15">CPU time of an operation (of import: time and memory), relative to kazoo</text>',
        legend, *parts,
        f'<text x="{LEFT}" y="{height - 10}" fill="#5f6368" font-size="11">{escape(about)}</text>',
        "</svg>", "",
    ])  # fmt: skip


def _drawn(bar: Bar, y: int, length: float, scale: int) -> List[str]:
    """A bar, a line from the smallest to the largest round, and the figure itself."""
    middle = y + (BAR - 2) / 2
    least, most = (LEFT + min(1.1, end) * scale for end in (bar.least, bar.most))
    percent = "" if bar.client == "kazoo" else f", {bar.length * 100:.0f} %"
    return [
        f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 2}" fill="{COLOURS[bar.client]}"/>',
        f'<line x1="{least:.1f}" x2="{most:.1f}" y1="{middle}" y2="{middle}" stroke="#202124" stroke-width="1"/>',
        f'<text x="{max(LEFT + length, most) + 6:.1f}" y="{y + BAR - 3}" font-size="11">{bar.text}{percent}</text>',
    ]
