"""Liars about anything else: forger, replayer, flooder, ads, blocks, peers, and work never done."""

import pytest

from p2p.model.rejection import Reason
from p2p.protocol.interface import Committed
from sim_harness.adversaries.forger import GREED
from sim_harness.virtual.conditions import ads_known, caught_up
from sim_harness.virtual.spans import seconds
from tests.sim_harness.adversaries.stage import Stage


def test_nothing_forged_is_believed_and_the_forger_is_shut_out() -> None:
    stage = Stage("forger", 2)
    stage.run(seconds(12))
    stage.check()
    accounts = {liar.account for liar in stage.liars}
    for node in stage.honest:
        assert node.replica is not None
        assert all(ad.value.seq < 1 << 30 for ad in node.replica.registry.ads())
        state = node.replica.state
        assert not any(one.provider in accounts for one in state.channels.values())
        first = {one.account: one.balance for one in stage.world.genesis.accounts}
        gained = [state.accounts[account].balance - first[account] for account in accounts]
        assert max(gained) < GREED
    assert {event.reason for _, event in stage.penalties()} == {Reason.BAD_SIGNATURE}
    for liar in stage.liars:
        assert not liar.honest_peers(), "everybody hung up"


def test_what_was_said_before_or_elsewhere_counts_for_nothing() -> None:
    stage = Stage("replayer", 2)
    stage.run(seconds(20))
    stage.check()
    blamed = {event.reason for _, event in stage.penalties()}
    assert Reason.WRONG_CHAIN in blamed
    assert not stage.accused(), "a vote of another chain convicts nobody here"


def test_old_messages_alone_are_nobodys_fault() -> None:
    """Peers forget what they saw after 120 s: then old words are late, not false."""
    stage = Stage("replayer", 1, nodes=5, validators=4, options={"other_chain": False, "burst": 4})
    stage.run(seconds(150))
    stage.check()
    assert stage.deeds() > 1_000
    assert not stage.penalties()


def test_a_flood_without_a_lie_in_it_costs_no_height() -> None:
    what = ["far_votes", "next_votes", "ads", "ids", "grafts", "questions"]
    stage = Stage("flooder", 1, nodes=5, validators=4, options={"what": what})
    stage.run(seconds(10))
    stage.check()
    rounds = [
        event.round
        for node in stage.honest
        for _, event in node.events
        if isinstance(event, Committed)
    ]
    assert rounds
    assert max(rounds) == 0


def test_honest_ads_spread_past_bad_ones_and_tomorrows_is_never_kept() -> None:
    stage = Stage("stale_advertiser", 2)
    stage.run(seconds(25))
    stage.check()
    honest = {node.key.account for node in stage.honest}
    stage.world.run_until(ads_known(len(honest), stage.honest))
    for node in stage.honest:
        assert node.replica is not None
        ads = {ad.value.provider: ad.value for ad in node.replica.registry.ads()}
        assert honest <= set(ads)
        latest_ms = stage.world.now_ms + stage.world.node_parameters.registry.future_ms_max
        assert all(ad.issued_ms <= latest_ms for ad in ads.values())


@pytest.mark.parametrize("seed", [1, 2])
def test_one_who_comes_late_catches_up_although_most_lie_about_blocks(seed: int) -> None:
    stage = Stage("lying_syncer", 4, seed=seed)
    world = stage.world
    late = stage.honest[-1]
    world.start(*[node for node in world.nodes if node is not late])
    world.run_for(seconds(40))
    world.start(late)
    took = world.run_until(caught_up([late]), within=seconds(120))
    print(f"caught up in {took} ms; lies told: {[dict(liar.deeds) for liar in stage.liars]}")
    stage.check()


def test_a_surrounded_node_keeps_a_way_out() -> None:
    """Given a node that twelve of nineteen surround, who keep it in the dark."""
    stage = Stage("eclipser", 12, nodes=19, validators=5)
    stage.run(seconds(40))
    victim = stage.honest[-1]
    assert victim.replica is not None
    surrounding = {liar.node.key.peer for liar in stage.liars}
    connected = set(victim.replica.membership.connected)
    assert len(connected & surrounding) >= 8, "it is surrounded"
    assert connected - surrounding, "and still knows somebody honest"
    stage.check()


@pytest.mark.parametrize("volume", [1, 20, 999, 100_000])
@pytest.mark.parametrize("nodes", [10, 7])
def test_wash_trade_loses_money_even_for_validators(volume: int, nodes: int) -> None:
    stage = Stage("wash_trader", 2, nodes=nodes, options={"volume": volume})
    stage.run(seconds(16))
    stage.check()
    traded = sum(liar.deeds["false receipts"] for liar in stage.liars)
    profit = stage.liars[0].profit()
    print(f"{traded} false receipts of {volume} micro-tokens: profit {profit}")
    assert traded >= 10
    assert profit is not None
    assert profit < 0
