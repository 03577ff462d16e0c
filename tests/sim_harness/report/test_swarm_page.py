"""The page of a swarm: the answer, what failed and how to repeat it, who caught the canaries."""

from sim_harness.report.swarm_page import render_swarm
from sim_harness.swarm.failure import Failure
from sim_harness.swarm.swarm import Catch, Plan, catch_canaries, summed_up
from sim_harness.swarm.trial import Outcome
from tests.sim_harness.report.test_page import read

BROKEN = Failure("agreement", "two <blocks> at 3", 7)


def outcome(seed: int, failure: Failure | None = None) -> Outcome:
    return Outcome(
        seed=seed,
        failure=failure,
        digest=f"{seed:064x}",
        events=10,
        end_ms=1_000,
        nodes=4,
        faults=1,
        adversaries=0,
        sights=("a receipt settled",),
        replay=f"sim-harness run {seed}",
        cpu_s=0.5,
    )


def test_the_page_says_what_failed_and_how_to_repeat_it() -> None:
    text = read(render_swarm(summed_up(Plan(), [outcome(1), outcome(2, BROKEN)], 60)))
    assert text.startswith("FAIL: swarm of 2 seeds FAIL swarm of 2 seeds 1 failed: 1 x agreement")
    assert "two <blocks> at 3 sim-harness run 2 sim-harness shrink 2" in text
    assert "Canaries" not in text


def test_the_page_says_which_canaries_nothing_caught() -> None:
    swarm = summed_up(Plan(), [outcome(1)], 60)
    caught = Catch("quorum_half", 3, 3, 3, BROKEN)
    swarm = type(swarm)(
        **{name: getattr(swarm, name) for name in swarm.__struct_fields__ if name != "canaries"},
        canaries=(caught, Catch("forget_lock", 200, None)),
    )
    text = read(render_swarm(swarm))
    assert "No seed broke a promise. Canaries that nothing caught: forget_lock" in text
    assert "sim-harness run 3 --canary quorum_half" in text


def test_a_canary_is_searched_until_it_is_caught() -> None:
    found = catch_canaries(Plan(first=7_001), 2)
    assert [catch.canary for catch in found][:2] == ["quorum_half", "forget_lock"]
    assert found[0].caught_after is not None
    assert all(catch.tried <= 2 for catch in found)
