"""The commands that search for failures and explain them: `swarm`, `shrink`, `diff`.

Imports stay light here, so that help is quick; each command brings what it needs.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130


class CanaryName(StrEnum):
    """Builds that are broken on purpose; `sim_harness.canaries` has them."""

    QUORUM_HALF = "quorum_half"
    FORGET_LOCK = "forget_lock"
    SIGN_AFTER_CRASH = "sign_after_crash"
    DOUBLE_SETTLE = "double_settle"
    UNVERIFIED_SYNC = "unverified_sync"
    MINT_ROUNDING = "mint_rounding"


def named(canary: CanaryName | None) -> str | None:
    """Its plain name."""
    return None if canary is None else canary.value


def swarm(
    seeds: Annotated[int, typer.Option(min=1, help="How many scenarios to draw.")] = 500,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes side by side.")] = 1,
    first: Annotated[int, typer.Option(min=0, help="The first seed.")] = 1,
    stop_at_first: Annotated[
        bool, typer.Option("--stop-at-first", help="End at the first violation.")
    ] = False,
    canary: Annotated[
        CanaryName | None, typer.Option(help="Search a build that is broken on purpose.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object at the end.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Directory for swarm.json, and for all that failed.")
    ] = None,
) -> None:
    """Draw whole scenarios from seeds, run them side by side, and say which promises broke."""
    import msgspec
    from rich.console import Console

    from sim_harness.swarm.command import show, swarm_command
    from sim_harness.swarm.pool import WorkerDied
    from sim_harness.swarm.swarm import Plan

    plan = Plan(
        first=first,
        seeds=seeds,
        jobs=jobs,
        stop_at_first=stop_at_first,
        canary=named(canary),
        report=None if report is None else str(report),
    )
    try:
        found = swarm_command(plan, Console(stderr=True))
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except (WorkerDied, OSError) as error:
        fail(str(error))
    if json:
        typer.echo(msgspec.json.encode(found))
    else:
        show(found, Console())
    if found.failed:
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
    tries: Annotated[int, typer.Option(min=1, help="Runs at most.")] = 400,
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


def fail(sentence: str) -> NoReturn:
    """What was asked for did not succeed: a sentence, and exit code 1."""
    typer.echo(f"sim-harness: {sentence}", err=True)
    raise typer.Exit(EXIT_FAILED)


def refuse(sentence: str) -> NoReturn:
    """Bad usage: a sentence, and exit code 2."""
    typer.echo(f"sim-harness: {sentence}", err=True)
    raise typer.Exit(EXIT_USAGE)
