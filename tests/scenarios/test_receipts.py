"""Work is paid, whoever crashes."""

import pytest

from p2p.model.parameters import Parameters
from p2p.model.rewards import split
from p2p.primitives.units import Millis
from sim_harness.virtual.checkers import (
    SAFETY,
    nobody_banned,
    receipts_settled,
    stored_chain,
    stored_state,
)
from sim_harness.virtual.conditions import Condition, has_crashed, height_at_least
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.workload import Trade
from sim_harness.virtual.world import BALANCE, World
from tests.scenarios.worlds import fast_world


def settle(world: World, *trades: Trade) -> None:
    """No new work; time for what is open: two late epochs, a renewal, and its settlement."""
    for trade in trades:
        trade.is_paused = True
    world.run_for(seconds(12))


def accepts_more(trade: Trade) -> Condition:
    """The provider holds a greater receipt than now."""
    before = trade.accepted
    return lambda world: trade.accepted > before


def settled_epochs(world: World, trade: Trade) -> list[int]:
    """Epochs of the receipts of a trade that blocks settled."""
    return [
        receipt.epoch
        for committed in stored_chain(world.validators[0])
        for receipt in committed.block.receipts
        if receipt.channel == trade.channel
    ]


def test_a_consumer_and_a_provider_that_validate_nothing_settle_their_work() -> None:
    """Given a pair beside 4 validators; when they trade; then every window is paid, exactly once,
    and the ledger's shares are those of the pricing rule.
    """
    world = fast_world(seed=1, nodes=6, validators=4)
    consumer, provider = world.others
    trade = Trade(world, consumer, provider)
    world.start()
    world.run_until(height_at_least(20))
    settle(world, trade)
    assert trade.settled == trade.accepted == trade.promised == trade.delivered > 0

    epochs = settled_epochs(world, trade)
    assert len(epochs) > 5
    assert epochs == sorted(set(epochs)), "one settlement a channel and epoch"
    state = stored_state(provider)
    assert state is not None
    amounts, last = [], 0
    for committed in stored_chain(provider):
        for receipt in committed.block.receipts:
            amounts.append(receipt.amount - last)
            last = receipt.amount
    parameters = world.genesis.parameters
    quality = state.accounts[provider.key.account].quality
    earned = sum(split(one, quality=quality, parameters=parameters).received for one in amounts)
    assert state.accounts[provider.key.account].balance == BALANCE + earned
    world.check(*SAFETY, receipts_settled, nobody_banned)


@pytest.mark.parametrize("seed", range(8))
def test_a_crash_of_either_party_costs_a_window_at_most(seed: int) -> None:
    """Given a pair that trades; when one of them crashes at a drawn moment, four times; then what
    was done and what was paid differ by at most a window a crash, and nothing is paid twice.
    """
    world = fast_world(seed=seed, nodes=6, validators=4)
    consumer, provider = world.others
    trade = Trade(world, consumer, provider)
    draws = world.stream("crashes")
    world.start()
    world.run_until(height_at_least(4))
    for _ in range(4):
        world.run_for(seconds(draws.uniform(0.5, 4)))
        unlucky = draws.choice([consumer, provider])
        world.crash(unlucky)
        world.run_for(seconds(draws.uniform(0.1, 6)))
        world.start(unlucky)
    world.run_for(seconds(5))
    settle(world, trade)
    crashes = consumer.crashes + provider.crashes
    assert trade.settled == trade.accepted <= trade.delivered
    assert trade.delivered - trade.settled <= crashes * trade.window_price_max
    assert trade.promised <= trade.delivered
    epochs = settled_epochs(world, trade)
    assert epochs == sorted(set(epochs))
    world.check(*SAFETY, receipts_settled, nobody_banned)


@pytest.mark.parametrize("durable", [False, True], ids=["lost", "durable but nothing sent"])
@pytest.mark.parametrize("role", ["consumer", "provider"])
def test_either_party_may_die_at_every_write(role: str, durable: bool) -> None:
    """Given a pair that trades; when one dies before, or right after, any one write; then at most
    one window is lost, and the rest is settled.
    """
    for number in range(8, 17):
        world = fast_world(seed=3, nodes=3, validators=1)
        consumer, provider = world.others
        trade = Trade(world, consumer, provider)
        victim = consumer if role == "consumer" else provider

        def dies(batch: int, is_durable: bool, at: int = number) -> bool:
            return batch == at and is_durable is durable

        victim.disk.crash_point = dies
        world.start()
        world.run_until(has_crashed(victim))
        world.run_for(seconds(0.3))
        world.start(victim)
        world.run_until(accepts_more(trade), within=seconds(15))
        settle(world, trade)
        assert trade.settled == trade.accepted, number
        assert trade.delivered - trade.settled <= trade.window_price_max, number
        world.check(*SAFETY, receipts_settled)


def test_a_receipt_that_came_too_late_is_dated_anew_and_settled() -> None:
    """Given a provider cut off with an unsettled receipt for many epochs; when it is back; then the
    consumer signs a later date and the ledger settles it.
    """
    world = fast_world(seed=4, nodes=6, validators=4)
    consumer, provider = world.others
    trade = Trade(world, consumer, provider)
    world.start()
    world.run_until(lambda _: trade.accepted > 1_000)
    with world.partition([provider], [node for node in world.nodes if node is not provider]):
        world.run_for(seconds(4))
        before = trade.settled
        world.run_for(seconds(8))
        assert trade.settled == before < trade.accepted
    settle(world, trade)
    assert trade.settled == trade.accepted == trade.delivered
    world.check(*SAFETY, receipts_settled, nobody_banned)


@pytest.mark.parametrize("seed", range(2))
def test_an_accepted_receipt_survives_its_provider_though_nobody_works_any_more(seed: int) -> None:
    """Given a window just paid for; when the provider dies at once and comes back to no new work;
    then the ledger settles what was paid all the same.
    """
    world = fast_world(seed=seed, nodes=6, validators=4)
    consumer, provider = world.others
    trade = Trade(world, consumer, provider)
    world.start()
    world.run_until(lambda _: trade.accepted > 1_000)
    world.run_until(accepts_more(trade))
    accepted = trade.accepted
    trade.is_paused = True
    world.crash(provider)
    world.run_for(seconds(0.5 + 2 * seed))
    world.start(provider)
    settle(world, trade)
    assert trade.settled == trade.accepted >= accepted
    world.check(*SAFETY, receipts_settled, nobody_banned)


def test_receipts_that_are_dated_anew_for_ever_do_not_count_as_settled() -> None:
    """Given a pair so far from the validator that all receipts are late; when each looks fresh;
    then the checker sees that none was ever paid for.
    """
    world = World(
        seed=1,
        nodes=3,
        validators=1,
        parameters=Parameters(epoch_ms=Millis(200), receipt_late_epochs=1),
        latency=lambda source, target: 500_000 if 0 in {source, target} else 1_000,
    )
    consumer, provider = world.others
    trade = Trade(world, consumer, provider)
    world.start()
    world.run_until(lambda _: trade.accepted > 0, within=seconds(60))
    world.run_for(seconds(60))
    assert trade.settled < trade.accepted
    assert any("receipts came too late" in fault for fault in receipts_settled(world))
