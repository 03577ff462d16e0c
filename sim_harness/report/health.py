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
    ("peers", "peers, fewest", BLUE),
    ("mesh_max", "mesh, most", SKY),
    ("mesh", "mesh, fewest", ORANGE),
    ("ads", "ads, fewest", GREEN),
)


def health_chart(result: Result) -> str:
    """Counts of the worst node (and of the best, for the mesh) at every sample."""
    samples = result.samples
    if not samples:
        return "<p>Nothing was sampled.</p>"
    time = Scale(0, result.end_ms, LEFT, WIDTH - RIGHT)
    lines = [line for line in LINES if any(getattr(one, line[0]) for one in samples)]
    counts = [getattr(one, name) for name, _, _ in lines if name != "ads" for one in samples]
    known = max(one.ads for one in samples)
    most = max(counts, default=1)
    bottom = TOP + HEIGHT
    up = Scale(0, max(1, most), bottom, TOP)
    parts = fault_bands(result, time, top=TOP, height=HEIGHT)
    for tick in up.ticks(4):
        y = up(tick)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, stroke=FAINT))
        parts.append(label(LEFT - 6, y + 4, f"{tick:g}", text_anchor="end", fill=GREY))
    x = float(LEFT)
    for name, words, colour in lines:
        # All ads are many more than anybody's connections: full height is all of them.
        scale = Scale(0, known, bottom, TOP) if name == "ads" else up
        text = f"ads, fewest of {known}" if name == "ads" else words
        parts.append(_line(samples, name, colour, time, scale))
        parts.append(element("line", x1=x, x2=x + 16, y1=12, y2=12, stroke=colour, stroke_width=3))
        parts.append(label(x + 20, 16, text, font_size=11))
        x += 32 + 5.6 * len(text)
    for tick in time.ticks(6):
        text = f"{tick / 1000:g} s"
        parts.append(label(time(tick), bottom + 16, text, text_anchor="middle", fill=GREY))
    return picture(WIDTH, bottom + 24, parts, "Connections and meshes over time")


def fault_bands(result: Result, time: Scale, *, top: float, height: float) -> list[str]:
    """Faint bands while something was broken: one for faults that overlap or follow at once."""
    spans = sorted(
        (time(one.at_ms), time(result.end_ms if one.until_ms is None else one.until_ms))
        for one in result.faults
    )
    merged: list[tuple[float, float]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    path = "".join(
        f"M{x:.1f} {top:g}h{max(1.0, end - x):.1f}v{height:g}H{x:.1f}z" for x, end in merged
    )
    return [element("path", d=path, fill=RED, opacity=0.07)] if path else []


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
