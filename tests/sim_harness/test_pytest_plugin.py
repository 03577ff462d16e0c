"""The fixtures for virtual worlds, and what a failing test says."""

import subprocess
import sys
from pathlib import Path

import pytest

import sim_harness
from sim_harness import World, scenario
from sim_harness.pytest_plugin import NewWorld
from sim_harness.virtual.conditions import caught_up, height_at_least, height_max, split
from sim_harness.virtual.spans import seconds

FAILING = """
import pytest
from sim_harness.virtual.conditions import height_at_least

@pytest.mark.world(nodes=5, validators=4)
def test_it(world):
    assert len(world.validators) == 4
    world.run_until(height_at_least(1))
    assert world.seed < 8
"""


@pytest.mark.world(nodes=7, validators=7)
def test_partition_heals_without_a_fork(world: World) -> None:
    """Given 7 validators; when 2 are cut off for 30 s; then one chain remains."""
    west, east = split(world.validators, 2, 5)
    world.run_until(height_at_least(2))
    with world.partition(west, east):
        world.run_for(seconds(30))
        assert height_max(east) > height_max(west)
    world.run_until(caught_up(west, east), within=seconds(60))
    world.check()


def test_worlds_of_one_test_share_its_seed(new_world: NewWorld, world_seed: int) -> None:
    one, two = new_world(nodes=5, validators=2), new_world(seed=world_seed + 1)
    assert (one.seed, len(one.nodes), len(one.validators)) == (world_seed, 5, 2)
    assert (two.seed, len(two.nodes), len(two.validators)) == (world_seed + 1, 4, 4)


def test_a_failure_names_its_seed_and_how_to_repeat_it(tmp_path: Path) -> None:
    path = tmp_path / "test_mine.py"
    path.write_text(FAILING)
    words = ["-m", "pytest", "-p", "sim_harness.pytest_plugin", "-p", "no:cacheprovider", "-q"]
    words += ["--rootdir", str(tmp_path), "--world-seed", "7", "--world-seeds", "2", path.name]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert "seed 8, at " in done.stdout
    assert "repeat: pytest 'test_mine.py::test_it' --world-seed 8" in done.stdout


def test_what_the_library_offers_comes_lazily() -> None:
    drawn = scenario.draw_scenario(3)
    assert isinstance(drawn, scenario.Scenario)
    assert "[network]" in scenario.write_scenario(drawn)
    for module in (sim_harness, scenario):
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            _ = module.nothing
    code = "import sys, sim_harness, sim_harness.scenario; print('msgspec' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
