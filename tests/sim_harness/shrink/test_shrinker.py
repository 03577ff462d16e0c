"""Shrinking: what is left fails alike, is small, and is the same on every machine."""

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from p2p.primitives.units import Millis
from sim_harness.cli import app
from sim_harness.scenario import schema
from sim_harness.scenario.reading import parse_scenario, read_scenario
from sim_harness.scenario.schema import AdversarySpec, Scenario
from sim_harness.scenario.writing import write_scenario
from sim_harness.shrink.files import default_path, relocated, text_of
from sim_harness.shrink.shrinker import NothingToShrink, Shrinker, Step
from sim_harness.shrink.size import size_of
from sim_harness.shrink.steps import fitting
from sim_harness.swarm.draw import draw_scenario
from sim_harness.swarm.failure import Failure

QUICK = "102"
"""A seed of a small network that passes."""
FAILURE = Failure("agreement", "two blocks", None)


def needs_a_pause_and_six(scenario: Scenario, seed: int) -> Failure | None:
    """A defect that needs a frozen node, a liar, and six nodes."""
    has_pause = any(fault.kind == "pause" for fault in scenario.faults)
    return FAILURE if has_pause and scenario.adversaries and scenario.network.nodes >= 6 else None


def failing() -> tuple[Scenario, int]:
    """A drawn scenario with that defect, as large as they come."""
    found = [
        (draw_scenario(seed), seed)
        for seed in range(100)
        if needs_a_pause_and_six(draw_scenario(seed), seed) is not None
    ]
    return max(found, key=lambda one: size_of(one[0]).total)


def test_only_what_the_failure_needs_is_left() -> None:
    scenario, seed = failing()
    shrunk = Shrinker(needs_a_pause_and_six).run(scenario, seed)
    assert [fault.kind for fault in shrunk.scenario.faults] == ["pause"]
    assert shrunk.scenario.network.nodes == 6
    assert shrunk.size.liars == 1
    assert shrunk.scenario.load == schema.Load()
    assert (shrunk.scenario.parameters, shrunk.failure, shrunk.seed) == ((), FAILURE, seed)
    assert shrunk.is_minimal
    assert shrunk.factor > 50


def test_every_step_is_smaller_than_the_one_before() -> None:
    heard: list[Step] = []
    scenario, seed = failing()
    shrunk = Shrinker(needs_a_pause_and_six, heard=heard.append).run(scenario, seed)
    orders = [size_of(scenario).order, *(step.size.order for step in heard)]
    assert orders == sorted(orders, reverse=True)
    assert len(set(orders)) == len(orders)
    assert tuple(heard) == shrunk.steps


def test_shrinking_twice_gives_the_same_scenario() -> None:
    scenario, seed = failing()
    one, two = (Shrinker(needs_a_pause_and_six).run(scenario, seed) for _ in range(2))
    assert write_scenario(one.scenario) == write_scenario(two.scenario)
    assert one.tries == two.tries


def test_another_failure_is_not_the_same() -> None:
    def fails(scenario: Scenario, seed: int) -> Failure | None:
        return FAILURE if scenario.faults else Failure("supply", "less")

    scenario, seed = failing()
    shrunk = Shrinker(fails).run(scenario, seed)
    assert shrunk.failure == FAILURE
    assert len(shrunk.scenario.faults) == 1


def test_a_smaller_world_may_fail_with_another_seed() -> None:
    def fails(scenario: Scenario, seed: int) -> Failure | None:
        return FAILURE if seed == (2 if scenario.network.nodes < 6 else 9) else None

    shrunk = Shrinker(fails).run(failing()[0], 9)
    assert (shrunk.seed, shrunk.scenario.network.nodes) == (2, 1)


def test_tries_are_bounded() -> None:
    scenario, seed = failing()
    shrunk = Shrinker(needs_a_pause_and_six, tries_max=5).run(scenario, seed)
    assert (shrunk.tries, shrunk.is_minimal) == (5, False)


def test_what_comes_after_the_failure_goes_first() -> None:
    def fails(scenario: Scenario, seed: int) -> Failure | None:
        return Failure("I1", "lost", 3_210) if scenario.duration >= 3_210 else None

    heard: list[Step] = []
    scenario, seed = failing()
    shrunk = Shrinker(fails, heard=heard.append).run(scenario, seed)
    assert (heard[0].name, heard[0].tries) == ("ended_at", 2)
    assert shrunk.scenario.duration == 3_300


def test_what_does_not_fail_cannot_shrink() -> None:
    with pytest.raises(NothingToShrink, match="seed 4 of 'swarm 1' does not fail"):
        Shrinker(lambda scenario, seed: None).run(draw_scenario(1), 4)


