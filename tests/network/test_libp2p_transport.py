"""Two honest transports: connections, RPCs, requests and message streams."""

from functools import partial

import pytest
import trio

from p2p.network import TransportLimits
from p2p.network.port import DialFailed, RequestFailed, StreamClosed
from p2p.primitives.keys import peer_text
from p2p.primitives.units import KIB, MIB
from tests.network.nodes import BLOB, DEADLINE_S, SYNC, Node, key_of, running, wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.live]


async def test_addresses_name_the_real_port_and_the_peer() -> None:
    async with running("ann") as (ann,):
        assert ann.port > 0
        assert ann.addresses == (f"/ip4/127.0.0.1/tcp/{ann.port}/p2p/{peer_text(ann.peer)}",)


async def test_both_ends_hear_of_a_connection_and_of_its_end() -> None:
    async with running("ann", "bob") as (ann, bob):
        await ann.dial(bob)
        await ann.dial(bob)
        await bob.transport.hang_up(ann.peer)
        assert bob.heard.events == [("connected", ann.peer), ("disconnected", ann.peer)]
        await ann.wait_gone(bob.peer)
        assert ann.heard.events == [("connected", bob.peer), ("disconnected", bob.peer)]
        assert ann.heard.reasons == ["the peer said goodbye"]
        await ann.dial(bob)


async def test_rpcs_arrive_in_order_one_in_flight() -> None:
    async with running("ann", "bob") as (ann, bob):
        await ann.dial(bob)
        payloads = [b"", b"x", bytes(60 * KIB), bytes(MIB)]
        for count, payload in enumerate(payloads, start=1):
            ann.transport.send_rpc(bob.peer, payload)
            await wait_until(partial(_has_sent, ann, count))
        await wait_until(lambda: len(bob.heard.rpcs) == len(payloads))
        assert bob.heard.rpcs == [(ann.peer, payload) for payload in payloads]
        bob.transport.send_rpc(ann.peer, b"back")
        await wait_until(lambda: ann.heard.rpcs == [(bob.peer, b"back")])


def _has_sent(node: Node, count: int) -> bool:
    return len(node.heard.sent) == count


async def test_our_own_abuse_of_the_rpc_queue_ends_that_connection_alone() -> None:
    limits = TransportLimits(rpc_queue_max=2)
    async with running("ann", "bob", "cat", limits=limits) as (ann, bob, cat):
        await ann.dial(cat)
        await ann.dial(bob)
        for _ in range(2):
            ann.transport.send_rpc(bob.peer, b"enough")
        assert ann.heard.connected(bob.peer)
        for _ in range(3):
            ann.transport.send_rpc(bob.peer, b"too many")
        await ann.wait_gone(bob.peer)
        await bob.wait_gone(ann.peer)
        assert ann.heard.reasons == ["too many RPCs are queued to the peer"]
        assert ann.transport.rpc_overflows == 1
        assert await ann.ask(cat) == b"gnip"
        await ann.dial(bob)
        ann.transport.send_rpc(bob.peer, b"again")
        await wait_until(lambda: bob.heard.rpcs == [(ann.peer, b"again")])


async def test_an_rpc_that_is_too_large_is_our_own_bug() -> None:
    async with running("ann", "bob") as (ann, bob):
        await ann.dial(bob)
        with pytest.raises(ValueError, match="exceeds"):
            ann.transport.send_rpc(bob.peer, bytes(MIB + 1))
        ann.transport.send_rpc(key_of("nobody").peer, b"dropped")


async def test_requests_are_answered_refused_and_bounded() -> None:
    async with running("ann", "bob") as (ann, bob):
        await ann.dial(bob)
        assert await ann.ask(bob, b"abc") == b"cba"
        assert await ann.ask(bob, b"") == b""
        assert await bob.ask(ann, bytes(200 * KIB)) == bytes(200 * KIB)
        with pytest.raises(RequestFailed):
            await ann.ask(bob, b"refuse")
        with pytest.raises(RequestFailed, match="exceeds 2"):
            await ann.transport.request(bob.peer, SYNC, b"abc", bytes_max=2, deadline_s=DEADLINE_S)
        with pytest.raises(RequestFailed, match="does not speak"):
            await ann.transport.request(
                bob.peer, "/unheard/1", b"", bytes_max=1, deadline_s=DEADLINE_S
            )
        with pytest.raises(RequestFailed, match="not connected"):
            await ann.transport.request(
                key_of("nobody").peer, SYNC, b"", bytes_max=1, deadline_s=DEADLINE_S
            )
        bob.heard.gate = trio.Event()
        with pytest.raises(RequestFailed, match="in time"):
            await ann.transport.request(bob.peer, SYNC, b"abc", bytes_max=9, deadline_s=0.05)


async def test_messages_echo_on_a_stream_of_any_size() -> None:
    async with running("ann", "bob") as (ann, bob):
        await ann.dial(bob)
        stream = await ann.transport.open_stream(bob.peer, BLOB, deadline_s=DEADLINE_S)
        for message in (b"", b"x" * 100, bytes(range(256)) * 4 * KIB, b"z" * (3 * MIB)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send, memoryview(message))
                echo = await stream.receive(bytes_max=4 * MIB, deadline_s=DEADLINE_S)
            assert echo == message
        await stream.close()
        with pytest.raises(StreamClosed):
            await stream.send(b"after the end")


async def test_a_late_or_large_message_closes_the_stream_alone() -> None:
    async with running("ann", "bob") as (ann, bob):
        await ann.dial(bob)
        late = await ann.transport.open_stream(bob.peer, BLOB, deadline_s=DEADLINE_S)
        with pytest.raises(StreamClosed, match="in time"):
            await late.receive(bytes_max=10, deadline_s=0.05)
        large = await ann.transport.open_stream(bob.peer, BLOB, deadline_s=DEADLINE_S)
        await large.send(bytes(11))
        with pytest.raises(StreamClosed, match="exceeds 10"):
            await large.receive(bytes_max=10, deadline_s=DEADLINE_S)
        assert await ann.ask(bob) == b"gnip"


async def test_dials_fail_with_a_reason() -> None:
    async with running("ann", "bob", "cat") as (ann, bob, cat):
        with pytest.raises(DialFailed, match="no address"):
            await ann.transport.dial(bob.peer, [])
        with pytest.raises(DialFailed, match="itself"):
            await ann.transport.dial(ann.peer, ann.addresses)
        with pytest.raises(DialFailed, match="another peer's"):
            await ann.transport.dial(bob.peer, cat.addresses)
        plain = [address.partition("/p2p/")[0] for address in cat.addresses]
        with pytest.raises(DialFailed, match="PeerIDMismatches"):
            await ann.transport.dial(bob.peer, plain)
        await ann.transport.dial(
            bob.peer, ["/dns4/nowhere/udp/1", "/ip4/127.0.0.1/tcp/1", *bob.addresses]
        )
        assert ann.heard.connected(bob.peer)


async def test_a_dial_that_nobody_answers_ends_in_time() -> None:
    limits = TransportLimits(dial_timeout_s=0.3)
    async with running("ann", "bob", limits=limits) as (ann, bob):
        silent = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = silent[0].socket.getsockname()[1]
        with pytest.raises(DialFailed, match=r"no answer in 0.3 s"):
            await ann.transport.dial(bob.peer, [f"/ip4/127.0.0.1/tcp/{port}"])
        await silent[0].aclose()
