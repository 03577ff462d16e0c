"""What the mempool is told, and what it answers."""

import msgspec

from p2p.model.evidence import Evidence
from p2p.model.ledger import State
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.model.transaction import Transaction
from p2p.primitives.signing import Verified
from p2p.primitives.units import MIB


class MempoolLimits(msgspec.Struct, frozen=True):
    """Bounds of what waits."""

    transactions_max: int = 4_096
    transactions_bytes_max: int = 2 * MIB
    per_sender_max: int = 64
    receipts_max: int = 4_096
    receipts_bytes_max: int = 4 * MIB
    evidence_max: int = 256
    """Of two ads of the largest size: 2 MiB."""


# ---- inputs ------------------------------------------------------------------------------------


class TransactionReceived(msgspec.Struct, frozen=True):
    """A transaction came, from a peer or from our own user."""

    transaction: Verified[Transaction]


class ReceiptReceived(msgspec.Struct, frozen=True):
    """A fully signed receipt came, from a peer or from our own service."""

    receipt: Verified[ServiceReceipt]


class EvidenceReceived(msgspec.Struct, frozen=True):
    """Evidence came, from a peer or from our own witness."""

    evidence: Verified[Evidence]


class BlockCommitted(msgspec.Struct, frozen=True):
    """A block was decided; `state` is the ledger after it."""

    state: State


MempoolInput = TransactionReceived | ReceiptReceived | EvidenceReceived | BlockCommitted

# ---- results -----------------------------------------------------------------------------------


class Accepted(msgspec.Struct, frozen=True):
    """It waits here now; pass it on."""


class Ignored(msgspec.Struct, frozen=True):
    """It does not wait here, and that is no fault of who sent it."""

    reason: Reason
    detail: str = ""


Verdict = Accepted | Ignored | Rejected
"""`Rejected`: no state of this chain would take it, so whoever passed it on is at fault."""


class Candidates(msgspec.Struct, frozen=True):
    """What a block could hold, most worth first; a sender's transactions in nonce order."""

    transactions: tuple[Transaction, ...]
    receipts: tuple[ServiceReceipt, ...]
    evidence: tuple[Evidence, ...] = ()
