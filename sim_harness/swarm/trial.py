"""One seed of a swarm, from its scenario to its outcome; the same work for shrinking."""

import time
from pathlib import Path
from typing import Final

import msgspec

from sim_harness.scenario.results import Result
from sim_harness.scenario.run import Run
from sim_harness.scenario.schema import Scenario
from sim_harness.scenario.writing import write_scenario
from sim_harness.swarm.failure import Failure, failure_of, raised
from sim_harness.swarm.origin import draw, word_of
from sim_harness.swarm.sights import Watch, seen

EVENTS_MAX: Final = 4_000_000
"""A run that has not ended by then never will, or costs more than it teaches."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of one seed. All but `cpu_s` follows from the seed."""

    seed: int
    failure: Failure | None
    digest: str
    events: int
    end_ms: int
    nodes: int
    faults: int
    adversaries: int
    sights: tuple[str, ...]
    replay: str
    cpu_s: float


class Endless(Exception):
    """A run with more events than any should have."""


class Trial:
    """A run of a scenario, perhaps on a broken build, that survives whatever goes wrong in it."""

    def __init__(
        self, scenario: Scenario, seed: int, build: str | None = None, *, file: str = ""
    ) -> None:
        self.run = Run(scenario, seed, file=file, canary=build)
        self.result: Result | None = None
        """None: it ended in an exception."""
        self._start_ms = self.run.world.now_ms

    def finish(self) -> Failure | None:
        """Run to the end; how it failed, or None."""
        try:
            self.run.finish(self._progress)
            self.result = self.run.result()
        except Exception as error:  # noqa: BLE001 - whatever is raised in there is a finding
            return raised(error, self.run.world.now_ms - self._start_ms)
        return failure_of(self.result)

    def _progress(self, span_ms: int) -> None:
        if self.run.world.heap.events > EVENTS_MAX:
            raise Endless(f"more than {EVENTS_MAX} events")


def try_scenario(scenario: Scenario, seed: int, build: str | None = None) -> Failure | None:
    """How a scenario fails with this seed, if it does."""
    return Trial(scenario, seed, build).finish()


def try_seed(seed: int, build: str | None, report: str | None, about: str | None = None) -> Outcome:
    """Draw the scenario of a seed and run it; a failure leaves its file and pages in `report`."""
    began = time.process_time()
    scenario, word = draw(seed, about), word_of(seed, about)
    trial = Trial(scenario, seed, build, file=word)
    watch = Watch(trial.run)
    failure = trial.finish()
    result = trial.result
    if failure is not None and report is not None:
        _write(Path(report) / f"seed-{word}", scenario, result)
    return Outcome(
        seed=seed,
        failure=failure,
        digest=trial.run.world.digest,
        events=trial.run.world.heap.events,
        end_ms=trial.run.world.now_ms - trial.run.world.genesis.time_ms,
        nodes=scenario.network.nodes,
        faults=len(scenario.faults),
        adversaries=len(trial.run.adversaries),
        sights=() if result is None else tuple(seen(trial.run, result, watch)),
        replay=replay_command(word, build),
        cpu_s=time.process_time() - began,
    )


def replay_command(word: str, build: str | None) -> str:
    """The words that run a drawn scenario again."""
    return f"sim-harness run {word}" + (f" --canary {build}" if build else "")


def _write(directory: Path, scenario: Scenario, result: Result | None) -> None:
    from sim_harness.scenario.commands import write_report

    directory.mkdir(parents=True, exist_ok=True)
    (directory / "scenario.toml").write_text(write_scenario(scenario), encoding="utf-8")
    if result is not None:
        write_report(result, directory)
