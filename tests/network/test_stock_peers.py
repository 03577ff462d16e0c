"""A stock py-libp2p 0.8.1 host, its own swarm and Yamux, and ours: streams both ways."""

import gc
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.rsa import create_new_key_pair as create_rsa_pair
from libp2p.crypto.x25519 import X25519PrivateKey
from libp2p.custom_types import TProtocol
from libp2p.host.ping import PingService
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.identify import parse_identify_response
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.noise.transport import Transport as Noise
from libp2p.utils.varint import encode_varint_prefixed, read_varint_prefixed_bytes
from multiaddr import Multiaddr

from p2p.network.gossip import PROTOCOL as GOSSIP
from p2p.primitives.units import KIB, MIB, PeerId
from tests.network.nodes import BLOB, DEADLINE_S, SYNC, Node, key_of, running, wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.live]


@pytest.fixture(autouse=True)
def collect_what_stock_hosts_leak() -> Iterator[None]:
    """A cancelled stock host leaves sockets to the garbage collector: not to a later test's."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@asynccontextmanager
async def stock_host(*, rsa: bool = False) -> AsyncIterator[IHost]:
    pair = create_rsa_pair() if rsa else create_new_key_pair(key_of("stock").seed)
    security = {TProtocol("/noise"): Noise(pair, X25519PrivateKey.new())}
    host = new_host(key_pair=pair, sec_opt=security)
    # A stock host takes 0.2 s to close each connection; cancelling it takes nothing.
    with trio.CancelScope() as scope:
        async with host.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]):
            yield host
            scope.cancel()
            await trio.lowlevel.checkpoint()


def peer_of(host: IHost) -> PeerId:
    return PeerId(host.get_id().to_bytes())


async def dial_stock(node: Node, host: IHost) -> None:
    await node.transport.dial(peer_of(host), [str(address) for address in host.get_addrs()])


async def echo(stream: INetStream) -> None:
    while True:
        message = await read_varint_prefixed_bytes(stream)
        await stream.write(encode_varint_prefixed(message))


async def test_we_dial_a_stock_host_and_exchange_messages() -> None:
    async with running("ann") as (ann,), stock_host() as host:
        host.set_stream_handler(TProtocol(BLOB), echo)
        await dial_stock(ann, host)
        stream = await ann.transport.open_stream(peer_of(host), BLOB, deadline_s=DEADLINE_S)
        for message in (b"hello", bytes(range(256)) * 3 * KIB):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send, message)
                back = await stream.receive(bytes_max=MIB, deadline_s=DEADLINE_S)
            assert back == message
        await stream.close()


@pytest.mark.parametrize("rsa", [False, True])
async def test_a_stock_host_dials_us_and_exchanges_messages(rsa: bool) -> None:
    async with running("ann") as (ann,), stock_host(rsa=rsa) as host:
        await host.connect(info_from_p2p_addr(Multiaddr(ann.addresses[0])))
        await ann.wait_connected(peer_of(host))
        info = info_from_p2p_addr(Multiaddr(ann.addresses[0]))
        stream = await host.new_stream(info.peer_id, [TProtocol(SYNC)])
        await stream.write(encode_varint_prefixed(b"abc"))
        assert await read_varint_prefixed_bytes(stream) == b"cba"
        blob = await host.new_stream(info.peer_id, [TProtocol("/none/1"), TProtocol(BLOB)])
        message = bytes(700 * KIB)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(blob.write, encode_varint_prefixed(message))
            assert await read_varint_prefixed_bytes(blob) == message


async def test_a_stock_host_identifies_and_pings_us() -> None:
    async with running("ann") as (ann,), stock_host() as host:
        info = info_from_p2p_addr(Multiaddr(ann.addresses[0]))
        await host.connect(info)
        stream = await host.new_stream(info.peer_id, [IDENTIFY])
        answer = parse_identify_response(
            encode_varint_prefixed(await read_varint_prefixed_bytes(stream))
        )
        assert answer.agent_version == "gigmesh/1"
        assert {GOSSIP, SYNC, BLOB, "/ipfs/ping/1.0.0"} <= set(answer.protocols)
        assert [str(Multiaddr(raw)) for raw in answer.listen_addrs] == [
            ann.addresses[0].partition("/p2p/")[0]
        ]
        times = await PingService(host).ping(info.peer_id, ping_amt=3)
        assert len(times) == 3


async def test_rpcs_to_and_from_a_stock_host() -> None:
    received: list[bytes] = []

    async def take(stream: INetStream) -> None:
        while True:
            received.append(await read_varint_prefixed_bytes(stream))

    async with running("ann") as (ann,), stock_host() as host:
        host.set_stream_handler(TProtocol(GOSSIP), take)
        await dial_stock(ann, host)
        ann.transport.send_rpc(peer_of(host), b"subscribe")
        await wait_until(lambda: received == [b"subscribe"])
        stream = await host.new_stream(host.get_live_peers()[0], [TProtocol(GOSSIP)])
        await stream.write(encode_varint_prefixed(b"graft"))
        await wait_until(lambda: ann.heard.rpcs == [(peer_of(host), b"graft")])


async def test_a_peer_without_gossip_stays_connected() -> None:
    async with running("ann") as (ann,), stock_host() as host:
        await dial_stock(ann, host)
        ann.transport.send_rpc(peer_of(host), b"to nobody")
        peer = ann.transport._find(peer_of(host))  # type: ignore[attr-defined]
        await wait_until(lambda: not peer.speaks_gossip)
        for _ in range(10):
            ann.transport.send_rpc(peer_of(host), b"to nobody")
        assert ann.heard.connected(peer_of(host))
        assert ann.heard.sent == []


async def test_a_stock_host_that_hangs_up_is_reported() -> None:
    async with running("ann") as (ann,), stock_host() as host:
        await dial_stock(ann, host)
        await wait_until(host.get_live_peers)
        await host.disconnect(host.get_live_peers()[0])
        await ann.wait_gone(peer_of(host))
        assert ann.heard.reasons == ["the peer said goodbye"]
