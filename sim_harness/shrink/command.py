"""What `sim-harness shrink` does and shows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.status import Status

from sim_harness.scenario.commands import load
from sim_harness.scenario.schema import Scenario
from sim_harness.shrink.files import default_path, text_of
from sim_harness.shrink.shrinker import Shrinker, Shrunk, Step
from sim_harness.swarm.failure import Failure
from sim_harness.swarm.trial import try_scenario


def shrink_command(
    origin: Path,
    seed: int | None,
    *,
    canary: str | None,
    output: Path | None,
    tries_max: int,
    console: Console,
) -> tuple[Shrunk, Path]:
    """Shrink a file or a seed, and write what is left.

    Raises ScenarioError, NothingToShrink, OSError.
    """
    scenario, seed = load(origin, seed)

    def fails(candidate: Scenario, seed: int) -> Failure | None:
        return try_scenario(candidate, seed, canary)

    with _progress(tries_max, console) as (heard, tried):
        shrinker = Shrinker(fails, tries_max=tries_max, heard=heard, tried=tried)
        shrunk = shrinker.run(scenario, seed)
    path = output or default_path(shrunk, str(origin), canary)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text_of(shrunk, path, str(origin), canary), encoding="utf-8")
    return shrunk, path


Told = tuple[Callable[[Step], None], Callable[[int], None]]


@contextmanager
def _progress(tries_max: int, console: Console) -> Iterator[Told]:
    """Whom to tell of a step that helped, and of every run."""

    def heard(step: Step) -> None:
        line = f"{step.tries:4}  {step.name:15} {step.size.text}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    if not console.is_terminal:
        yield heard, lambda tries: None
        return
    with Status("", console=console) as status:
        yield heard, lambda tries: status.update(f"run {tries} of at most {tries_max}")


def shown(shrunk: Shrunk, path: Path) -> list[str]:
    """What came of it, in lines."""
    at = "" if shrunk.failure.at_ms is None else f" at {shrunk.failure.at_ms / 1_000:.3f}s"
    return [
        f"{shrunk.failure.kind}{at}: {shrunk.failure.detail}",
        f"was {shrunk.origin.text}",
        f"now {shrunk.size.text}",
        f"{shrunk.factor:.1f} times smaller after {shrunk.tries} runs: {path}",
    ]
