"""`sim-harness swarm` with seeds that never end; each leaves a file named by its process."""

import os
import sys
from pathlib import Path

from sim_harness.swarm.trial import Outcome


def try_endlessly(
    seed: int, build: str | None, report: str | None, about: str | None = None
) -> Outcome:
    """Compute for ever."""
    del seed, build, about
    assert report is not None
    (Path(report) / str(os.getpid())).touch()
    while True:
        pass


if __name__ == "__main__":
    from sim_harness.cli import app
    from sim_harness.swarm import swarm

    swarm.try_seed = try_endlessly  # type: ignore[attr-defined]
    app(["swarm", "--seeds", "9", "--jobs", "2", "--report", sys.argv[1]])
