"""One run as one HTML page: the answer first, then what happened, then the numbers."""

from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from sim_harness.report.charts import commit_chart, traffic_chart
from sim_harness.report.health import health_chart
from sim_harness.report.timeline import timeline
from sim_harness.scenario.results import Result

NODES_SHOWN: Final = 200
"""Rows of the table of nodes; the JSON has them all."""


def render_page(result: Result) -> str:
    """The page; it needs no network and no script."""
    return template("page.html.j2").render(
        result=result,
        nodes=result.nodes[:NODES_SHOWN],
        failed=[check for check in result.checks if not check.holds],
        untested=[cover for cover in result.coverage if cover.first_ms is None],
        timeline=Markup(timeline(result)),
        commits=Markup(commit_chart(result)),
        traffic=Markup(traffic_chart(result)),
        health=Markup(health_chart(result)),
        topics=by_topic(result),
    )


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


def _micro(amount: int) -> str:
    return f"{amount:,}"


def _kilobytes(count: int) -> str:
    return f"{count / 1000:,.0f} kB"
