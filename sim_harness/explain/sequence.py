"""A message sequence picture: life lines downwards, time downwards, an arrow a message, as SVG.

What was lost ends in a cross half-way. A life line is missing where no process runs; marks on it
are commits and rounds. Time in which nothing is said is folded, and the folds say how long it was.
Many messages of one kind at one time are drawn, but only some are named.
"""

from bisect import bisect_left
from itertools import pairwise
from typing import Final

from sim_harness.explain.messages import Mark, Messages, Sent
from sim_harness.report.svg import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PINK,
    RED,
    SKY,
    Scale,
    element,
    label,
)
from sim_harness.scenario.run import Run

LEFT: Final = 90
RIGHT: Final = 110
TOP: Final = 84
BOTTOM: Final = 30
COLUMN: Final = 150
COLUMN_MIN: Final = 40
WIDTH_MAX: Final = 2_400
HEIGHT_MIN: Final = 360
HEIGHT_MAX: Final = 6_000
ARROWS_MAX: Final = 3_000
PER_ARROW: Final = 9
"""Pixels of height for each message, so that most can be told apart."""
NAMED_EVERY: Final = 13
"""Pixels between two names on arrows from one life line."""
ROW: Final = 28
"""Pixels between two moments on the axis."""
FOLD_US_MIN: Final = 30_000
FOLD_PARTS: Final = 40
"""What is silent for longer than this part of the window is folded."""
HALO: Final[dict[str, str]] = {"stroke": "white", "stroke_width": "2.5", "paint_order": "stroke"}
"""Around texts, so that lines do not cross them."""
FONT: Final = 'font-family="system-ui, sans-serif" font-size="11"'
COLOURS: Final[dict[str, str]] = {
    "proposal": ORANGE,
    "prevote": BLUE,
    "precommit": GREEN,
    "block": INK,
    "sync": PINK,
    "ad": GREY,
    "receipt": SKY,
    "transaction": SKY,
    "junk": RED,
}


