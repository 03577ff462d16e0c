"""Digests of whole runs, one a line: `python -m tests.sim_harness.virtual.digests`.

Equal output means equal runs. Continuous integration compares what two versions of Python print, so
nothing here needs more than the virtual world does.
"""

import platform
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

from sim_harness.scenario.reading import read_scenario
from sim_harness.scenario.run import Run
from sim_harness.virtual.checkers import stored_chain
from tests.sim_harness.virtual.eventful import eventful_run

STORIES: Final = Path(__file__).parents[3] / "examples" / "scenarios"
SCENARIOS: Final = (
    ("happy", 1),
    ("minority_partition", 2),
    ("equivocators", 1),
    ("restart_all", 3),
    ("measured_world", 1),
)
TIED: Final = (1, 2, 3)
"""Seeds of a run in which whole networks act at equal moments."""


def scenario_line(name: str, seed: int) -> str:
    """What a story came to: verdict, events, digest."""
    result = _run(name, seed).result()
    return f"{name} {seed} {result.verdict} {result.events} {result.digest}"


def decisions_line(name: str, seed: int, *, real_signatures: bool) -> str:
    """What was decided when, with either kind of signature: the two must agree."""
    run = _run(name, seed, real_signatures=real_signatures)
    decided = [
        (
            committed.block.header.height,
            committed.certificate.round,
            committed.block.header.proposer.hex(),
            committed.block.header.time_ms,
        )
        for committed in stored_chain(run.world.nodes[0])
    ]
    return f"{name} {seed} decides {len(decided)} {sha256(repr(decided).encode()).hexdigest()}"


def _run(name: str, seed: int, *, real_signatures: bool = False) -> Run:
    scenario = read_scenario(STORIES / f"{name}.toml")
    run = Run(scenario, seed, real_signatures=real_signatures)
    run.finish()
    return run


def main() -> None:
    print(f"Python {platform.python_version()}", file=sys.stderr)
    for seed in TIED:
        print(f"ties {seed} {eventful_run(seed)}", flush=True)
    for name, seed in SCENARIOS:
        print(scenario_line(name, seed), flush=True)
    fast = decisions_line("crashed_third", 1, real_signatures=False)
    real = decisions_line("crashed_third", 1, real_signatures=True)
    print(fast, flush=True)
    if fast != real:
        sys.exit(f"real signatures decide otherwise: {real}")


if __name__ == "__main__":
    main()
