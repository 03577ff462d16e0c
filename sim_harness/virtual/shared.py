"""What all nodes of a world would work out alike is worked out once.

Only results of pure functions of immutable values are shared: what bytes decode to, whether a
signature is good, what follows from a block. Every node still asks, and decides, for itself. Equal
digests with and without are tested.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from p2p.model.ad import CapacityAd
from p2p.model.block import Block, CommittedBlock
from p2p.model.ledger import Executed, Rules, State
from p2p.model.parameters import Genesis
from p2p.model.persistence import Write
from p2p.model.rejection import Reason, Rejected
from p2p.model.topic import GossipValue, Topic
from p2p.node.verifier import Admits, Verifier
from p2p.primitives.codec import encode
from p2p.primitives.digests import digest
from p2p.primitives.signing import SignatureScheme, Verified
from p2p.primitives.units import MIB, Digest
from p2p.protocol.invariants import Violation
from p2p.protocol.replica import Bookkeeper

MESSAGES_BYTES_MAX: Final = 64 * MIB
ADS_MAX: Final = 16_384
RESULTS_MAX: Final = 64
"""Blocks whose consequences are kept: nodes are rarely so far apart; others work it out again."""

K = TypeVar("K")
T = TypeVar("T")
_Name = tuple[Digest, ...]


class _Message:
    """A gossip message that some node has looked at."""

    __slots__ = ("topic", "value", "verdict")

    def __init__(self, topic: Topic, value: GossipValue | Rejected) -> None:
        self.topic = topic
        self.value = value
        self.verdict: Verified[GossipValue] | Rejected | None = None
        """Of its signatures, once a node wanted to know."""


class SharedVerifier(Verifier):
    """One verifier for all nodes of a world; the context stays each node's own."""

    def __init__(self, chain_id: Digest, scheme: SignatureScheme) -> None:
        super().__init__(chain_id, scheme)
        self._messages: dict[bytes, _Message] = {}
        self._bytes = 0
        self._ads: dict[bytes, CapacityAd] = {}
        """Good ads, by signature."""

    def message(
        self, topic: Topic, data: bytes, admits: Admits | None = None
    ) -> Verified[GossipValue] | Rejected:
        known = self._messages.get(data)
        if known is None or known.topic is not topic:
            known = self._remember(topic, data)
        value = known.value
        if isinstance(value, Rejected):
            return value
        if admits is not None and (reason := admits(value)) is not None:
            return Rejected(reason)
        if known.verdict is None:
            known.verdict = self.judged(value)
        return known.verdict

    def _fault(self, value: GossipValue) -> Reason | None:
        # Nodes hand one another the same few ads by the thousand.
        if isinstance(value, CapacityAd):
            if self._ads.get(value.signature) is value:
                return None
            fault = super()._fault(value)
            if fault is None:
                if len(self._ads) >= ADS_MAX:
                    del self._ads[next(iter(self._ads))]
                self._ads[value.signature] = value
            return fault
        return super()._fault(value)

    def _remember(self, topic: Topic, data: bytes) -> _Message:
        known = _Message(topic, self.decoded(topic, data))
        if data not in self._messages:
            self._bytes += len(data)
        self._messages[data] = known
        while self._bytes > MESSAGES_BYTES_MAX:
            oldest = next(iter(self._messages))
            del self._messages[oldest]
            self._bytes -= len(oldest)
        return known


class SharedBookkeeper(Bookkeeper):
    """One bookkeeper for all replicas of a world that run the product as it is."""

    def __init__(self) -> None:
        self._begun: dict[bytes, State] = {}
        self._executed: dict[_Name, Executed | Rejected] = {}
        self._violations: dict[_Name, tuple[Violation, ...]] = {}
        self._writes: dict[_Name, tuple[Write, ...]] = {}

    def begin(self, genesis: Genesis, saved: bytes | None) -> State:
        name = genesis.chain_id if saved is None else saved
        return _once(self._begun, name, lambda: Bookkeeper.begin(self, genesis, saved))

    def execute(self, state: State, rules: Rules, block: Block) -> Executed | Rejected:
        name = (*_name_of(state), digest(encode(block)))
        return _once(self._executed, name, lambda: Bookkeeper.execute(self, state, rules, block))

    def violations(self, before: State, block: Block, after: State) -> tuple[Violation, ...]:
        name = (*_name_of(before), digest(encode(block)), *_name_of(after))
        return _once(
            self._violations, name, lambda: Bookkeeper.violations(self, before, block, after)
        )

    def writes(self, committed: CommittedBlock, executed: Executed) -> tuple[Write, ...]:
        name = (digest(encode(committed)), *_name_of(executed.state))
        return _once(self._writes, name, lambda: Bookkeeper.writes(self, committed, executed))


def _name_of(state: State) -> _Name:
    """What tells a state from every other, whatever a disk may have done to it."""
    return state.header_digest, state.root


def _once(known: dict[K, T], name: K, work: Callable[[], T]) -> T:
    """The result of this name, worked out unless it is known; the oldest ones are forgotten."""
    if name not in known:
        if len(known) >= RESULTS_MAX:
            del known[next(iter(known))]
        known[name] = work()
    return known[name]