class Folded:
    """Time downwards: even, but for folds where nothing happens for long."""

    def __init__(self, moments: list[int], top: float, bottom: float) -> None:
        longest = max(FOLD_US_MIN, (moments[-1] - moments[0]) // FOLD_PARTS)
        self.moments = moments
        self.folds = [pair for pair in pairwise(moments) if pair[1] - pair[0] > longest]
        self._places = [0]
        for one, other in pairwise(moments):
            self._places.append(self._places[-1] + min(longest, other - one))
        self._scale = Scale(0, self._places[-1], top, bottom)

    def __call__(self, at_us: int) -> float:
        at_us = min(max(at_us, self.moments[0]), self.moments[-1])
        after = max(1, bisect_left(self.moments, at_us))
        one, other = self.moments[after - 1], self.moments[after]
        low, high = self._places[after - 1], self._places[after]
        return self._scale(low + (high - low) * (at_us - one) / (other - one))


class Window:
    """What of a run is drawn, and where everything is."""

    def __init__(self, run: Run, messages: Messages, from_us: int, until_us: int) -> None:
        self.from_us, self.until_us = from_us, until_us
        self.arrows = [one for one in messages.sent if self._touches(one)]
        self.hidden = max(0, len(self.arrows) - ARROWS_MAX)
        self.arrows = self.arrows[:ARROWS_MAX]
        self.marks = [one for one in messages.marks if from_us <= one.at_us <= until_us]
        self.count = len(run.world.nodes)
        wanted = min(COLUMN, (WIDTH_MAX - LEFT - RIGHT) / max(1, self.count - 1))
        self.column = max(COLUMN_MIN, wanted)
        height = min(HEIGHT_MAX, max(HEIGHT_MIN, PER_ARROW * len(self.arrows)))
        self.width = LEFT + RIGHT + self.column * max(1, self.count - 1)
        self.height = TOP + height + BOTTOM
        self.y = Folded(self._moments(run), TOP, TOP + height)

    def _moments(self, run: Run) -> list[int]:
        """When something is drawn, and both ends."""
        start_us = run.world.genesis.time_ms * 1_000
        found = [one.sent_us for one in self.arrows] + [one.at_us for one in self.marks]
        found += [one.arrived_us for one in self.arrows if one.arrived_us is not None]
        for node in run.world.nodes:
            for born, died in node.lives:
                ends = (born, born if died is None else died)
                found += [moment * 1_000 - start_us for moment in ends]
        inside = [one for one in found if self.from_us < one < self.until_us]
        return sorted({self.from_us, *inside, self.until_us})

    def x(self, node: int) -> float:
        """Of a life line."""
        return LEFT + self.column * node

    def _touches(self, one: Sent) -> bool:
        end_us = one.sent_us if one.arrived_us is None else one.arrived_us
        return one.sent_us <= self.until_us and end_us >= self.from_us


def sequence(run: Run, messages: Messages, from_ms: int, until_ms: int) -> str:
    """The picture of a window, as a file of its own."""
    window = Window(run, messages, from_ms * 1_000, until_ms * 1_000)
    parts = [element("rect", width=window.width, height=window.height, fill="white")]
    parts += _heading(run, window)
    parts += _axis(window)
    for node in run.world.nodes:
        start_ms = run.world.genesis.time_ms
        lives = [
            ((born - start_ms) * 1_000, None if died is None else (died - start_ms) * 1_000)
            for born, died in node.lives
        ]
        parts += _life_line(window, node.index, lives)
    named: dict[int, float] = {}
    told = [part for arrow in window.arrows for part in _arrow(window, arrow, named)]
    told += [part for mark in window.marks for part in _mark(window, mark)]
    # Texts come last, so that no line crosses them.
    parts += sorted(told, key=lambda part: part.startswith("<text"))
    title = f"Messages of {run.scenario.name!r}, seed {run.world.seed}"
    size = f'viewBox="0 0 {window.width:.0f} {window.height:.0f}" width="{window.width:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" {FONT}>'
    return head + element("title", text=title) + _heads() + "".join(parts) + "</svg>\n"


# ---- parts -------------------------------------------------------------------------------------


def _heading(run: Run, window: Window) -> list[str]:
    span = f"{window.from_us / 1e6:.3f} s to {window.until_us / 1e6:.3f} s"
    more = f"; {window.hidden} more messages are not drawn" if window.hidden else ""
    title = f"{run.scenario.name}, seed {run.world.seed}: {span}{more}"
    parts = [label(12, 20, title, font_size=14, font_weight="bold", fill=INK)]
    kinds = [kind for kind in COLOURS if any(one.kind == kind for one in window.arrows)]
    x = 12.0
    for kind in kinds:
        parts.append(
            element("line", x1=x, x2=x + 18, y1=37, y2=37, stroke=COLOURS[kind], stroke_width=2)
        )
        parts.append(label(x + 23, 41, kind, fill=INK))
        x += 40 + 7 * len(kind)
    for node in run.world.nodes:
        liar = run.world.liars.get(node.key.account)
        role = liar or ("validator" if node in run.world.validators else "node")
        place = {"x": window.x(node.index), "text_anchor": "middle"}
        name = label(y=64, text=f"n{node.index:02}", font_weight="bold", fill=INK, **place)  # type: ignore[arg-type]
        parts.append(name)
        if window.column > 60 or liar:
            parts.append(
                label(y=77, text=role, font_size=9, fill=RED if liar else GREY, **place)  # type: ignore[arg-type]
            )
    return parts


def _axis(window: Window) -> list[str]:
    parts = []
    right = window.width - RIGHT + 90
    for one, other in window.y.folds:
        y, height = window.y(one), window.y(other) - window.y(one)
        box = {"x": LEFT - 24, "width": right - LEFT + 24, "fill": "#eef1f4"}
        parts.append(element("rect", y=y + 4, height=max(0.0, height - 8), **box))
        text = f"{(other - one) / 1e3:,.0f} ms of silence"
        parts.append(label(right - 4, y + height / 2 + 3, text, text_anchor="end", fill=GREY))
    last = float("-inf")
    for tick in window.y.moments:
        y = window.y(tick)
        if y - last < ROW:
            continue
        last = y
        parts.append(element("line", x1=LEFT - 24, x2=right, y1=y, y2=y, stroke=FAINT))
        parts.append(label(LEFT - 30, y + 4, f"{tick / 1e6:.3f} s", text_anchor="end", fill=GREY))
    return parts


def _life_line(window: Window, node: int, lives: list[tuple[int, int | None]]) -> list[str]:
    parts, x = [], window.x(node)
    for born_us, died_us in lives:
        end_us = window.until_us if died_us is None else died_us
        if end_us < window.from_us or born_us > window.until_us:
            continue
        y1, y2 = window.y(born_us), window.y(end_us)
        parts.append(element("line", x1=x, x2=x, y1=y1, y2=y2, stroke=GREY, stroke_width=1.5))
        if died_us is not None and died_us <= window.until_us:
            parts += _cross(x, y2, RED)
            parts.append(label(x + 7, y2 + 4, "ends", font_size=9, fill=RED))
        if born_us >= window.from_us:
            parts.append(element("circle", cx=x, cy=y1, r=3.5, fill=GREEN))
            parts.append(label(x + 7, y1 + 4, "starts", font_size=9, fill=GREEN))
    return parts


def _arrow(window: Window, one: Sent, named: dict[int, float]) -> list[str]:
    colour = COLOURS[one.kind]
    x1, x2 = window.x(one.source), window.x(one.target)
    y1 = window.y(one.sent_us)
    y2 = y1 + 12.0 if one.arrived_us is None else window.y(one.arrived_us)
    lost = one.arrived_us is None
    if lost:
        x2 = (x1 + x2) / 2
    line: dict[str, object] = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    text = f"{one.text}: n{one.source:02} to n{one.target:02}, "
    text += "lost" if one.arrived_us is None else f"{(one.arrived_us - one.sent_us) / 1e3:.1f} ms"
    line |= {"stroke": colour, "stroke_width": 1.2, "stroke_opacity": 0.75, "title": text}
    if lost:
        line["stroke_dasharray"] = "4 3"
    else:
        line["marker_end"] = f"url(#{one.kind})"
    parts = [element("line", **line)]
    if lost:
        parts += _cross(x2, y2, colour)
    if y1 - named.get(one.source, -NAMED_EVERY) >= NAMED_EVERY and y1 >= TOP:
        named[one.source] = y1
        anchor = "end" if x2 < x1 else "start"
        x = x1 - 5 if x2 < x1 else x1 + 5
        parts.append(
            label(x, y1 - 2, one.text, font_size=8.5, fill=colour, text_anchor=anchor, **HALO)
        )
    return parts


def _mark(window: Window, mark: Mark) -> list[str]:
    x, y = window.x(mark.node), window.y(mark.at_us)
    is_commit = mark.text.startswith("commit")
    fill = GREEN if is_commit else ORANGE
    return [
        element("rect", x=x - 4.0, y=y - 4.0, width=8, height=8, fill=fill, title=mark.text),
        label(x + 7, y + 10, mark.text, font_size=9, font_weight="bold", fill=fill, **HALO),
    ]


def _cross(x: float, y: float, colour: str) -> list[str]:
    path = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
    return [element("path", d=path, stroke=colour, stroke_width=1.6, fill="none")]


def _heads() -> str:
    """One arrow head a colour."""
    tip = "M0 0L7 3L0 6z"
    heads = "".join(
        f'<marker id="{kind}" markerWidth="7" markerHeight="6" refX="7" refY="3" orient="auto" '
        f'markerUnits="userSpaceOnUse"><path d="{tip}" fill="{colour}"/></marker>'
        for kind, colour in COLOURS.items()
    )
    return f"<defs>{heads}</defs>"
