"""Connections that begin twice, and connections that end."""

import pytest
import trio

from p2p.network import TransportLimits
from p2p.network.port import RequestFailed, StreamClosed
from p2p.primitives.units import KIB
from tests.network.attackers import Attacker, attacking
from tests.network.nodes import BLOB, DEADLINE_S, SYNC, Node, key_of, running, wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.live]

QUICK_RETIREMENT = TransportLimits(duplicate_grace_s=0.05)


async def dial_each_other(ann: Node, bob: Node) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ann.transport.dial, bob.peer, bob.addresses)
        nursery.start_soon(bob.transport.dial, ann.peer, ann.addresses)


@pytest.mark.parametrize("round_", range(5))
async def test_dialing_each_other_at_once_ends_in_one_connection(round_: int) -> None:
    names = (f"ann {round_}", f"bob {round_}")
    async with running(*names, limits=QUICK_RETIREMENT) as (ann, bob):
        await dial_each_other(ann, bob)
        for left, right in ((ann, bob), (bob, ann)):
            await left.wait_connected(right.peer)
            assert await left.ask(right) == b"gnip"
        await wait_until(lambda: link_count(ann, bob) == link_count(bob, ann) == 1)
        for left, right in ((ann, bob), (bob, ann)):
            assert await left.ask(right) == b"gnip"
            left.transport.send_rpc(right.peer, b"rpc")
        await wait_until(lambda: ann.heard.rpcs == [(bob.peer, b"rpc")])
        await wait_until(lambda: bob.heard.rpcs == [(ann.peer, b"rpc")])
        assert ann.heard.events == [("connected", bob.peer)]
        assert bob.heard.events == [("connected", ann.peer)]


async def test_work_on_the_losing_connection_is_finished_first() -> None:
    async with running("ann", "bob", limits=TransportLimits(duplicate_grace_s=0.3)) as (ann, bob):
        ann.heard.gate = bob.heard.gate = trio.Event()
        answers: list[bytes] = []

        async def ask(left: Node, right: Node) -> None:
            await left.transport.dial(right.peer, right.addresses)
            answers.append(await left.ask(right))

        with trio.fail_after(DEADLINE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, ann, bob)
                nursery.start_soon(ask, bob, ann)
                await wait_until(lambda: ann.heard.requests and bob.heard.requests)
                ann.heard.gate.set()
        assert answers == [b"gnip"] * 2


def link_count(node: Node, other: Node) -> int:
    peer = node.transport._find(other.peer)  # type: ignore[attr-defined]
    return len(peer.links) if peer is not None else 0


async def test_many_dials_to_one_peer_make_one_connection() -> None:
    async with running("ann", "bob") as (ann, bob):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ann.transport.dial, bob.peer, bob.addresses)
        assert link_count(ann, bob) == 1
        assert ann.heard.events == [("connected", bob.peer)]


async def test_a_restarted_peer_replaces_its_dead_connection() -> None:
    """Given a connection that died unseen; when the peer dials again; then the new one serves."""
    async with running("ann", "bob", "bob", limits=QUICK_RETIREMENT) as (ann, old, new):
        await old.dial(ann)
        await new.dial(ann)
        assert await new.ask(ann) == b"gnip"
        await wait_until(lambda: link_count(ann, new) == 1)
        assert await ann.ask(new) == b"gnip"
        assert new.heard.requests
        assert ann.heard.events == [("connected", new.peer)]


async def test_one_peer_cannot_take_many_places() -> None:
    async with running("ann") as (ann,), trio.open_nursery() as nursery:
        eves: list[Attacker] = []

        async def connect() -> None:
            async with attacking(ann) as eve:
                eves.append(eve)
                await eve.wait_dropped()

        for count in range(1, 7):
            nursery.start_soon(connect)
            await wait_until(lambda: len(eves) == count)  # noqa: B023 - waits in this turn
        await ann.wait_connected(eves[0].peer)
        assert ann.transport._running.peers._link_count <= 2  # type: ignore[attr-defined]
        assert ann.heard.events == [("connected", eves[0].peer)]
        nursery.cancel_scope.cancel()


async def test_strangers_leave_room_for_our_own_dials() -> None:
    limits = TransportLimits(connections_max=2, connections_inbound_max=1)
    async with (
        running("ann", "bob", limits=limits) as (ann, bob),
        attacking(ann, "first") as first,
        attacking(ann, "second") as second,
    ):
        await ann.wait_connected(first.peer)
        await second.wait_dropped()
        await ann.dial(bob)


async def test_a_killed_peer_is_reported_and_its_streams_end() -> None:
    async with running("ann", "bob") as (ann, bob):
        await ann.dial(bob)
        stream = await ann.transport.open_stream(bob.peer, BLOB, deadline_s=DEADLINE_S)
        bob.heard.gate = trio.Event()

        async def ask_the_dying() -> None:
            with pytest.raises(RequestFailed):
                await ann.transport.request(bob.peer, SYNC, b"?", bytes_max=9, deadline_s=60)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_the_dying)
            await wait_until(lambda: bob.heard.requests)
            bob.scope.cancel()
        await ann.wait_gone(bob.peer)
        with pytest.raises(StreamClosed):
            await stream.receive(bytes_max=9, deadline_s=60)
        with pytest.raises(StreamClosed):
            await stream.send(b"to nobody")
        ann.transport.send_rpc(bob.peer, b"dropped")
        await ann.transport.hang_up(bob.peer)


async def test_stopping_with_many_connections_takes_no_time() -> None:
    names = [f"peer {number}" for number in range(12)]
    async with running("hub", *names) as (hub, *peers):
        for peer in peers:
            await peer.dial(hub)
            await hub.transport.open_stream(peer.peer, BLOB, deadline_s=DEADLINE_S)
        start_s = trio.current_time()
        hub.scope.cancel()
        await wait_until(lambda: len(hub.heard.reasons) == len(peers))
        assert hub.heard.reasons == ["the transport stopped"] * len(peers)
        await wait_until(lambda: not any(peer.heard.connected(hub.peer) for peer in peers))
        assert trio.current_time() - start_s < 0.5


async def test_a_cancelled_send_leaves_the_connection_whole() -> None:
    async with running("ann", "bob") as (ann, bob):
        await ann.dial(bob)
        for _ in range(5):
            stream = await ann.transport.open_stream(bob.peer, BLOB, deadline_s=DEADLINE_S)
            with trio.move_on_after(0.01):
                while True:
                    await stream.send(bytes(300 * KIB))
            with pytest.raises(StreamClosed):
                await stream.send(b"more")
        assert await ann.ask(bob) == b"gnip"
        assert ann.heard.connected(bob.peer)
        assert link_count(ann, bob) == 1


async def test_a_stranger_is_not_connected() -> None:
    async with running("ann") as (ann,):
        await ann.transport.hang_up(key_of("stranger").peer)
        with pytest.raises(StreamClosed, match="not connected"):
            await ann.transport.open_stream(key_of("stranger").peer, BLOB, deadline_s=1)
