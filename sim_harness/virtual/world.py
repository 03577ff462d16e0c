"""The virtual world: a network of replicas on a virtual clock, drawn from one seed.

    world = World(seed=7, nodes=7, validators=4)
    world.start()
    world.run_until(height_at_least(3), within_s=60)
    with world.partition(world.nodes[:2], world.nodes[2:]):
        world.run_for(20)
    world.check()

One named random stream a purpose: a draw more in one place changes nothing in another.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Final

from p2p.model.inputs import PeerConnected, PeerDisconnected
from p2p.model.parameters import Genesis, GenesisAccount, Parameters
from p2p.model.requests import PeerRecord
from p2p.node.verifier import Verifier
from p2p.primitives.digests import digest
from p2p.primitives.keys import Key, peer_text
from p2p.primitives.signing import Ed25519Scheme, Ed25519Signer, Signer
from p2p.primitives.units import Amount, Digest, Height, Millis, PeerId
from p2p.protocol.interface import Committed, DialFailed, Event, InvariantViolated, Saved
from p2p.protocol.replica import NodeParameters, Replica
from sim_harness.virtual.heap import MICROS_PER_MS, EventHeap
from sim_harness.virtual.links import Latency, Links
from sim_harness.virtual.node import SYNC_US, VirtualNode
from sim_harness.virtual.regions import REGIONS, one_way_us
from sim_harness.virtual.signatures import KeyedHashScheme

GENESIS_MS: Final = Millis(1_700_000_000_000)
SEEDS_COUNT: Final = 3
BALANCE: Final = Amount(1_000_000_000)
BOND: Final = Amount(100_000_000)
JITTER_US: Final = 2_000
BYTES_PER_SECOND: Final = 12_500_000
"""100 Mbit/s."""
DIAL_TIMEOUT_US: Final = 8_000_000
RESET_US: Final = 1_000
"""How soon a crashed process's kernel resets its connections, beyond the latency."""

Condition = Callable[["World"], bool]


class SafetyViolated(AssertionError):
    """The network broke a promise that no fault excuses; the text says which, and the seed."""


class Expired(AssertionError):
    """A condition did not come true in its virtual time."""


