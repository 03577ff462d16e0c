"""A running node: opens its home, builds the replica, and keeps shells and services going.

    home --> store, key, genesis, config --> Replica
    transport <--> Driver <--> Replica        blobs, HTTP API: services on top (NodePort)

`run_node` serves until it is cancelled, and leaves the home consistent at any moment.
"""

import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import msgspec
import trio

from p2p.model.blob import BLOB_PROTOCOL
from p2p.model.parameters import Genesis
from p2p.model.persistence import Put, Table
from p2p.model.rejection import Rejected
from p2p.model.requests import PeerRecord
from p2p.network import TransportLimits, Wires, open_transport
from p2p.network.port import Transport
from p2p.node.addresses import announced_addresses, peer_records
from p2p.node.blobs import BlobConsumer, BlobService
from p2p.node.clock import SteadyClock
from p2p.node.config import Config
from p2p.node.driver import Driver
from p2p.node.errors import UserError
from p2p.node.home import Home
from p2p.node.key_state import KeyState, KeyStateStore
from p2p.node.port import NodePort
from p2p.node.step_log import StepLog
from p2p.node.verifier import Verifier
from p2p.primitives.keys import peer_id_of, peer_text
from p2p.primitives.signing import Ed25519Scheme, Ed25519Signer, Signer
from p2p.primitives.units import AccountId, Digest, Millis
from p2p.protocol.gossip import GossipParameters
from p2p.protocol.interface import (
    ChangeOffer,
    Command,
    Event,
    NeighboursFound,
    Saved,
    SpaceMeasured,
    Started,
)
from p2p.protocol.membership.interface import MembershipParameters
from p2p.protocol.replica import NodeParameters, Replica
from p2p.storage.blobs import BlobFiles
from p2p.storage.port import Store
from p2p.storage.rescue import restore
from p2p.storage.sqlite import SqliteStore

log = logging.getLogger(__name__)

CHAIN_KEY: Final = b"chain_id"
SPACE_INTERVAL_S: Final = 10.0
"""Between two looks at the free room for blobs."""


class Service(Protocol):
    """Something that runs beside the node until cancelled."""

    async def __call__(
        self,
        node: NodePort,
        *,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None: ...


class ReplicaMaker(Protocol):
    """Makes a replica, or a subclass of it."""

    def __call__(
        self,
        *,
        genesis: Genesis,
        signer: Signer,
        parameters: NodeParameters,
        seeds: tuple[PeerRecord, ...],
        saved: Saved,
        seed: bytes,
    ) -> Replica: ...


@dataclass(frozen=True)
class Surroundings:
    """What an experiment puts in the place of the machine's own; None leaves the machine's."""

    wires: Wires | None = None
    """Where connections come from; else TCP sockets."""
    parameters: NodeParameters | None = None
    """Local choices; else those of the home's config."""
    clock: SteadyClock | None = None
    store: Callable[[Store], Store] | None = None
    """Stands before the home's store."""
    replica: ReplicaMaker | None = None
    """Makes what runs instead of the product's replica."""


class Node:
    """What `run_node` runs; services see it as a `NodePort`."""

    def __init__(self, home: Home, surroundings: Surroundings | None = None) -> None:
        around = surroundings or Surroundings()
        config = home.read_config()
        key = home.read_key()
        self.genesis: Genesis = home.read_genesis()
        self.chain_id: Digest = self.genesis.chain_id
        self.home: Path = home.path
        self.account: AccountId = key.account
        self.config: Config = config
        key_state = KeyState(home.key_state_path, chain_id=self.chain_id, account=key.account)
        self.store: Store = KeyStateStore(_open_store(home, self.chain_id), key_state)
        if around.store is not None:
            self.store = around.store(self.store)
        self.verifier = Verifier(self.chain_id, Ed25519Scheme())
        self.transport: Transport = open_transport(
            key,
            config.network.listen,
            TransportLimits(connections_per_ip_max=config.network.connections_per_ip),
            wires=around.wires,
        )
        self._clock = around.clock or SteadyClock()
        self._saved, mended = restore(self.store, self.genesis)
        for one in mended:
            log.warning("%s: %s", home.database_path, one)
        moved = key_state.newer_than(self._saved.sign_state)
        if moved is not None:
            log.warning("%s: the key signed on elsewhere; silent up to there", home.key_state_path)
            self._saved = msgspec.structs.replace(self._saved, sign_state=moved, journal=())
        make: ReplicaMaker = around.replica or Replica
        self.replica = make(
            genesis=self.genesis,
            signer=Ed25519Signer(key),
            parameters=around.parameters or _parameters(config),
            seeds=_seeds(config),
            saved=self._saved,
            seed=secrets.token_bytes(32),
        )
        self._key = key
        self._steps = StepLog()
        self.files = BlobFiles(home.blobs_path, capacity_bytes=int(config.storage.capacity))
        self._blob_service = BlobService(self, self.files)
        self.driver = Driver(
            replica=self.replica,
            store=self.store,
            transport=self.transport,
            verifier=self.verifier,
            clock=self._clock,
            after_step=self._log_step,
        )
        self.driver.streams[BLOB_PROTOCOL] = self._blob_service.serve

    def _log_step(self) -> None:
        self._steps.look(self.replica.chain.driver)

    @property
    def blobs(self) -> BlobConsumer:
        """Adds, gets and lists this node's own blobs."""
        return self._blob_service.consumer

    def now_ms(self) -> Millis:
        """Unix time by this node's clock."""
        return self._clock.now_ms()

    async def ask(self, command: Callable[[int], Command]) -> object:
        """Give a command and wait for its durable result, or `Rejected`."""
        return await self.driver.ask(command)

    def events(self) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Event]]:
        """Subscribe to events."""
        return self.driver.events()

    async def run(
        self, services: Sequence[Service], ready: Callable[[NodePort], None] | None
    ) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.transport.run, self.driver)
            addresses = announced_addresses(
                self.transport.listen_addresses(),
                self.config.network.announce,
                peer_text(self._key.peer),
            )
            log.info("%s listens on %s", peer_text(self._key.peer), ", ".join(addresses))
            nursery.start_soon(self.driver.run, Started(addresses))
            if self.config.network.mdns:
                nursery.start_soon(self._meet_neighbours, addresses)
            nursery.start_soon(self._blob_service.run)
            nursery.start_soon(self._offer)
            for service in services:
                await nursery.start(service, self)
            if ready is not None:
                ready(self)

    async def _meet_neighbours(self, addresses: Sequence[str]) -> None:
        """Look for nodes of the local network, and tell the replica."""
        from p2p.network.mdns import MdnsFailed, discover

        def found(heard: tuple[str, ...]) -> None:
            self.driver.put(NeighboursFound(peer_records(heard)))

        try:
            await discover(addresses, found)
        except MdnsFailed as error:
            log.warning("%s; going on without", error)

    async def _offer(self) -> None:
        """Make the configured offer when the home has none yet; then keep measuring space."""
        if not self._saved.offer:
            offer = self.config.offer.offer()
            outcome = await self.ask(lambda ticket: ChangeOffer(ticket, offer))
            if isinstance(outcome, Rejected):
                log.warning("the configured offer %s", outcome.reason.value)
        while True:
            self.driver.put(SpaceMeasured(self.files.free_bytes()))
            await trio.sleep(SPACE_INTERVAL_S)


