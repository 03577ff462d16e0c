"""`sim-harness sweep`: a progress bar, a table, Parquet and a page."""

import logging
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, NoReturn

import typer

from sim_harness.exploring import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, PIPE_WIDTH

if TYPE_CHECKING:
    from rich.console import Console

    from sim_harness.sweep.row import Row

Heard = Callable[["Row | None", int, int], None]
SHOWN: Final = ("decide_p50", "commit_p50", "commit_p95", "ad_p50", "ad_p99", "peak_memory_mib")
"""Measures that people ask for first."""


class Asked(NamedTuple):
    """What the command line said."""

    file: Path
    settings: tuple[str, ...]
    repeat: int
    seed: int
    jobs: int
    world: str
    kernel: bool
    """Whether the kernel breaks the network of live nodes."""
    dask: str | None
    at: str | None
    directory: Path


def sweep(  # noqa: PLR0913 - one an option
    file: Annotated[Path, typer.Argument(help="A scenario, in TOML.")],
    *,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=V,V: as network.nodes=50,100 or fault.0.for=5s,10s."),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, max=10_000, help="Seeds for each setting.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The first of the seeds.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Runs at a time, here.")] = 1,
    world: Annotated[str, typer.Option(help="virtual or live.")] = "virtual",
    faults: Annotated[
        str, typer.Option(help="Live: who breaks the network: transport or kernel.")
    ] = "transport",
    dask: Annotated[
        str | None, typer.Option(help="Run on a Dask cluster: tcp://HOST:PORT of its scheduler.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="Run the code of another commit, to compare with this one.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Directory of the results; runs/sweep-NAME if not said."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Run a scenario over a grid of settings and seeds; what is done already is not run again."""
    import msgspec
    from rich.console import Console

    from sim_harness.live.kernel.offer import KernelLacks
    from sim_harness.scenario.sections import ScenarioError
    from sim_harness.sweep.directory import SweepError
    from sim_harness.sweep.runner import ClusterLost

    if world not in ("virtual", "live"):
        raise _refused(f"--world is virtual or live, not {world!r}")
    if faults not in ("transport", "kernel"):
        raise _refused(f"--faults is transport or kernel, not {faults!r}")
    if faults == "kernel" and world != "live":
        raise _refused("--faults kernel is for --world live: no kernel carries virtual packets")
    if dask is not None and at is not None:
        raise _refused("--at runs on this machine: leave out --dask")
    console = Console(stderr=json, width=None if sys.stderr.isatty() else PIPE_WIDTH)
    directory = output or Path("runs") / f"sweep-{file.stem}"
    asked = Asked(
        file=file,
        settings=tuple(settings or ()),
        repeat=repeat,
        seed=seed,
        jobs=jobs,
        world=world,
        kernel=faults == "kernel",
        dask=dask,
        at=at,
        directory=directory,
    )
    try:
        with _interruptible():
            rows = _run(asked, console)
    except ClusterLost as error:
        raise _refused(str(error), EXIT_FAILED) from None
    except (ValueError, KernelLacks, ScenarioError, SweepError) as error:
        raise _refused(str(error)) from None
    except OSError as error:
        raise _refused(f"cannot write the results: {error}", EXIT_FAILED) from None
    except KeyboardInterrupt:
        text = f"interrupted; the same command goes on from {directory}"
        console.print(text, highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if json:
        typer.echo(msgspec.json.encode({"directory": str(directory), "rows": rows}).decode())
    else:
        show(rows, console)
        text = f"results in {directory}: results.parquet, report.html"
        console.print(text, highlight=False, soft_wrap=True)
    if any(row.verdict != "pass" for row in rows):
        raise typer.Exit(EXIT_FAILED)


def _refused(sentence: str, code: int = EXIT_USAGE) -> typer.Exit:
    typer.echo(f"sim-harness: {sentence}", err=True)
    return typer.Exit(code)


def _run(asked: Asked, console: "Console") -> list["Row"]:
    """Raises ValueError, KernelLacks, ScenarioError, SweepError, OSError, KeyboardInterrupt."""
    from sim_harness.live.kernel.offer import require_offer
    from sim_harness.sweep.code import commit_here, commit_named
    from sim_harness.sweep.directory import PAGE, plan_of
    from sim_harness.sweep.grid import jobs_of, parse_axes
    from sim_harness.sweep.page import page
    from sim_harness.sweep.runner import at_commit, on_cluster, on_this_machine, run_sweep

    axes = parse_axes(asked.settings)
    if asked.kernel and asked.dask is None:
        require_offer()
    planned = jobs_of(
        asked.file,
        axes,
        repeat=asked.repeat,
        seed=asked.seed,
        world=asked.world,
        kernel=asked.kernel,
    )
    commit = commit_here() if asked.at is None else commit_named(asked.at)
    if asked.at is not None:
        runner = at_commit(asked.at, asked.directory, asked.jobs)
    elif asked.dask is not None:
        # A cluster that goes away is said in a sentence, not in the client's tracebacks.
        logging.disable(logging.CRITICAL)
        runner = on_cluster(asked.dask)
    else:
        runner = on_this_machine(asked.jobs)
    plan = plan_of(asked.file, asked.world + " kernel" * asked.kernel, commit)
    with _progress(console, len(planned)) as heard:
        rows = run_sweep(planned, asked.directory, runner, plan=plan, heard=heard)
    text = page(planned[0].scenario(), rows, again=again(asked))
    (asked.directory / PAGE).write_text(text, encoding="utf-8")
    return rows


def again(asked: Asked) -> str:
    """The command, without what makes no difference to the rows."""
    words = ["sim-harness sweep", str(asked.file)]
    words += [f"--set {shlex.quote(text)}" for text in asked.settings]
    words += [f"--repeat {asked.repeat}"] if asked.repeat > 1 else []
    words += [f"--seed {asked.seed}"] if asked.seed != 1 else []
    words += [f"--world {asked.world}"] if asked.world != "virtual" else []
    words += ["--faults kernel"] if asked.kernel else []
    words += [f"--at {asked.at}"] if asked.at else []
    return " ".join(words)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM is Ctrl-C; further ones do not hurry the cleaning up."""

    def end(_number: int, _frame: object) -> NoReturn:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def show(rows: Sequence["Row"], console: "Console") -> None:
    """The medians of the measures that people ask for first."""
    from rich.table import Table

    from sim_harness.sweep.page import cells

    found = {name: cells(rows, name) for name in SHOWN}
    shown = [name for name in SHOWN if found[name]]
    table = Table(box=None, pad_edge=False, header_style="dim")
    keys = [key.rpartition(".")[2] for key in (rows[0].settings if rows else ())]
    for key in [*keys, "passed", *shown]:
        table.add_column(key, justify="right")
    for place in dict.fromkeys(tuple(row.settings.values()) for row in rows):
        mine = [row for row in rows if tuple(row.settings.values()) == place]
        passed = f"{sum(row.verdict == 'pass' for row in mine)}/{len(mine)}"
        values = [found[name].get(place) for name in shown]
        texts = ["-" if one is None else f"{one.p50:.5g}" for one in values]
        table.add_row(*(str(value) for value in place), passed, *texts)
    console.print(table)


@contextmanager
def _progress(console: "Console", count: int) -> Iterator[Heard]:
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

        def heard(row: "Row | None", done: int, of: int) -> None:
            nonlocal failed
            failed += row is not None and row.verdict != "pass"
            bar.update(task, completed=done, total=of, failed=failed)
            if row is None and done:
                text = f"{done} of {of} runs are there already"
                console.print(text, highlight=False, soft_wrap=True)
            elif row is not None and not console.is_terminal:
                named = ", ".join(f"{key} {value}" for key, value in row.settings.items())
                text = f"{done}/{of} {row.verdict} seed {row.seed} {named}"
                console.print(text.rstrip(), highlight=False, soft_wrap=True)

        yield heard
