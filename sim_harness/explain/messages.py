"""Who told whom what, and when: the messages of a window, for pictures.

Watches every node of a run. What leaves is remembered until it arrives; what never does was lost.
"""

from collections import deque
from typing import Final

import msgspec

from p2p.model.ad import CapacityAd
from p2p.model.block import CommittedBlock
from p2p.model.evidence import Evidence, offence_kind
from p2p.model.receipt import ServiceReceipt
from p2p.model.requests import Blocks, RoundMessages
from p2p.model.rpc import Message, RpcReceived, SendRpc
from p2p.model.topic import Topic, topic_name
from p2p.model.vote import ProposedBlock, Vote, VoteKind
from p2p.primitives.codec import Malformed, decode
from p2p.primitives.units import PeerId
from p2p.protocol.interface import (
    Committed,
    Notify,
    ReplicaEffect,
    ReplicaInput,
    RequestArrived,
    Respond,
    RespondBlocks,
    ResponseArrived,
    RoundStarted,
)
from sim_harness.scenario.run import Run
from sim_harness.virtual.node import Behaviour, VirtualNode

MESSAGES_MAX: Final = 100_000
CONSENSUS: Final = ("proposal", "prevote", "precommit", "block", "sync")
KINDS: Final = (*CONSENSUS, "ad", "receipt", "transaction")


class Sent(msgspec.Struct):
    """One message from node to node. Microseconds since the start."""

    kind: str
    text: str
    source: int
    target: int
    sent_us: int
    arrived_us: int | None = None
    """None: it never did, or not yet."""


class Mark(msgspec.Struct, frozen=True):
    """Something that a node did, for its life line."""

    node: int
    at_us: int
    text: str


