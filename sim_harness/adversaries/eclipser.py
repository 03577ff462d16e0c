"""eclipser: surrounds a victim, names it nobody but accomplices, and keeps the world from it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from p2p.model.effects import Dial
from p2p.model.requests import (
    PEERS_COUNT_MAX,
    Ads,
    AdsRequest,
    Blocks,
    BlocksRequest,
    PeerRecord,
    Peers,
    PeersRequest,
    Request,
    Response,
    RoundRequest,
    Status,
    StatusRequest,
)
from p2p.model.rpc import Message
from p2p.primitives.keys import Key
from p2p.primitives.units import AccountId, Height, Millis, PeerId
from p2p.protocol.interface import ReplicaEffect
from sim_harness.adversaries.adversary import Adversary
from sim_harness.adversaries.forging import noise

if TYPE_CHECKING:
    from sim_harness.virtual.node import VirtualNode


@dataclass
class Eclipser(Adversary):
    """Behaves towards everybody but the victim, except for whom it recommends."""

    kind: ClassVar[str] = "eclipser"
    wants_vote: ClassVar[bool] = False
    tick_ms: ClassVar[int] = 1_000
    victim: int = -1
    """Index of the node to surround; -1: the last honest one."""
    ghosts: int = 16
    """Peers that do not exist, in every answer: they fill address books."""
    _ghosts: list[AccountId] = field(default_factory=list, init=False)

    def tick(self, now_ms: Millis) -> Iterable[ReplicaEffect]:
        victim = self._target()
        if victim.key.peer not in self.peers():
            self.deeds["dials"] += 1
            yield Dial(victim.key.peer, (self.world.address_of(victim.index),))

    def say(self, peer: PeerId, message: Message, now_ms: Millis) -> Iterable[Message]:
        if peer == self._target().key.peer:
            self.deeds["messages kept back"] += 1
            return ()
        return (message,)

    def answer(
        self, peer: PeerId, request: Request, response: Response | None, now_ms: Millis
    ) -> Response | None:
        if isinstance(request, PeersRequest):
            self.deeds["recommendations"] += 1
            return Peers(self._records())
        if peer != self._target().key.peer:
            return response
        self.deeds["questions fobbed off"] += 1
        match request, response:
            case StatusRequest(height=height), Status(chain_id=chain_id, header_digest=name):
                # "You are where everybody is."
                return Status(chain_id, height, name, Height(1))
            case BlocksRequest(), _:
                return Blocks(())
            case AdsRequest(), _:
                return Ads(())
            case RoundRequest(), _:
                return None
            case _:
                return response

    def _target(self) -> "VirtualNode":
        return self.world.honest[-1] if self.victim < 0 else self.world.nodes[self.victim]

    def _records(self) -> tuple[PeerRecord, ...]:
        """Accomplices first, then ghosts."""
        while len(self._ghosts) < self.ghosts:
            self._ghosts.append(Key(noise(self.draws, 32)).account)
        ring = [
            PeerRecord(one.account, (self.world.address_of(one.node.index),)) for one in self.ring
        ]
        ghosts = [
            PeerRecord(account, (self.world.address_of(self.node.index),))
            for account in self._ghosts
        ]
        return tuple([*ring, *ghosts][:PEERS_COUNT_MAX])
