"""Numbers that are a node's own choice, machine by machine."""

import msgspec

from p2p.protocol.gossip import GossipParameters
from p2p.protocol.membership import MembershipParameters
from p2p.protocol.registry import RegistryParameters


class NodeParameters(msgspec.Struct, frozen=True):
    """Local choices; the chain's own numbers stand in its genesis."""

    gossip: GossipParameters = GossipParameters(patience_ms=100)
    """Without `priorities`, which the replica knows."""
    membership: MembershipParameters = MembershipParameters()
    registry: RegistryParameters = RegistryParameters()
    gap_ms: int = 500
    """Between questions for the votes that we lack of an open height."""
    validators_near: int = 2
    """Connections to validators that a node keeps which is none: transactions and receipts travel
    among validators alone, and a message whose publisher knows none of them would be lost."""
    request_deadline_ms: int = 5_000
    republish_blocks: int = 3
    """Our own transaction that is still pending is published again every so many blocks."""
