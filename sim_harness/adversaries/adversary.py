"""The base of every adversary: the product's replica with one behaviour changed.

    world --input--> filter_inputs --> core --effects--> filter_effects --> say, answer --> world
                                                          tick, every `tick_ms` -----------^

A subclass overrides the hooks that it needs and leaves the rest to the honest core. Its options are
the fields of a dataclass, so that scenarios can name them. What `tick` returns leaves as it is.

Adversaries see everything: the whole world, each other (`ring`: those recruited together share
their keys), and their core. They hold no key of an honest node, and draw from their own stream.
"""

from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from p2p.model.effects import SetTimer
from p2p.model.inputs import TimerFired
from p2p.model.rejection import Reason
from p2p.model.requests import Blocks, Request, Response
from p2p.model.rpc import Message, Rpc, SendRpc
from p2p.model.topic import GossipValue, Topic, topic_name
from p2p.primitives.codec import encode
from p2p.primitives.signing import Signer
from p2p.primitives.units import AccountId, Millis, PeerId
from p2p.protocol.interface import (
    ReplicaEffect,
    ReplicaInput,
    RequestArrived,
    Respond,
    RespondBlocks,
    Saved,
    Started,
)
from p2p.storage.blocks import stored_blocks

if TYPE_CHECKING:
    from sim_harness.adversaries.corrupt import CorruptReplica
    from sim_harness.virtual.node import VirtualNode
    from sim_harness.virtual.world import World

TICK_TIMER: Final = "adversary/tick"
TICKETS_FROM: Final = 1 << 40
"""Ids of an adversary's own requests and commands: the core never comes so far."""


