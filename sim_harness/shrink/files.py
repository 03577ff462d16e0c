"""A shrunk failure as a scenario file, with a comment on what it shows."""

import os
import re
from pathlib import Path
from typing import Final

import msgspec

from sim_harness.scenario import schema
from sim_harness.scenario.schema import Scenario
from sim_harness.scenario.writing import write_scenario
from sim_harness.shrink.shrinker import Shrunk
from sim_harness.swarm.origin import read_word
from sim_harness.swarm.swarm import commit

REGRESSIONS: Final = Path("tests/scenarios/regressions")
"""Failures of the product; every file there is replayed by a test."""
CANARIES: Final = Path("runs/shrunk")
"""Failures of builds that are broken on purpose."""
DRAWN: Final = ("exponential", "weibull")
"""Sessions that need no file."""


def default_path(shrunk: Shrunk, origin: str, canary: str | None) -> Path:
    """Where a shrunk failure belongs; `origin` is the file or seed that it comes from."""
    source = re.sub(r"[^a-z0-9]+", "_", Path(origin).stem.lower()).strip("_")
    kind = re.sub(r"[^a-z0-9]+", "_", (canary or shrunk.failure.kind).lower()).strip("_")
    return (REGRESSIONS if canary is None else CANARIES) / f"{kind}_{source}.toml"


def text_of(shrunk: Shrunk, path: Path, origin: str, canary: str | None) -> str:
    """The whole file."""
    failure = shrunk.failure
    at = "" if failure.at_ms is None else f" at {failure.at_ms / 1_000:.3f}s"
    build = f" --canary {canary}" if canary else ""
    code = commit()
    named = f"swarm seed {origin}" if read_word(origin) is not None else origin
    minimal = "" if shrunk.is_minimal else ", not minimal"
    lines = [
        f"Shows {failure.kind}{at}: {failure.detail}",
        f"Replay: sim-harness run {path}{build}",
        f"From {named}{f', commit {code}' if code else ''}, in {shrunk.tries} runs{minimal}:",
        f"  was {shrunk.origin.text}",
        f"  now {shrunk.size.text}; {shrunk.factor:.0f} times smaller",
    ]
    about = f"A canary, {canary}, fails in the swarm" if canary else "Once failed in the swarm"
    named_scenario = msgspec.structs.replace(
        shrunk.scenario,
        name=path.stem.replace("_", " "),
        about=f"{about}: {failure.kind}.",
        seed=shrunk.seed,
    )
    moved = relocated(named_scenario, path.parent)
    return "\n".join(f"# {line}" for line in lines) + "\n" + write_scenario(moved)


def relocated(scenario: Scenario, directory: Path) -> Scenario:
    """The same scenario for a file in another directory: its paths lead to the same files."""

    def moved(path: str) -> str:
        return os.path.relpath(Path(scenario.directory) / path, directory)

    network, faults = scenario.network, list[schema.Fault]()
    if isinstance(network.distance, schema.Matrix):
        distance = schema.Matrix(moved(network.distance.path))
        network = msgspec.structs.replace(network, distance=distance)
    for one in scenario.faults:
        fault = one
        if isinstance(fault, schema.Churn) and fault.sessions not in DRAWN:
            fault = msgspec.structs.replace(fault, sessions=moved(fault.sessions))
        faults.append(fault)
    return msgspec.structs.replace(
        scenario, network=network, faults=tuple(faults), directory=str(directory)
    )
