"""The timeline: faults above, one lane a node below, and the heights of the network over time."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

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
from sim_harness.scenario.faults import FaultRecord, names
from sim_harness.scenario.results import NodeResult, Result

WIDTH: Final = 1100
LEFT: Final = 150
RIGHT: Final = 20
ROW: Final = 20
LANES_MAX: Final = 20
FAULTS_MAX: Final = 16
GLYPH_PX: Final = 5.8
"""Width of a letter of the small print, about."""
HEIGHTS: Final = 110


def timeline(result: Result) -> str:
    """Faults, heights and the lives of the nodes, on one axis of time."""
    time = Scale(0, result.end_ms, LEFT, WIDTH - RIGHT)
    rows = fault_rows(result.faults)
    lanes = _lanes(result)
    drawn = {node.index for node in lanes}
    rest = [node for node in result.nodes if node.index not in drawn]
    top = 50 if result.violations else 34
    heights_y = top + len(rows) * ROW + 16
    lanes_y = heights_y + HEIGHTS + 26
    bottom = lanes_y + (len(lanes) + bool(rest)) * ROW + 8
    parts = _moments(result, time, top - 8, bottom)
    parts += _faults(rows, result.end_ms, time, top)
    parts += _heights(result, time, heights_y)
    for number, node in enumerate(lanes):
        parts += _lane(node, result, time, lanes_y + number * ROW)
    if rest:
        parts += _others(rest, result.end_ms, time, lanes_y + len(lanes) * ROW)
    parts += _axis(time, bottom)
    x = time(result.faults_end_ms)
    line = {"x1": x, "x2": x, "y1": top - 8, "y2": bottom}
    anchor = "end" if x > WIDTH - 160 else "middle"
    parts.append(element("line", stroke=GREY, stroke_dasharray="2 4", **line))
    parts.append(label(x, bottom + 32, "from here on all is whole", text_anchor=anchor, fill=GREY))
    return picture(WIDTH, bottom + 40, parts, "Faults and commits over time")


def fault_rows(faults: tuple[FaultRecord, ...]) -> list[tuple[str, list[FaultRecord]]]:
    """Faults of one line of the file share a row, since they come one after the other."""
    rows: dict[tuple[str, int], list[FaultRecord]] = {}
    for fault in faults:
        rows.setdefault((fault.kind, fault.line), []).append(fault)
    return [(kind, found) for (kind, _), found in list(rows.items())[:FAULTS_MAX]]


def _lanes(result: Result) -> list[NodeResult]:
    """The nodes to draw: those that something happened to come first when there are many."""
    if len(result.nodes) <= LANES_MAX:
        return list(result.nodes)
    hurt = Counter(
        index
        for fault in result.faults
        if len(fault.nodes) < len(result.nodes)
        for index in fault.nodes
    )
    eventful = sorted(
        result.nodes,
        key=lambda node: (-node.crashes, -len(node.stops), -hurt[node.index], -len(node.rounds_ms)),
    )
    return sorted(eventful[:LANES_MAX], key=lambda node: node.index)


def _moments(result: Result, time: Scale, top: float, bottom: float) -> list[str]:
    """What divides the run: the last repair, the recovery, the end of the faults."""
    parts = []
    if result.healed_ms is not None:
        end_ms = result.healed_ms + (result.recovered_ms or 0)
        parts.append(
            element(
                "rect",
                x=time(result.healed_ms),
                y=top,
                width=max(1.0, time(end_ms) - time(result.healed_ms)),
                height=bottom - top,
                fill=GREEN,
                opacity=0.15,
            )
        )
        took = "never recovered"
        if result.recovered_ms is not None:
            took = f"healed, recovered in {result.recovered_ms / 1000:.1f} s"
        anchor = "end" if time(result.healed_ms) > WIDTH - 260 else "start"
        place = time(result.healed_ms)
        parts.append(label(place, top - 6, took, fill=GREEN, text_anchor=anchor))
    for violation in result.violations:
        x = time(violation.at_ms)
        line = element("line", x1=x, x2=x, y1=top, y2=bottom, stroke=RED, stroke_width=3)
        side = "end" if x > WIDTH / 2 else "start"
        parts += [line, label(x, top - 22, violation.name, fill=RED, text_anchor=side)]
    return parts


def _faults(
    rows: list[tuple[str, list[FaultRecord]]], end_ms: int, time: Scale, top: float
) -> list[str]:
    parts = []
    for number, (kind, found) in enumerate(rows):
        y = top + number * ROW
        parts.append(label(LEFT - 10, y + 12, kind, text_anchor="end", fill=RED))
        for fault in found:
            until_ms = end_ms if fault.until_ms is None else fault.until_ms
            start, end = time(fault.at_ms), time(until_ms)
            title = f"{fault.what}, {fault.at_ms / 1000:.1f} s to {until_ms / 1000:.1f} s"
            parts.append(
                element(
                    "rect",
                    x=start,
                    y=y + 2,
                    width=max(2.0, end - start),
                    height=ROW - 6,
                    rx=3,
                    fill=RED,
                    title=title,
                )
            )
        parts.append(_fault_text(found, time, y))
    return parts


def _fault_text(found: list[FaultRecord], time: Scale, y: float) -> str:
    """Said once a row, beside the last of its bars or in it, where there is room."""
    last = found[-1]
    x = time(last.at_ms if last.until_ms is None else last.until_ms)
    nodes = sorted({index for fault in found for index in fault.nodes})
    text = last.what if len(found) == 1 else f"{len(found)} times, {names(nodes)}"
    start = time(found[0].at_ms)
    wanted = GLYPH_PX * len(text)
    after, before = WIDTH - RIGHT - x - 8, start - LEFT - 8
    inside = x - start - 12 if len(found) == 1 else 0.0
    rooms = {"after": after, "inside": inside, "before": before}
    fits = [name for name, room in rooms.items() if room >= wanted]
    where = fits[0] if fits else max(rooms, key=lambda name: rooms[name])
    cut = _cut(text, rooms[where])
    if where == "after":
        return label(x + 6, y + 12, cut, fill=INK, font_size=11)
    if where == "inside":
        return label(start + 6, y + 12, cut, fill="#fff", font_size=11)
    return label(start - 6, y + 12, cut, text_anchor="end", fill=INK, font_size=11)


def _cut(text: str, room_px: float) -> str:
    """As much of it as there is room for."""
    letters = max(3, int(room_px / GLYPH_PX))
    return text if len(text) <= letters else text[: letters - 3].rstrip() + "..."


def _heights(result: Result, time: Scale, top: float) -> list[str]:
    highest = max([1, *(sample.height_max for sample in result.samples)])
    scale = Scale(0, highest, top + HEIGHTS, top)
    first = [(time(one.first_ms), scale(one.height)) for one in result.commits]
    slowest = [(time(one.at_ms), scale(one.height)) for one in result.samples]
    parts = [
        element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=scale(tick), y2=scale(tick), stroke=FAINT)
        for tick in scale.ticks(3)
    ]
    parts += [
        label(LEFT - 10, scale(tick) + 4, f"{tick:.0f}", text_anchor="end", fill=GREY)
        for tick in scale.ticks(3)
    ]
    parts.append(label(LEFT - 60, top + HEIGHTS / 2, "height", text_anchor="end", fill=INK))
    parts.append(_line(slowest, ORANGE, dashed=True))
    parts.append(_line(first, BLUE, dashed=False))
    for one in result.commits:
        if one.round:
            title = f"height {one.height} took {one.round + 1} rounds"
            place = {"cx": time(one.first_ms), "cy": scale(one.height)}
            parts.append(element("circle", r=4, fill=ORANGE, title=title, **place))
    x = LEFT + 12
    parts.append(
        element("line", x1=x, x2=x + 22, y1=top + 8, y2=top + 8, stroke=BLUE, stroke_width=2)
    )
    parts.append(label(x + 28, top + 12, "the first node", fill=BLUE))
    line = {"x1": x, "x2": x + 22, "y1": top + 26, "y2": top + 26}
    dashes = {"stroke_width": 2, "stroke_dasharray": "4 3"}
    parts.append(element("line", stroke=ORANGE, **line, **dashes))
    parts.append(label(x + 28, top + 30, "the last node that runs", fill="#9a6a00"))
    return parts


def _line(points: list[tuple[float, float]], colour: str, *, dashed: bool) -> str:
    steps: list[str] = []
    before: float | None = None
    for x, y in points:
        if before is not None:
            steps.append(f"{x:.1f},{before:.1f}")
        steps.append(f"{x:.1f},{y:.1f}")
        before = y
    dashes = {"stroke_dasharray": "4 3"} if dashed else {}
    return element(
        "polyline", points=" ".join(steps), fill="none", stroke=colour, stroke_width=2, **dashes
    )


def _lane(node: NodeResult, result: Result, time: Scale, y: float) -> list[str]:
    """One node: grey while it is down, a blue mark a commit, an orange one a late round."""
    middle = y + ROW / 2
    who = f"n{node.index} {node.name}"
    parts = [
        label(LEFT - 10, middle + 4, who, text_anchor="end", fill=INK, font_size=11),
        element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=middle, y2=middle, stroke=FAINT),
    ]
    for fault in result.faults:
        if node.index in fault.nodes and len(fault.nodes) < len(result.nodes):
            until_ms = result.end_ms if fault.until_ms is None else fault.until_ms
            hurt = {"x": time(fault.at_ms), "width": max(2.0, time(until_ms) - time(fault.at_ms))}
            parts.append(element("rect", y=y, height=ROW, fill=RED, opacity=0.13, **hurt))
    for start_ms, end_ms in _absences(node, result.end_ms):
        parts.append(
            element(
                "rect",
                x=time(start_ms),
                y=y + 3,
                width=max(1.5, time(end_ms) - time(start_ms)),
                height=ROW - 6,
                fill="#b8c2cc",
                title=f"n{node.index} down {start_ms / 1000:.1f} s to {end_ms / 1000:.1f} s",
            )
        )
    for at_ms in node.rounds_ms:
        x = time(at_ms)
        mark = element("line", x1=x, x2=x, y1=y + 4, y2=y + ROW - 4, stroke=ORANGE, stroke_width=2)
        parts.append(mark)
    marks = strokes([time(at_ms) for at_ms in node.commits_ms], y + 5)
    if marks:
        parts.append(element("path", d=marks, stroke=BLUE, stroke_width=1.5, fill="none"))
    return parts


def _others(nodes: list[NodeResult], end_ms: int, time: Scale, y: float) -> list[str]:
    """All nodes without a lane in one: every commit of any of them, and when some were down."""
    middle = y + ROW / 2
    text = f"{len(nodes)} others"
    parts = [
        label(LEFT - 10, middle + 4, text, text_anchor="end", fill=INK, font_size=11),
        element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=middle, y2=middle, stroke=FAINT),
    ]
    down = sorted(
        {(round(time(a)), round(time(b))) for n in nodes for a, b in _absences(n, end_ms)}
    )
    grey = " ".join(f"M{a} {y + ROW - 5:.0f}H{max(a + 1, b)}" for a, b in down)
    if grey:
        parts.append(element("path", d=grey, stroke="#b8c2cc", stroke_width=4, fill="none"))
    moments = {round(time(at_ms)) for node in nodes for at_ms in node.commits_ms}
    marks = strokes(sorted(moments), y + 5)
    if marks:
        parts.append(
            element("path", d=marks, stroke=BLUE, stroke_width=1, opacity=0.6, fill="none")
        )
    return parts


def strokes(places: Sequence[float], y: float) -> str:
    """A path of upright strokes; each from the one before it, which is short to write."""
    path, before, tall = "", 0.0, ROW - 10
    for x in places:
        place = round(x, 1)
        start = f"m{place - before:.1f}-{tall}" if path else f"M{place:.1f} {y:.1f}"
        path += f"{start.replace('.0', '')}v{tall}"
        before = place
    return path


def _absences(node: NodeResult, end_ms: int) -> list[tuple[int, int]]:
    """When no process of a node ran, before its first start not counted."""
    found = []
    for (_, ended_ms), following in zip(
        node.lives_ms, [*node.lives_ms[1:], (end_ms, None)], strict=True
    ):
        if ended_ms is not None:
            found.append((ended_ms, following[0]))
    return found


def _axis(time: Scale, y: float) -> list[str]:
    parts = [element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, stroke=GREY)]
    for tick in time.ticks(10):
        x = time(tick)
        parts.append(element("line", x1=x, x2=x, y1=y, y2=y + 4, stroke=GREY))
        parts.append(label(x, y + 18, f"{tick / 1000:g} s", text_anchor="middle", fill=GREY))
    return parts
