"""`sim-harness compare`: two runs, two directories of runs, or two sweeps, side by side."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sim_harness.exploring import EXIT_FAILED, EXIT_USAGE, PIPE_WIDTH

if TYPE_CHECKING:
    from sim_harness.compare.verdict import Comparison


def compare(
    first: Annotated[Path, typer.Argument(help="A run, a directory of runs, or a sweep.")],
    second: Annotated[Path, typer.Argument(help="The same of what is held against it.")],
    *,
    report: Annotated[Path | None, typer.Option(help="File for one HTML page with plots.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Compare two runs or sweeps: medians, percentiles, intervals, and a verdict."""
    import msgspec

    from sim_harness.compare.page import page
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

    from sim_harness.report.page import figure

    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("measure", "A 50/95/99 %", "B 50/95/99 %", "B/A", "95 % interval", "B is"):
        is_text = name in ("measure", "B is")
        justify: Literal["left", "right"] = "left" if is_text else "right"
        table.add_column(name, justify=justify, no_wrap=name != "measure")
    for line in found.lines:
        sides = (line.first, line.second)
        table.add_row(
            f"{line.measure} ({line.unit})",
            *("/".join(figure(value) for value in (at.p50, at.p95, at.p99)) for at in sides),
            "-" if line.ratio is None else f"{line.ratio:.2f}",
            "-"
            if line.interval is None
            else f"{line.interval.low:.2f} to {line.interval.high:.2f}",
            line.word,
        )
    for side, name, code, failed in (
        ("A", found.first, found.first_commit, found.first_failed),
        ("B", found.second, found.second_commit, found.second_failed),
    ):
        told = f" at {code}" if code else ""
        console.print(f"{side} {name}{told}: {failed} failed", highlight=False, soft_wrap=True)
    for note in found.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    pairs = max((line.pairs for line in found.lines), default=0)
    if pairs:
        console.print(f"{pairs} pairs of equal settings and seeds", highlight=False)
    console.print(table)
    console.print(f"B against A: {found.verdict}", style="bold", highlight=False)
