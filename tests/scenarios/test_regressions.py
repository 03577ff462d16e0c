"""Every failure that a swarm ever found in the product, shrunk, and passed since."""

from pathlib import Path

import pytest

from sim_harness.scenario.reading import read_scenario
from sim_harness.swarm.trial import try_scenario

FILES = sorted((Path(__file__).parent / "regressions").glob("*.toml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_failed_once_passes(file: Path) -> None:
    scenario = read_scenario(file)
    assert scenario.seed is not None, "a regression names the seed that it failed with"
    assert try_scenario(scenario, scenario.seed) is None
