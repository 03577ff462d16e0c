"""A sweep as one HTML page: whether all held, what each setting does, and every measure drawn."""

from collections.abc import Sequence
from typing import Final

import msgspec
from markupsafe import Markup

from sim_harness.compare.statistics import Summary, summarize
from sim_harness.report.page import figure, template
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
from sim_harness.scenario.schema import Scenario
from sim_harness.sweep.effects import Effect, effects
from sim_harness.sweep.grid import Setting
from sim_harness.sweep.row import MEASURES, Row

WIDTH: Final = 380
HEIGHT: Final = 190
LEFT: Final = 52
COLOURS: Final = (BLUE, ORANGE, GREEN, PINK, SKY, RED)
LINES_MAX: Final = 6
"""Lines of a plot, a colour each; the table has all."""
FAILED_MAX: Final = 50
DOTS_MAX: Final = 40
"""Single runs that are drawn at a place; of more the line says enough."""
LABEL_PX: Final = 46

Place = tuple[Setting, ...]


class Failure(msgspec.Struct, frozen=True):
    """A run that failed, and how to see it again."""

    settings: str
    seed: int
    verdict: str
    why: str


def page(scenario: Scenario, rows: Sequence[Row], again: str = "") -> str:
    """The page; it needs no network and no script."""
    keys = list(rows[0].settings) if rows else []
    failed = [row for row in rows if row.verdict != "pass"]
    shown = [name for name in MEASURES if any(row.measures.get(name) is not None for row in rows)]
    plots = [(*MEASURES[name], Markup(plot(rows, name))) for name in shown]
    return template("sweep.html.j2").render(
        scenario=scenario,
        rows=rows,
        axes=[(key, list(dict.fromkeys(row.settings[key] for row in rows))) for key in keys],
        seeds=len({row.seed for row in rows}),
        worlds=" and ".join(sorted({row.world for row in rows})),
        commits=", ".join(sorted({row.commit for row in rows})),
        passed=len(rows) - len(failed),
        failed=[_failure(row, keys) for row in failed[:FAILED_MAX]],
        failed_count=len(failed),
        effects=_by_key(effects(rows, shown)),
        measures=MEASURES,
        legend=[
            (COLOURS[at], text) for at, text in enumerate(_lines_named(rows, keys)[:LINES_MAX])
        ],
        hidden=max(0, len(_lines_named(rows, keys)) - LINES_MAX),
        plots=plots,
        shown=shown,
        table=_table(rows, keys, shown),
        again=again,
    )


def _failure(row: Row, keys: list[str]) -> Failure:
    why = "; ".join(row.failed)
    return Failure(_named(_place(row), keys), row.seed, row.verdict, why)


def _by_key(found: Sequence[Effect]) -> list[tuple[str, list[Effect], list[Effect]]]:
    """Of every setting: the effects that are claimed, and those that are not."""
    told = []
    for key in dict.fromkeys(one.key for one in found):
        mine = [one for one in found if one.key == key]
        claimed = [one for one in mine if one.word in ("lower", "higher")]
        told.append((key, claimed, [one for one in mine if one not in claimed]))
    return told


def cells(rows: Sequence[Row], measure: str) -> dict[Place, Summary]:
    """A summary of one measure for each combination of settings, in the order of the sweep."""
    return {place: summarize(values) for place, values in _values(rows, measure).items()}


def _values(rows: Sequence[Row], measure: str) -> dict[Place, list[float]]:
    found: dict[Place, list[float]] = {}
    for row in rows:
        value = row.measures.get(measure)
        if value is not None:
            found.setdefault(_place(row), []).append(value)
    return found


