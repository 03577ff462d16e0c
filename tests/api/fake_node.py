"""A node without a network: a real replica that decides alone, over a store in memory.

It carries out effects as the driver does, at once, and time moves when a test says so.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import trio

from p2p.model.blob import Obligation
from p2p.model.commands import Reply
from p2p.model.effects import CancelTimer, Persist, SetTimer
from p2p.model.inputs import TimerFired
from p2p.model.parameters import Genesis, GenesisAccount, Parameters
from p2p.model.rejection import Rejected
from p2p.network.port import Transport
from p2p.node.blobs.consumer import BlobConsumer
from p2p.node.blobs.results import (
    AddFailed,
    AddResult,
    Failure,
    GetFailed,
    GetResult,
    Placement,
    Progress,
    Report,
    Stage,
)
from p2p.node.config import ByteCount, Config, OfferConfig, StorageConfig
from p2p.node.home import Home, create_home
from p2p.node.port import NodePort
from p2p.node.timers import Timers
from p2p.node.verifier import Verifier
from p2p.primitives.digests import digest
from p2p.primitives.keys import Key, peer_text
from p2p.primitives.signing import Ed25519Scheme, Ed25519Signer
from p2p.primitives.units import MIB, Amount, BlobId, ChannelId, Height, Millis
from p2p.protocol.interface import (
    Command,
    Event,
    MessageRefused,
    MessageVerified,
    Notify,
    ReplicaEffect,
    ReplicaInput,
    Saved,
    Started,
    Verify,
)
from p2p.protocol.replica import NodeParameters, Replica
from p2p.storage.memory import MemoryStore

KEY = Key(bytes(range(32)))
OTHER = Key(bytes(32))
START_MS = Millis(1_767_225_600_000)
GENESIS = Genesis(
    name="test",
    time_ms=START_MS,
    parameters=Parameters(epoch_ms=Millis(1_000)),
    accounts=(
        GenesisAccount(KEY.account, balance=Amount(5_000_000), bonded=Amount(1_000_000)),
        GenesisAccount(OTHER.account, balance=Amount(3_000_000)),
    ),
)
ADDRESS = f"/ip4/127.0.0.1/tcp/7707/p2p/{peer_text(KEY.peer)}"


class _FakeTransport:
    rpc_overflows = 0

    def listen_addresses(self) -> tuple[str, ...]:
        return (ADDRESS,)


class FakeBlobs:
    """Stores nothing: a blob is the digest of its content, and three providers always say yes."""

    def __init__(self) -> None:
        self.contents: dict[BlobId, bytes] = {}
        self.placed: list[Obligation] = []
        self.is_slow = False
        """Whether a provider never answers."""
        self.waiting, self.stopped = trio.Event(), trio.Event()
        """An add waits for a provider; it was told to stop."""

    async def add(
        self,
        path: Path,
        *,
        replicas: int = 1,
        epochs: int = 100,
        price_max: Amount | None = None,
        progress: Report,
    ) -> AddResult:
        try:
            content = await trio.Path(path).read_bytes()
        except OSError as error:
            raise AddFailed(f"{path} cannot be added: {error.strerror}") from error
        blob, size = BlobId(digest(b"blob", content)), len(content)
        self.contents[blob] = content
        progress(Progress(Stage.HASHING, size, size))
        placements = []
        for number in range(min(replicas, 3)):
            provider = Key(bytes([number + 1]) * 32).account
            progress(Progress(Stage.PLACING, size, size, provider))
            if self.is_slow:
                self.waiting.set()
                try:
                    await trio.sleep_forever()
                finally:
                    self.stopped.set()
            channel = ChannelId(digest(b"channel", provider))
            placements.append(Placement(provider, "eu", channel, 7, epochs))
            self.placed.append(
                Obligation(blob, channel, provider, KEY.account, size, epochs, path.name)
            )
        failures = tuple(
            Failure(Key(bytes([number + 1]) * 32).account, "the provider has no room for it")
            for number in range(3, replicas)
        )
        return AddResult(blob, size, replicas, tuple(placements), failures)

    async def get(self, blob: BlobId, destination: Path, *, progress: Report) -> GetResult:
        if blob not in self.contents:
            raise GetFailed("no provider holds it")
        content, provider = self.contents[blob], Key(bytes([1]) * 32).account
        progress(Progress(Stage.FETCHING, len(content), len(content), provider))
        await trio.Path(destination).write_bytes(content)
        return GetResult(blob, len(content), 9, ((provider, len(content)),), ())

    def ls(self) -> tuple[Obligation, ...]:
        return tuple(self.placed)


class FakeNode:
    """A `NodePort`; `home` is a real one."""

    def __init__(self, path: Path) -> None:
        self.config = Config(
            storage=StorageConfig(capacity=ByteCount(64 * MIB)),
            offer=OfferConfig(storage=ByteCount(8 * MIB), region="eu"),
        )
        self.home = create_home(path, KEY, GENESIS, self.config).path
        self.account, self.genesis, self.chain_id = KEY.account, GENESIS, GENESIS.chain_id
        self.store = MemoryStore()
        self.verifier = Verifier(GENESIS.chain_id, Ed25519Scheme())
        self.transport = cast(Transport, _FakeTransport())
        self.fake_blobs = FakeBlobs()
        self.blobs = cast(BlobConsumer, self.fake_blobs)
        self.replica = Replica(
            genesis=GENESIS,
            signer=Ed25519Signer(KEY),
            parameters=NodeParameters(),
            seeds=(),
            saved=Saved(),
            seed=bytes(32),
        )
        self.clock_ms = START_MS
        self.blocks_on_ask = False
        """Whether blocks follow a command, as they would if time went on."""
        self._timers = Timers()
        self._replies: dict[int, object] = {}
        self._watchers: list[trio.MemorySendChannel[Event]] = []
        self.watched = trio.Event()
        """Somebody has subscribed to events."""
        self._ticket = 0
        self.feed(Started((ADDRESS,)))

    # ---- NodePort ------------------------------------------------------------------------------

    def now_ms(self) -> Millis:
        return self.clock_ms

    async def ask(self, command: Callable[[int], Command]) -> object:
        await trio.lowlevel.checkpoint()
        self._ticket += 1
        self.feed(command(self._ticket))
        if self.blocks_on_ask:
            self.advance(2)
        return self._replies.pop(self._ticket)

    @asynccontextmanager
    async def events(self) -> AsyncIterator[trio.MemoryReceiveChannel[Event]]:
        send, receive = trio.open_memory_channel[Event](100)
        self._watchers.append(send)
        self.watched.set()
        try:
            yield receive
        finally:
            self._watchers.remove(send)

    # ---- the world -----------------------------------------------------------------------------

    def feed(self, item: ReplicaInput) -> None:
        """Step the replica, and carry out what it orders."""
        for effect in self.replica.step(item, self.clock_ms):
            self._carry_out(effect)

    def _carry_out(self, effect: ReplicaEffect) -> None:
        match effect:
            case Persist():
                self.store.commit(effect.writes)
            case SetTimer():
                self._timers.set(effect.key, effect.at_ms)
            case CancelTimer():
                self._timers.cancel(effect.key)
            case Verify():
                self.feed(self._verified(effect))
            case Reply():
                self._replies[effect.ticket] = effect.result
            case Notify():
                for watcher in self._watchers:
                    watcher.send_nowait(effect.event)
            case _:
                pass  # nobody is connected

    def _verified(self, effect: Verify) -> MessageVerified | MessageRefused:
        answer = self.verifier.message(effect.topic, effect.data, self.replica.admits)
        if isinstance(answer, Rejected):
            return MessageRefused(effect.message_id, effect.topic, effect.peer, answer.reason)
        return MessageVerified(effect.message_id, effect.topic, effect.peer, answer)

    def advance(self, blocks: int) -> None:
        """Let time go on for some blocks."""
        target = self.replica.state.height + blocks
        for _ in range(10_000):
            if self.replica.state.height >= target:
                return
            due_ms = self._timers.next_ms()
            assert due_ms is not None, "nothing is set to happen"
            self.clock_ms = Millis(max(self.clock_ms, due_ms))
            key = self._timers.pop_due(self.clock_ms)
            assert key is not None
            self.feed(TimerFired(key))
        raise AssertionError(f"no block {target}")

    @property
    def height(self) -> Height:
        return self.replica.state.height


def as_port(node: FakeNode) -> NodePort:
    """The same node, checked against the port by mypy."""
    return node


def home_of(node: FakeNode) -> Home:
    return Home(node.home)
