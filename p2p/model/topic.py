"""Topics of gossip and what travels on each.

Full names are `/gigmesh/<first 8 hex of chain id>/<topic>/1`, so that chains never mix.
"""

from enum import Enum

from p2p.model.ad import CapacityAd
from p2p.model.block import CommittedBlock
from p2p.model.evidence import Evidence
from p2p.model.receipt import ServiceReceipt
from p2p.model.transaction import Transaction
from p2p.model.vote import ProposedBlock, Vote
from p2p.primitives.units import Digest


class Topic(Enum):
    """What a message is about, by its short name."""

    ADS = "ads"
    BLOCKS = "blocks"
    EVIDENCE = "evidence"
    RECEIPTS = "receipts"
    TRANSACTIONS = "transactions"
    VOTES = "votes"


GossipValue = (
    CapacityAd | CommittedBlock | Evidence | ServiceReceipt | Transaction | Vote | ProposedBlock
)


def topic_name(topic: Topic, chain_id: Digest) -> str:
    """The topic's full name on a chain."""
    return f"/gigmesh/{chain_id[:4].hex()}/{topic.value}/1"
