"""A comparison as one HTML page: the answer, every measure's change, and both distributions."""

import math
from typing import Final

from markupsafe import Markup

from sim_harness.compare.sources import Source
from sim_harness.compare.verdict import NOTABLE, Comparison, Line, Part, Word, pairs_of
from sim_harness.report.page import template
from sim_harness.report.svg import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    ORANGE,
    RED,
    Scale,
    element,
    label,
    picture,
)

WIDTH: Final = 380
HEIGHT: Final = 180
LEFT: Final = 50
CHANGES_WIDTH: Final = 1100
CHANGES_LEFT: Final = 190
ROW: Final = 26
STEPS: Final = (1.1, 1.25, 1.5, 2, 4, 10)
"""How far the picture of changes reaches, both ways."""
POINTS_MAX: Final = 400
COLOUR_OF: Final[dict[Word, str]] = {
    "lower": GREEN,
    "higher": RED,
    "the same": GREY,
    "unclear": GREY,
}


def page(found: Comparison, one: Source, other: Source) -> str:
    """The page; it needs no network and no script."""
    better, worse = found.verdict.startswith("better"), found.verdict.startswith("worse")
    charts = []
    for line in found.lines:
        first, second = one.samples[line.measure], other.samples[line.measure]
        if line.pairs:
            pairs = list(pairs_of(line.measure, one, other).values())
            first, second = [before for before, _ in pairs], [after for _, after in pairs]
        charts.append((line.measure, line.unit, Markup(shares(first, second, line.unit))))
    return template("compare.html.j2").render(
        found=found,
        looks="pass" if better else "fail" if worse else "plain",
        changes=Markup(changes(found.lines)),
        charts=charts,
        measures=[line.measure for line in found.lines],
        parts=_by_settings(found.parts),
    )


def _by_settings(parts: tuple[Part, ...]) -> dict[str, dict[str, Part]]:
    found: dict[str, dict[str, Part]] = {}
    for part in parts:
        found.setdefault(part.settings, {})[part.measure] = part
    return found


def changes(lines: tuple[Line, ...]) -> str:
    """Each measure's ratio with its interval; the band is what counts as the same."""
    shown = [line for line in lines if line.ratio]
    ends = [line.ratio or 1.0 for line in shown]
    for line in shown:
        ends += [line.interval.low, line.interval.high] if line.interval else []
    farthest = max((max(one, 1 / one) for one in ends if 0 < one < math.inf), default=1.0)
    reach = next((step for step in STEPS if step >= farthest), STEPS[-1])
    across = Scale(-math.log(reach), math.log(reach), CHANGES_LEFT, CHANGES_WIDTH - 150)
    bottom = 8 + ROW * len(shown)
    low, high = across(math.log(1 - NOTABLE)), across(math.log(1 + NOTABLE))
    band = {"x": low, "width": high - low, "y": 4, "height": bottom - 4}
    parts = [element("rect", fill=GREY, opacity=0.15, **band)]
    for step in (1.0, *(one for one in STEPS if one <= reach)):
        for ratio in {step, 1 / step}:
            x = across(math.log(ratio))
            parts.append(element("line", x1=x, x2=x, y1=4, y2=bottom, stroke=FAINT))
            if step in (1.0, reach) or step == STEPS[max(0, STEPS.index(reach) - 2)]:
                text = f"{ratio - 1:+.0%}" if ratio != 1 else "the same"
                parts.append(label(x, bottom + 16, text, text_anchor="middle", fill=GREY))
    for number, line in enumerate(shown):
        parts += _change(line, across, 8 + ROW * number + ROW / 2)
    return picture(CHANGES_WIDTH, bottom + 22, parts, "B against A, measure by measure")


def _change(line: Line, across: Scale, y: float) -> list[str]:
    assert line.ratio
    colour = COLOUR_OF[line.word]
    parts = [label(CHANGES_LEFT - 12, y + 4, line.measure, text_anchor="end", fill=INK)]
    if line.interval is not None:
        low, high = (max(1e-9, one) for one in (line.interval.low, line.interval.high))
        ends = {"x1": across(math.log(low)), "x2": across(math.log(min(high, 1e9)))}
        parts.append(element("line", y1=y, y2=y, stroke=colour, stroke_width=3, **ends))
    x = across(math.log(line.ratio))
    parts.append(element("circle", cx=x, cy=y, r=5, fill=colour))
    told = {"lower": "lower", "higher": "higher", "the same": "the same", "unclear": "not clear"}
    text = f"{line.ratio - 1:+.1%} {told[line.word]}"
    parts.append(label(CHANGES_WIDTH - 138, y + 4, text, fill=colour))
    return parts


def shares(first: list[float], second: list[float], unit: str) -> str:
    """The share of values up to each value, of both: blue A, orange B."""
    bottom, end = HEIGHT - 34, WIDTH - 20
    across = Scale(0, max([*first, *second, 1e-9]), LEFT, end)
    up = Scale(0, 100, bottom, 12)
    parts = []
    for tick in (0.0, 25.0, 50.0, 75.0, 100.0):
        parts.append(element("line", x1=LEFT, x2=end, y1=up(tick), y2=up(tick), stroke=FAINT))
        parts.append(label(LEFT - 6, up(tick) + 4, f"{tick:g} %", text_anchor="end", fill=GREY))
    for values, colour, dashes in (
        (first, BLUE, {}),
        (second, ORANGE, {"stroke_dasharray": "6 3"}),
    ):
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in _stairs(sorted(values)))
        line = {"fill": "none", "stroke": colour, "stroke_width": 2}
        parts.append(element("polyline", points=path, **line, **dashes))
    parts += [
        label(across(tick), bottom + 16, f"{tick:,g}", text_anchor="middle", fill=GREY)
        for tick in across.ticks(5, whole=False)
    ]
    parts.append(label((LEFT + end) / 2, HEIGHT - 3, unit, text_anchor="middle", fill=INK))
    return picture(WIDTH, HEIGHT, parts, f"share of values up to each, in {unit}")


def _stairs(ordered: list[float]) -> list[tuple[float, float]]:
    """The corners of a distribution: up at each value, level to the next."""
    step = max(1, len(ordered) // POINTS_MAX)
    corners: list[tuple[float, float]] = []
    before = 0.0
    for at in [*range(step - 1, len(ordered) - 1, step), len(ordered) - 1]:
        share = 100 * (at + 1) / len(ordered)
        corners += [(ordered[at], before), (ordered[at], share)]
        before = share
    return corners