# ---- candidates --------------------------------------------------------------------------------


def test_faults_that_match_nobody_get_a_victim_and_late_ones_end_with_the_scenario() -> None:
    pause = schema.Pause(at=Millis(2_000), lasts=Millis(9_000), nodes="validators")
    scenario = Scenario(
        "some",
        duration=Millis(5_000),
        network=schema.Network(nodes=4, validators=4),
        faults=(
            pause,
            schema.Kill(at=Millis(1_000), lasts=Millis(10), nodes="validators[6]"),
            schema.Kill(at=Millis(7_000), lasts=Millis(10), nodes="all"),
        ),
    )
    fitted = fitting(scenario)
    assert fitted is not None
    assert fitted.faults == (
        msgspec.structs.replace(pause, lasts=Millis(3_000)),
        schema.Kill(at=Millis(1_000), lasts=Millis(10), nodes="validators[0]"),
    )


@pytest.mark.parametrize(
    ("validators", "nodes", "fits"), [(4, 1, True), (3, 1, False), (7, 3, False), (7, 2, True)]
)
def test_liars_never_get_a_third_of_the_power(validators: int, nodes: int, fits: bool) -> None:
    for who in (nodes, f"validators[:{nodes}]"):
        scenario = Scenario(
            "some",
            network=schema.Network(nodes=8, validators=validators),
            adversaries=(AdversarySpec("twin", who),),
        )
        assert (fitting(scenario) is not None) is fits


# ---- files -------------------------------------------------------------------------------------


def test_the_file_says_what_it_shows_and_reads_back(tmp_path: Path) -> None:
    scenario, seed = failing()
    shrunk = Shrinker(needs_a_pause_and_six).run(scenario, seed)
    path = tmp_path / "one_lock.toml"
    text = text_of(shrunk, path, str(seed), None)
    assert text.startswith("# Shows agreement: two blocks\n")
    assert f"# Replay: sim-harness run {path}\n" in text
    assert f"# From swarm seed {seed}" in text
    read = parse_scenario(text, path)
    assert (read.name, read.seed) == ("one lock", seed)
    assert size_of(read) == shrunk.size


def test_failures_of_the_product_and_of_canaries_are_kept_apart() -> None:
    scenario, seed = failing()
    shrunk = Shrinker(needs_a_pause_and_six).run(scenario, seed)
    assert default_path(shrunk, "17", None).as_posix() == (
        "tests/scenarios/regressions/agreement_17.toml"
    )
    assert default_path(shrunk, "a/b c.toml", "forget_lock").as_posix() == (
        "runs/shrunk/forget_lock_b_c.toml"
    )


def test_paths_lead_to_the_same_files_from_elsewhere() -> None:
    scenario = Scenario(
        "some",
        network=schema.Network(distance=schema.Matrix("rtt/lab.txt")),
        faults=(schema.Churn(sessions="trace.txt"), schema.Churn()),
        directory="examples/scenarios",
    )
    moved = relocated(scenario, Path("examples/shrunk"))
    assert moved.network.distance == schema.Matrix("../scenarios/rtt/lab.txt")
    assert [getattr(fault, "sessions", "") for fault in moved.faults] == [
        "../scenarios/trace.txt",
        "exponential",
    ]


# ---- the real thing ----------------------------------------------------------------------------


LARGE = """
name = "large"
duration = "14s"
[network]
nodes = 9
validators = 5
[parameters]
epoch_ms = 1000
[load]
consumers = 1
[[fault]]
kind = "kill"
nodes = "others[0]"
at = "3s"
for = "2s"
[[fault]]
kind = "delay"
nodes = "validators[3]"
add = "200ms"
at = "6s"
for = "2s"
"""


def test_a_canary_shrinks_to_a_fifth_at_least(tmp_path: Path) -> None:
    large, path = tmp_path / "large.toml", tmp_path / "small.toml"
    large.write_text(LARGE)
    words = ["shrink", str(large), "--canary", "quorum_half", "-o", str(path), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    answer = msgspec.json.decode(done.stdout)
    assert answer["failure"]["kind"] == "validity"
    assert answer["factor"] >= 5
    left = size_of(read_scenario(path))
    assert (left.faults, left.buyers) == (0, 0)
    again = CliRunner().invoke(app, ["run", str(path), "--canary", "quorum_half"])
    assert again.exit_code == 1
    assert CliRunner().invoke(app, ["run", str(path)]).exit_code == 0


def test_a_seed_that_passes_is_a_sentence() -> None:
    done = CliRunner().invoke(app, ["shrink", QUICK])
    assert done.exit_code == 1
    assert done.stderr == f"sim-harness: seed {QUICK} of 'swarm {QUICK}' does not fail\n"