def plot(rows: Sequence[Row], measure: str) -> str:
    """Over the first setting, a line for each of the others; nothing when it was not measured."""
    values = _values(rows, measure)
    if not values:
        return ""
    keys = list(rows[0].settings)
    across = list(dict.fromkeys(_first(_place(row)) for row in rows))
    lines = list(dict.fromkeys(_place(row)[1:] for row in rows))[:LINES_MAX]
    drawn = [one for place, found in values.items() if place[1:] in lines for one in found]
    bottom = HEIGHT - 38
    up = Scale(0, max(drawn, default=0) * 1.05 or 1, bottom, 10)
    step = (WIDTH - LEFT - 20) / len(across)
    x_of = {value: LEFT + step * (at + 0.5) for at, value in enumerate(across)}
    parts = []
    for tick in up.ticks(4, whole=False):
        parts.append(
            element("line", x1=LEFT, x2=WIDTH - 10, y1=up(tick), y2=up(tick), stroke=FAINT)
        )
        parts.append(label(LEFT - 6, up(tick) + 4, figure(tick), text_anchor="end", fill=GREY))
    each = -(-LABEL_PX // max(1, int(step)))
    for value, x in list(x_of.items())[::each]:
        parts.append(label(x, bottom + 16, str(value)[:14], text_anchor="middle", fill=INK))
    if keys:
        middle = (LEFT + WIDTH) / 2
        parts.append(label(middle, HEIGHT - 5, keys[0], text_anchor="middle", fill=GREY))
    for number, rest in enumerate(lines):
        points = [(x_of[_first(place)], one) for place, one in values.items() if place[1:] == rest]
        parts += _line(points, up, number, number - (len(lines) - 1) / 2)
    return picture(WIDTH, HEIGHT, parts, MEASURES[measure][0])


def _line(
    points: list[tuple[float, list[float]]], up: Scale, number: int, place: float
) -> list[str]:
    """Medians, their intervals, and the single runs, faint; beside the other lines' of a place."""
    colour, shift = COLOURS[number], 6 * place
    found = [(x + shift, values, summarize(values)) for x, values in points]
    path = " ".join(f"{x:.1f},{up(one.p50):.1f}" for x, _, one in found)
    parts = [element("polyline", points=path, fill="none", stroke=colour, stroke_width=2)]
    for x, values, one in found:
        if len(values) <= DOTS_MAX:
            dot = {"r": 2.2, "fill": colour, "opacity": 0.35}
            parts += [element("circle", cx=x, cy=up(value), **dot) for value in values]
        if one.interval is not None:
            low, high = up(one.interval.low), up(one.interval.high)
            parts.append(element("line", x1=x, x2=x, y1=low, y2=high, stroke=colour))
        title = f"median {figure(one.p50)}, {one.count} runs"
        parts.append(element("circle", cx=x, cy=up(one.p50), r=4, fill=colour, title=title))
    return parts


def _table(
    rows: Sequence[Row], keys: list[str], shown: Sequence[str]
) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """A line a combination: its name, how many passed, and medians with their intervals."""
    summaries = {name: cells(rows, name) for name in shown}
    lines = []
    for place in dict.fromkeys(_place(row) for row in rows):
        mine = [row for row in rows if _place(row) == place]
        passed = f"{sum(row.verdict == 'pass' for row in mine)} of {len(mine)}"
        found = [_cell(summaries[name].get(place)) for name in shown]
        lines.append((_named(place, keys) or "all", passed, found))
    return lines


def _cell(summary: Summary | None) -> tuple[str, str]:
    if summary is None:
        return "-", ""
    between = summary.interval
    return figure(summary.p50), (
        "" if between is None else f"{figure(between.low)} to {figure(between.high)}"
    )


def _lines_named(rows: Sequence[Row], keys: list[str]) -> list[str]:
    if len(keys) < 2:
        return []
    rests = dict.fromkeys(_place(row)[1:] for row in rows)
    return [_named(rest, keys[1:]) for rest in rests]


def _place(row: Row) -> Place:
    return tuple(row.settings.values())


def _first(place: Place) -> Setting:
    return place[0] if place else "all runs"


def _named(place: Place, keys: list[str]) -> str:
    short = [key.rpartition(".")[2] for key in keys]
    return ", ".join(f"{key} {value}" for key, value in zip(short, place, strict=True))
