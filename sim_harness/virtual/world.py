"""The virtual world: a network of replicas on a virtual clock, drawn from one seed.

    world = World(seed=7, nodes=7, validators=7)
    world.start()
    west, east = split(world.validators, 2, 5)
    world.run_until(height_at_least(3))
    with world.partition(west, east):
        world.run_for(seconds(30))
    world.run_until(caught_up(west, east), within=seconds(60))
    world.check()

One named random stream a purpose: a draw more in one place changes nothing in another. Agreement,
the invariants of every block and equivocation are watched all the time; `check` looks at the disks.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import ClassVar, Final

from p2p.model.effects import HangUp
from p2p.model.parameters import Genesis, GenesisAccount, Parameters
from p2p.model.requests import PeerRecord
from p2p.model.rpc import Rpc
from p2p.node.verifier import Verifier
from p2p.primitives.digests import digest
from p2p.primitives.keys import Key, peer_text
from p2p.primitives.signing import Ed25519Scheme, Ed25519Signer, Signer
from p2p.primitives.units import AccountId, Amount, Digest, Height, Millis, PeerId
from p2p.protocol.interface import AdLearned, Committed, Event, InvariantViolated, Saved
from p2p.protocol.replica import NodeParameters, Replica
from sim_harness.virtual.checkers import SAFETY, Audit, Checker
from sim_harness.virtual.collecting import collected_rarely
from sim_harness.virtual.conditions import Condition
from sim_harness.virtual.cuts import Cut, Direction
from sim_harness.virtual.heap import MICROS_PER_MS, EventHeap
from sim_harness.virtual.links import Connection, Latency, Links
from sim_harness.virtual.network import Network
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.regions import REGIONS, latencies_of
from sim_harness.virtual.shared import SharedBookkeeper, SharedVerifier
from sim_harness.virtual.signatures import KeyedHashScheme
from sim_harness.virtual.signed_book import SignedBook
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.weather import Weather

GENESIS_MS: Final = Millis(1_700_000_000_000)
SEEDS_COUNT: Final = 3
"""Peers that a node is configured with."""
NODES_PER_SEED: Final = 32
"""A larger world has more seeds: thousands that come at once would find all three crowded."""
BALANCE: Final = Amount(1_000_000_000)
BOND: Final = Amount(100_000_000)
JITTER_US: Final = 2_000
BYTES_PER_SECOND: Final = 12_500_000
"""100 Mbit/s, of each node's uplink."""
WITHIN_DEFAULT: Final = seconds(120)
"""Virtual time that a condition gets unless the scenario says another."""
START_SPREAD: Final = seconds(1)
"""Nodes started together begin within this."""
LOOK_US: Final = 100_000
"""A condition is looked at after everything that a node tells of, ads excepted, and this often."""

