"""Scenarios about consensus: ordinary files, nothing stored, few liars, all words used."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from sim_harness.scenario.commands import load
from sim_harness.scenario.reading import parse_scenario
from sim_harness.scenario.sections import ScenarioError
from sim_harness.scenario.writing import write_scenario
from sim_harness.swarm.about_consensus import KINDS, LIARS, VALIDATORS, draw_about_consensus
from sim_harness.swarm.origin import draw, read_word, word_of
from tests.sim_harness.swarm.test_draw import plain

SEEDS = range(300)
DIGEST = """
from hashlib import sha256
from sim_harness.scenario.writing import write_scenario
from sim_harness.swarm.about_consensus import draw_about_consensus
texts = "".join(write_scenario(draw_about_consensus(seed)) for seed in range(20))
print(sha256(texts.encode()).hexdigest())
"""


def test_every_scenario_about_consensus_is_a_file_that_reads_back() -> None:
    for seed in SEEDS:
        drawn = draw_about_consensus(seed)
        read = parse_scenario(write_scenario(drawn), Path("drawn.toml"))
        assert plain(read) == plain(drawn), f"seed {seed}"


def test_equal_seeds_draw_equal_scenarios_under_any_hash_seed() -> None:
    texts = "".join(write_scenario(draw_about_consensus(seed)) for seed in range(20))
    done = subprocess.run(
        [sys.executable, "-c", DIGEST],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "4711"},
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.strip() == sha256(texts.encode()).hexdigest()


def test_less_than_a_third_lies_and_nothing_is_stored() -> None:
    for seed in SEEDS:
        drawn = draw_about_consensus(seed)
        lying = sum(one.nodes for one in drawn.adversaries if isinstance(one.nodes, int))
        assert 3 * lying < drawn.network.validators, f"seed {seed}"
        assert drawn.network.validators in VALIDATORS
        assert drawn.load.consumers == drawn.load.adds_per_minute == 0


def test_every_fault_and_liar_of_consensus_is_drawn() -> None:
    drawn = [draw_about_consensus(seed) for seed in SEEDS]
    assert {one.kind for scenario in drawn for one in scenario.faults} == set(KINDS)
    assert {one.kind for scenario in drawn for one in scenario.adversaries} == {k for k, _ in LIARS}
    assert any(not scenario.adversaries for scenario in drawn)
    assert any(
        fault.nodes == "all" for one in drawn for fault in one.faults if fault.kind == "kill"
    )
    assert any(fault.nodes == "proposer" for one in drawn for fault in one.faults)


@pytest.mark.parametrize(("word", "read"), [("17", (17, None)), ("consensus-3", (3, "consensus"))])
def test_a_word_names_a_scenario_wherever_a_file_may_stand(
    word: str, read: tuple[int, str | None]
) -> None:
    assert read_word(word) == read
    assert word_of(*read) == word
    assert load(Path(word)) == (draw(*read), read[0])
    assert load(Path(word), 9) == (draw(*read), 9)


@pytest.mark.parametrize(
    "word", ["", "-", "-3", "consensus", "consensus-", "sync-3", "a.toml", "³"]
)
def test_other_words_are_files(word: str) -> None:
    assert read_word(word) is None


def test_a_subject_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="consensus"):
        draw(1, "weather")
    with pytest.raises(ScenarioError, match="weather-1"):
        load(Path("weather-1"))