class Messages:
    """Watches a run from its start."""

    def __init__(self, run: Run, kinds: tuple[str, ...] = CONSENSUS) -> None:
        self.sent: list[Sent] = []
        self.marks: list[Mark] = []
        self._world = run.world
        self._kinds = kinds
        self._start_us = run.world.heap.now_us
        chain_id = run.world.genesis.chain_id
        self._topics = {topic_name(topic, chain_id): topic for topic in Topic}
        self._under_way: dict[tuple[int, int, bytes], deque[Sent]] = {}
        self._under: dict[int, Behaviour | None] = {}
        self._askers: dict[tuple[int, int], PeerId] = {}
        """Who asked, by the node that was asked and the id of the request there."""
        self._answers: dict[tuple[int, int], int] = {}
        """When the last answer left, by source and target."""
        self._said: dict[bytes, tuple[str, str]] = {}
        """What a message is, by its id."""
        for node in run.world.nodes:
            self._under[node.index] = node.behaviour
            node.behaviour = self._see

    @property
    def now_us(self) -> int:
        """Since the start."""
        return self._world.heap.now_us - self._start_us

    def _see(
        self, node: VirtualNode, item: ReplicaInput, effects: list[ReplicaEffect]
    ) -> list[ReplicaEffect]:
        under = self._under[node.index]
        if under is not None:
            effects = under(node, item, effects)
        if isinstance(item, RpcReceived):
            for message in item.rpc.publish:
                self._arrived(node, item.peer, message)
        elif isinstance(item, ResponseArrived):
            self._answered(node, item)
        elif isinstance(item, RequestArrived):
            self._askers[node.index, item.request_id] = item.peer
        for effect in effects:
            if isinstance(effect, SendRpc):
                for message in effect.rpc.publish:
                    self._left(node, effect.peer, message)
            elif isinstance(effect, Notify):
                self._mark(node, effect)
            elif isinstance(effect, Respond | RespondBlocks):
                self._answers_leave(node, effect.request_id)
        return effects

    # ---- gossip ------------------------------------------------------------------------------

    def _left(self, node: VirtualNode, peer: PeerId, message: Message) -> None:
        target = self._world.by_peer.get(peer)
        kind, text = self._what(message)
        if target is None or kind not in self._kinds or len(self.sent) >= MESSAGES_MAX:
            return
        sent = Sent(kind, text, node.index, target.index, self.now_us)
        self.sent.append(sent)
        place = (node.index, target.index, message.id)
        self._under_way.setdefault(place, deque()).append(sent)

    def _arrived(self, node: VirtualNode, peer: PeerId, message: Message) -> None:
        source = self._world.by_peer.get(peer)
        if source is None:
            return
        waiting = self._under_way.get((source.index, node.index, message.id))
        if waiting:
            waiting.popleft().arrived_us = self.now_us

    def _what(self, message: Message) -> tuple[str, str]:
        if message.id not in self._said:
            self._said[message.id] = self._read(message)
        return self._said[message.id]

    def _read(self, message: Message) -> tuple[str, str]:
        topic = self._topics.get(message.topic)
        types: dict[Topic | None, object] = {
            Topic.VOTES: Vote | ProposedBlock,
            Topic.BLOCKS: CommittedBlock,
            Topic.ADS: CapacityAd,
            Topic.EVIDENCE: Evidence,
            Topic.RECEIPTS: ServiceReceipt,
        }
        if topic is Topic.TRANSACTIONS:
            return "transaction", "transaction"
        if topic not in types:
            return "junk", "junk"
        try:
            value: object = decode(message.data, types[topic], bytes_max=len(message.data))  # type: ignore[arg-type]
        except Malformed:
            return "junk", "junk"
        return _named(value)

    # ---- the rest ------------------------------------------------------------------------------

    def _answered(self, node: VirtualNode, item: ResponseArrived) -> None:
        """Votes and blocks that were asked for arrive."""
        source = self._world.by_peer.get(item.peer)
        value = item.response.value
        if source is None or "sync" not in self._kinds:
            return
        match value:
            case Blocks(blocks=blocks) if blocks:
                heights = [block.block.header.height for block in blocks]
                text = f"blocks {heights[0]}-{heights[-1]}"
            case RoundMessages(votes=votes, proposal=proposal) if votes or proposal is not None:
                text = f"{len(votes)} votes" + (", proposal" if proposal is not None else "")
            case _:
                return
        left_us = self._answers.get((source.index, node.index), self.now_us)
        self.sent.append(Sent("sync", text, source.index, node.index, left_us, self.now_us))

    def _answers_leave(self, node: VirtualNode, request_id: int) -> None:
        asker = self._world.by_peer.get(self._askers.pop((node.index, request_id), PeerId(b"")))
        if asker is not None:
            self._answers[node.index, asker.index] = self.now_us

    def _mark(self, node: VirtualNode, notify: Notify) -> None:
        match notify.event:
            case Committed(height=height, header_digest=found):
                text = f"commit {height} {found.hex()[:4]}"
            case RoundStarted(height=height, round=round_):
                text = f"round {round_}"
            case _:
                return
        self.marks.append(Mark(node.index, self.now_us, text))


def _named(value: object) -> tuple[str, str]:
    match value:
        case Vote(height=height, round=round_, kind=kind, header_digest=found):
            name = "nil" if found is None else found.hex()[:4]
            word = "prevote" if kind is VoteKind.PREVOTE else "precommit"
            return word, f"{word} {height}/{round_} {name}"
        case ProposedBlock(proposal=one):
            return "proposal", f"proposal {one.height}/{one.round} {one.header_digest.hex()[:4]}"
        case CommittedBlock(block=block):
            return "block", f"block {block.header.height}"
        case CapacityAd(seq=seq):
            return "ad", f"ad {seq}"
        case ServiceReceipt(epoch=epoch):
            return "receipt", f"receipt of epoch {epoch}"
        case Evidence(offence=offence):
            return "evidence", f"evidence of {offence_kind(offence)}"
        case _:
            return "junk", "junk"
