"""One peer misbehaves in one way; it alone pays, and an honest pair goes on."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from libp2p.io.exceptions import ConnectionClosedError

from p2p.network import TransportLimits
from p2p.network.framing import encode_varint
from p2p.network.gossip import PROTOCOL as GOSSIP
from p2p.network.liveness import PROTOCOL as PING_PROTOCOL
from p2p.network.multistream import HEADER, encode_token
from p2p.network.yamux_frames import DATA, GO_AWAY, PING, SYN, WINDOW_BYTES, WINDOW_UPDATE
from p2p.primitives.units import KIB, MIB, PeerId
from tests.network.attackers import attacking
from tests.network.nodes import BLOB, SYNC, Node, key_of, running, wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.live]

EVE = key_of("eve").peer


@asynccontextmanager
async def honest_pair(limits: TransportLimits | None = None) -> AsyncIterator[Node]:
    """A node that must serve its honest neighbour to the end, whatever happens in the block."""
    async with running("victim", "neighbour", limits=limits) as (victim, neighbour):
        await neighbour.dial(victim)
        yield victim
        assert await neighbour.ask(victim, b"still there") == b"ereht llits"
        neighbour.transport.send_rpc(victim.peer, b"rpc")
        await wait_until(lambda: (neighbour.peer, b"rpc") in victim.heard.rpcs)
        assert victim.heard.connected(neighbour.peer)


async def raw_stream(node: Node) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", node.port)


async def read_to_end(stream: trio.SocketStream) -> bytes:
    seen = bytearray()
    with trio.fail_after(5):
        try:
            while chunk := await stream.receive_some():
                seen += chunk
        except trio.BrokenResourceError:
            pass
    return bytes(seen)


@pytest.mark.parametrize("seed", range(8))
async def test_random_bytes_on_the_port_end_their_socket(seed: int) -> None:
    noise = random.Random(seed).randbytes(2000)
    limits = TransportLimits(handshake_timeout_s=0.3)
    async with honest_pair(limits) as victim, await raw_stream(victim) as stream:
        prefix = encode_token(HEADER) + encode_token(b"/noise") if seed % 2 else b""
        await stream.send_all(prefix + noise)
        await read_to_end(stream)


async def test_plaintext_is_refused() -> None:
    limits = TransportLimits(handshake_timeout_s=0.3)
    async with honest_pair(limits) as victim, await raw_stream(victim) as stream:
        await stream.send_all(encode_token(HEADER) + encode_token(b"/plaintext/2.0.0"))
        assert await read_to_end(stream) == encode_token(HEADER) + encode_token(b"na")


async def test_idle_sockets_keep_nobody_out_and_the_oldest_are_evicted() -> None:
    limits = TransportLimits(pending_inbound_max=32, handshake_timeout_s=600)
    async with running("victim", "ann", limits=limits) as (victim, ann):
        idle = [await raw_stream(victim) for _ in range(300)]
        with trio.fail_after(1.0):
            await ann.dial(victim)
        assert await ann.ask(victim) == b"gnip"
        for stream in idle[:-32]:
            assert await read_to_end(stream) == b""
        for stream in idle:
            await stream.aclose()


async def test_an_idle_socket_is_closed_after_the_handshake_timeout() -> None:
    limits = TransportLimits(handshake_timeout_s=0.1)
    async with honest_pair(limits) as victim, await raw_stream(victim) as stream:
        assert await read_to_end(stream) == b""


async def test_inbound_slots_do_not_leak_over_a_lifetime() -> None:
    async with honest_pair(TransportLimits(connections_max=4)) as victim:
        for count in range(60):
            async with attacking(victim, f"guest {count}"):
                await victim.wait_connected(_guest(count))
            await victim.wait_gone(_guest(count))


def _guest(count: int) -> PeerId:
    return key_of(f"guest {count}").peer


async def test_connections_beyond_the_bound_are_refused() -> None:
    async with (
        honest_pair(TransportLimits(connections_max=2)) as victim,
        attacking(victim, "second"),
        attacking(victim, "third") as third,
    ):
        await third.wait_dropped()
        assert not victim.heard.connected(third.peer)


@pytest.mark.parametrize("muxer", [b"\xff\xfe\xfd", b"/mplex/6.7.0", b""])
async def test_a_bad_muxer_token_ends_its_handshake(muxer: bytes) -> None:
    limits = TransportLimits(handshake_timeout_s=0.3)
    async with honest_pair(limits) as victim, attacking(victim, muxer=muxer) as eve:
        assert await eve.wait_dropped() == encode_token(b"na")
        assert EVE not in [peer for _, peer in victim.heard.events]


@pytest.mark.parametrize(
    "token", [b"\x04\xff\xfe\xfd\n", b"\x00", b"\xff" * 12, b"\x03abc", b"\xff\x7f" + b"x" * 300]
)
async def test_a_garbage_token_resets_its_stream_alone(token: bytes) -> None:
    async with honest_pair() as victim, attacking(victim) as eve:
        await eve.frame(WINDOW_UPDATE, SYN, 1, 0)
        await eve.data(1, token)
        await eve.wait_reset(1)
        await eve.open(3, PING_PROTOCOL)
        await eve.wait_accepted(3)
        assert victim.heard.connected(EVE)


async def test_raising_handlers_reset_their_streams_alone() -> None:
    async with honest_pair() as victim, attacking(victim) as eve:
        victim.heard.raises = True
        for stream_id, protocol in ((1, GOSSIP), (3, SYNC), (5, BLOB)):
            await eve.open(stream_id, protocol)
            await eve.send_message(stream_id, b"boom")
            await eve.wait_reset(stream_id)
        assert victim.heard.connected(EVE)
        victim.heard.raises = False


@pytest.mark.parametrize(("protocol", "size"), [(GOSSIP, MIB + 1), (SYNC, 256 * KIB + 1)])
async def test_an_oversized_frame_ends_its_connection(protocol: str, size: int) -> None:
    async with honest_pair() as victim, attacking(victim) as eve:
        await eve.open(1, protocol)
        await eve.data(1, encode_varint(size))
        await eve.wait_dropped()
        await victim.wait_gone(EVE)
        assert "exceeds" in victim.heard.reasons[-1]


async def test_a_window_overrun_ends_its_connection() -> None:
    async with honest_pair() as victim, attacking(victim) as eve:
        victim.heard.gate = trio.Event()
        await eve.open(1, SYNC)
        await eve.send_message(1, b"keep the handler busy")
        with trio.move_on_after(5):
            for _ in range(WINDOW_BYTES // (32 * KIB) + 1):
                await eve.data(1, bytes(32 * KIB))
        await eve.wait_dropped()
        await victim.wait_gone(EVE)
        assert victim.heard.reasons == ["the peer overran the receive window"]
        victim.heard.gate = None


async def test_a_flood_of_streams_ends_its_connection() -> None:
    async with honest_pair() as victim, attacking(victim) as eve:
        with suppress(ConnectionClosedError):
            for number in range(100_000):
                await eve.frame(WINDOW_UPDATE, SYN, 2 * number + 1, 0)
            pytest.fail("the flood was served")
        await victim.wait_gone(EVE)
        assert victim.heard.reasons == ["the peer floods us with streams"]


async def test_a_flood_of_requests_is_capped_for_each_peer() -> None:
    limits = TransportLimits(requests_inbound_per_peer_max=4)
    async with honest_pair(limits) as victim, attacking(victim) as eve:
        victim.heard.gate = trio.Event()
        for stream_id in range(1, 41, 2):
            await eve.open(stream_id, SYNC)
            await eve.send_message(stream_id, b"again")
        await eve.wait_reset(39)
        assert victim.heard.requests == [b"again"] * 4
        victim.heard.gate.set()
        victim.heard.gate = None


async def test_a_peer_that_pings_and_reads_nothing_is_dropped() -> None:
    async with honest_pair() as victim, attacking(victim) as eve:
        pings = b"".join(
            (0).to_bytes(1) + bytes((PING,)) + SYN.to_bytes(2) + bytes(4) + number.to_bytes(4)
            for number in range(4000)
        )
        with trio.fail_after(10), suppress(ConnectionClosedError):
            while not victim.heard.reasons:
                with trio.move_on_after(0.5):
                    await eve.session.write(pings)
        await wait_until(lambda: victim.heard.reasons == ["the peer reads nothing"])


@pytest.mark.parametrize(
    ("kind", "flags", "stream_id", "reason"),
    [
        (9, 0, 1, "protocol error: frame type 9"),
        (WINDOW_UPDATE, SYN, 2, "protocol error: stream id 2"),
        (WINDOW_UPDATE, SYN, 0, "protocol error: stream id 0"),
        (GO_AWAY, 0, 0, "the peer said goodbye"),
        (DATA, 0, 77, "the peer overran the receive window"),
    ],
)
async def test_a_broken_frame_ends_its_connection(
    kind: int, flags: int, stream_id: int, reason: str
) -> None:
    async with honest_pair() as victim, attacking(victim) as eve:
        await eve.frame(kind, flags, stream_id, 2**32 - 1)
        await eve.wait_dropped()
        await victim.wait_gone(EVE)
        assert victim.heard.reasons == [reason]


async def test_a_black_hole_is_noticed_by_ping() -> None:
    limits = TransportLimits(ping_interval_s=0.1, ping_timeout_s=0.1)
    async with honest_pair(limits) as victim, attacking(victim):
        await victim.wait_connected(EVE)
        await victim.wait_gone(EVE, deadline_s=1.0)
        assert victim.heard.reasons == ["the peer is silent"]


async def test_hanging_up_on_a_black_hole_takes_no_time() -> None:
    async with honest_pair() as victim, attacking(victim):
        await victim.wait_connected(EVE)
        with trio.fail_after(0.5):
            await victim.transport.hang_up(EVE)
        assert victim.heard.reasons == ["we hung up"]


async def test_a_dial_into_a_tarpit_gives_up() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]

    async def accept_noise_and_stall(stream: trio.SocketStream) -> None:
        await stream.send_all(encode_token(HEADER) + encode_token(b"/noise"))
        await trio.sleep_forever()

    limits = TransportLimits(dial_timeout_s=0.2)
    async with honest_pair(limits) as victim, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, accept_noise_and_stall, listeners)
        with pytest.raises(Exception, match=r"no answer in 0.2 s"):
            await victim.transport.dial(EVE, [f"/ip4/127.0.0.1/tcp/{port}"])
        nursery.cancel_scope.cancel()
