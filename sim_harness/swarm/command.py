"""What `sim-harness swarm` shows: a progress bar, or plain lines; then what was found."""

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sim_harness.report.swarm_page import render_swarm
from sim_harness.swarm.swarm import Catch, Plan, Swarm, catch_canaries, run_swarm
from sim_harness.swarm.trial import Outcome

LINES: Final = 10
"""Plain lines of progress over a whole swarm, without a terminal."""
SHOWN_MAX: Final = 20
"""Failed seeds that are spelled out."""


def swarm_command(plan: Plan, console: Console, *, canaries: int = 0) -> Swarm:
    """Run a swarm under a console's eyes. Raises pool.WorkerDied, OSError.

    `canaries`: seeds that each broken build is searched with, afterwards.
    """
    with _progress(plan, console) as heard:
        swarm = run_swarm(plan, heard)
    if canaries:
        caught = catch_canaries(plan, canaries, lambda catch: _say(console, canary_line(catch)))
        swarm = msgspec.structs.replace(swarm, canaries=caught)
    if plan.report is not None:
        directory = Path(plan.report)
        directory.mkdir(parents=True, exist_ok=True)
        data = msgspec.json.format(msgspec.json.encode(swarm), indent=1)
        (directory / "swarm.json").write_bytes(data)
        (directory / "swarm.html").write_text(render_swarm(swarm), encoding="utf-8")
    return swarm


def canary_line(catch: Catch) -> str:
    """One broken build, in a line."""
    if catch.caught_after is None or catch.failure is None:
        return f"canary {catch.canary}: NOT caught in {catch.tried} seeds"
    return (
        f"canary {catch.canary}: caught after {catch.caught_after} seeds, by {catch.seed}:"
        f" {catch.failure.kind}"
    )


@contextmanager
def _progress(plan: Plan, console: Console):  # type: ignore[no-untyped-def]
    """Something to tell outcomes to."""
    if not console.is_terminal:
        yield _plain(plan, console)
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    failed = 0
    with bar:
        task = bar.add_task("swarm", total=plan.seeds, failed=0)

        def heard(outcome: Outcome) -> None:
            nonlocal failed
            if outcome.failure is not None:
                failed += 1
                bar.console.print(failure_line(outcome), highlight=False, soft_wrap=True)
            bar.update(task, advance=1, failed=failed)

        yield heard


def _plain(plan: Plan, console: Console) -> Callable[[Outcome], None]:
    every = max(1, plan.seeds // LINES)
    done = failed = 0

    def heard(outcome: Outcome) -> None:
        nonlocal done, failed
        done += 1
        if outcome.failure is not None:
            failed += 1
            _say(console, failure_line(outcome))
        if done % every == 0:
            _say(console, f"{done} of {plan.seeds} seeds, {failed} failed")

    return heard


def failure_line(outcome: Outcome) -> str:
    """A failed seed in a line."""
    failure = outcome.failure
    assert failure is not None, "only of those that failed"
    at = "" if failure.at_ms is None else f" at {failure.at_ms / 1_000:.3f}s"
    return f"FAIL seed {outcome.seed}: {failure.kind}{at}: {failure.detail}"


def show(swarm: Swarm, console: Console) -> None:
    """The verdict, the failures with the words that repeat them, and what was tested."""
    last = swarm.first + swarm.seeds - 1
    build = f", canary {swarm.canary}" if swarm.canary else ""
    code = f", commit {swarm.commit}" if swarm.commit else ""
    about = f" about {swarm.about}" if swarm.about else ""
    verdict = f"{swarm.verdict.upper()}  seeds {swarm.first} to {last}{about}{build}{code}"
    console.print(verdict, style="bold red" if swarm.failed else "bold green", highlight=False)
    for outcome in swarm.failed[:SHOWN_MAX]:
        _say(console, failure_line(outcome))
        _say(console, f"     replay: {outcome.replay}")
        words = outcome.replay.replace("sim-harness run", "sim-harness shrink")
        _say(console, f"     shrink: {words}")
    if len(swarm.failed) > SHOWN_MAX:
        _say(console, f"     and {len(swarm.failed) - SHOWN_MAX} more")
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _figures(swarm):
        table.add_row(name, value)
    console.print(table, highlight=False)
    rare = [sight for sight in swarm.sights if 0 < sight.seeds * 100 <= swarm.seeds]
    if rare:
        texts = ", ".join(f"{sight.text} ({sight.seeds}, seed {sight.first})" for sight in rare)
        _say(console, f"rare:  {texts}")
    for catch in swarm.canaries:
        _say(console, canary_line(catch))
    for text in swarm.never:
        _say(console, f"never: {text}: not tested")


def _figures(swarm: Swarm) -> list[tuple[str, str]]:
    kinds: dict[str, int] = {}
    for outcome in swarm.failed:
        if outcome.failure is not None:
            kinds[outcome.failure.kind] = kinds.get(outcome.failure.kind, 0) + 1
    seed, seconds = swarm.slowest
    return [
        ("seeds", f"{swarm.seeds}, {len(swarm.failed)} failed"),
        *(("", f"{count} x {kind}") for kind, count in kinds.items()),
        ("virtual time", f"{swarm.virtual_s:,.0f} s, {swarm.events:,} events"),
        ("took", f"{swarm.wall_s:,.1f} s with {swarm.jobs} jobs, {swarm.cpu_s:,.1f} s of CPU"),
        ("seeds a minute", f"{swarm.seeds_per_minute:,.1f}"),
        ("slowest", f"seed {seed}, {seconds:.1f} s"),
        ("digest", swarm.digest),
    ]


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
