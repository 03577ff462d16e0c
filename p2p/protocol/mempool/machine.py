"""The mempool's face: what came goes to its pool, a block to all of them."""

from typing import assert_never

from p2p.model.evidence import Evidence
from p2p.model.ledger import Rules, State
from p2p.model.rejection import Rejected
from p2p.model.transaction import Transaction
from p2p.primitives.units import AccountId
from p2p.protocol.mempool.evidence import EvidencePool
from p2p.protocol.mempool.interface import (
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
from p2p.protocol.mempool.receipts import Receipts
from p2p.protocol.mempool.transactions import Transactions


class Mempool:
    """The three pools, judged against the last committed state."""

    def __init__(self, rules: Rules, state: State, limits: MempoolLimits | None = None) -> None:
        limits = limits or MempoolLimits()
        self._transactions = Transactions(rules, state, limits)
        self._receipts = Receipts(rules, state, limits)
        self._evidence = EvidencePool(rules, state, limits)

    def step(self, received: MempoolInput) -> list[Verdict]:
        """The verdict on what was received; nothing on a block."""
        match received:
            case TransactionReceived(transaction=transaction):
                return [self._transactions.admit(transaction.value)]
            case ReceiptReceived(receipt=receipt):
                return [self._receipts.admit(receipt.value)]
            case EvidenceReceived(evidence=evidence):
                return [self._evidence.admit(evidence.value)]
            case BlockCommitted(state=state):
                self._transactions.follow(state)
                self._receipts.follow(state)
                self._evidence.follow(state)
                return []
            case _:
                assert_never(received)

    def candidates(self, *, bytes_max: int) -> Candidates:
        """What the next block could hold: up to `bytes_max` of each kind."""
        return Candidates(
            self._transactions.candidates(bytes_max),
            self._receipts.candidates(bytes_max),
            self._evidence.candidates(),
        )

    def screen(self, evidence: Evidence) -> Ignored | Rejected | None:
        """Why evidence is not worth the check of its signatures, or None."""
        return self._evidence.refusal(evidence)

    def next_nonce(self, account: AccountId) -> int:
        """The nonce of the account's next transaction, after those that wait without a gap."""
        return self._transactions.next_nonce(account)

    def waiting_of(self, account: AccountId) -> tuple[Transaction, ...]:
        """The account's waiting transactions in nonce order, to be published again."""
        return self._transactions.of(account)

    def evidence_of(self, reporter: AccountId) -> tuple[Evidence, ...]:
        """The waiting evidence that an account found, to be published again."""
        return tuple(one for one in self._evidence.all() if one.reporter == reporter)

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The evidence that waits, most to be slashed first."""
        return self._evidence.all()

    @property
    def transactions_count(self) -> int:
        """How many transactions wait."""
        return self._transactions.count

    @property
    def receipts_count(self) -> int:
        """How many receipts wait."""
        return self._receipts.count
