"""Ports, homes and figures of a network on this machine."""

from pathlib import Path

import pytest

from p2p.node.errors import UserError
from p2p.node.home import Home
from sim_harness.live.figures import Spread, cost, spread
from sim_harness.live.network import LocalPlan, find_homes, make_homes
from sim_harness.live.process_memory import Usage


def test_a_seed_makes_the_same_keys_and_a_later_run_finds_the_homes(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    homes = make_homes(LocalPlan(nodes=3, seed=4), first)
    make_homes(LocalPlan(nodes=3, seed=4), second)
    assert find_homes(first) == homes
    keys = [[Home(home).read_key().seed for home in find_homes(one)] for one in (first, second)]
    assert keys[0] == keys[1]
    assert len({Home(home).read_config().network.listen for home in homes}) == 3


def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="something else"):
        make_homes(LocalPlan(nodes=3), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_cost_is_a_mean_over_the_processes_that_lived_through_both_measurements() -> None:
    before = {1: Usage(100, 60, 1.0), 2: Usage(100, 60, 2.0), 3: Usage(1, 1, 9.0)}
    after = {1: Usage(110, 70, 1.5), 2: Usage(130, 90, 3.5), 4: Usage(1, 1, 0.0)}
    found = cost(before, after, seconds=10.0, parent=Usage(1_000, 0, 0.0))
    assert found is not None
    assert (found.pss_mean_bytes, found.pss_max_bytes) == (120, 130)
    assert (found.private_mean_bytes, found.private_max_bytes) == (80, 90)
    assert found.pss_total_bytes == 1_240
    assert (found.cpu_percent_node, found.cpu_percent_total) == (10.0, 20.0)
    assert cost({}, after, seconds=1.0, parent=None) is None


def test_a_spread_of_nothing_is_nothing() -> None:
    assert spread([]) == Spread(0, 0, 0)
    assert spread([3, 1, 2, 2]) == Spread(1, 2.0, 3)
