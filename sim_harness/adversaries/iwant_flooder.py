"""iwant_flooder: asks for the same messages again and again, for its victims to send them."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from p2p.model.rpc import MessageId, Rpc, RpcReceived, SendRpc
from p2p.primitives.units import Millis
from p2p.protocol.interface import ReplicaEffect, ReplicaInput
from sim_harness.adversaries.sybil import Sybil


@dataclass
class IwantFlooder(Sybil):
    """Asks everybody for the last messages that it saw, five times a second."""

    kind: ClassVar[str] = "iwant_flooder"
    tick_ms: ClassVar[int] = 200
    remembered: int = 64
    _ids: deque[MessageId] = field(default_factory=deque, init=False)

    def filter_inputs(self, item: ReplicaInput, now_ms: Millis) -> Iterable[ReplicaInput]:
        if isinstance(item, RpcReceived):
            for message in item.rpc.publish:
                if message.id not in self._ids:
                    self._ids.append(message.id)
            while len(self._ids) > self.remembered:
                self._ids.popleft()
        return super().filter_inputs(item, now_ms)

    def attack(self, now_ms: Millis) -> Iterable[ReplicaEffect]:
        if not self._ids:
            return
        question = Rpc(iwant=tuple(self._ids))
        for peer in self.honest_peers():
            self.deeds["questions"] += 1
            yield SendRpc(peer, question)
