"""`sim-harness`: launch networks and break them on purpose.

Imports stay light here, so that help is quick; each command brings what it needs.
"""

import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from sim_harness import doctor as doctoring
from sim_harness import exploring
from sim_harness.compare import command as comparing
from sim_harness.exploring import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    CanaryName,
    Signatures,
    named,
)
from sim_harness.live.disk.kinds import DiskKind
from sim_harness.sweep import command as sweeping

if TYPE_CHECKING:
    from sim_harness.live.kernel.offer import Offer

T = TypeVar("T")


class WorldName(StrEnum):
    """Where a scenario can run."""

    VIRTUAL = "virtual"
    LIVE = "live"


class FaultsName(StrEnum):
    """What breaks the network of live nodes."""

    TRANSPORT = "transport"
    KERNEL = "kernel"


FaultsOption = Annotated[
    FaultsName,
    typer.Option(help="Live: who breaks the network: each node's transport, or the kernel."),
]
DiskOption = Annotated[
    DiskKind, typer.Option(help="Live: disks hurt within the nodes, or by a file system of ours.")
]
app = typer.Typer(
    name="sim-harness",
    help="Launch networks of nodes on this machine, and break them on purpose.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def harness() -> None:
    """Launch networks of nodes on this machine, and break them on purpose."""


@app.command()
def up(  # noqa: PLR0913 - one an option
    *,
    nodes: Annotated[int, typer.Option(min=1, max=1_000, help="How many node processes.")] = 8,
    validators: Annotated[int, typer.Option(min=1, max=100, help="How many of them vote.")] = 4,
    epoch_ms: Annotated[
        int, typer.Option(min=100, max=3_600_000, help="From one commit to the next height.")
    ] = 5_000,
    home: Annotated[
        Path | None, typer.Option(help="Keep the nodes' homes there; a later run takes them up.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Derives the nodes' keys.")] = None,
    for_: Annotated[
        str | None, typer.Option("--for", help="End so long after all are up, such as 60s or 5m.")
    ] = None,
    faults: FaultsOption = FaultsName.TRANSPORT,
    disk: DiskOption = DiskKind.INJECTED,
    json: Annotated[bool, typer.Option("--json", help="One JSON object at the end.")] = False,
) -> None:
    """Bring up a network, one process a node, and watch it until Ctrl-C."""
    from rich.console import Console

    from sim_harness.live.network import LocalPlan
    from sim_harness.up import up as bring_up

    try:
        for_s = None if for_ is None else parse_seconds(for_)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--for") from None
    plan = LocalPlan(
        nodes=nodes,
        validators=validators,
        epoch_ms=epoch_ms,
        seed=seed,
        directory=home,
        options={"report_ms": str(500 if nodes <= 16 else 2_000)},
        kernel=_kernel(faults),
        disk=_possible(disk),
    )
    console = Console(stderr=json)
    report = _run(lambda: bring_up(plan, console, for_s=for_s))
    if json:
        _print_json(report)


def main() -> None:
    """The entry point of the `sim-harness` command."""
    app()


def _run(work: Callable[[], Awaitable[T]]) -> T:
    """Run on trio; a failure is a sentence and exit code 1."""
    from sim_harness.live.failures import Failed, run_to_end

    try:
        return run_to_end(work)
    except Failed as failed:
        print(f"sim-harness: {failed}", file=sys.stderr)
        raise typer.Exit(EXIT_FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _print_json(value: object) -> None:
    import msgspec

    print(msgspec.json.encode(value).decode())


@app.command()
def demo(
    nodes: Annotated[int, typer.Option(min=6, max=200, help="How many node processes.")] = 12,
    output: Annotated[Path, typer.Option(help="Directory of the report.")] = Path("runs/demo"),
    seed: Annotated[int | None, typer.Option(help="Derives the nodes' keys.")] = None,
) -> None:
    """Store files, kill nodes, get the files back, and see everybody paid and agreed."""
    from rich.console import Console

    from sim_harness.demo import demo as show

    console = Console()
    report = _run(lambda: show(nodes=nodes, output=output, console=console, seed=seed))
    if report.interrupted:
        console.print(f"interrupted after {report.seconds:.1f} s", highlight=False)
        raise typer.Exit(EXIT_INTERRUPTED)
    where = f"report in {output / 'report.json'}"
    if not report.ok:
        console.print(f"FAIL: {report.why}", style="bold red", highlight=False, soft_wrap=True)
        console.print(f"{where}, logs of the nodes in {output / 'logs'}", highlight=False)
        raise typer.Exit(EXIT_FAILED)
    console.print(f"PASS in {report.seconds:.1f} s; {where}", style="bold green", highlight=False)


@app.command()
def run(  # noqa: PLR0913 - one an option
    file: Annotated[Path, typer.Argument(help="A scenario, in TOML; or a seed of the swarm.")],
    *,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Decides everything that is drawn; the file's, or 1.")
    ] = None,
    world: Annotated[
        WorldName,
        typer.Option(help="On a virtual clock; or live, a process a node on this machine."),
    ] = WorldName.VIRTUAL,
    signatures: Annotated[
        Signatures, typer.Option(help="A keyed hash, or Ed25519 at 85 us a check.")
    ] = Signatures.FAST,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Directory for report.json and report.html.")
    ] = None,
    canary: Annotated[
        CanaryName | None, typer.Option(help="Run a build that is broken on purpose.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="File for every event, in MessagePack, for `diff`.")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, max=1_000, help="Live: so many instead of the file's.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Live: keep the nodes' homes.")] = False,
    runs: Annotated[Path, typer.Option(help="Live: where runs have their directories.")] = Path(
        "runs"
    ),
    faults: FaultsOption = FaultsName.TRANSPORT,
    disk: DiskOption = DiskKind.INJECTED,
) -> None:
    """Run a scenario, and say whether the network kept its promises."""
    from sim_harness.scenario.commands import run_file, summary, write_report
    from sim_harness.scenario.sections import ScenarioError

    if world is WorldName.LIVE:
        _run_live(
            file,
            seed,
            nodes=nodes,
            keep=keep,
            runs=runs,
            report=report,
            json=json,
            kernel=_kernel(faults),
            disk=_possible(disk),
        )
        return
    if faults is FaultsName.KERNEL:
        _refuse("--faults kernel is for --world live: no kernel carries virtual packets")
    if disk is not DiskKind.INJECTED:
        _refuse(f"--disk {disk.value} is for --world live: virtual disks are none of the kernel's")
    try:
        result = run_file(
            file,
            seed,
            real_signatures=signatures is Signatures.REAL,
            canary=named(canary),
            log=log,
        )
    except ScenarioError as error:
        _refuse(str(error))
    except OSError as error:
        exploring.fail(f"cannot write the log: {error}")
    page = None if report is None else _written(lambda: write_report(result, report))
    if json:
        _print_json(result)
    else:
        print("\n".join(summary(result)))
        if page is not None:
            print(f"report: {page}")
    if result.verdict == "fail":
        raise typer.Exit(EXIT_FAILED)


def _run_live(  # noqa: PLR0913 - one an option
    file: Path,
    seed: int | None,
    *,
    nodes: int | None,
    keep: bool,
    runs: Path,
    report: Path | None,
    json: bool,
    kernel: "Offer | None",
    disk: DiskKind,
) -> None:
    from sim_harness.live.commands import live_summary, run_file_live
    from sim_harness.live.failures import Failed
    from sim_harness.scenario.sections import ScenarioError

    def progress(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        result = run_file_live(
            file,
            seed,
            nodes=nodes,
            keep=keep,
            runs=runs,
            report=report,
            kernel=kernel,
            disk=disk,
            progress=progress,
        )
    except ScenarioError as error:
        _refuse(str(error))
    except Failed as failed:
        exploring.fail(str(failed))
    except OSError as error:
        exploring.fail(f"cannot write the report: {error}")
    if json:
        _print_json(result)
    else:
        print("\n".join(live_summary(result)))
    if result.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if result.verdict == "fail":
        raise typer.Exit(EXIT_FAILED)


@app.command()
def check(
    directory: Annotated[Path, typer.Argument(help="Directory of a live run.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Judge a live run again, from its log alone."""
    from sim_harness.live.commands import check_run, live_summary
    from sim_harness.live.records import LogError
    from sim_harness.scenario.sections import ScenarioError

    try:
        result = check_run(directory)
    except (LogError, ScenarioError) as error:
        _refuse(str(error))
    if json:
        _print_json(result)
    else:
        print("\n".join(live_summary(result)))
    if result.verdict == "fail":
        raise typer.Exit(EXIT_FAILED)


def _kernel(faults: FaultsName) -> "Offer | None":
    """What the kernel has for faults, if they are its work; bad usage where that is nothing."""
    if faults is FaultsName.TRANSPORT:
        return None
    from sim_harness.live.kernel.offer import KernelLacks, require_offer

    try:
        return require_offer()
    except KernelLacks as lacks:
        _refuse(str(lacks))


def _possible(disk: DiskKind) -> DiskKind:
    """This kind of disk, if it is to be had here; else bad usage."""
    from sim_harness.live.disk.offer import fuse_lacks

    lacks = fuse_lacks() if disk is DiskKind.FUSE else ""
    if lacks:
        _refuse(lacks)
    return disk


def _refuse(sentence: str) -> NoReturn:
    """Bad usage: a sentence, and exit code 2."""
    print(f"sim-harness: {sentence}", file=sys.stderr)
    raise typer.Exit(EXIT_USAGE)


def _written(write: Callable[[], T]) -> T:
    try:
        return write()
    except OSError as error:
        print(f"sim-harness: cannot write the report: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_FAILED) from None


def parse_seconds(text: str) -> float:
    """Seconds of `90`, `60s`, `5m` or `1h`. Raises ValueError."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, factor = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    if not number.isascii() or not number.isdigit() or len(number) > 6:
        raise ValueError(f"a time such as 60s or 5m, not {text!r}")
    return float(int(number) * factor)


app.command()(exploring.replay)
app.command()(exploring.diff)
app.command()(exploring.swarm)
app.command()(exploring.shrink)
app.command()(doctoring.doctor)
app.command()(sweeping.sweep)
app.command()(comparing.compare)

if __name__ == "__main__":
    main()
