"""Nodes that store each other's blobs, over streams in memory and one real ledger."""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import msgspec
import trio

from p2p.model.ad import CapacityAd, Price, Resources, sign_ad
from p2p.model.blob import BLOB_SERVICE
from p2p.model.commands import Reply
from p2p.model.effects import Persist
from p2p.model.ledger import State, rules_of
from p2p.model.parameters import Genesis, GenesisAccount, Parameters
from p2p.model.persistence import Delete, Put, Table
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.model.transaction import Transaction, sign_transaction
from p2p.network.port import DialFailed, MessageStream, StreamClosed, TransportHandler
from p2p.node.blobs import BlobService, ConsumerLimits, ProviderLimits
from p2p.node.blobs.deal import DealLimits
from p2p.node.blobs.wallet import WalletLimits
from p2p.node.verifier import Verifier
from p2p.primitives.keys import Key
from p2p.primitives.signing import Ed25519Scheme, Ed25519Signer, Verified
from p2p.primitives.units import KIB, MIB, AccountId, Amount, Digest, Height, Millis, PeerId
from p2p.protocol.interface import Command, Committed, Event, SubmitTransaction
from p2p.protocol.ledger import build_block, genesis_state
from p2p.protocol.receipts import BlockCommitted, Channels, PublishReceipt, Restored
from p2p.storage.blobs import BlobFiles
from tests.node.blobs.streams import Filter, MemoryStream, stream_pair

NOW_MS = Millis(1_000_000)
WINDOW = 512 * KIB
STALL_S = 0.5
NAMES = ("me", "anna", "ben", "cleo", "dan")
REGIONS = ("eu", "eu", "us", "ap", "sa")
DEADLINE_S = 20.0


def key_of(name: str) -> Key:
    return Key(hashlib.sha256(name.encode()).digest())


def pattern(size: int, seed: int = 0) -> bytes:
    return hashlib.shake_256(bytes([seed])).digest(size)


