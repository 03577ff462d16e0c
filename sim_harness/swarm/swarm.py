"""A swarm: seeds one after the other or side by side, and what they amount to."""

import shutil
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from sim_harness.canaries.table import CANARIES
from sim_harness.swarm.failure import Failure
from sim_harness.swarm.pool import run_all
from sim_harness.swarm.sights import sights_of
from sim_harness.swarm.trial import Outcome, try_seed

ROOT = Path(__file__).parents[2]


class Plan(msgspec.Struct, frozen=True):
    """Which seeds, how, and when to stop."""

    first: int = 1
    seeds: int = 500
    jobs: int = 1
    stop_at_first: bool = False
    canary: str | None = None
    about: str | None = None
    """What all its scenarios are about, as `origin.ABOUT` has it; None: everything."""
    report: str | None = None
    """Directory for what failed."""


class Sight(msgspec.Struct, frozen=True):
    """Something that ought to happen: in how many seeds it did, and in which first."""

    text: str
    seeds: int
    first: int | None


class Catch(msgspec.Struct, frozen=True):
    """How long a build that is broken on purpose went unnoticed."""

    canary: str
    tried: int
    """Seeds carried out."""
    caught_after: int | None
    """The same when the last of them failed; None: nothing was noticed."""
    seed: int | None = None
    failure: Failure | None = None


class Swarm(msgspec.Struct, frozen=True):
    """What a swarm found. But for times, it follows from its plan and the code."""

    verdict: str
    seeds: int
    """Carried out."""
    failed: tuple[Outcome, ...]
    never: tuple[str, ...]
    """Sights that no seed saw: what was not tested."""
    sights: tuple[Sight, ...]
    first: int
    about: str | None
    canary: str | None
    commit: str | None
    jobs: int
    events: int
    virtual_s: float
    wall_s: float
    cpu_s: float
    seeds_per_minute: float
    slowest: tuple[int, float]
    """The seed that took the most CPU time, and its seconds."""
    digest: str
    """Of the digests of all runs, by seed: equal for equal swarms."""
    canaries: tuple[Catch, ...] = ()
    """Of the broken builds, if they were searched, too."""


def run_swarm(plan: Plan, heard: Callable[[Outcome], None] = lambda outcome: None) -> Swarm:
    """Run it; `heard` is told of every outcome as it comes. Raises pool.WorkerDied."""
    began = time.monotonic()
    outcomes: list[Outcome] = []
    work = partial(try_seed, build=plan.canary, report=plan.report, about=plan.about)
    answers = run_all(work, range(plan.first, plan.first + plan.seeds), plan.jobs)
    try:
        for _, outcome in answers:
            outcomes.append(outcome)
            heard(outcome)
            if outcome.failure is not None and plan.stop_at_first:
                break
    finally:
        answers.close()  # type: ignore[attr-defined]
    return summed_up(plan, outcomes, time.monotonic() - began)


def catch_canaries(
    plan: Plan, seeds: int, heard: Callable[[Catch], None] = lambda catch: None
) -> tuple[Catch, ...]:
    """Search every broken build with the plan's first seeds, until it is caught."""
    found = []
    for name in CANARIES:
        hunt = msgspec.structs.replace(
            plan, seeds=seeds, stop_at_first=True, canary=name, report=None, jobs=1
        )
        swarm = run_swarm(hunt)
        caught = swarm.failed[0] if swarm.failed else None
        found.append(
            Catch(
                name,
                swarm.seeds,
                None if caught is None else swarm.seeds,
                None if caught is None else caught.seed,
                None if caught is None else caught.failure,
            )
        )
        heard(found[-1])
    return tuple(found)


def summed_up(plan: Plan, outcomes: list[Outcome], wall_s: float) -> Swarm:
    """What outcomes amount to, in whatever order they came."""
    ordered = sorted(outcomes, key=lambda outcome: outcome.seed)
    failed = tuple(outcome for outcome in ordered if outcome.failure is not None)
    sights = []
    for text in sights_of(plan.about):
        found = [outcome.seed for outcome in ordered if text in outcome.sights]
        sights.append(Sight(text, len(found), found[0] if found else None))
    slowest = max(ordered, key=lambda outcome: outcome.cpu_s, default=None)
    return Swarm(
        verdict="fail" if failed else "pass",
        seeds=len(ordered),
        failed=failed,
        never=tuple(sight.text for sight in sights if not sight.seeds),
        sights=tuple(sights),
        first=plan.first,
        about=plan.about,
        canary=plan.canary,
        commit=commit(),
        jobs=plan.jobs,
        events=sum(outcome.events for outcome in ordered),
        virtual_s=sum(outcome.end_ms for outcome in ordered) / 1_000,
        wall_s=round(wall_s, 1),
        cpu_s=round(sum(outcome.cpu_s for outcome in ordered), 1),
        seeds_per_minute=round(len(ordered) * 60 / wall_s, 1) if wall_s else 0.0,
        slowest=(0, 0.0) if slowest is None else (slowest.seed, round(slowest.cpu_s, 1)),
        digest=_digest(ordered),
    )


def commit() -> str | None:
    """The commit of the code that runs, with `-dirty` when it was changed; None: unknown."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return None
    words = [git, "-C", str(ROOT), "describe", "--always", "--dirty", "--tags"]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def _digest(ordered: list[Outcome]) -> str:
    from hashlib import sha256

    return sha256("".join(f"{one.seed} {one.digest}\n" for one in ordered).encode()).hexdigest()
