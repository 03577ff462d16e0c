"""Each promise that a run is held to can be broken, and then the checker says so."""

from collections.abc import Callable

import msgspec
import pytest

from p2p.model.effects import HangUp
from p2p.model.persistence import Put, Table
from p2p.model.receipt import ServiceReceipt
from p2p.primitives.codec import encode
from p2p.protocol.receipts.book import decode_record
from sim_harness.scenario.expectations import (
    ads_differ,
    check_latencies,
    check_losses,
    check_safety,
    isolated,
    liveness,
)
from sim_harness.scenario.results import Check, distribution
from sim_harness.scenario.run import Run
from sim_harness.scenario.schema import Expect
from sim_harness.virtual.spans import seconds
from tests.sim_harness.scenario.worlds import HEAD, small


@pytest.fixture
def run() -> Run:
    """A finished run, of which everything holds."""
    story = small(head=HEAD + "[load]\nconsumers = 1")
    found = Run(story, 1)
    found.finish()
    assert all(check.holds for check in everything(found))
    return found


def everything(run: Run) -> list[Check]:
    expect = Expect()
    recovered_ms = 1_000
    return [
        *check_safety(run.world, expect),
        *liveness(run.world, expect, recovered_ms),
        *check_losses(run.market),
    ]


def broken(run: Run) -> dict[str, str]:
    return {check.name: check.measured for check in everything(run) if not check.holds}


def _ban(run: Run) -> None:
    world = run.world
    world.heard_hang_up(world.nodes[1], HangUp(world.nodes[2].key.peer, "banned: malformed"))


def _kill(run: Run) -> None:
    run.world.crash(run.world.nodes[4])


def _cut_off(run: Run) -> None:
    world, loner = run.world, run.world.nodes[4]
    assert loner.replica is not None
    for peer in list(loner.connected):
        world.network.hang_up(loner, peer, "surplus")
    # Looked at before it dials anew: what the node believes is what counts.
    world.run_for(seconds(0))


def _lose_an_ad(run: Run) -> None:
    replica = run.world.nodes[2].replica
    assert replica is not None
    replica.registry._table._drop(run.world.nodes[3].key.account)


def _forget_a_payment(run: Run) -> None:
    """The provider holds a receipt that is worth more than was ever settled, and long due."""
    trade = run.market.trades[0]
    store = trade.provider.store
    ((key, data),) = list(store.scan(Table.RECEIPTS))
    record = decode_record(data)
    assert isinstance(record.receipt, ServiceReceipt)
    more = msgspec.structs.replace(record.receipt, amount=record.receipt.amount + 7, epoch=1)
    state_height = run.world.nodes[0].height
    assert state_height > 6
    store.commit([Put(Table.RECEIPTS, key, encode(msgspec.structs.replace(record, receipt=more)))])


def _work_for_nothing(run: Run) -> None:
    trade = run.market.trades[0]
    trade.delivered += 2 * trade.window_price_max


@pytest.mark.parametrize(
    ("harm", "name", "said"),
    [
        (_ban, "no bans", "node 1 banned node 2: banned: malformed"),
        (_kill, "all are back", "node 4 is down"),
        (_lose_an_ad, "ads converge", "node 2 lacks 1 of 5"),
        (_forget_a_payment, "receipts settled", ": 7 of epoch 1"),
        (_work_for_nothing, "losses", "lost"),
        (_cut_off, "nobody isolated", "node 4 has no honest neighbour"),
    ],
)
def test_a_broken_promise_is_told(
    run: Run, harm: Callable[[Run], None], name: str, said: str
) -> None:
    harm(run)
    assert said in broken(run)[name]


def test_the_whole_network_is_neither_isolated_nor_at_odds(run: Run) -> None:
    assert isolated(run.world) == []
    assert ads_differ(run.world) == []


def test_bounds_on_latency_and_delivery_can_be_missed() -> None:
    expect = Expect(commit_latency_p95=seconds(1), ad_latency_p95=seconds(2), ad_delivery=9_900)
    good = check_latencies(expect, distribution([900] * 99), distribution([1_900]), 0.99)
    assert [check.holds for check in good] == [True, True, True]
    slow = check_latencies(expect, distribution([1_001] * 99), distribution([2_001]), 0.989)
    assert [check.holds for check in slow] == [False, False, False]
    none = check_latencies(expect, distribution([]), distribution([]), None)
    assert [check.holds for check in none] == [False, False, False]


def test_late_recovery_and_low_chains_are_told(run: Run) -> None:
    expect = Expect(recovers_within=seconds(1), heights=10_000)
    names = [check.name for check in liveness(run.world, expect, 1_001) if not check.holds]
    assert names == ["recovers within", "heights"]
    assert not liveness(run.world, expect, None)[1].holds
