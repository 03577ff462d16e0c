"""Delta debugging of a scenario: try smaller ones, keep what still fails in the same way.

    current --steps--> candidates --fitting, smaller, never tried--> run --same failure--> current

A smaller world draws otherwise, so that a candidate gets a few seeds. Nothing depends on time: the
same scenario shrinks to the same one, on any machine. Source: Zeller and Hildebrandt, "Simplifying
and isolating failure-inducing input", 2002.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from sim_harness.scenario.reading import parse_scenario
from sim_harness.scenario.schema import Scenario
from sim_harness.scenario.sections import ScenarioError
from sim_harness.scenario.writing import write_scenario
from sim_harness.shrink.size import Size, size_of
from sim_harness.shrink.steps import STEPS, ended_at, fitting
from sim_harness.swarm.failure import Failure

TRIES_MAX: Final = 600
"""Runs that one shrinking may take."""
OTHER_SEEDS: Final = (1, 2, 3, 4, 5, 6)
"""Tried after the one that failed."""

Fails = Callable[[Scenario, int], Failure | None]
"""How a scenario fails with a seed, if it does."""


class NothingToShrink(Exception):
    """The scenario does not fail."""


class Step(msgspec.Struct, frozen=True):
    """One success: how large the scenario is now, after so many runs."""

    name: str
    tries: int
    size: Size


class Shrunk(msgspec.Struct, frozen=True):
    """The smallest scenario found, with the seed that it fails with."""

    scenario: Scenario
    seed: int
    failure: Failure
    origin: Size
    size: Size
    tries: int
    steps: tuple[Step, ...]
    is_minimal: bool
    """Whether no step made it smaller, rather than that the tries were used up."""

    @property
    def factor(self) -> float:
        """How many times smaller."""
        return self.origin.total / self.size.total


class Shrinker:
    """One shrinking. `run` once."""

    def __init__(
        self,
        fails: Fails,
        *,
        tries_max: int = TRIES_MAX,
        heard: Callable[[Step], None] = lambda step: None,
        tried: Callable[[int], None] = lambda tries: None,
    ) -> None:
        self._fails = fails
        self._tries_max = tries_max
        self._heard = heard
        self._tried = tried
        self._tries = 0
        self._known: set[str] = set()
        self._steps: list[Step] = []

    def run(self, scenario: Scenario, seed: int) -> Shrunk:
        """Shrink a scenario that fails with a seed. Raises NothingToShrink."""
        failure = self._try(scenario, seed)
        if failure is None:
            raise NothingToShrink(f"seed {seed} of {scenario.name!r} does not fail")
        self._now, self._seed, self._failure = scenario, seed, failure
        self._size = origin = size_of(scenario, failure.at_ms)
        self._known.add(write_scenario(scenario))
        is_minimal = False
        while not is_minimal and self._tries < self._tries_max:
            helped = self._pass()
            is_minimal = not helped and self._tries < self._tries_max
        return Shrunk(
            scenario=self._now,
            seed=self._seed,
            failure=self._failure,
            origin=origin,
            size=self._size,
            tries=self._tries,
            steps=tuple(self._steps),
            is_minimal=is_minimal,
        )

    def _pass(self) -> bool:
        """Every step once, each as long as it helps; whether any did."""
        helped = False
        self._is_cut_short()
        for step in STEPS:
            while self._tries < self._tries_max and self._improve(step.__name__, step(self._now)):
                helped = True
                self._is_cut_short()
        return helped

    def _is_cut_short(self) -> bool:
        at_ms = self._failure.at_ms
        return at_ms is not None and self._improve("ended_at", ended_at(at_ms)(self._now))

    def _improve(self, name: str, candidates: Iterator[Scenario]) -> bool:
        """Take the first candidate that fails alike."""
        for candidate in candidates:
            smaller = self._admit(candidate)
            if smaller is None:
                continue
            for seed in dict.fromkeys((self._seed, *OTHER_SEEDS)):
                if self._tries >= self._tries_max:
                    return False
                failure = self._try(smaller, seed)
                if failure is not None and self._takes(smaller, seed, failure):
                    self._steps.append(Step(name, self._tries, self._size))
                    self._heard(self._steps[-1])
                    return True
        return False

    def _takes(self, smaller: Scenario, seed: int, failure: Failure) -> bool:
        """Whether it fails alike, and not so late that there is more to look at than before."""
        size = size_of(smaller, failure.at_ms)
        if failure.kind != self._failure.kind or size.order >= self._size.order:
            return False
        self._now, self._seed, self._failure, self._size = smaller, seed, failure, size
        return True

    def _admit(self, candidate: Scenario) -> Scenario | None:
        """The candidate as its file would say it, if it is smaller, new, and makes sense."""
        fitted = fitting(candidate)
        if fitted is None or size_of(fitted).order >= self._size.order:
            return None
        text = write_scenario(fitted)
        if text in self._known:
            return None
        self._known.add(text)
        try:
            return parse_scenario(text, Path(fitted.directory) / "candidate.toml")
        except ScenarioError:
            return None

    def _try(self, scenario: Scenario, seed: int) -> Failure | None:
        self._tries += 1
        self._tried(self._tries)
        return self._fails(scenario, seed)
