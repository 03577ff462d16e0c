"""The commands that search for failures and explain them: `replay`, `diff`, `swarm`, `shrink`.

Imports stay light here, so that help is quick; each command brings what it needs.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

if TYPE_CHECKING:
    from p2p.primitives.units import Millis

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
PIPE_WIDTH: Final = 120
"""Of a table that goes to a file or a pipe, where nothing tells the width."""


class CanaryName(StrEnum):
    """Builds that are broken on purpose; `sim_harness.canaries` has them."""

    QUORUM_HALF = "quorum_half"
    FORGET_LOCK = "forget_lock"
    SIGN_AFTER_CRASH = "sign_after_crash"
    DOUBLE_SETTLE = "double_settle"
    UNVERIFIED_SYNC = "unverified_sync"
    MINT_ROUNDING = "mint_rounding"


class About(StrEnum):
    """What a swarm can be about; `sim_harness.swarm.origin` has them."""

    CONSENSUS = "consensus"


class Signatures(StrEnum):
    """How virtual nodes sign."""

    FAST = "fast"
    REAL = "real"


class Kind(StrEnum):
    """Messages that a picture can show."""

    PROPOSAL = "proposal"
    PREVOTE = "prevote"
    PRECOMMIT = "precommit"
    BLOCK = "block"
    SYNC = "sync"
    AD = "ad"
    RECEIPT = "receipt"
    TRANSACTION = "transaction"


CONSENSUS: Final = [Kind.PROPOSAL, Kind.PREVOTE, Kind.PRECOMMIT, Kind.BLOCK, Kind.SYNC]


def named(canary: CanaryName | None) -> str | None:
    """Its plain name."""
    return None if canary is None else canary.value


def swarm(  # noqa: PLR0913 - one an option
    *,
    seeds: Annotated[int, typer.Option(min=1, help="How many scenarios to draw.")] = 500,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes side by side.")] = 1,
    first: Annotated[int, typer.Option(min=0, help="The first seed.")] = 1,
    stop_at_first: Annotated[
        bool, typer.Option("--stop-at-first", help="End at the first violation.")
    ] = False,
    about: Annotated[
        About | None,
        typer.Option(help="Draw from this alone: committees of 4 to 13, all that hurts a vote."),
    ] = None,
    canary: Annotated[
        CanaryName | None, typer.Option(help="Search a build that is broken on purpose.")
    ] = None,
    canaries: Annotated[
        int, typer.Option(min=0, help="Search each broken build, too, with up to so many seeds.")
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object at the end.")] = False,
    report: Annotated[
        Path | None,
        typer.Option(help="Directory for swarm.json, swarm.html, and for all that failed."),
    ] = None,
) -> None:
    """Draw whole scenarios from seeds, run them side by side, and say which promises broke."""
    import msgspec
    from rich.console import Console

    from sim_harness.swarm.command import show, swarm_command
    from sim_harness.swarm.interrupt import sigterm_interrupts
    from sim_harness.swarm.pool import WorkerDied
    from sim_harness.swarm.swarm import Plan

    plan = Plan(
        first=first,
        seeds=seeds,
        jobs=jobs,
        stop_at_first=stop_at_first,
        canary=named(canary),
        about=None if about is None else about.value,
        report=None if report is None else str(report),
    )
    try:
        with sigterm_interrupts():
            found = swarm_command(plan, Console(stderr=True), canaries=canaries)
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except (WorkerDied, OSError) as error:
        fail(str(error))
    if json:
        typer.echo(msgspec.json.encode(found))
    else:
        show(found, Console())
    if found.failed or any(one.caught_after is None for one in found.canaries):
        raise typer.Exit(EXIT_FAILED)


def shrink(
    origin: Annotated[
        Path, typer.Argument(metavar="FILE_OR_SEED", help="What fails: a scenario, or a seed.")
    ],
    seed: Annotated[int | None, typer.Option(min=0, help="Of the run that fails.")] = None,
    canary: Annotated[CanaryName | None, typer.Option(help="The broken build that fails.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file; among the regressions unless said."),
    ] = None,
    tries: Annotated[int, typer.Option(min=1, help="Runs at most.")] = 600,
    json: Annotated[bool, typer.Option("--json", help="One JSON object at the end.")] = False,
) -> None:
    """Find the smallest scenario that still fails in the same way, and write it as a file."""
    import msgspec
    from rich.console import Console

    from sim_harness.scenario.sections import ScenarioError
    from sim_harness.shrink.command import shown, shrink_command
    from sim_harness.shrink.shrinker import NothingToShrink

    try:
        shrunk, path = shrink_command(
            origin,
            seed,
            canary=named(canary),
            output=output,
            tries_max=tries,
            console=Console(stderr=True),
        )
    except ScenarioError as error:
        refuse(str(error))
    except (NothingToShrink, OSError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if json:
        answer = {
            "file": str(path),
            "failure": shrunk.failure,
            "seed": shrunk.seed,
            "origin": shrunk.origin,
            "size": shrunk.size,
            "factor": round(shrunk.factor, 1),
            "tries": shrunk.tries,
            "is_minimal": shrunk.is_minimal,
        }
        typer.echo(msgspec.json.encode(answer))
    else:
        typer.echo("\n".join(shown(shrunk, path)))


def replay(  # noqa: PLR0913, PLR0917 - options of a command
    origin: Annotated[
        Path, typer.Argument(metavar="FILE_OR_SEED", help="A scenario, or a seed of the swarm.")
    ],
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the run to repeat; the file's, or 1.")
    ] = None,
    until: Annotated[str, typer.Option(help="The moment to stop at, such as 31.2s.")] = "30s",
    from_: Annotated[str, typer.Option("--from", help="Say nothing before this moment.")] = "0s",
    node: Annotated[
        list[int] | None, typer.Option(help="Whose steps to tell; 0 unless said.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(help="File for a message sequence picture of these moments.")
    ] = None,
    show: Annotated[
        list[Kind] | None, typer.Option(help="Messages in the picture; consensus unless said.")
    ] = None,
    signatures: Annotated[
        Signatures, typer.Option(help="As in the run to repeat.")
    ] = Signatures.FAST,
    canary: Annotated[CanaryName | None, typer.Option(help="As in the run to repeat.")] = None,
) -> None:
    """Repeat a run up to a moment, and tell what a node saw and did, one line a step."""
    from sim_harness.explain.replay import Window
    from sim_harness.explain.replay import replay as tell
    from sim_harness.scenario.commands import load
    from sim_harness.scenario.run import Run
    from sim_harness.scenario.sections import ScenarioError

    window = Window(moment(until, "--until"), moment(from_, "--from"), tuple(node or [0]))
    kinds = [kind.value for kind in show or CONSENSUS]
    real = signatures is Signatures.REAL
    try:
        scenario, seed = load(origin, seed)
        run = Run(scenario, seed, real_signatures=real, file=str(origin), canary=named(canary))
        tell(run, window, typer.echo, svg=svg, kinds=kinds)
    except ScenarioError as error:
        refuse(str(error))
    except OSError as error:
        fail(f"cannot write the picture: {error}")


def diff(
    one: Annotated[
        str, typer.Argument(metavar="RUN_A", help="A file, FILE@SEED, a seed, or a .log.")
    ],
    other: Annotated[str, typer.Argument(metavar="RUN_B", help="The run to compare it with.")],
    canary: Annotated[
        CanaryName | None, typer.Option(help="Run B on a build that is broken on purpose.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Find the first event at which two runs part; exit code 1 when they do."""
    import msgspec

    from sim_harness.explain.log import LogError
    from sim_harness.explain.parting import Source, part, shown
    from sim_harness.scenario.sections import ScenarioError

    try:
        parting = part(Source(one), Source(other, named(canary)))
    except (ScenarioError, LogError) as error:
        refuse(str(error))
    if json:
        typer.echo(msgspec.json.encode(parting))
    else:
        typer.echo("\n".join(shown(parting)))
    if not parting.is_same:
        raise typer.Exit(EXIT_FAILED)


def moment(text: str, option: str) -> "Millis":
    """A time of an option; else bad usage."""
    from sim_harness.scenario.quantities import parse_span

    try:
        return parse_span(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def fail(sentence: str) -> NoReturn:
    """What was asked for did not succeed: a sentence, and exit code 1."""
    typer.echo(f"sim-harness: {sentence}", err=True)
    raise typer.Exit(EXIT_FAILED)


def refuse(sentence: str) -> NoReturn:
    """Bad usage: a sentence, and exit code 2."""
    typer.echo(f"sim-harness: {sentence}", err=True)
    raise typer.Exit(EXIT_USAGE)