ReplicaMaker = Callable[..., Replica]
"""Makes a replica, or a subclass of it, from the arguments of its constructor."""
Tamper = Callable[[VirtualNode, VirtualNode, Rpc], Rpc]
"""What becomes of an RPC between sender and receiver."""
Tap = Callable[[VirtualNode, Rpc, int], None]
"""Counts what leaves: who sends which RPC, in how many bytes."""


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
        jitter_us: drawn on top of every latency.
        real_signatures: Ed25519 instead of a keyed hash.
        node_parameters: local choices, the same for all.
    """

    shares_work: ClassVar[bool] = True
    """Work out once what is the same for all nodes; it changes nothing else."""
    node_type: ClassVar[type[VirtualNode]] = VirtualNode

    def __init__(
        self,
        *,
        seed: int,
        nodes: int,
        validators: int,
        parameters: Parameters | None = None,
        latency: Latency | None = None,
        jitter_us: int = JITTER_US,
        real_signatures: bool = False,
        node_parameters: NodeParameters | None = None,
    ) -> None:
        if not 0 < validators <= nodes:
            raise ValueError(f"{validators} validators among {nodes} nodes")
        self.seed = seed
        self.heap = EventHeap(GENESIS_MS)
        self.violations: list[str] = []
        self.bans: list[str] = []
        """Who hung up on whom for misbehaving."""
        self.committed: dict[Height, Digest] = {}
        """The first block that any node committed, by height."""
        self.tamper: Tamper | None = None
        """A fault of the wire between nodes."""
        self.tap: Tap | None = None
        """Who measures gossip."""
        self.liars: dict[AccountId, str] = {}
        """Accounts in the hands of an adversary, and its kind: no promise is broken by them."""
        self.makers: dict[int, ReplicaMaker] = {}
        """What runs instead of the product's replica, by node index: adversaries and canaries."""
        self._news: list[None] = []
        """Not empty when something was told since a condition was looked at last."""
        self._draws: dict[str, Random] = {}
        self.node_parameters = node_parameters or NodeParameters()
        self._keys = self._make_keys(nodes)
        self.genesis = self._make_genesis(validators, parameters or Parameters())
        self.scheme = Ed25519Scheme() if real_signatures else KeyedHashScheme()
        self._signers = [self._signer(key) for key in self._keys]
        self.book = SignedBook(self.genesis.chain_id, excused=self.liars)
        self.audit = Audit(self.genesis, self.scheme)
        self.links = Links(
            self.heap,
            latency or latencies_of(REGIONS),
            jitter=self.stream("jitter"),
            jitter_us=jitter_us,
            bytes_per_second=BYTES_PER_SECOND,
            silent=self._silent,
            weather=Weather(self.stream("weather")),
        )
        self.network = Network(self, self.links)
        self._books = SharedBookkeeper() if self.shares_work else None
        chain_id, shared = self.genesis.chain_id, None
        if self.shares_work:
            shared = SharedVerifier(chain_id, self.scheme)
        self.nodes = [
            self.node_type(self, index, key, shared or Verifier(chain_id, self.scheme))
            for index, key in enumerate(self._keys)
        ]
        self.validators = self.nodes[:validators]
        self.others = self.nodes[validators:]
        self.by_peer: dict[PeerId, VirtualNode] = {node.key.peer: node for node in self.nodes}

    # ---- making ------------------------------------------------------------------------------

    def _make_keys(self, nodes: int) -> list[Key]:
        return [Key(digest(b"world", b"%d %d" % (self.seed, index))) for index in range(nodes)]

    def _make_genesis(self, validators: int, parameters: Parameters) -> Genesis:
        accounts = tuple(
            GenesisAccount(key.account, BALANCE, BOND if index < validators else Amount(0))
            for index, key in enumerate(self._keys)
        )
        return Genesis(f"world-{self.seed}", GENESIS_MS, parameters, accounts)

    def _signer(self, key: Key) -> Signer:
        if isinstance(self.scheme, KeyedHashScheme):
            return self.scheme.enroll(key)
        return Ed25519Signer(key)

    def new_replica(self, node: VirtualNode, saved: Saved) -> Replica:
        """A replica for a node that starts."""
        count = min(len(self._keys), max(SEEDS_COUNT, len(self._keys) // NODES_PER_SEED))
        places = [(SEEDS_COUNT * node.index + one) % count for one in range(SEEDS_COUNT)]
        seeds = tuple(
            PeerRecord(self._keys[place].account, (self.address_of(place),))
            for place in sorted({*places})
        )
        make = self.makers.get(node.index)
        if make is None:
            # Whoever runs something else works everything out for itself.
            make = partial(Replica, books=self._books)
        return make(
            genesis=self.genesis,
            signer=self.signer_of(node),
            parameters=self.node_parameters,
            seeds=seeds,
            saved=saved,
            seed=digest(b"replica", b"%d %d %d" % (self.seed, node.index, node.incarnation)),
        )

    def signer_of(self, node: VirtualNode) -> Signer:
        """The hand of a node's key, for whoever runs it."""
        return self._signers[node.index]

    def enroll(self, name: bytes) -> Signer:
        """A key more, of this name, that no node runs: a sock puppet's."""
        return self._signer(Key(digest(b"puppet", b"%d" % self.seed, name)))

    @property
    def honest(self) -> list[VirtualNode]:
        """Nodes that no adversary runs."""
        return [node for node in self.nodes if self.is_honest(node)]

    def is_honest(self, node: VirtualNode) -> bool:
        """Whether no adversary runs a node."""
        return node.key.account not in self.liars

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

    def _silent(self, connection: Connection) -> None:
        self.network.silent(connection)

    # ---- running -----------------------------------------------------------------------------

    @property
    def now_ms(self) -> Millis:
        """Virtual Unix time."""
        return self.heap.now_ms

    @property
    def digest(self) -> str:
        """Of everything that happened so far."""
        return self.heap.digest

    def start(self, *nodes: VirtualNode, within: Millis = START_SPREAD) -> None:
        """Start these nodes, or all, as far as they are down; each at a drawn moment."""
        for node in nodes or self.nodes:
            delay_us = self.stream("start").randint(0, within * MICROS_PER_MS)

            def begin(node: VirtualNode = node) -> bytes:
                if not node.is_up:
                    node.start()
                return b"%d" % node.index

            self.heap.after(delay_us, "start", begin)

    def run_for(self, span: Millis) -> None:
        """Let virtual time pass. Raises SafetyViolated."""
        heap = self.heap
        until_us = heap.now_us + span * MICROS_PER_MS
        with collected_rarely():
            while not heap.run(until_us, stop=self.violations, or_stop=self.book.conflicts):
                self._refuse([*self.violations, *self.book.conflicts])
        heap.now_us = until_us

    def run_until(self, condition: Condition, *, within: Millis = WITHIN_DEFAULT) -> Millis:
        """Run until a condition holds; the time that it took. Raises Expired, SafetyViolated."""
        start_us = self.heap.now_us
        until_us = start_us + within * MICROS_PER_MS
        heap, conflicts = self.heap, self.book.conflicts
        with collected_rarely():
            while not condition(self):
                if heap.now_us >= until_us:
                    break
                self._news.clear()
                # Without news the condition is looked at now and then: it may concern the clock.
                look_us = min(until_us, heap.now_us + LOOK_US)
                if heap.run(look_us, stop=self.violations, or_stop=conflicts, news=self._news):
                    heap.now_us = look_us
                self._refuse([*self.violations, *conflicts])
            else:
                return Millis((heap.now_us - start_us) // MICROS_PER_MS)
        heights = [node.height for node in self.nodes]
        raise Expired(f"not within {within} ms; heights {heights}, seed {self.seed}")

    def heard(self, node: VirtualNode, event: Event) -> None:
        """A node notifies: check agreement at once."""
        if isinstance(event, AdLearned):
            return  # By the million where thousands meet: who waits for ads looks now and then.
        self._tell_news()
        if not self.is_honest(node):
            return
        match event:
            case Committed(height=height, header_digest=found):
                first = self.committed.setdefault(height, found)
                if first != found:
                    self.violations.append(f"agreement: node {node.index} at height {height}")
            case InvariantViolated(name=name, height=height, detail=detail):
                self.violations.append(f"{name} at {height}: {detail}")
            case _:
                pass

    def _tell_news(self) -> None:
        self._news[:] = (None,)

    def heard_hang_up(self, node: VirtualNode, order: HangUp) -> None:
        """A node closes a connection: was it a punishment?"""
        other = self.by_peer.get(order.peer)
        if other is None or not (self.is_honest(node) and self.is_honest(other)):
            return
        if order.reason.startswith("banned"):
            self.bans.append(f"node {node.index} banned node {other.index}: {order.reason}")

    def on_the_wire(self, source: VirtualNode, target: VirtualNode, rpc: Rpc) -> Rpc:
        """What an RPC that leaves a node arrives as."""
        if rpc.publish and self.is_honest(source):
            self.book.note_rpc(rpc)
        return rpc if self.tamper is None else self.tamper(source, target, rpc)

    # ---- faults ------------------------------------------------------------------------------

    def crash(self, *nodes: VirtualNode, survives: bool | None = None) -> None:
        """Kill processes at this moment; their disks keep what was durable.

        `survives`: whether a write under way is found on the disk; drawn unless said.
        """
        for node in nodes:
            if node.is_up:
                node.crash(survives=survives)
                self.network.crashed(node)
        self._tell_news()

    def pause(self, *nodes: VirtualNode) -> list[Cut]:
        """Freeze processes (SIGSTOP): they do nothing, and nobody hears of them. For `resume`."""
        cuts = []
        for node in nodes:
            node.pause()
            cuts.append(Cut([[node.index]], elsewhere=1))
            self.links.cut(cuts[-1])
        return cuts

    def resume(self, nodes: Sequence[VirtualNode], cuts: Sequence[Cut]) -> None:
        """Let paused processes go on, with all that waited for them."""
        for node, cut in zip(nodes, cuts, strict=True):
            self.links.heal(cut)
            node.resume()

    @contextmanager
    def partition(
        self, *groups: Sequence[VirtualNode], direction: Direction = Direction.BOTH
    ) -> Iterator[None]:
        """Cut groups of nodes off from one another while the block lasts."""
        cut = Cut([[node.index for node in group] for group in groups], direction)
        self.links.cut(cut)
        try:
            yield
        finally:
            self.links.heal(cut)

    # ---- checks ------------------------------------------------------------------------------

    def check(self, *checkers: Checker) -> None:
        """Ask these checkers, or all of safety, about every disk, running or not.

        Raises SafetyViolated with everything found.
        """
        found = [*self.violations]
        for checker in checkers or SAFETY:
            found += [f"{checker.__name__}: {one}" for one in checker(self)]
        self._refuse(found)

    def _refuse(self, found: Sequence[str]) -> None:
        if found:
            raise SafetyViolated(f"{'; '.join(found)}; seed {self.seed}")
