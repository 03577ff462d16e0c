"""`sim-harness compare`: two runs, two directories of runs, or two sweeps, side by side."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sim_harness.exploring import EXIT_FAILED, EXIT_USAGE

if TYPE_CHECKING:
    from sim_harness.compare.sources import Source
    from sim_harness.compare.verdict import Comparison

WIDTH: Final = 540
HEIGHT: Final = 220
LEFT: Final = 50
HEADINGS: Final = ("measure", "A median", "A 95 %", "B median", "B 95 %", "B/A", "interval", "B is")


def compare(
    first: Annotated[Path, typer.Argument(help="A run, a directory of runs, or a sweep.")],
    second: Annotated[Path, typer.Argument(help="The same of what is held against it.")],
    *,
    report: Annotated[Path | None, typer.Option(help="File for one HTML page with plots.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Compare two runs or sweeps: medians, percentiles, intervals, and a verdict."""
    import msgspec

    from sim_harness.compare.sources import SourceError, read_source
    from sim_harness.compare.verdict import compare as held

    try:
        one, other = read_source(first), read_source(second)
    except SourceError as error:
        typer.echo(f"sim-harness: {error}", err=True)
        raise typer.Exit(EXIT_USAGE) from None
    found = held(one, other)
    if report is not None:
        try:
            report.write_text(page(found, one, other), encoding="utf-8")
        except OSError as error:
            typer.echo(f"sim-harness: cannot write {report}: {error.strerror}", err=True)
            raise typer.Exit(EXIT_FAILED) from None
    if json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        _show(found)


def _show(found: "Comparison") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("measure", "A p50", "p95", "p99", "B p50", "p95", "p99", "B/A", "95 %", "B is"):
        table.add_column(name, justify="left" if name in ("measure", "B is") else "right")
    for line in found.lines:
        one, other = line.first, line.second
        table.add_row(
            f"{line.measure} ({line.unit})",
            *(f"{value:.5g}" for value in (one.p50, one.p95, one.p99)),
            *(f"{value:.5g}" for value in (other.p50, other.p95, other.p99)),
            "-" if line.ratio is None else f"{line.ratio:.2f}",
            "-"
            if line.interval is None
            else f"{line.interval.low:.2f} to {line.interval.high:.2f}",
            line.word + (f", {line.pairs} pairs" if line.pairs else ""),
        )
    console.print(f"A {found.first}: {found.first_failed} failed", highlight=False)
    console.print(f"B {found.second}: {found.second_failed} failed", highlight=False)
    console.print(table)
    console.print(f"B against A: {found.verdict}", style="bold", highlight=False)


def page(found: "Comparison", one: "Source", other: "Source") -> str:
    """Both distributions of every measure; it needs no network and no script."""
    from sim_harness.sweep.page import STYLE

    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>Comparison</title><style>{STYLE}</style></head><body><main>",
        f"<header><h1>B against A: {escape(found.verdict)}</h1>",
        f"<p>A {escape(one.name)}, {found.first_failed} failed</p>",
        f"<p>B {escape(other.name)}, {found.second_failed} failed</p></header><section><table>",
        f"<tr>{''.join(f'<th>{name}</th>' for name in HEADINGS)}</tr>",
    ]
    for line in found.lines:
        between = line.interval
        interval = "-" if between is None else f"{between.low:.2f} to {between.high:.2f}"
        ratio = "-" if line.ratio is None else f"{line.ratio:.2f}"
        parts.append(
            f"<tr><td>{line.measure} ({line.unit})</td><td>{line.first.p50:.5g}</td>"
            f"<td>{line.first.p95:.5g}</td><td>{line.second.p50:.5g}</td>"
            f"<td>{line.second.p95:.5g}</td><td>{ratio}</td><td>{interval}</td>"
            f"<td>{line.word}</td></tr>"
        )
    parts.append("</table></section><div class='two'>")
    for line in found.lines:
        chart = shares(one.samples[line.measure], other.samples[line.measure], line.unit)
        parts.append(f"<section><h2>{line.measure}</h2>{chart}</section>")
    parts.append("</div></main></body></html>")
    return "".join(parts)


def shares(first: list[float], second: list[float], unit: str) -> str:
    """The share of values up to each value, of both: blue A, orange B."""
    from sim_harness.report.svg import (
        BLUE,
        FAINT,
        GREY,
        INK,
        ORANGE,
        Scale,
        element,
        label,
        picture,
    )

    bottom, end = HEIGHT - 34, WIDTH - 14
    across = Scale(0, max([*first, *second, 1e-9]), LEFT, end)
    up = Scale(0, 100, bottom, 12)
    parts = []
    for tick in (0.0, 50.0, 95.0, 100.0):
        parts.append(element("line", x1=LEFT, x2=end, y1=up(tick), y2=up(tick), stroke=FAINT))
        parts.append(label(LEFT - 6, up(tick) + 4, f"{tick:g} %", text_anchor="end", fill=GREY))
    for number, (name, values, colour) in enumerate((("A", first, BLUE), ("B", second, ORANGE))):
        ordered = sorted(values)
        step = max(1, len(ordered) // 400)
        points = [(0.0, 0.0)] + [
            (ordered[at], 100 * (at + 1) / len(ordered)) for at in range(0, len(ordered), step)
        ]
        points.append((ordered[-1], 100.0))
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        parts.append(element("polyline", points=path, fill="none", stroke=colour, stroke_width=2))
        text = f"{name}, {len(values)} values"
        parts.append(label(end - 110, bottom - 24 + 14 * number, text, fill=colour))
    parts += [
        label(across(tick), bottom + 16, f"{tick:g}", text_anchor="middle", fill=GREY)
        for tick in across.ticks(6)
    ]
    parts.append(label((LEFT + end) / 2, HEIGHT - 3, unit, text_anchor="middle", fill=INK))
    return picture(WIDTH, HEIGHT, parts, f"share of values up to each, in {unit}")
