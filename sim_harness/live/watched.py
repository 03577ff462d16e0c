"""A world that is watched, not driven: real nodes in the place of virtual ones.

What the nodes tell and what their disks hold is filled in here, so that the checkers, measures and
expectations of the virtual world judge real processes by the very same code. In a node's own
process the same world is what its adversary sees: everybody's seats, and the keys of its league.
"""

from typing import ClassVar, Final, cast

from p2p.model.parameters import Genesis, Parameters
from p2p.model.vote import Proposal, Vote
from p2p.primitives.codec import Malformed, decode
from p2p.primitives.digests import digest
from p2p.primitives.keys import Key
from p2p.primitives.units import KIB, AccountId, Digest, Height, Millis
from p2p.protocol.interface import AdLearned, Committed, Event
from p2p.protocol.replica import Replica
from p2p.storage.memory import MemoryStore
from p2p.storage.port import Store
from sim_harness.adversaries.adversary import Adversary
from sim_harness.adversaries.table import corrupt
from sim_harness.live.event_words import unpack_event
from sim_harness.live.messages import (
    AdNoted,
    AdsNoted,
    BanNoted,
    CommitNoted,
    NodeWord,
    Noted,
    SignedNoted,
    Status,
)
from sim_harness.live.setup import Setup
from sim_harness.virtual.heap import MICROS_PER_MS
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.world import World

SIGNED_BYTES_MAX: Final = 64 * KIB
EVENTS: Final = ("RoundStarted", "PeerPenalized", "EquivocationFound", "InvariantViolated")


def secret_of(seed: int) -> bytes:
    """What the keys of a live network's nodes follow from."""
    return b"sim-harness" + seed.to_bytes(8, signed=True)


class WatchedNode(VirtualNode):
    """One real node: what it told, and what is on its disk once that was read."""

    runs = False
    told_height = 0
    status: Status | None = None
    newest: dict[AccountId, int]
    """Seq of the newest ad of each provider that its present process knows."""

    @property
    def is_up(self) -> bool:
        return self.runs

    @property
    def height(self) -> int:
        return self.told_height if self.runs else 0


