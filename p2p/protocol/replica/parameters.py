"""Numbers that are a node's own choice, machine by machine."""

import msgspec

from p2p.protocol.gossip import GossipParameters
from p2p.protocol.light import TRUST_PERIOD_MS
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
    near_blocks: int = 12
    """With some but too few of them near, others are sought every so many blocks alone: where they
    have no room for all, those that were shown out do not come back at once."""
    request_deadline_ms: int = 5_000
    republish_blocks: int = 3
    """Our own transaction that is still pending is published again every so many blocks."""
    retain_blocks: int = 0
    """Blocks that are kept, besides what proves later ones; 0 keeps all."""
    snapshot_interval: int = 100
    """States of heights that are multiples of this can be fetched by others, the last two."""
    snapshot_gap: int = 5_000
    """This far behind, a state is fetched instead of blocks; 0 never fetches one."""
    snapshot_retry_ms: int = 10_000
    """Between two looks for a snapshot."""
    snapshot_witnesses: int = 3
    """Neighbours, besides the one that offers a snapshot, that are asked for its header."""
    snapshot_patience_ms: int = 10_000
    """How long a node waits for that many neighbours before it begins with fewer."""
    trust_period_ms: int = TRUST_PERIOD_MS
    """How old our last block may be for a snapshot to be proven from it."""

    def __post_init__(self) -> None:
        if self.snapshot_interval < 2:
            raise ValueError("snapshot_interval is 2 or more")
        if 0 < self.retain_blocks <= 2 * self.snapshot_interval:
            # The header of a state that others may fetch has to be there.
            raise ValueError("retain_blocks is 0, or more than twice snapshot_interval")