class Adversary:
    """One liar: overrides hooks of the real core. One instance a node, over all its restarts."""

    kind: ClassVar[str]
    """Its name in scenarios."""
    wants_vote: ClassVar[bool] = True
    """Whether it does its worst as a validator."""
    tick_ms: ClassVar[int] = 0
    """Between two calls of `tick`; 0: never."""

    world: "World"
    node: "VirtualNode"
    signer: Signer
    draws: Random
    ring: "list[Adversary]"
    """Everybody recruited together, itself included."""
    core: "CorruptReplica"
    """What runs now; another one after every restart."""
    deeds: Counter[str]
    """What it did, and how often: an adversary that did nothing has tested nothing."""

    def join(self, world: "World", node: "VirtualNode", ring: "list[Adversary]") -> None:
        """Take a node's seat, before the world starts."""
        self.world, self.node, self.ring = world, node, ring
        self.signer = world.signer_of(node)
        self.draws = world.stream(f"adversary {self.kind} {node.index}")
        self.deeds = Counter()
        self._askers: dict[int, tuple[PeerId, Request]] = {}
        self._next_id = TICKETS_FROM

    # ---- hooks -------------------------------------------------------------------------------

    def recall(self, saved: Saved) -> Saved:
        """What a process that starts finds on its disk."""
        return saved

    def begin(self, now_ms: Millis) -> list[ReplicaEffect]:
        """A process starts: `core` is new."""
        return []

    def filter_inputs(self, item: ReplicaInput, now_ms: Millis) -> Iterable[ReplicaInput]:
        """What the core hears of an input."""
        return (item,)

    def filter_effects(
        self, effects: list[ReplicaEffect], now_ms: Millis
    ) -> Iterable[ReplicaEffect]:
        """What leaves of the core's orders."""
        return effects

    def say(self, peer: PeerId, message: Message, now_ms: Millis) -> Iterable[Message]:
        """What a peer gets instead of a gossip message of the core's."""
        return (message,)

    def answer(
        self, peer: PeerId, request: Request, response: Response | None, now_ms: Millis
    ) -> Response | None:
        """What a peer is answered instead of the core's answer; None refuses."""
        return response

    def tick(self, now_ms: Millis) -> Iterable[ReplicaEffect]:
        """What it does of its own accord."""
        return ()

    def admits(self, value: GossipValue) -> Reason | None:
        """Why a message need not be verified, or None; as `Replica.admits`."""
        return self.core.core_admits(value)

    def profit(self) -> int | None:
        """What its owner won or lost so far, in micro-tokens; None: it does not trade."""
        return None

    # ---- the way of an input -------------------------------------------------------------------

    def take(self, item: ReplicaInput, now_ms: Millis) -> list[ReplicaEffect]:
        """Run an input through the hooks and the core."""
        if isinstance(item, TimerFired) and item.key == TICK_TIMER:
            return [*self._next_tick(now_ms), *self.tick(now_ms)]
        if isinstance(item, RequestArrived):
            self._askers[item.request_id] = (item.peer, item.request)
        effects: list[ReplicaEffect] = []
        for one in self.filter_inputs(item, now_ms):
            effects += self.core.drive(one, now_ms)
        leaving = [self._twist(effect, now_ms) for effect in self.filter_effects(effects, now_ms)]
        if isinstance(item, Started):
            return [*leaving, *self._next_tick(now_ms), *self.begin(now_ms)]
        return leaving

    def _next_tick(self, now_ms: Millis) -> list[ReplicaEffect]:
        return [SetTimer(TICK_TIMER, Millis(now_ms + self.tick_ms))] if self.tick_ms else []

    def _twist(self, effect: ReplicaEffect, now_ms: Millis) -> ReplicaEffect:
        match effect:
            case SendRpc(peer=peer, rpc=rpc) if rpc.publish:
                said = [one for message in rpc.publish for one in self.say(peer, message, now_ms)]
                return SendRpc(peer, msgspec.structs.replace(rpc, publish=tuple(said)))
            case Respond(request_id=request_id, response=response):
                return self._answer(request_id, response, now_ms)
            case RespondBlocks(request_id=request_id, from_height=first, count=count):
                found = Blocks(stored_blocks(self.node.store, first, count))
                return self._answer(request_id, found, now_ms)
            case _:
                return effect

    def _answer(self, request_id: int, response: Response | None, now_ms: Millis) -> ReplicaEffect:
        peer, request = self._askers.pop(request_id)
        return Respond(request_id, self.answer(peer, request, response, now_ms))

    # ---- help for subclasses -------------------------------------------------------------------

    @property
    def account(self) -> AccountId:
        """Its own account."""
        return self.signer.account

    def new_id(self) -> int:
        """An id for a request or a command of its own."""
        self._next_id += 1
        return self._next_id

    def peers(self) -> list[PeerId]:
        """Whom it is connected to."""
        return self.core.membership.connected

    def honest_peers(self) -> list[PeerId]:
        """The honest nodes among them."""
        return [peer for peer in self.peers() if self.is_honest(peer)]

    def is_honest(self, peer: PeerId) -> bool:
        """Whether a peer is a node that no adversary runs."""
        node = self.world.by_peer.get(peer)
        return node is not None and self.world.is_honest(node)

    def side(self, peer: PeerId) -> int:
        """0 or 1: the half of the honest nodes that a peer is in, validators and others apart."""
        node = self.world.by_peer.get(peer)
        if node is None or not self.world.is_honest(node):
            return 0
        group = self.world.validators if node in self.world.validators else self.world.others
        honest = [one for one in group if self.world.is_honest(one)]
        return int(2 * honest.index(node) >= len(honest))

    def topic(self, topic: Topic) -> str:
        """The full name of a topic."""
        return topic_name(topic, self.world.genesis.chain_id)

    def message(self, topic: Topic, value: GossipValue) -> Message:
        """A value as a gossip message."""
        return Message(self.topic(topic), encode(value))

    def send(self, peer: PeerId, *messages: Message) -> SendRpc:
        """The order that hands a peer messages past the core's gossip."""
        return SendRpc(peer, Rpc(publish=messages))

    def spread(self, *messages: Message) -> list[ReplicaEffect]:
        """The same to every honest peer."""
        return [self.send(peer, *messages) for peer in self.honest_peers()]
