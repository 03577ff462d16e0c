"""The mempool: transactions, receipts and evidence that wait for a block.

    received ──form?──no──> Rejected        nobody honest passes it on: penalise
        │
        └──state, room?──no──> Ignored      our state may lag, or we are full: no fault
                │
                └──> Accepted, waits ──block──> settled, outdated or unpayable: dropped

Transactions wait by sender and nonce. A sender may be ahead of its account's nonce by
`per_sender_max`, and may not owe more than its balance with all that waits. The same nonce is
replaced by a fee higher by `REPLACEMENT_PERCENT`. Of a channel, the receipt of the highest seq
waits; the counters are cumulative, so it stands for all before it. Of an offence, one proof waits.

All pools are bounded in count and bytes. A full pool lets a newcomer in for what pays least: the
lowest fee among the senders' last transactions, the receipt that would settle least, the evidence
that would slash least.
"""

from p2p.protocol.mempool.interface import (
    Accepted,
    BlockCommitted,
    Candidates,
    EvidenceReceived,
    Ignored,
    MempoolInput,
    MempoolLimits,
    ReceiptReceived,
    TransactionReceived,
    Verdict,
)
from p2p.protocol.mempool.machine import Mempool
from p2p.protocol.mempool.transactions import REPLACEMENT_PERCENT

__all__ = [
    "REPLACEMENT_PERCENT",
    "Accepted",
    "BlockCommitted",
    "Candidates",
    "EvidenceReceived",
    "Ignored",
    "Mempool",
    "MempoolInput",
    "MempoolLimits",
    "ReceiptReceived",
    "TransactionReceived",
    "Verdict",
]
