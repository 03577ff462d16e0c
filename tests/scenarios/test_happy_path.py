"""Nothing goes wrong: a network finds itself and commits height after height."""

import pytest

from p2p.model.rejection import Reason
from p2p.protocol.interface import Committed, PeerPenalized, RoundStarted
from sim_harness.virtual.checkers import SAFETY, nobody_banned, receipts_settled
from sim_harness.virtual.conditions import ads_known, all_of, height_at_least
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.workload import Trade, Transfers
from sim_harness.virtual.world import World
from tests.scenarios.worlds import fast_world


@pytest.mark.parametrize(
    ("nodes", "validators", "heights"), [(4, 4, 5), (7, 7, 4), (20, 13, 2), (50, 16, 1)]
)
def test_a_network_commits_from_the_start(nodes: int, validators: int, heights: int) -> None:
    """Given nodes that know three seeds; when they start; then all commit one chain in time."""
    world = World(seed=1, nodes=nodes, validators=validators)
    world.start()
    epoch_ms = world.genesis.parameters.epoch_ms
    world.run_until(height_at_least(heights), within=seconds(heights * epoch_ms / 1_000 + 5))
    world.check(*SAFETY, nobody_banned)


def test_nobody_needs_a_second_round_or_blames_anybody() -> None:
    """Given twelve nodes; when nothing goes wrong; then every height takes one round."""
    world = fast_world(seed=2, nodes=12, validators=7)
    world.start()
    world.run_until(height_at_least(10))
    events = [event for node in world.nodes for _, event in node.events]
    assert not [event for event in events if isinstance(event, RoundStarted | PeerPenalized)]
    assert all(event.round == 0 for event in events if isinstance(event, Committed))
    world.check()


def test_transfers_and_receipts_flow_while_blocks_are_made() -> None:
    """Given a consumer and two providers; when they work; then all that was signed is settled."""
    world = fast_world(seed=3, nodes=7, validators=4)
    consumer, first, second = world.others
    trades = [Trade(world, consumer, first), Trade(world, consumer, second)]
    transfers = Transfers(world, every=seconds(0.5))
    world.start()
    world.run_until(all_of(height_at_least(15), ads_known(7)))
    for trade in trades:
        trade.is_paused = True
    world.run_for(seconds(10))
    for trade in trades:
        assert trade.settled == trade.accepted == trade.promised == trade.delivered > 0
        # A height may end while a receipt travels: then it is signed again for the next one.
        assert {refusal.reason for refusal in trade.refusals} <= {Reason.WRONG_EPOCH}
    states = [node.replica.state for node in world.nodes if node.replica is not None]
    nonces = sum(account.nonce for account in states[0].accounts.values())
    assert nonces >= len(transfers.sent) - 5, "all but the newest transfers are in blocks"
    world.check(*SAFETY, receipts_settled, nobody_banned)
