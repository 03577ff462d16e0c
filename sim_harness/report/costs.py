"""What a live run cost: memory and processor of all its processes over time."""

from typing import Final

from sim_harness.live.results import LiveResult, NodeCost, ResourcePoint
from sim_harness.report.health import fault_bands
from sim_harness.report.svg import (
    BLUE,
    FAINT,
    GREY,
    ORANGE,
    Scale,
    element,
    label,
    picture,
)

WIDTH: Final = 540
LEFT: Final = 64
RIGHT: Final = 12
HEIGHT: Final = 84
GAP: Final = 34


def cost_chart(result: LiveResult) -> str:
    """Two curves above one another, on one axis of time."""
    if not result.resources:
        return "<p>Nothing was sampled.</p>"
    end_ms = max(result.end_ms, *(one.at_ms for one in result.resources))
    time = Scale(0, end_ms, LEFT, WIDTH - RIGHT)
    parts = fault_bands(result, time, top=20, height=2 * HEIGHT + GAP)
    memory = [(one.at_ms, one.pss_mib) for one in result.resources]
    processor = [(one.at_ms, one.cpu_percent) for one in result.resources]
    harness = [(one.at_ms, one.harness_percent) for one in result.resources]
    parts += _curves("memory of all processes, MiB", [(BLUE, memory)], time, 20)
    both = [(BLUE, processor), (ORANGE, harness)]
    text = "processor, % of a core: all nodes, and the harness (orange)"
    parts += _curves(text, both, time, 20 + HEIGHT + GAP)
    bottom = 20 + 2 * HEIGHT + GAP
    for tick in time.ticks(6):
        text = f"{tick / 1000:g} s"
        parts.append(label(time(tick), bottom + 16, text, text_anchor="middle", fill=GREY))
    return picture(WIDTH, bottom + 24, parts, "Memory and processor over time")


def _curves(
    title: str, curves: list[tuple[str, list[tuple[int, float]]]], time: Scale, top: float
) -> list[str]:
    most = max(value for _, points in curves for _, value in points)
    up = Scale(0, most * 1.05 or 1, top + HEIGHT, top)
    parts = [label(LEFT, top - 6, title, font_size=11)]
    for tick in up.ticks(3, whole=False):
        y = up(tick)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, stroke=FAINT))
        parts.append(label(LEFT - 6, y + 4, f"{tick:g}", text_anchor="end", fill=GREY))
    for colour, points in curves:
        path = " ".join(f"{time(at_ms):.1f},{up(value):.1f}" for at_ms, value in points)
        line = {"fill": "none", "stroke": colour, "stroke_width": 2}
        parts.append(element("polyline", points=path, **line))
    return parts


def cost_lines(result: LiveResult) -> list[tuple[str, str]]:
    """What it took, in words and figures."""
    nodes = max(1, result.nodes_count)
    busiest = max(result.costs, key=lambda one: one.cpu_percent, default=None)
    last = result.resources[-1] if result.resources else None
    lines = [
        ("machine", result.machine),
        ("load when it ended", f"{result.load_average:.1f}"),
        ("up after", f"{result.bring_up_s:.1f} s, all processes after {result.started_s:.1f} s"),
        ("memory", f"{result.peak_memory_mib:,.0f} MiB at most, {_each(result, nodes)} a node"),
        ("processor", f"{result.cpu_percent_node:.2f} % of a core a node{_busiest(busiest)}"),
    ]
    if last is not None:
        lines.append(("descriptors", f"{_descriptors(result.resources)} of one node at most"))
    if result.dropped:
        lines.append(("reports lost", f"{result.dropped} messages to the harness found no room"))
    return lines


def _each(result: LiveResult, nodes: int) -> str:
    return f"{result.peak_memory_mib / nodes:,.1f} MiB"


def _busiest(cost: NodeCost | None) -> str:
    return "" if cost is None else f"; the busiest, n{cost.index}: {cost.cpu_percent:.2f} %"


def _descriptors(points: tuple[ResourcePoint, ...]) -> int:
    return max(point.descriptors_max for point in points)
