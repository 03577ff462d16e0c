"""Nodes that answer light clients on real sockets, truly and falsely, in a thread of their own."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import trio

from p2p.model.light import (
    LIGHT_PROTOCOL,
    LightBlock,
    LightRequest,
    LightResponse,
    Settlements,
)
from p2p.model.receipt import ServiceReceipt
from p2p.model.transaction import ChannelOpen, channel_id
from p2p.network import open_transport
from p2p.network.port import Direction, MessageStream
from p2p.node.config import Config
from p2p.node.home import create_home, new_key
from p2p.primitives.codec import decode, encode
from p2p.primitives.keys import account_text
from p2p.primitives.units import Amount, Millis
from p2p.storage.light import light_answer
from p2p.storage.memory import MemoryStore
from sim_harness.made_chain import MadeChain

Twist = Callable[[LightRequest, LightResponse | None], LightResponse | bytes | None]


class Network:
    """A chain whose provider `a0` was paid in block 2, and how it looks from a stopped home."""

    def __init__(self, path: Path, *, age_ms: int = 60_000) -> None:
        began = Millis(time.time_ns() // 1_000_000 - age_ms)
        self.chain = MadeChain(validators=4, accounts=2, began_ms=began)
        self.store = MemoryStore()
        self.chain.keep_in(self.store)
        channel = channel_id(self.chain.chain_id, self.chain.account("a1"), 0)
        provider = self.chain.account("a0")
        self.chain.commit([self.chain.order("a1", ChannelOpen(provider, Amount(90_000)))])
        self.receipt: ServiceReceipt = self.chain.receipt(channel, 40_000)
        self.chain.commit(receipts=[self.receipt])
        self.chain.grow(3)
        self.home = create_home(path, self.chain.keys["a0"], self.chain.genesis, Config()).path

    @property
    def provider(self) -> str:
        return account_text(self.chain.account("a0"))

    def digest(self, height: int) -> str:
        return self.chain.blocks[height - 1].block.header.digest().hex()

    def answer(self, request: LightRequest) -> LightResponse | None:
        return light_answer(self.store, self.chain.state, request)


class Serving:
    """A node's side of `/gigmesh/light/1`."""

    def __init__(self, network: Network, twist: Twist) -> None:
        self._network = network
        self._twist = twist

    def peer_connected(self, peer: bytes, direction: Direction, address: str) -> None: ...

    def peer_disconnected(self, peer: bytes, reason: str) -> None: ...

    def rpc_received(self, peer: bytes, data: bytes) -> trio.Event | None: ...

    def rpc_sent(self, peer: bytes) -> None: ...

    async def request_received(self, peer: bytes, protocol: str, data: bytes) -> bytes | None:
        await trio.lowlevel.checkpoint()
        kind: object = LightRequest
        request: LightRequest = decode(data, kind, bytes_max=1024)  # type: ignore[arg-type]
        answer = self._twist(request, self._network.answer(request))
        return answer if answer is None or isinstance(answer, bytes) else encode(answer)

    async def stream_opened(self, protocol: str, stream: MessageStream) -> None: ...


@contextmanager
def nodes(network: Network, *twists: Twist) -> Iterator[list[str]]:
    """A node for each twist, on loopback, in a thread of their own; their addresses."""
    started = threading.Event()
    stops: list[Callable[[], None]] = []
    addresses: list[str] = []

    async def serve() -> None:
        token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            stops.append(lambda: token.run_sync_soon(nursery.cancel_scope.cancel))
            for twist in twists:
                listen = ["/ip4/127.0.0.1/tcp/0"]
                transport = open_transport(new_key(), listen, requests=[LIGHT_PROTOCOL], streams=())
                await nursery.start(transport.run, Serving(network, twist))
                (address,) = transport.listen_addresses()
                addresses.append(address)
            started.set()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    try:
        assert started.wait(30)
        yield addresses
    finally:
        stops[0]()
        thread.join()


def names(addresses: list[str]) -> list[str]:
    return [address.rpartition("/")[2] for address in addresses]


def asking(addresses: list[str]) -> list[str]:
    return [part for address in addresses for part in ("--peer", address)]


def true(_: LightRequest, answer: LightResponse | None) -> LightResponse | None:
    """What an honest node answers."""
    return answer


def poorer(_: LightRequest, answer: LightResponse | None) -> LightResponse | None:
    """Another supply in every header."""
    if not isinstance(answer, LightBlock):
        return answer
    header = msgspec.structs.replace(answer.header, supply=Amount(1))
    return msgspec.structs.replace(answer, header=header)


def junk(_: LightRequest, __: LightResponse | None) -> bytes:
    return b"junk"


def hiding(_: LightRequest, answer: LightResponse | None) -> LightResponse | None:
    """Says that nothing was settled."""
    return Settlements(answer.height, ()) if isinstance(answer, Settlements) else answer


def greedy(_: LightRequest, answer: LightResponse | None) -> LightResponse | None:
    """Pays the provider more in every row."""
    if not isinstance(answer, Settlements):
        return answer
    more = [
        msgspec.structs.replace(
            one, row=msgspec.structs.replace(one.row, received=Amount(one.row.received + 1))
        )
        for one in answer.settlements
    ]
    return Settlements(answer.height, tuple(more))


def forked(network: Network) -> Twist:
    """A node of another chain that the same keys made from the same genesis."""
    chain = MadeChain(validators=4, accounts=2, began_ms=network.chain.genesis.time_ms)
    store = MemoryStore()
    chain.keep_in(store)
    chain.grow(5)
    assert chain.chain_id == network.chain.chain_id
    return lambda request, _: light_answer(store, chain.state, request)
