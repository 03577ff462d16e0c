"""One seed, one run: in another process, under another hash seed, however many ties there are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from p2p.primitives.units import AccountId, Height, Round
from sim_harness.virtual.checkers import stored_chain
from sim_harness.virtual.conditions import height_at_least
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.world import World
from tests.sim_harness.virtual.eventful import eventful_run, tied_world

ROOT = Path(__file__).parents[3]


class Apart(World):
    """Every node works everything out for itself."""

    shares_work = False


def elsewhere(seed: int, hash_seed: str) -> str:
    """The same run in another process."""
    code = (
        f"from tests.sim_harness.virtual.eventful import eventful_run;print(eventful_run({seed}))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.strip()


def test_a_seed_gives_one_run_in_every_process_and_under_every_hash_seed() -> None:
    here = eventful_run(1)
    assert elsewhere(1, "1") == here
    assert elsewhere(1, "20261122") == here


def test_work_that_is_shared_among_nodes_changes_nothing() -> None:
    assert eventful_run(1, Apart) == eventful_run(1)


def test_another_seed_gives_another_run() -> None:
    assert len({eventful_run(seed) for seed in (1, 2, 3)}) == 3


def test_a_draw_more_for_one_purpose_changes_no_other() -> None:
    first, second = tied_world(5), tied_world(5)
    second.stream("a purpose of its own").random()
    first.run_for(seconds(3))
    second.run_for(seconds(3))
    assert first.digest == second.digest


@pytest.mark.parametrize("seed", [1, 2])
def test_real_signatures_decide_as_the_keyed_hash_does(seed: int) -> None:
    """The cheap scheme stands in for Ed25519: who proposes what when is the same."""

    def decisions(*, real_signatures: bool) -> list[tuple[Height, Round, AccountId, int]]:
        world = tied_world(seed, real_signatures=real_signatures)
        dead = world.validators[2]
        world.run_until(height_at_least(2))
        world.crash(dead)
        rest = [node for node in world.nodes if node is not dead]
        world.run_until(height_at_least(9, rest))
        world.check()
        assert bytes(64) != next(stored_chain(rest[0])).certificate.signatures[0].signature
        return [
            (
                committed.block.header.height,
                committed.certificate.round,
                committed.block.header.proposer,
                committed.block.header.time_ms,
            )
            for committed in stored_chain(rest[0])
        ]

    cheap, real = decisions(real_signatures=False), decisions(real_signatures=True)
    assert [one[:3] for one in cheap] == [one[:3] for one in real]
    assert cheap == real, "and at the same moments, since both signatures have one size"
