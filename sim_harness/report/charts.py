"""Charts beside the timeline: how long heights took, and who sent how much of what."""

from typing import Final

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
    picture,
)
from sim_harness.scenario.recorder import CONTROL
from sim_harness.scenario.results import NodeResult, Result

WIDTH: Final = 540
LEFT: Final = 70
HEIGHT: Final = 220
ROW: Final = 18
ROWS_MAX: Final = 12

TOPICS: Final = {
    "votes": BLUE,
    "blocks": ORANGE,
    "receipts": GREEN,
    "transactions": PINK,
    "ads": SKY,
    CONTROL: GREY,
    "other": RED,
}


def commit_chart(result: Result) -> str:
    """For every height, from the block's own time to the first and to the last commit."""
    if not result.commits:
        return "<p>No height was committed.</p>"
    slowest = max(max(1, one.last_ms - one.block_ms) for one in result.commits)
    limit = min(slowest, max(1_000, 3 * result.commit_latency.p95))
    bottom, end = HEIGHT - 34, WIDTH - 10
    across = Scale(0, max(one.height for one in result.commits) + 1, LEFT, end)
    up = Scale(0, limit, bottom, 10)
    parts = _grid(up, end)
    for one in result.commits:
        x = across(one.height)
        first, last = max(0, one.first_ms - one.block_ms), max(0, one.last_ms - one.block_ms)
        colour = ORANGE if one.round else BLUE
        title = f"height {one.height}, round {one.round}: first {first} ms, last {last} ms"
        place = {"x1": x, "x2": x, "y1": up(first), "y2": up(last)}
        parts.append(element("line", stroke=colour, stroke_width=2, opacity=0.5, **place))
        parts.append(element("circle", cx=x, cy=up(first), r=3.2, fill=colour, title=title))
        if last > limit:
            parts.append(label(x, 12, "↑", text_anchor="middle", fill=colour))
        else:
            parts.append(element("circle", cx=x, cy=up(last), r=1.8, fill=colour, title=title))
    for tick in across.ticks(8):
        parts.append(label(across(tick), bottom + 16, f"{tick:g}", text_anchor="middle", fill=GREY))
    parts.append(label((LEFT + end) / 2, HEIGHT - 4, "height", text_anchor="middle", fill=GREY))
    return picture(WIDTH, HEIGHT, parts, "Commit latency by height")


def traffic_chart(result: Result) -> str:
    """What each node sent, by topic; the busiest nodes when there are many."""
    busiest = sorted(result.nodes, key=lambda node: -node.bytes_sent)[:ROWS_MAX]
    shown = sorted(busiest, key=lambda node: node.index)
    most = max([1, *(node.bytes_sent for node in shown)])
    seconds = max(1.0, result.end_ms / 1000)
    across = Scale(0, most / seconds / 1000, LEFT, WIDTH - 50)
    parts: list[str] = []
    for number, node in enumerate(shown):
        parts += _traffic_row(node, 26 + number * ROW, across, seconds)
    x = LEFT
    for topic, colour in TOPICS.items():
        if any(node.bytes_by_topic.get(topic) for node in shown):
            parts.append(element("rect", x=x, y=4, width=10, height=10, fill=colour))
            parts.append(label(x + 14, 13, topic, fill=INK, font_size=11))
            x += 26 + 7 * len(topic)
    bottom = 26 + len(shown) * ROW
    for tick in across.ticks(5):
        parts.append(label(across(tick), bottom + 14, f"{tick:g}", text_anchor="middle", fill=GREY))
    parts.append(label(WIDTH - 4, bottom + 14, "kB/s", text_anchor="end", fill=GREY))
    return picture(WIDTH, bottom + 22, parts, "Gossip sent by each node")


def _traffic_row(node: NodeResult, y: float, across: Scale, seconds: float) -> list[str]:
    parts = [label(LEFT - 8, y + 12, f"n{node.index}", text_anchor="end", fill=INK, font_size=11)]
    before = 0.0
    for topic, colour in TOPICS.items():
        sent = node.bytes_by_topic.get(topic, 0)
        rate = sent / seconds / 1000
        if rate:
            start, end = across(before), across(before + rate)
            title = f"n{node.index} {topic}: {rate:.2f} kB/s, {sent} bytes"
            parts.append(
                element(
                    "rect",
                    x=start,
                    y=y + 2,
                    width=end - start,
                    height=ROW - 5,
                    fill=colour,
                    title=title,
                )
            )
            before += rate
    total = f"{before:.1f}"
    parts.append(label(across(before) + 5, y + 12, total, fill=GREY, font_size=11))
    return parts


def _grid(up: Scale, end: float) -> list[str]:
    parts = []
    for tick in up.ticks(4):
        y = up(tick)
        parts.append(element("line", x1=LEFT, x2=end, y1=y, y2=y, stroke=FAINT))
        text = f"{tick / 1000:g} s" if up.high >= 2_000 else f"{tick:g} ms"
        parts.append(label(LEFT - 8, y + 4, text, text_anchor="end", fill=GREY))
    return parts
