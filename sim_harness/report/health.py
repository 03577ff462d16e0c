"""How well the nodes are joined, over time: connections, the mesh of ads, and who knows whom."""

from typing import Final

from sim_harness.report.svg import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    ORANGE,
    RED,
    SKY,
    Scale,
    element,
    label,
    picture,
)
from sim_harness.scenario.results import Result
from sim_harness.scenario.statements import Sample

WIDTH: Final = 540
LEFT: Final = 44
RIGHT: Final = 12
TOP: Final = 40
HEIGHT: Final = 150

LINES: Final = (
    ("peers", "connections, fewest", BLUE),
    ("mesh_max", "mesh, most", SKY),
    ("mesh", "mesh, fewest", ORANGE),
    ("ads", "ads known, fewest", GREEN),
)


def health_chart(result: Result) -> str:
    """Counts of the worst node (and of the best, for the mesh) at every sample."""
    samples = result.samples
    if not samples:
        return "<p>Nothing was sampled.</p>"
    time = Scale(0, result.end_ms, LEFT, WIDTH - RIGHT)
    most = max(max(getattr(one, name) for name, _, _ in LINES) for one in samples)
    bottom = TOP + HEIGHT
    up = Scale(0, max(1, most), bottom, TOP)
    parts = _faults(result, time)
    for tick in up.ticks(4):
        y = up(tick)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, stroke=FAINT))
        parts.append(label(LEFT - 6, y + 4, f"{tick:g}", text_anchor="end", fill=GREY))
    x = float(LEFT)
    for name, text, colour in LINES:
        parts.append(_line(samples, name, colour, time, up))
        parts.append(element("line", x1=x, x2=x + 16, y1=12, y2=12, stroke=colour, stroke_width=3))
        parts.append(label(x + 20, 16, text, font_size=11))
        x += 32 + 5.6 * len(text)
    for tick in time.ticks(6):
        text = f"{tick / 1000:g} s"
        parts.append(label(time(tick), bottom + 16, text, text_anchor="middle", fill=GREY))
    return picture(WIDTH, bottom + 24, parts, "Connections and meshes over time")


def _faults(result: Result, time: Scale) -> list[str]:
    """Faint bands while something was broken."""
    parts = []
    for fault in result.faults:
        until_ms = result.end_ms if fault.until_ms is None else fault.until_ms
        x = time(fault.at_ms)
        width = max(1.0, time(until_ms) - x)
        title = f"{fault.kind}: {fault.what}"
        place = {"x": x, "width": width, "y": TOP, "height": HEIGHT}
        parts.append(element("rect", fill=RED, opacity=0.07, title=title, **place))
    return parts


def _line(samples: tuple[Sample, ...], name: str, colour: str, time: Scale, up: Scale) -> str:
    points: list[str] = []
    before: int | None = None
    for one in samples:
        value: int = getattr(one, name)
        if value == before and one is not samples[-1]:
            continue
        if before is not None:
            points.append(f"{time(one.at_ms):.1f},{up(before):.1f}")
        points.append(f"{time(one.at_ms):.1f},{up(value):.1f}")
        before = value
    line = {"fill": "none", "stroke": colour, "stroke_width": 2}
    return element("polyline", points=" ".join(points), **line)