async def run_node(
    home: Path,
    *,
    services: Sequence[Service] = (),
    ready: Callable[[NodePort], None] | None = None,
    surroundings: Surroundings | None = None,
) -> None:
    """Run the node of a home until cancelled; `ready` is called when it serves.

    Args:
        home: its directory.
        services: run beside the node. The HTTP API is one of them: this floor does not know it.
        ready: called when the node serves.
        surroundings: other wires, clock or disk than the machine's, for experiments.

    Raises:
        UserError: the home, its config, key, genesis or data cannot be used as they are.
        StoreError: the disk failed or is full; nothing that was promised is lost.
        TransportError: it cannot listen, for a port in use.
    """
    node = Node(Home(home), surroundings)
    with closing(node.store):
        await node.run(services, ready)


def _open_store(home: Home, chain_id: Digest) -> SqliteStore:
    home.data_path.mkdir(mode=0o700, exist_ok=True)
    store = SqliteStore(home.database_path)
    known = store.get(Table.META, CHAIN_KEY)
    if known is None:
        store.commit([Put(Table.META, CHAIN_KEY, chain_id)])
    elif known != chain_id:
        store.close()
        raise UserError(
            f"{home.genesis_path} begins another chain ({chain_id.hex()[:16]}) than the data in"
            f" {home.data_path} ({known.hex()[:16]}); restore the genesis, or move the data away"
        )
    return store


def _parameters(config: Config) -> NodeParameters:
    network = config.network
    direct = _records(network.direct_peers, "network.direct_peers")
    accounts = tuple(record.account for record in direct)
    peers = tuple(peer_id_of(account) for account in accounts)
    return NodeParameters(
        gossip=GossipParameters(flush_ms=network.flush_ms, direct_peers=peers),
        retain_blocks=config.storage.retain_blocks,
        membership=MembershipParameters(
            peers_target=network.peers_target,
            peers_max=max(4 * network.peers_target, MembershipParameters().peers_max),
            direct=accounts,
        ),
    )


def _seeds(config: Config) -> tuple[PeerRecord, ...]:
    """Whom to meet first: configured seeds and explicit peers."""
    network = config.network
    _records(network.seeds, "network.seeds")
    return _records((*network.seeds, *network.direct_peers), "network.direct_peers")


def _records(addresses: tuple[str, ...], key: str) -> tuple[PeerRecord, ...]:
    """What addresses say; their form was checked when the config was read."""
    records = peer_records(addresses)
    if sum(len(record.addresses) for record in records) < len(set(addresses)):
        raise UserError(f"{key} names a peer without an Ed25519 key")
    return records