class WatchedWorld(World):
    """The seats of a live network; `genesis` is the real one."""

    node_type: ClassVar[type[VirtualNode]] = WatchedNode

    def __init__(self, *, seed: int, validators: int, genesis: Genesis) -> None:
        self._true_genesis = genesis
        self.addresses: dict[int, str] = {}
        """Where nodes listen, as far as it is known."""
        super().__init__(
            seed=seed,
            nodes=len(genesis.accounts),
            validators=validators,
            real_signatures=True,
        )
        for node in self.watched:
            node.newest = {}
        self.profits: dict[int, int | None] = {}
        self.deeds: dict[int, dict[str, int]] = {}

    def _make_keys(self, nodes: int) -> list[Key]:
        secret = secret_of(self.seed)
        return [Key(digest(b"testnet", secret, index.to_bytes(8))) for index in range(nodes)]

    def _make_genesis(self, validators: int, parameters: Parameters) -> Genesis:
        return self._true_genesis

    @property
    def watched(self) -> list[WatchedNode]:
        """The nodes."""
        return cast(list[WatchedNode], self.nodes)

    def address_of(self, index: int) -> str:
        """Where a node listens, as it told; another one is nowhere."""
        return self.addresses.get(index) or super().address_of(index)

    # ---- news ----------------------------------------------------------------------------------

    def began(self, index: int, at_ms: int) -> None:
        """A process of a node was started."""
        self._now(at_ms)
        node = self.watched[index]
        node.incarnation += 1
        node.runs = True
        node.newest = {}
        node.lives.append((self.now_ms, None))

    def ended(self, index: int, at_ms: int, why: str) -> None:
        """A process of a node ended; `why` it did, if by itself."""
        self._now(at_ms)
        node = self.watched[index]
        node.runs, node.status = False, None
        node.crashes += 1
        if node.lives:
            node.lives[-1] = (node.lives[-1][0], self.now_ms)
        if why:
            node.stops.append((self.now_ms, why))

    def told(self, index: int, at_ms: int, word: NodeWord) -> None:
        """A node told something."""
        self._now(at_ms)
        node = self.watched[index]
        match word:
            case Status():
                node.status = word
                node.told_height = max(node.told_height, word.height)
            case CommitNoted():
                node.told_height = max(node.told_height, word.height)
                self._event(node, word.at_ms, _committed(word))
            case AdNoted():
                self._learned(node, word)
            case AdsNoted(ads=ads):
                for ad in ads:
                    self._learned(node, ad)
            case Noted(kind=kind) if kind in EVENTS and word.data:
                self._event(node, word.at_ms, unpack_event(kind, word.data))
            case BanNoted(peer=peer, reason=reason):
                self._banned(node, peer, reason)
            case SignedNoted(data=data):
                self._signed(node, data)
            case _:
                pass

    def begin_anew(self) -> None:
        """The experiment begins: what led to it is not judged, but what is known stays known."""
        for node in self.nodes:
            node.events.clear()
            node.stops.clear()
            node.crashes = 0
            node.lives = [(self.now_ms, None)] if node.is_up else []
        self.bans.clear()

    def _now(self, at_ms: int) -> None:
        self.heap.now_us = max(self.heap.now_us, at_ms * MICROS_PER_MS)

    def _event(self, node: WatchedNode, at_ms: int, event: Event) -> None:
        node.events.append((Millis(at_ms), event))
        self.heard(node, event)

    def _learned(self, node: WatchedNode, ad: AdNoted) -> None:
        provider = AccountId(ad.provider)
        node.newest[provider] = max(ad.seq, node.newest.get(provider, 0))
        self._event(node, ad.at_ms, AdLearned(ad.provider, ad.seq))

    def _banned(self, node: WatchedNode, peer: bytes, reason: str) -> None:
        other = next((one for known, one in self.by_peer.items() if known == peer), None)
        if other is not None and self.is_honest(node) and self.is_honest(other):
            self.bans.append(f"node {node.index} banned node {other.index}: {reason}")

    def _signed(self, node: WatchedNode, data: bytes) -> None:
        try:
            message: Vote | Proposal = decode(data, Vote | Proposal, bytes_max=SIGNED_BYTES_MAX)  # type: ignore[arg-type]
        except Malformed:
            return
        if self.is_honest(node):
            self.book.note(message)


def _committed(word: CommitNoted) -> Committed:
    return Committed(
        Height(word.height),
        Digest(word.header_digest),
        Digest(word.state_root),
        word.time_ms,
        word.round,
        word.transactions,
        word.receipts,
    )


def take_seat(
    setup: Setup, me: int, genesis: Genesis, addresses: dict[int, str]
) -> tuple[WatchedWorld, Adversary]:
    """The world as the adversary in a node's own process sees it, and that adversary."""
    world = WatchedWorld(seed=setup.seed, validators=setup.validators, genesis=genesis)
    world.addresses.update(addresses)
    mine: Adversary | None = None
    for seat in setup.seats:
        ring = corrupt(world, seat.kind, [world.nodes[index] for index in seat.nodes], seat.options)
        mine = next((one for one in ring if one.node.index == me), mine)
    assert mine is not None, f"node {me} has no seat"
    return world, mine


def lend_store(adversary: Adversary, store: Store) -> None:
    """Let an adversary read its node's real disk."""
    adversary.node.disk.store = cast(MemoryStore, store)


def lend_ledger(world: WatchedWorld, adversary: Adversary, replica: Replica) -> None:
    """Let an adversary see the ledger: the one that its own process follows."""
    other = next((one for one in world.honest if one is not adversary.node), None)
    if other is not None:
        other.replica = replica
