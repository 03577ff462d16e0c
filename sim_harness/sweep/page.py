"""A sweep as one HTML page: every measure over the first setting, a line for each of the others."""

from collections.abc import Sequence
from html import escape
from typing import Final

from sim_harness.compare.statistics import Summary, summarize
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
from sim_harness.sweep.grid import Setting
from sim_harness.sweep.row import MEASURES, Row

WIDTH: Final = 540
HEIGHT: Final = 250
LEFT: Final = 64
COLOURS: Final = (BLUE, ORANGE, GREEN, PINK, SKY, RED)
LINES_MAX: Final = 12
STYLE: Final = (
    "body{font:15px/1.45 system-ui,'DejaVu Sans',sans-serif;color:#1f2933;background:#f4f6f8;"
    "margin:0}main{max-width:1180px;margin:0 auto;padding:20px}header{background:#0b4f6c;"
    "color:#fff;border-radius:8px;padding:20px 24px}h1{margin:0;font-size:26px}"
    "section{background:#fff;border:1px solid #d9e0e7;border-radius:8px;padding:14px 18px;"
    "margin-top:16px}.two{display:grid;grid-template-columns:1fr 1fr;gap:16px}h2{font-size:16px;"
    "margin:0 0 8px}table{border-collapse:collapse;width:100%;font-size:14px}th,td{padding:4px "
    "10px 4px 0;border-bottom:1px solid #d9e0e7;text-align:right}th:first-child,td:first-child"
    "{text-align:left}svg{width:100%;height:auto;font:12px system-ui,'DejaVu Sans',sans-serif}"
    ".bad{color:#b84700;font-weight:700}.wide{overflow-x:auto}"
)

Place = tuple[Setting, ...]


def page(name: str, rows: Sequence[Row]) -> str:
    """The page; it needs no network and no script."""
    keys = list(rows[0].settings) if rows else []
    failed = [row for row in rows if row.verdict != "pass"]
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>Sweep: {escape(name)}</title><style>{STYLE}</style></head><body><main>",
        f"<header><h1>{escape(name)}</h1><p>{escape(_head(rows, keys, failed))}</p></header>",
        "<section><h2>Medians, with 95 % intervals over the seeds</h2>",
        f"{_table(rows, keys)}</section>",
        "<div class='two'>",
    ]
    for measure, what in MEASURES.items():
        chart = plot(rows, measure)
        if chart:
            parts.append(f"<section><h2>{escape(what)}</h2>{chart}</section>")
    parts.append("</div>")
    if failed:
        lines = "".join(
            f"<tr><td>{escape(_named(tuple(row.settings.values()), keys))}</td><td>{row.seed}</td>"
            f"<td>{row.verdict}</td><td>{escape('; '.join(row.failed))}</td></tr>"
            for row in failed
        )
        head = "<tr><th>settings</th><th>seed</th><th>verdict</th><th>what did not hold</th></tr>"
        parts.append(
            f"<section><h2 class='bad'>Runs that failed</h2><table>{head}{lines}</table></section>"
        )
    parts.append("</main></body></html>")
    return "".join(parts)


def cells(rows: Sequence[Row], measure: str) -> dict[Place, Summary]:
    """A summary of one measure for each combination of settings, in the order of the sweep."""
    found: dict[Place, list[float]] = {}
    for row in rows:
        values = found.setdefault(tuple(row.settings.values()), [])
        value = row.measures.get(measure)
        if value is not None:
            values.append(value)
    return {place: summarize(values) for place, values in found.items() if values}


