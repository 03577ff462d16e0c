"""`sim-harness sweep`: a progress bar, a table, Parquet and a page."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from sim_harness.exploring import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE


def sweep(  # noqa: PLR0913 - one an option
    file: Annotated[Path, typer.Argument(help="A scenario, in TOML.")],
    *,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=V,V: as network.nodes=50,100 or fault.0.for=5s,10s."),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, max=10_000, help="Seeds for each setting.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The first of the seeds.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Runs at a time.")] = 1,
    world: Annotated[str, typer.Option(help="virtual or live.")] = "virtual",
    faults: Annotated[
        str, typer.Option(help="Live: who breaks the network: transport or kernel.")
    ] = "transport",
    dask: Annotated[
        str | None, typer.Option(help="Run on a Dask cluster: tcp://HOST:PORT of its scheduler.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Directory of the results; runs/sweep-NAME if not said.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Run a scenario over a grid of settings and seeds; what is done already is not run again."""
    import msgspec
    from rich.console import Console

    from sim_harness.live.kernel.offer import KernelLacks, require_offer
    from sim_harness.scenario.sections import ScenarioError
    from sim_harness.sweep.grid import jobs_of, parse_axis
    from sim_harness.sweep.page import page
    from sim_harness.sweep.runner import SweepError, on_cluster, on_this_machine, run_sweep

    def refuse(sentence: str, code: int = EXIT_USAGE) -> typer.Exit:
        typer.echo(f"sim-harness: {sentence}", err=True)
        return typer.Exit(code)

    if world not in ("virtual", "live"):
        raise refuse(f"--world is virtual or live, not {world!r}")
    if faults not in ("transport", "kernel"):
        raise refuse(f"--faults is transport or kernel, not {faults!r}")
    if faults == "kernel" and world != "live":
        raise refuse("--faults kernel is for --world live: no kernel carries virtual packets")
    kernel = faults == "kernel"
    try:
        if kernel and dask is None:
            require_offer()
        axes = [parse_axis(text) for text in settings or []]
        planned = jobs_of(file, axes, repeat=repeat, seed=seed, world=world, kernel=kernel)
        runner = on_this_machine(jobs) if dask is None else on_cluster(dask)
    except (ValueError, KernelLacks, ScenarioError, SweepError) as error:
        raise refuse(str(error)) from None
    directory = output or Path("runs") / f"sweep-{file.stem}"
    console = Console(stderr=json)
    try:
        with _progress(console, len(planned)) as heard:
            rows = run_sweep(planned, directory, runner, heard)
        text = page(planned[0].scenario().name, rows)
        (directory / "report.html").write_text(text, encoding="utf-8")
    except (SweepError, OSError) as error:
        raise refuse(str(error), EXIT_FAILED) from None
    except KeyboardInterrupt:
        console.print(f"interrupted; the same command goes on from {directory}", highlight=False)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if json:
        found = {"directory": str(directory), "rows": rows}
        typer.echo(msgspec.json.encode(found).decode())
    else:
        show(rows, console)
        console.print(f"results in {directory}: results.parquet, report.html", highlight=False)
    if any(row.verdict != "pass" for row in rows):
        raise typer.Exit(EXIT_FAILED)


def show(rows: Sequence, console) -> None:  # type: ignore[no-untyped-def, type-arg]
    """The medians of the measures that people ask for first."""
    from rich.table import Table

    from sim_harness.sweep.page import cells

    names = ("decide_p50", "commit_p50", "commit_p95", "ad_p50", "ad_p99", "peak_memory_mib")
    found = {name: cells(rows, name) for name in names}
    shown = [name for name in names if found[name]]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for key in [*(rows[0].settings if rows else ()), "passed", *shown]:
        table.add_column(key, justify="right")
    for place in dict.fromkeys(tuple(row.settings.values()) for row in rows):
        mine = [row for row in rows if tuple(row.settings.values()) == place]
        passed = f"{sum(row.verdict == 'pass' for row in mine)}/{len(mine)}"
        values = [found[name].get(place) for name in shown]
        texts = ["-" if one is None else f"{one.p50:g}" for one in values]
        table.add_row(*(str(value) for value in place), passed, *texts)
    console.print(table)


@contextmanager
def _progress(console, count: int) -> Iterator[Callable[..., None]]:  # type: ignore[no-untyped-def]
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    failed = 0
    bar = Progress(
        TextColumn("sweep"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        Left(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("sweep", total=count, failed=0)

        def heard(row, done: int, of: int) -> None:  # type: ignore[no-untyped-def]
            nonlocal failed
            failed += row.verdict != "pass"
            bar.update(task, completed=done, total=of, failed=failed)
            if not console.is_terminal:
                named = ", ".join(f"{key} {value}" for key, value in row.settings.items())
                text = f"{done}/{of} {row.verdict} seed {row.seed} {named}"
                console.print(text, highlight=False, soft_wrap=True)

        yield heard
