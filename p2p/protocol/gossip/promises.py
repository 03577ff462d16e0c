"""Broken promises: who offers messages that never come.

Of every offer that made us ask, one drawn id is tracked. If its message has come from nobody when
the time is over, the peer that offered it is held responsible (P7). A liar offers thousands, so
that one in each RPC is enough; an honest peer that dies breaks one or two, which P7 forgives.

Source: libp2p specs, gossipsub v1.1, spam protection measures.
"""

from collections.abc import Iterable

from p2p.model.rpc import MessageId
from p2p.primitives.draws import Draws
from p2p.protocol.gossip.parameters import GossipParameters
from p2p.protocol.gossip.standing import Standing


class Promises:
    """Ids under way, by id, the oldest first."""

    __slots__ = ("_draws", "_due", "_parameters")

    def __init__(self, parameters: GossipParameters, draws: Draws) -> None:
        self._parameters = parameters
        self._draws = draws
        self._due: dict[MessageId, dict[Standing, int]] = {}
        """Who promised what, and until when."""

    def __len__(self) -> int:
        return len(self._due)

    def made(self, standing: Standing, ids: list[MessageId], now_ms: int) -> None:
        """A peer offered these, and we asked: track one."""
        drawn = ids[self._draws.below(len(ids))] if len(ids) > 1 else ids[0]
        by_peer = self._due.get(drawn)
        if by_peer is None:
            if len(self._due) >= self._parameters.promises_max:
                return
            by_peer = self._due[drawn] = {}
        by_peer.setdefault(standing, now_ms + self._parameters.iwant_followup_ms)

    def kept(self, message_id: MessageId) -> None:
        """The message came, from whomever."""
        self._due.pop(message_id, None)

    def broken(self, now_ms: int) -> Iterable[tuple[Standing, int]]:
        """Who broke how many, once; they are forgotten."""
        if not self._due:
            return ()
        found: dict[Standing, int] = {}
        for message_id, by_peer in list(self._due.items()):
            for standing in [one for one, due_ms in by_peer.items() if due_ms <= now_ms]:
                del by_peer[standing]
                found[standing] = found.get(standing, 0) + 1
            if not by_peer:
                del self._due[message_id]
        return found.items()

    def postpone(self, by_ms: int) -> None:
        """We were not there to hear anything for a while: that is nobody's fault."""
        for by_peer in self._due.values():
            for standing in by_peer:
                by_peer[standing] += by_ms
