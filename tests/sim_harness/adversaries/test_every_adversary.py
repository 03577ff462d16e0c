"""What every adversary must be unable to do, at up to a third of the power."""

import pytest

from sim_harness.adversaries import ADVERSARIES
from sim_harness.virtual.spans import seconds
from tests.sim_harness.adversaries.stage import Stage

KINDS = sorted(ADVERSARIES)


@pytest.mark.parametrize("kind", KINDS)
def test_below_a_third_they_neither_fork_nor_stop_nor_set_the_honest_at_odds(kind: str) -> None:
    stage = Stage(kind, 2)
    stage.run(seconds(12))
    stage.check()
    assert stage.deeds() > 0, "an adversary that did nothing has tested nothing"
    assert not [event for is_honest, event in stage.penalties() if is_honest]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_with_liars_repeats_exactly(kind: str) -> None:
    digests = set()
    for _ in range(2):
        stage = Stage(kind, 2, seed=5)
        stage.run(seconds(4))
        digests.add((stage.world.digest, stage.deeds()))
    assert len(digests) == 1
