"""Transports under test: a handler that records what it hears, and ways to wait for it."""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import trio

from p2p.network import TransportLimits, Wires, open_transport
from p2p.network.port import Direction, MessageStream, StreamClosed, Transport
from p2p.primitives.keys import Key
from p2p.primitives.units import MIB, PeerId

LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)
DEADLINE_S = 5.0
SYNC = "/gigmesh/sync/1"
BLOB = "/gigmesh/blob/1"


def key_of(name: str) -> Key:
    return Key(hashlib.sha256(name.encode()).digest())


async def wait_until(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Wait for a condition that other tasks bring about."""
    with trio.fail_after(deadline_s):
        while not condition():  # noqa: ASYNC110 - conditions of many kinds
            await trio.sleep(0.002)


class Recorder:
    """A handler that writes down everything and answers requests with their reverse."""

    def __init__(self) -> None:
        self.events: list[tuple[str, PeerId]] = []
        self.reasons: list[str] = []
        self.rpcs: list[tuple[PeerId, bytes]] = []
        self.sent: list[PeerId] = []
        self.requests: list[bytes] = []
        self.raises = False
        self.gate: trio.Event | None = None

    def peer_connected(self, peer: PeerId, direction: Direction, address: str) -> None:
        assert address.startswith("/ip4/127.0.0.1/tcp/")
        self.events.append(("connected", peer))

    def peer_disconnected(self, peer: PeerId, reason: str) -> None:
        self.events.append(("disconnected", peer))
        self.reasons.append(reason)

    def rpc_received(self, peer: PeerId, data: bytes) -> None:
        if self.raises:
            raise LookupError("a bug in the node")
        self.rpcs.append((peer, data))

    def rpc_sent(self, peer: PeerId) -> None:
        self.sent.append(peer)

    async def request_received(self, peer: PeerId, protocol: str, data: bytes) -> bytes | None:
        self.requests.append(data)
        if self.gate is not None:
            await self.gate.wait()
        if self.raises:
            raise LookupError("a bug in the node")
        return None if data == b"refuse" else data[::-1]

    async def stream_opened(self, protocol: str, stream: MessageStream) -> None:
        """Echo until the peer ends."""
        try:
            while True:
                message = await stream.receive(bytes_max=4 * MIB, deadline_s=DEADLINE_S)
                if self.raises:
                    raise LookupError("a bug in the node")
                await stream.send(message)
        except StreamClosed:
            await stream.close()

    def connected(self, peer: PeerId) -> bool:
        history = [event for event, who in self.events if who == peer]
        return bool(history) and history[-1] == "connected"

    def alternates(self) -> bool:
        """Whether each peer's events alternate, beginning with a connection."""
        for peer in {who for _, who in self.events}:
            history = [event for event, who in self.events if who == peer]
            expected = ["connected", "disconnected"] * len(history)
            if history != expected[: len(history)]:
                return False
        return True


class Node:
    """A running transport, its handler, and a way to stop it."""

    def __init__(self, name: str, limits: TransportLimits, wires: Wires | None) -> None:
        self.key = key_of(name)
        self.heard = Recorder()
        self.transport: Transport = open_transport(self.key, LOOPBACK, limits, wires=wires)
        self.scope = trio.CancelScope()

    @property
    def peer(self) -> PeerId:
        return self.key.peer

    @property
    def addresses(self) -> Sequence[str]:
        return self.transport.listen_addresses()

    @property
    def port(self) -> int:
        return int(self.addresses[0].split("/")[4])

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        with self.scope:
            await self.transport.run(self.heard, task_status=task_status)

    async def dial(self, other: "Node") -> None:
        await self.transport.dial(other.peer, other.addresses)
        await wait_until(lambda: other.heard.connected(self.peer))

    async def wait_connected(self, peer: PeerId) -> None:
        await wait_until(lambda: self.heard.connected(peer))

    async def wait_gone(self, peer: PeerId, deadline_s: float = DEADLINE_S) -> None:
        await wait_until(lambda: not self.heard.connected(peer), deadline_s)

    async def ask(self, other: "Node", data: bytes = b"ping") -> bytes:
        return await self.transport.request(
            other.peer, SYNC, data, bytes_max=MIB, deadline_s=DEADLINE_S
        )


@asynccontextmanager
async def running(
    *names: str, limits: TransportLimits | None = None, wires: Wires | None = None
) -> AsyncIterator[tuple[Node, ...]]:
    """Transports that listen, and stop when the block ends."""
    nodes = tuple(Node(name, limits or TransportLimits(), wires) for name in names)
    async with trio.open_nursery() as nursery:
        for node in nodes:
            await nursery.start(node.run)
        yield nodes
        for node in nodes:
            assert node.heard.alternates(), node.heard.events
        nursery.cancel_scope.cancel()
