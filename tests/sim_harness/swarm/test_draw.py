"""Drawn scenarios: ordinary, reproducible, varied, and never with too many liars."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from sim_harness.adversaries.table import ADVERSARIES
from sim_harness.scenario.reading import parse_scenario
from sim_harness.scenario.schema import FAULTS, Scenario
from sim_harness.scenario.writing import write_scenario
from sim_harness.swarm.draw import draw_scenario, voting_liars

SEEDS = range(300)

DIGESTS = """
from hashlib import sha256
from sim_harness.scenario.writing import write_scenario
from sim_harness.swarm.draw import draw_scenario
texts = "".join(write_scenario(draw_scenario(seed)) for seed in range(20))
print(sha256(texts.encode()).hexdigest())
"""


def plain(scenario: Scenario) -> Scenario:
    """Without what only a file has."""
    faults = tuple(msgspec.structs.replace(fault, line=0) for fault in scenario.faults)
    liars = tuple(msgspec.structs.replace(one, line=0) for one in scenario.adversaries)
    return msgspec.structs.replace(scenario, faults=faults, adversaries=liars, directory="")


def test_every_drawn_scenario_is_a_file_that_reads_back() -> None:
    for seed in SEEDS:
        drawn = draw_scenario(seed)
        read = parse_scenario(write_scenario(drawn), Path("drawn.toml"))
        assert plain(read) == plain(drawn), f"seed {seed}"


def test_equal_seeds_draw_equal_scenarios_under_any_hash_seed() -> None:
    texts = "".join(write_scenario(draw_scenario(seed)) for seed in range(20))
    done = subprocess.run(
        [sys.executable, "-c", DIGESTS],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "4711"},
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.strip() == sha256(texts.encode()).hexdigest()


def test_liars_hold_less_than_a_third_of_the_power() -> None:
    for seed in SEEDS:
        drawn = draw_scenario(seed)
        others = drawn.network.nodes - drawn.network.validators
        liars = voting_liars(drawn.adversaries, others)
        assert 3 * liars < drawn.network.validators, f"seed {seed}"


@pytest.mark.parametrize("words", ["faults", "adversaries"])
def test_every_word_is_drawn(words: str) -> None:
    known = FAULTS if words == "faults" else ADVERSARIES
    drawn = {one.kind for seed in SEEDS for one in getattr(draw_scenario(seed), words)}
    assert drawn >= set(known)


def test_seeds_differ_in_what_they_leave_out() -> None:
    kinds = [{fault.kind for fault in draw_scenario(seed).faults} for seed in SEEDS]
    assert any(not one for one in kinds)
    assert any(len(one) >= 6 for one in kinds)
    for kind in FAULTS:
        assert any(kind not in one and one for one in kinds)