def plot(rows: Sequence[Row], measure: str) -> str:
    """Over the first setting; nothing when it was not measured."""
    found = cells(rows, measure)
    if not found:
        return ""
    keys = list(rows[0].settings)
    across_values = list(dict.fromkeys(place[0] if place else "all" for place in found))
    lines: dict[Place, dict[Setting, Summary]] = {}
    for place, summary in found.items():
        lines.setdefault(place[1:], {})[place[0] if place else "all"] = summary
    highest = max(one.interval.high if one.interval else one.p50 for one in found.values())
    bottom = HEIGHT - 36
    up, step = Scale(0, highest * 1.05 or 1, bottom, 28), (WIDTH - LEFT - 30) / len(across_values)
    x_of = {value: LEFT + step * (at + 0.5) for at, value in enumerate(across_values)}
    parts = [
        element("line", x1=LEFT, x2=WIDTH - 10, y1=up(tick), y2=up(tick), stroke=FAINT)
        for tick in up.ticks(4)
    ]
    parts += [
        label(LEFT - 6, up(tick) + 4, f"{tick:g}", text_anchor="end", fill=GREY)
        for tick in up.ticks(4)
    ]
    for value, x in x_of.items():
        parts.append(label(x, bottom + 16, str(value), text_anchor="middle", fill=INK))
    if keys:
        middle = (LEFT + WIDTH) / 2
        parts.append(label(middle, HEIGHT - 4, keys[0], text_anchor="middle", fill=GREY))
    for number, (rest, line) in enumerate(list(lines.items())[:LINES_MAX]):
        parts += _line(line, x_of, up, number, _named(rest, keys[1:]))
    return picture(WIDTH, HEIGHT, parts, measure)


def _line(
    line: dict[Setting, Summary], x_of: dict[Setting, float], up: Scale, number: int, name: str
) -> list[str]:
    colour = COLOURS[number % len(COLOURS)]
    shift = 4 * (number - 1)
    points = [(x_of[value] + shift, summary) for value, summary in line.items()]
    path = " ".join(f"{x:.1f},{up(one.p50):.1f}" for x, one in points)
    parts = [element("polyline", points=path, fill="none", stroke=colour, stroke_width=2)]
    for x, one in points:
        if one.interval is not None:
            low, high = up(one.interval.low), up(one.interval.high)
            parts.append(element("line", x1=x, x2=x, y1=low, y2=high, stroke=colour))
        title = f"{name} {one.p50:g}, {one.count} runs".strip()
        parts.append(element("circle", cx=x, cy=up(one.p50), r=4, fill=colour, title=title))
    if name:
        x = LEFT + 4 + 120 * (number % 4)
        y = 10 + 13 * (number // 4)
        parts.append(element("rect", x=x, y=y - 8, width=9, height=9, fill=colour))
        parts.append(label(x + 13, y, name[:24], fill=INK, font_size=11))
    return parts


def _table(rows: Sequence[Row], keys: list[str]) -> str:
    shown = [name for name in MEASURES if cells(rows, name)]
    head = "".join(f"<th title='{escape(MEASURES[name])}'>{name}</th>" for name in shown)
    lines = []
    places = list(dict.fromkeys(tuple(row.settings.values()) for row in rows))
    summaries = {name: cells(rows, name) for name in shown}
    for place in places:
        passed = sum(row.verdict == "pass" for row in rows if _place(row) == place)
        count = sum(_place(row) == place for row in rows)
        columns = "".join(f"<td>{_cell(summaries[name].get(place))}</td>" for name in shown)
        lines.append(
            f"<tr><td>{escape(_named(place, keys))}</td><td>{passed}/{count}</td>{columns}</tr>"
        )
    return (
        f"<div class='wide'><table><tr><th>settings</th><th>passed</th>{head}</tr>"
        f"{''.join(lines)}</table></div>"
    )


def _place(row: Row) -> Place:
    return tuple(row.settings.values())


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return "-"
    if summary.interval is None:
        return f"{summary.p50:g}"
    return f"{summary.p50:g} <small>({summary.interval.low:g} to {summary.interval.high:g})</small>"


def _head(rows: Sequence[Row], keys: list[str], failed: list[Row]) -> str:
    seeds = len({row.seed for row in rows})
    worlds, commits = {row.world for row in rows}, {row.commit for row in rows}
    over = f" over {', '.join(keys)}" if keys else ""
    return (
        f"{len(rows)} runs{over}, {seeds} seeds, {'/'.join(sorted(worlds))},"
        f" {len(rows) - len(failed)} passed; code {', '.join(sorted(commits))}"
    )


def _named(place: Place, keys: list[str]) -> str:
    short = [key.rpartition(".")[2] for key in keys]
    return ", ".join(f"{key} {value}" for key, value in zip(short, place, strict=True))