class World:
    """Nodes, links, disks and a clock. Everything follows from the arguments.

    Args:
        seed: of every draw.
        nodes: how many; the first `validators` are bonded alike.
        parameters: of the chain.
        latency: microseconds between node indices; None spreads the nodes over AWS regions.
        real_signatures: Ed25519 instead of a keyed hash.
        node_parameters: local choices, the same for all.
    """

    def __init__(
        self,
        *,
        seed: int,
        nodes: int,
        validators: int,
        parameters: Parameters | None = None,
        latency: Latency | None = None,
        real_signatures: bool = False,
        node_parameters: NodeParameters | None = None,
    ) -> None:
        self.seed = seed
        self.heap = EventHeap(GENESIS_MS)
        self.violations: list[str] = []
        self.committed: dict[Height, Digest] = {}
        """The first block that any node committed, by height."""
        self._draws: dict[str, Random] = {}
        self._node_parameters = node_parameters or NodeParameters()
        self._keys = [Key(digest(b"world", b"%d %d" % (seed, index))) for index in range(nodes)]
        self.genesis = self._make_genesis(validators, parameters or Parameters())
        self._scheme = Ed25519Scheme() if real_signatures else KeyedHashScheme()
        self._signers = [self._signer(key) for key in self._keys]
        self.links = Links(
            self.heap,
            latency or self._regional_latency(),
            jitter=self.stream("jitter"),
            jitter_us=JITTER_US,
            bytes_per_second=BYTES_PER_SECOND,
            broken=self._disconnected,
        )
        chain_id = self.genesis.chain_id
        self.nodes = [
            VirtualNode(self, index, key, Verifier(chain_id, self._scheme))
            for index, key in enumerate(self._keys)
        ]
        self.validators = self.nodes[:validators]
        self.by_peer: dict[PeerId, VirtualNode] = {node.key.peer: node for node in self.nodes}

    # ---- making ------------------------------------------------------------------------------

    def _make_genesis(self, validators: int, parameters: Parameters) -> Genesis:
        accounts = tuple(
            GenesisAccount(key.account, BALANCE, BOND if index < validators else Amount(0))
            for index, key in enumerate(self._keys)
        )
        return Genesis(f"world-{self.seed}", GENESIS_MS, parameters, accounts)

    def _signer(self, key: Key) -> Signer:
        if isinstance(self._scheme, KeyedHashScheme):
            return self._scheme.enroll(key)
        return Ed25519Signer(key)

    def _regional_latency(self) -> Latency:
        regions = [REGIONS[index % len(REGIONS)] for index in range(len(self._keys))]
        return lambda source, target: one_way_us(regions[source], regions[target])

    def new_replica(self, node: VirtualNode, saved: Saved) -> Replica:
        """A replica for a node that starts."""
        first = self._keys[:SEEDS_COUNT]
        seeds = tuple(
            PeerRecord(key.account, (self.address_of(index),)) for index, key in enumerate(first)
        )
        return Replica(
            genesis=self.genesis,
            signer=self._signers[node.index],
            parameters=self._node_parameters,
            seeds=seeds,
            saved=saved,
            seed=digest(b"replica", b"%d %d %d" % (self.seed, node.index, node.incarnation)),
        )

    def address_of(self, index: int) -> str:
        """A node's multiaddr; nothing listens there."""
        peer = peer_text(self._keys[index].peer)
        return f"/ip4/10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}/tcp/4001/p2p/{peer}"

    def stream(self, purpose: str) -> Random:
        """The random stream of a purpose."""
        if purpose not in self._draws:
            named = digest(b"stream", b"%d" % self.seed, purpose.encode())
            self._draws[purpose] = Random(int.from_bytes(named))
        return self._draws[purpose]

    def draw_survival(self) -> bool:
        """Whether a write that a crash interrupted is found on the disk."""
        return self.stream("disk").random() < 0.5

    def sync_us(self) -> int:
        """How long the next fsync takes."""
        return SYNC_US + self.stream("disk").randint(0, SYNC_US)

    # ---- running -----------------------------------------------------------------------------

    @property
    def now_ms(self) -> Millis:
        """Virtual Unix time."""
        return self.heap.now_ms

    @property
    def digest(self) -> str:
        """Of everything that happened so far."""
        return self.heap.digest

    def start(self, nodes: Sequence[VirtualNode] | None = None, *, within_s: float = 1.0) -> None:
        """Start nodes that are down, each at a drawn moment."""
        for node in self.nodes if nodes is None else nodes:
            delay_us = self.stream("start").randint(0, int(within_s * 1_000_000))

            def begin(node: VirtualNode = node) -> bytes:
                if not node.is_up:
                    node.start()
                return b"%d" % node.index

            self.heap.after(delay_us, "start", begin)

    def run_for(self, seconds: float) -> None:
        """Let virtual time pass. Raises SafetyViolated."""
        until_us = self.heap.now_us + int(seconds * 1_000_000)
        while (next_us := self.heap.next_us) is not None and next_us <= until_us:
            self._one()
        self.heap.now_us = until_us

    def run_until(self, condition: Condition, *, within_s: float) -> float:
        """Run until a condition holds; the virtual seconds it took. Raises Expired, SafetyViolated."""
        start_us = self.heap.now_us
        while not condition(self):
            next_us = self.heap.next_us
            if next_us is None or next_us - start_us > within_s * 1_000_000:
                heights = [node.height for node in self.nodes]
                raise Expired(f"not within {within_s} s; heights {heights}, seed {self.seed}")
            self._one()
        return (self.heap.now_us - start_us) / 1_000_000

    def _one(self) -> None:
        self.heap.step()
        if self.violations:
            raise SafetyViolated(f"{self.violations[0]}; seed {self.seed}")

    def heard(self, node: VirtualNode, event: Event) -> None:
        """A node notifies: check agreement at once."""
        match event:
            case Committed(height=height, header_digest=found):
                first = self.committed.setdefault(height, found)
                if first != found:
                    self.violations.append(f"agreement: node {node.index} at height {height}")
            case InvariantViolated(name=name, height=height, detail=detail):
                self.violations.append(f"{name} at {height}: {detail}")
            case _:
                pass

    # ---- connections -------------------------------------------------------------------------

    def dial(self, source: int, peer: PeerId) -> None:
        """A node dials another."""
        target = self.by_peer.get(peer)
        dialer = self.nodes[source]
        incarnation = dialer.incarnation

        def finish() -> bytes:
            if dialer.incarnation != incarnation:
                return b"%d gone" % source
            if target is None or not target.is_up or self.links.is_cut(source, target.index):
                dialer.feed(DialFailed(peer))
            elif not self.links.is_up(source, target.index):
                self.links.connect(source, target.index)
                address = self.address_of(target.index)
                dialer.feed(PeerConnected(peer, outbound=True, address=address))
                came_from = self.address_of(source)
                target.feed(PeerConnected(dialer.key.peer, outbound=False, address=came_from))
            return b"%d>%d" % (source, -1 if target is None else target.index)

        if target is None or self.links.is_cut(source, target.index):
            self.heap.after(DIAL_TIMEOUT_US, "dial", finish)
        else:
            self.heap.after(self.links.handshake_us(source, target.index), "dial", finish)

    def hang_up(self, source: int, peer: PeerId) -> None:
        """A node closes a connection."""
        target = self.by_peer.get(peer)
        if target is not None and self.links.disconnect(source, target.index):
            self._disconnected(source, target.index, "hung up")

    def _disconnected(self, one: int, other: int, reason: str) -> None:
        for here, there in ((one, other), (other, one)):
            gone = PeerDisconnected(self.nodes[there].key.peer, reason)
            self._tell_later(here, gone, delay_us=self.links.delay_us(one, other))

    def _tell_later(self, index: int, news: PeerDisconnected, *, delay_us: int) -> None:
        node = self.nodes[index]
        incarnation = node.incarnation

        def tell() -> bytes:
            if node.incarnation == incarnation:
                node.feed(news)
            return b"%d" % index

        self.heap.after(delay_us, "disconnected", tell)

    # ---- faults ------------------------------------------------------------------------------

    def crash(self, *nodes: VirtualNode) -> None:
        """Kill processes at this moment; their disks keep what was durable."""
        for node in nodes:
            node.crash()
            for other in self.links.peers_of(node.index):
                self.links.disconnect(node.index, other)
                gone = PeerDisconnected(node.key.peer, "reset")
                delay_us = RESET_US + self.links.delay_us(node.index, other)
                self._tell_later(other, gone, delay_us=delay_us)

    @contextmanager
    def partition(self, *groups: Sequence[VirtualNode]) -> Iterator[None]:
        """Cut groups of nodes off from one another while the block lasts."""
        pairs = [
            (one.index, other.index)
            for number, group in enumerate(groups)
            for rest in groups[number + 1 :]
            for one in group
            for other in rest
        ]
        self.links.cut(pairs)
        try:
            yield
        finally:
            self.links.heal(pairs)

    # ---- checks ------------------------------------------------------------------------------

    def check(self) -> None:
        """Safety of everything so far: one chain, on every disk, running or not. Raises."""
        if self.violations:
            raise SafetyViolated(f"{self.violations[0]}; seed {self.seed}")
        for node in self.nodes:
            if node.replica is None:
                continue
            state = node.replica.state
            if state.height and self.committed.get(state.height) != state.header_digest:
                raise SafetyViolated(f"node {node.index} left the chain; seed {self.seed}")

    def wall_ms(self, since_ms: Millis) -> int:
        """Virtual milliseconds since a moment."""
        return self.heap.now_us // MICROS_PER_MS - since_ms


def height_at_least(height: int, nodes: Sequence[VirtualNode] | None = None) -> Condition:
    """These nodes, or all, run and have committed a height."""

    def reached(world: World) -> bool:
        watched = world.nodes if nodes is None else nodes
        return all(node.height >= height for node in watched)

    return reached


def caught_up() -> Condition:
    """Every running node has one state."""

    def together(world: World) -> bool:
        states = [node.replica.state for node in world.nodes if node.replica is not None]
        return bool(states) and all(state.root == states[0].root for state in states)

    return together
