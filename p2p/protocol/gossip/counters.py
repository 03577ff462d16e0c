"""What happened, for people and tests; no decision rests on it."""

import msgspec

from p2p.protocol.gossip.parameters import Priority


class GossipCounters(msgspec.Struct):
    """Totals since the machine was made."""

    published: int = 0
    """Our own messages."""
    received: int = 0
    """Messages in RPCs, whatever became of them."""
    duplicates: int = 0
    delivered: int = 0
    """Messages of others that were accepted."""
    invalid: int = 0
    """Rejected by the verifier, signed, too large, or sent again after they were rejected."""
    ignored: int = 0
    """Neither accepted nor rejected."""
    unwanted: int = 0
    """Of topics that we do not subscribe to."""
    throttled: int = 0
    """Not looked at, because too many were at the verifier; gossip offers them again."""
    expired: int = 0
    """Never answered by the verifier."""
    rpcs_sent: int = 0
    ihave_sent: int = 0
    ihave_received: int = 0
    ihave_ignored: int = 0
    """RPCs whose offers were over the limit."""
    iwant_sent: int = 0
    iwant_received: int = 0
    iwant_served: int = 0
    graft_sent: int = 0
    graft_received: int = 0
    prune_sent: int = 0
    prune_received: int = 0
    idontwant_sent: int = 0
    idontwant_received: int = 0
    promises_broken: int = 0
    """Messages that a peer offered, was asked for, and nobody sent."""
    graylisted: int = 0
    """RPCs not listened to, for the score of their sender."""
    peers_refused: int = 0
    """Connected beyond the number that we keep."""
    dropped: tuple[int, ...] = tuple(0 for _ in Priority)
    """Left out of full queues, by class."""
