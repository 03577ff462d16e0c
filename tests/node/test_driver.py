"""The driver: nothing leaves before it is durable, nobody waits for ever, nothing stays behind."""

from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from p2p.model.commands import DropObligation, Reply
from p2p.model.effects import CancelTimer, Dial, Persist, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, TimerFired
from p2p.model.parameters import Genesis, GenesisAccount
from p2p.model.persistence import Put, Table
from p2p.model.rejection import Reason
from p2p.model.rpc import Rpc, RpcReceived, RpcSent, SendRpc, Subscription, encode_rpc
from p2p.model.topic import Topic
from p2p.network.port import Direction
from p2p.node.clock import SteadyClock
from p2p.node.driver import BATCH_MAX, INBOX_MAX, Driver
from p2p.node.verifier import Verifier
from p2p.primitives.codec import encode
from p2p.primitives.signing import Ed25519Scheme, Ed25519Signer
from p2p.primitives.units import Amount, BlobId, ChannelId, Height, Millis, PeerId
from p2p.protocol.interface import (
    Committed,
    Event,
    MessageRefused,
    MessageVerified,
    Notify,
    PeerMisbehaved,
    RoundStarted,
    SpaceMeasured,
    Started,
    Verify,
)
from p2p.protocol.replica import NodeParameters, Replica
from p2p.storage.memory import MemoryStore
from p2p.storage.port import StoreError
from p2p.storage.saved import read_saved
from tests.node.scripted import Shell, settled, virtual
from tests.protocol.replica.bench import (
    GENESIS_MS,
    PARAMETERS,
    VALIDATORS,
    vote,
)

PEER, OTHER = PeerId(b"peer"), PeerId(b"other")
START = Started(())
WRITE = Persist((Put(Table.PEERS, b"key", b"value"),))
HELLO = SendRpc(PEER, Rpc(subscriptions=(Subscription(True, "topic"),)))
EVENT = RoundStarted(Height(1), 1)


# ---- Persist comes first


@virtual
async def test_nothing_that_follows_a_write_leaves_before_it_is_durable(
    clock: trio.testing.MockClock,
) -> None:
    shell = Shell()
    replies: list[object] = []
    shell.orders(
        Started=[WRITE, HELLO, Dial(PEER, ()), Notify(EVENT)],
        DropObligation=[WRITE, Reply(1, "durable")],
    )
    shell.store.may_go.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.driver.run, START)
        await settled()
        nursery.start_soon(ask_drop, shell.driver, replies)
        await settled()
        assert shell.log == ["step Started"]
        assert replies == []
        shell.store.may_go.set()
        await settled()
        assert [one for one in shell.log if one != "dial peer"] == [
            "step Started",
            "commit",
            "send peer",
            "step DropObligation",
            "commit",
        ]
        assert shell.log.index("dial peer") > shell.log.index("commit")
        assert replies == ["durable"]
        assert shell.store.get(Table.PEERS, b"key") == b"value"
        nursery.cancel_scope.cancel()


async def ask_drop(driver: Driver, replies: list[object]) -> None:
    blob, channel = BlobId(bytes(32)), ChannelId(bytes(32))
    replies.append(await driver.ask(lambda ticket: DropObligation(ticket, blob, channel)))


@virtual
async def test_inputs_wait_while_a_commit_is_under_way(clock: trio.testing.MockClock) -> None:
    shell = Shell()
    shell.orders(Started=[WRITE])
    shell.store.may_go.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.driver.run, START)
        await settled()
        shell.driver.peer_connected(PEER, Direction.OUTBOUND, "address")
        shell.driver.rpc_sent(PEER)
        shell.driver.peer_disconnected(PEER, "gone")
        await settled()
        assert shell.replica.inputs == [START]
        shell.store.may_go.set()
        await settled()
        assert shell.replica.inputs[1:] == [
            PeerConnected(PEER, outbound=True, address="address"),
            RpcSent(PEER),
            PeerDisconnected(PEER, "gone"),
        ]
        nursery.cancel_scope.cancel()


