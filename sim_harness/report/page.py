"""One run as one HTML page: the answer first, then what happened, then the numbers."""

import re
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from sim_harness.live.results import LiveResult
from sim_harness.report.charts import ROWS_MAX as BUSIEST_MAX
from sim_harness.report.charts import commit_chart, traffic_chart
from sim_harness.report.costs import cost_chart, cost_lines
from sim_harness.report.health import health_chart
from sim_harness.report.story import story
from sim_harness.report.timeline import timeline
from sim_harness.scenario.results import Result

ROWS_MAX: Final = 50
"""Of any other table; the JSON has the rest."""
SENTENCE_MAX: Final = 160
OPEN_MAX: Final = 24
"""Of nodes, a table that is open at once."""
NODES_SHOWN: Final = 200
"""Rows of the table of nodes; the JSON has them all."""


def render_page(result: Result) -> str:
    """The page; it needs no network and no script."""
    live = result if isinstance(result, LiveResult) else None
    return template("page.html.j2").render(
        result=result,
        is_live=live is not None,
        costs="" if live is None else Markup(cost_chart(live)),
        cost_lines=[] if live is None else cost_lines(live),
        story=story(result),
        held=[check for check in result.checks if check.holds],
        busiest=min(BUSIEST_MAX, len(result.nodes)),
        sent_per_node=_rate(result),
        rows_max=ROWS_MAX,
        open_max=OPEN_MAX,
        nodes=result.nodes[:NODES_SHOWN],
        failed=[check for check in result.checks if not check.holds],
        untested=[cover for cover in result.coverage if cover.first_ms is None],
        timeline=Markup(timeline(result)),
        commits=Markup(commit_chart(result)),
        traffic=Markup(traffic_chart(result)),
        health=Markup(health_chart(result)),
        topics=by_topic(result),
    )


def _rate(result: Result) -> str:
    sent = sum(node.bytes_sent for node in result.nodes)
    node_seconds = max(1, len(result.nodes)) * max(1.0, result.end_ms / 1000)
    return f"{sent / node_seconds / 1000:.1f} kB/s"


def by_topic(result: Result) -> list[tuple[str, int, float, float]]:
    """Topic, bytes sent by all, share of all, and bytes a second of the average node."""
    totals: dict[str, int] = {}
    for node in result.nodes:
        for topic, count in node.bytes_by_topic.items():
            totals[topic] = totals.get(topic, 0) + count
    whole = max(1, sum(totals.values()))
    node_seconds = max(1, len(result.nodes)) * max(1.0, result.end_ms / 1000)
    ordered = sorted(totals.items(), key=lambda one: (-one[1], one[0]))
    return [(topic, count, count / whole, count / node_seconds) for topic, count in ordered]


@cache
def template(name: str) -> Template:
    """One of this folder's pages."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "change": _change,
        "figure": figure,
        "kb": _kilobytes,
        "micro": _micro,
        "seconds": _seconds,
        "short": _short,
        "spans": _spans,
    }
    return environment.get_template(name)


def _seconds(millis: int) -> str:
    """Milliseconds for people."""
    if millis < 1_000:
        return f"{millis} ms"
    return f"{millis / 1000:.2f} s" if millis < 10_000 else f"{millis / 1000:.1f} s"


def figure(value: float) -> str:
    """Three digits that say something, and no more."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _change(ratio: float) -> str:
    """A ratio as what it changes: +28 %, or a factor where that says more."""
    if ratio >= 3:
        return f"{ratio:.3g} times"
    percent = 100 * (ratio - 1)
    return f"{percent:+.0f} %" if abs(percent) >= 0.5 else "0 %"


def _spans(text: str) -> str:
    """Times of four digits and more, in seconds."""
    return re.sub(r"\b(\d{4,})ms\b", lambda found: _seconds(int(found[1])), text)


def _short(text: str) -> str:
    """A sentence with its long names cut, and itself where it is long."""
    cut = re.sub(r"\b(\w{8})\w{24,}\b", r"\1...", text)
    return cut if len(cut) <= SENTENCE_MAX else cut[:SENTENCE_MAX].rstrip() + "..."


def _micro(amount: int) -> str:
    return f"{amount:,}"


def _kilobytes(count: int) -> str:
    return f"{count / 1000:,.0f} kB"