class MemoryTransport:
    """Opens streams to the other nodes of the world."""

    def __init__(self, world: "World", peer: PeerId) -> None:
        self._world = world
        self.peer_id = peer
        self.rpc_overflows = 0

    def listen_addresses(self) -> Sequence[str]:
        return ()

    async def run(
        self,
        handler: TransportHandler,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        task_status.started()

    async def dial(self, peer: PeerId, addresses: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()
        if self._world.by_peer(peer).is_down:
            raise DialFailed("nobody answers")
        if not addresses and not self._is_connected(peer):
            raise DialFailed("no address is known")
        self._world.connections.add(frozenset((self.peer_id, peer)))

    def _is_connected(self, peer: PeerId) -> bool:
        return frozenset((self.peer_id, peer)) in self._world.connections

    async def hang_up(self, peer: PeerId) -> None: ...

    def send_rpc(self, peer: PeerId, data: bytes) -> None: ...

    async def request(
        self, peer: PeerId, protocol: str, data: bytes, *, bytes_max: int, deadline_s: float
    ) -> bytes:
        raise NotImplementedError

    async def open_stream(self, peer: PeerId, protocol: str, *, deadline_s: float) -> MessageStream:
        other = self._world.by_peer(peer)
        if other.is_down or not self._is_connected(peer):
            raise StreamClosed("not connected")
        mine, theirs = stream_pair(self.peer_id, peer)
        theirs.filter = other.filter
        other.streams += 1
        other.open_streams.append(theirs)
        self._world.nursery.start_soon(other.service.serve, theirs)
        return mine


class View:
    """A replica as the service reads it."""

    def __init__(self, world: "World", channels: Channels) -> None:
        self._world = world
        self.channels = channels

    @property
    def state(self) -> State:
        return self._world.state

    @property
    def registry(self) -> "View":
        return self

    @property
    def membership(self) -> "View":
        return self

    def addresses_of(self, account: AccountId) -> tuple[str, ...]:
        return self._world.addresses.get(account, ())

    def ads(self) -> Sequence[Verified[CapacityAd]]:
        return [self._world.ads[account] for account in sorted(self._world.ads)]

    def get(self, provider: AccountId) -> Verified[CapacityAd] | None:
        return self._world.ads.get(provider)


class BlobTestNode:
    """A `BlobNode` whose receipts machine is real and whose disk can be restarted from."""

    def __init__(self, world: "World", name: str, folder: Path, capacity: int) -> None:
        self.world = world
        self.name = name
        self.key = key_of(name)
        self.account = self.key.account
        self.chain_id: Digest = world.rules.chain_id
        self.signer = Ed25519Signer(self.key)
        self.verifier = Verifier(self.chain_id, Ed25519Scheme())
        self.transport = MemoryTransport(world, self.key.peer)
        self.rows: dict[Table, dict[bytes, bytes]] = {Table.RECEIPTS: {}, Table.OBLIGATIONS: {}}
        self.folder = folder
        self.capacity = capacity
        self.is_down = False
        self.filter: Filter | None = None
        self.streams = 0
        self.open_streams: list[MemoryStream] = []
        self.asked: list[Command] = []
        self.restart()

    def restart(self) -> None:
        """Build everything anew from what is on disk."""
        channels = Channels(self.account, self.signer, self.chain_id, self.world.rules.parameters)
        restored = Restored(
            self.world.state.height,
            self.world.state.channels,
            tuple(sorted(self.rows[Table.RECEIPTS].items())),
            tuple(sorted(self.rows[Table.OBLIGATIONS].items())),
        )
        channels.step(restored, NOW_MS)
        self.replica = View(self.world, channels)
        self.files = BlobFiles(self.folder, capacity_bytes=self.capacity)
        self.service = BlobService(
            self,
            self.files,
            provider_limits=ProviderLimits(
                window_bytes=WINDOW, idle_s=5.0, stall_s=STALL_S, pay_s=2.0
            ),
            consumer_limits=ConsumerLimits(
                deal=DealLimits(
                    window_bytes=WINDOW, answer_s=2.0, stall_s=STALL_S, lag_s=0.5, lag_poll_s=0.01
                ),
                wallet=WalletLimits(chain_wait_s=1.0),
                find_s=2.0,
            ),
        )

    async def kill(self) -> None:
        """Fall silent for good."""
        self.is_down = True
        for stream in self.open_streams:
            await stream.reset()

    def now_ms(self) -> Millis:
        return NOW_MS

    async def ask(self, command: Callable[[int], Command]) -> object:
        await trio.lowlevel.checkpoint()
        order = command(1)
        self.asked.append(order)
        if isinstance(order, SubmitTransaction):
            return await self.world.submit(self, order)
        assert not isinstance(order, SubmitTransaction)
        effects = self.replica.channels.step(order, NOW_MS)  # type: ignore[arg-type]
        for effect in effects:
            if isinstance(effect, Persist):
                self.write(effect)
        last = effects[-1]
        assert isinstance(last, Reply)
        return last.result

    def write(self, persist: Persist) -> None:
        for write in persist.writes:
            if isinstance(write, Put):
                self.rows[write.table][write.key] = write.value
            elif isinstance(write, Delete):
                self.rows[write.table].pop(write.key, None)

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        return self.world.events()

    @property
    def blobs(self) -> list[bytes]:
        return list(self.files.blobs())

    @property
    def newest(self) -> list[ServiceReceipt]:
        return [record.receipt for _, record in self.replica.channels.records() if record.receipt]


class World:
    """Nodes, their ads, and a ledger that makes a block when told or when there is an order."""

    def __init__(self, folder: Path, nursery: trio.Nursery, capacity: int) -> None:
        self.nursery = nursery
        genesis = Genesis(
            name="blobs",
            time_ms=NOW_MS,
            parameters=Parameters(),
            accounts=tuple(
                GenesisAccount(key_of(name).account, Amount(10_000_000), Amount(1_000))
                for name in NAMES
            ),
        )
        self.rules = rules_of(genesis)
        self.state = genesis_state(genesis)
        self.ads: dict[AccountId, Verified[CapacityAd]] = {}
        self.addresses: dict[AccountId, tuple[str, ...]] = {}
        self.connections: set[frozenset[PeerId]] = set()
        self.makes_blocks = True
        self.settled: list[ServiceReceipt] = []
        self._watchers: list[trio.MemorySendChannel[Event]] = []
        self._published: list[ServiceReceipt] = []
        self.nodes = [BlobTestNode(self, name, folder / name, capacity) for name in NAMES]
        for node, region in zip(self.nodes[1:], REGIONS[1:], strict=True):
            self.offer(node, region=region)
        self.me = self.nodes[0]

    def node(self, name: str) -> BlobTestNode:
        return next(node for node in self.nodes if node.name == name)

    def by_peer(self, peer: PeerId) -> BlobTestNode:
        return next(node for node in self.nodes if node.key.peer == peer)

    def offer(self, node: BlobTestNode, **changes: object) -> None:
        """Advertise; cheaper in the order of the nodes."""
        before = self.ads.get(node.account)
        ad = before.value if before is not None else self._first_ad(node)
        ad = msgspec.structs.replace(ad, seq=ad.seq + 1, signature=b"", **changes)
        self.ads[node.account] = Verified(sign_ad(ad, node.signer))

    def _first_ad(self, node: BlobTestNode) -> CapacityAd:
        dearness = NAMES.index(node.name)
        return CapacityAd(
            chain_id=self.rules.chain_id,
            provider=node.account,
            seq=0,
            issued_ms=NOW_MS,
            ttl_s=600,
            addrs=("/ip4/127.0.0.1/tcp/4001",),
            services=(BLOB_SERVICE,),
            region="",
            resources=Resources(
                storage_bytes_total=node.capacity, storage_bytes_free=node.capacity
            ),
            price=Price(Amount(100 + dearness), Amount(100 + dearness), Amount(1)),
            blob_bytes_max=1024 * MIB,
            accepting=True,
            drain_epoch=0,
        )

    async def submit(self, node: BlobTestNode, order: SubmitTransaction) -> object:
        account = self.state.accounts[node.account]
        transaction = sign_transaction(
            Transaction(
                chain_id=self.rules.chain_id,
                sender=node.account,
                nonce=account.nonce,
                fee=Amount(10),
                action=order.action,
            ),
            node.signer,
        )
        if self.makes_blocks and not self.commit(transaction):
            return Rejected(Reason.INSUFFICIENT_FUNDS)
        return transaction

    def commit(self, *transactions: Transaction) -> bool:
        """One block with what was published and ordered; whether all orders were in it."""
        height = self.state.height + 1
        executed = build_block(
            self.state,
            self.rules,
            proposer=self._proposer(),
            time_ms=Millis(NOW_MS + height),
            transactions=transactions,
            receipts=self._published,
        )
        self.settled += executed.block.receipts
        self._published = []
        self.state = executed.state.named(executed.block.header.digest())
        for node in self.nodes:
            item = BlockCommitted(self.state.height, self.state.channels)
            for effect in node.replica.channels.step(item, NOW_MS):
                if isinstance(effect, Persist):
                    node.write(effect)
                elif isinstance(effect, PublishReceipt):
                    self._published.append(effect.receipt)
        event = Committed(Height(height), Digest(b""), Digest(b""), 0, 0, 0, 0)
        for watcher in self._watchers:
            watcher.send_nowait(event)
        return len(executed.block.transactions) == len(transactions)

    def _proposer(self) -> AccountId:
        return self.state.validators.validators[0].account

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[Event]]:
        send, receive = trio.open_memory_channel[Event](1000)
        self._watchers.append(send)
        try:
            yield receive
        finally:
            self._watchers.remove(send)


@asynccontextmanager
async def open_world(folder: Path, *, capacity: int = 64 * MIB) -> AsyncIterator[World]:
    """A world that must be done within the deadline."""
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            yield World(folder, nursery, capacity)
            nursery.cancel_scope.cancel()