@virtual
async def test_an_rpc_to_a_connection_lost_during_the_commit_is_dropped(
    clock: trio.testing.MockClock,
) -> None:
    shell = Shell()
    shell.orders(Started=[WRITE, HELLO, SendRpc(OTHER, HELLO.rpc)], RpcSent=[HELLO])
    shell.store.may_go.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.driver.run, START)
        await settled()
        for _ in range(2):
            shell.driver.peer_disconnected(PEER, "gone")
            shell.driver.peer_connected(PEER, Direction.INBOUND, "address")
        shell.store.may_go.set()
        await settled()
        assert shell.log[1:3] == ["commit", "send other"]
        assert len(shell.transport.sent) == 1
        shell.driver.rpc_sent(PEER)
        await settled()
        assert [peer for peer, _ in shell.transport.sent] == [OTHER, PEER]
        nursery.cancel_scope.cancel()


@virtual
async def test_a_commit_that_fails_ends_the_driver_before_any_effect_leaves(
    clock: trio.testing.MockClock,
) -> None:
    shell = Shell()
    shell.orders(Started=[HELLO, WRITE, HELLO, Dial(PEER, ())])
    shell.store.fails = True
    with pytest.raises(ExceptionGroup) as caught:
        await shell.driver.run(START)
    assert caught.group_contains(StoreError, match="the disk is on fire")
    assert shell.log == ["step Started"]
    assert shell.transport.sent == []


@virtual
async def test_a_batch_of_inputs_costs_one_commit(clock: trio.testing.MockClock) -> None:
    shell = Shell()
    shell.orders(SpaceMeasured=[WRITE, HELLO])
    for number in range(BATCH_MAX - 1):
        shell.driver.put(SpaceMeasured(number))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.driver.run, START)
        await settled()
        assert [len(batch) for batch in shell.store.batches] == [BATCH_MAX - 1]
        assert len(shell.transport.sent) == BATCH_MAX - 1
        nursery.cancel_scope.cancel()


@virtual
async def test_a_commit_under_way_is_finished_when_the_node_is_told_to_stop(
    clock: trio.testing.MockClock,
) -> None:
    shell = Shell()
    shell.orders(Started=[WRITE, HELLO])
    shell.store.may_go.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.driver.run, START)
        await settled()
        nursery.cancel_scope.cancel()
        shell.store.may_go.set()
    assert shell.store.get(Table.PEERS, b"key") == b"value"


# ---- back-pressure


@virtual
async def test_a_full_inbox_makes_every_peer_wait_and_room_lets_all_of_them_go_on(
    clock: trio.testing.MockClock,
) -> None:
    """With one event for all who wait: when each made its own, only the last was ever woken."""
    shell = Shell()
    data = encode_rpc(HELLO.rpc)
    for number in range(INBOX_MAX):
        shell.driver.put(SpaceMeasured(number))
    passed: list[int] = []

    async def receive(number: int) -> None:
        gate = shell.driver.rpc_received(PeerId(b"%d" % number), data)
        if gate is not None:
            await gate.wait()
        passed.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(receive, number)
        await settled()
        assert passed == []
        nursery.start_soon(shell.driver.run, START)
        await settled()
        assert sorted(passed) == [0, 1, 2, 3, 4]
        received = [one for one in shell.replica.inputs if isinstance(one, RpcReceived)]
        assert sorted(one.peer for one in received) == [b"0", b"1", b"2", b"3", b"4"]
        nursery.cancel_scope.cancel()


@virtual
async def test_an_rpc_that_cannot_be_decoded_is_a_fault_of_its_sender(
    clock: trio.testing.MockClock,
) -> None:
    shell = Shell()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.driver.run, START)
        await settled()
        shell.driver.rpc_received(PEER, b"\xff\xff")
        shell.driver.rpc_received(PEER, encode_rpc(HELLO.rpc))
        await settled()
        fault, good = shell.replica.inputs[1:]
        assert isinstance(fault, PeerMisbehaved)
        assert (fault.peer, fault.reason) == (PEER, Reason.MALFORMED)
        assert good == RpcReceived(PEER, HELLO.rpc)
        nursery.cancel_scope.cancel()


# ---- timers


@virtual
async def test_timers_fire_in_order_when_due_and_not_when_replaced_or_cancelled(
    clock: trio.testing.MockClock,
) -> None:
    shell = Shell()
    start_ms = shell.clock.now_ms()

    def at(delay_ms: int) -> Millis:
        return Millis(start_ms + delay_ms)

    shell.orders(
        Started=[
            SetTimer("late", at(300)),
            SetTimer("early", at(100)),
            SetTimer("moved", at(50)),
            SetTimer("moved", at(200)),
            SetTimer("never", at(150)),
            CancelTimer("never"),
        ]
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.driver.run, START)
        for _ in range(8):
            await settled()
            clock.jump(0.05)
        await settled()
        assert shell.replica.inputs[1:] == [
            TimerFired("early"),
            TimerFired("moved"),
            TimerFired("late"),
        ]
        late_ms = [moment - start_ms for moment in shell.replica.moments_ms[1:]]
        assert all(due <= got < due + 60 for due, got in zip((100, 200, 300), late_ms, strict=True))
        nursery.cancel_scope.cancel()


@virtual
async def test_a_full_inbox_does_not_starve_a_timer(clock: trio.testing.MockClock) -> None:
    shell = Shell()
    shell.orders(Started=[SetTimer("due", shell.clock.now_ms())])
    for number in range(3 * BATCH_MAX):
        shell.driver.put(SpaceMeasured(number))
    shell.driver._inbox.appendleft(START)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.driver.run, SpaceMeasured(0))
        await settled()
        place = shell.replica.inputs.index(TimerFired("due"))
        assert place == BATCH_MAX, "with the first batch"
        nursery.cancel_scope.cancel()


# ---- verification


@virtual
async def test_a_message_is_verified_in_the_step_that_asks_for_it(
    clock: trio.testing.MockClock,
) -> None:
    shell = Shell()
    good, bad = encode(vote(VALIDATORS[0], None)), b"junk"
    shell.orders(
        Started=[Verify(b"1", Topic.VOTES, good, PEER), Verify(b"2", Topic.VOTES, bad, PEER)],
        MessageVerified=[HELLO],
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.driver.run, START)
        await settled()
        _, verified, refused = shell.replica.inputs
        assert isinstance(verified, MessageVerified)
        assert verified.value.value == vote(VALIDATORS[0], None)
        assert isinstance(refused, MessageRefused)
        assert (refused.message_id, refused.reason) == (b"2", Reason.MALFORMED)
        assert shell.transport.sent == [(PEER, encode_rpc(HELLO.rpc))]
        nursery.cancel_scope.cancel()


# ---- with a real replica


def heights_of(events: AsyncIterator[Event]) -> list[int]:
    """Heights committed since the last look."""
    assert isinstance(events, trio.MemoryReceiveChannel)
    heard: list[Event] = [
        events.receive_nowait() for _ in range(events.statistics().current_buffer_used)
    ]
    return [event.height for event in heard if isinstance(event, Committed)]


@virtual
async def test_a_validator_alone_makes_its_chain_in_virtual_time_and_resumes_it(
    clock: trio.testing.MockClock,
) -> None:
    """The whole node but for wire and disk: heights follow epochs, across a restart."""
    clock.jump(GENESIS_MS / 1_000)
    key = VALIDATORS[0]
    account = GenesisAccount(key.account, Amount(10**6), Amount(10**6))
    genesis = Genesis("alone", GENESIS_MS, PARAMETERS, (account,))
    store = MemoryStore()
    heights: list[int] = []
    for seed in (b"first run", b"second run"):
        shell = Shell()
        driver = Driver(
            replica=Replica(
                genesis=genesis,
                signer=Ed25519Signer(key),
                parameters=NodeParameters(),
                seeds=(),
                saved=read_saved(store),
                seed=seed,
            ),
            store=store,
            transport=shell.transport,
            verifier=Verifier(genesis.chain_id, Ed25519Scheme()),
            clock=SteadyClock(wall=trio.current_time, monotonic=trio.current_time),
        )
        async with trio.open_nursery() as nursery, driver.events() as events:
            nursery.start_soon(driver.run, START)
            goal = len(heights) + 2
            while len(heights) < goal:
                clock.jump(0.2)
                await settled()
                heights += heights_of(events)
            nursery.cancel_scope.cancel()
    assert heights == [1, 2, 3, 4]
