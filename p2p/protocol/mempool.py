"""The mempool: transactions and receipts that wait for a block.

    received ──form?──no──> Rejected        nobody honest passes it on: penalise
        │
        └──state, room?──no──> Ignored      our state may lag, or we are full: no fault
                │
                └──> Accepted, waits ──block──> settled, outdated or unpayable: dropped

Transactions wait by sender and nonce. A sender may be ahead of its account's nonce by
`per_sender_max`, and may not owe more than its balance with all that waits. The same nonce is
replaced by a fee higher by `REPLACEMENT_PERCENT`. Of a channel, the receipt of the highest seq
waits; the counters are cumulative, so it stands for all before it.

Both pools are bounded in count and bytes. A full pool lets a newcomer in for what pays least: the
lowest fee among the senders' last transactions, the receipt that would settle least.
"""

from heapq import heapify, heappop, heapreplace
from typing import Final, assert_never

import msgspec

from p2p.model.admission import receipt_refusal, spending, transaction_form_refusal
from p2p.model.ledger import Rules, State
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.model.transaction import Transaction
from p2p.primitives.codec import encode
from p2p.primitives.signing import Verified
from p2p.primitives.units import MIB, AccountId, ChannelId, Digest, div_ceil

REPLACEMENT_PERCENT: Final = 10
"""How much a replacing fee must exceed the old one: replacing costs gossip everywhere."""
EPOCHS_AHEAD_MAX: Final = 1
"""A receipt may be for an epoch that has begun elsewhere, where the last block came earlier."""
_FAULTS: Final = (Reason.WRONG_CHAIN, Reason.WRONG_PARTY)
"""What is wrong with a receipt in every state."""


class MempoolLimits(msgspec.Struct, frozen=True):
    """Bounds of what waits."""

    transactions_max: int = 4_096
    transactions_bytes_max: int = 2 * MIB
    per_sender_max: int = 64
    receipts_max: int = 4_096
    receipts_bytes_max: int = 4 * MIB


# ---- inputs ------------------------------------------------------------------------------------


class TransactionReceived(msgspec.Struct, frozen=True):
    """A transaction came, from a peer or from our own user."""

    transaction: Verified[Transaction]


class ReceiptReceived(msgspec.Struct, frozen=True):
    """A fully signed receipt came, from a peer or from our own service."""

    receipt: Verified[ServiceReceipt]


class BlockCommitted(msgspec.Struct, frozen=True):
    """A block was decided; `state` is the ledger after it."""

    state: State


MempoolInput = TransactionReceived | ReceiptReceived | BlockCommitted

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


class Mempool:
    """Both pools, judged against the last committed state."""

    def __init__(self, rules: Rules, state: State, limits: MempoolLimits | None = None) -> None:
        limits = limits or MempoolLimits()
        self._transactions = _Transactions(rules, state, limits)
        self._receipts = _Receipts(rules, state, limits)

    def step(self, received: MempoolInput) -> list[Verdict]:
        """The verdict on what was received; nothing on a block."""
        match received:
            case TransactionReceived(transaction=transaction):
                return [self._transactions.admit(transaction.value)]
            case ReceiptReceived(receipt=receipt):
                return [self._receipts.admit(receipt.value)]
            case BlockCommitted(state=state):
                self._transactions.follow(state)
                self._receipts.follow(state)
                return []
            case _:
                assert_never(received)

    def candidates(self, *, bytes_max: int) -> Candidates:
        """What the next block could hold: up to `bytes_max` of each kind."""
        return Candidates(
            self._transactions.candidates(bytes_max), self._receipts.candidates(bytes_max)
        )

    def next_nonce(self, account: AccountId) -> int:
        """The nonce of the account's next transaction, after those that wait without a gap."""
        return self._transactions.next_nonce(account)

    def waiting_of(self, account: AccountId) -> tuple[Transaction, ...]:
        """The account's waiting transactions in nonce order, to be published again."""
        return self._transactions.of(account)

    @property
    def transactions_count(self) -> int:
        """How many transactions wait."""
        return self._transactions.count

    @property
    def receipts_count(self) -> int:
        """How many receipts wait."""
        return self._receipts.count


# ---- transactions ------------------------------------------------------------------------------


class _Pending(msgspec.Struct, frozen=True):
    transaction: Transaction
    digest: Digest
    size_bytes: int
    cost: int
    """Fee and spending, in micro-tokens."""


class _Transactions:
    """Transactions by sender, then by nonce."""

    def __init__(self, rules: Rules, state: State, limits: MempoolLimits) -> None:
        self._rules = rules
        self._limits = limits
        self._state = state
        self._senders: dict[AccountId, dict[int, _Pending]] = {}
        self.count = 0
        self._bytes = 0

    def admit(self, transaction: Transaction) -> Verdict:
        refusal = transaction_form_refusal(transaction, self._rules)
        if refusal is not None:
            return refusal
        pending = _Pending(
            transaction=transaction,
            digest=transaction.digest(),
            size_bytes=len(encode(transaction)),
            cost=transaction.fee + spending(transaction.action),
        )
        return self._obstacle(pending) or self._insert(pending)

    def _obstacle(self, pending: _Pending) -> Ignored | None:
        """Why it cannot wait, whatever room there is."""
        transaction = pending.transaction
        account = self._state.accounts.get(transaction.sender)
        if account is None:
            return Ignored(Reason.UNKNOWN_ACCOUNT)
        if transaction.nonce < account.nonce:
            return Ignored(Reason.BAD_NONCE, f"{transaction.nonce}, not {account.nonce}")
        if transaction.nonce >= account.nonce + self._limits.per_sender_max:
            return Ignored(Reason.TOO_MANY, "too far ahead of the account's nonce")
        waiting = self._senders.get(transaction.sender, {})
        owed = sum(other.cost for other in waiting.values()) + pending.cost
        old = waiting.get(transaction.nonce)
        if old is not None:
            if old.digest == pending.digest:
                return Ignored(Reason.OUTDATED)
            fee_min = div_ceil(old.transaction.fee * (100 + REPLACEMENT_PERCENT), 100)
            if transaction.fee < fee_min:
                return Ignored(Reason.FEE_TOO_LOW, f"replacing it takes {fee_min}")
            owed -= old.cost
        if owed > account.balance:
            return Ignored(Reason.INSUFFICIENT_FUNDS, f"{owed} of {account.balance}")
        return None

    def _insert(self, pending: _Pending) -> Verdict:
        """Put it in, push out what pays least; undo all when that is the newcomer itself."""
        sender, nonce = pending.transaction.sender, pending.transaction.nonce
        old = self._senders.get(sender, {}).get(nonce)
        pushed_out = [] if old is None else [self._remove(old)]
        self._add(pending)
        while self._full():
            least = self._least_paying(pending)
            pushed_out.append(self._remove(least))
            if least is pending:
                for other in pushed_out[:-1]:
                    self._add(other)
                return Ignored(Reason.TOO_MANY, "its fee is too low for a full mempool")
        return Accepted()

    def _full(self) -> bool:
        limits = self._limits
        return self.count > limits.transactions_max or self._bytes > limits.transactions_bytes_max

    def _least_paying(self, newcomer: _Pending) -> _Pending:
        """The lowest fee among the last transactions of all senders; among equals the newcomer.

        Only last ones: without an earlier one the later ones could not run.
        """
        lasts = [waiting[max(waiting)] for waiting in self._senders.values()]
        return min(
            lasts,
            key=lambda pending: (
                pending.transaction.fee,
                pending is not newcomer,
                pending.transaction.sender,
            ),
        )

    def _add(self, pending: _Pending) -> None:
        waiting = self._senders.setdefault(pending.transaction.sender, {})
        waiting[pending.transaction.nonce] = pending
        self.count += 1
        self._bytes += pending.size_bytes

    def _remove(self, pending: _Pending) -> _Pending:
        sender = pending.transaction.sender
        del self._senders[sender][pending.transaction.nonce]
        if not self._senders[sender]:
            del self._senders[sender]
        self.count -= 1
        self._bytes -= pending.size_bytes
        return pending

    def follow(self, state: State) -> None:
        """Drop what a block took, and what its sender can no longer pay for, last nonces first."""
        self._state = state
        for sender, waiting in list(self._senders.items()):
            account = state.accounts[sender]
            owed = 0
            for nonce in sorted(waiting):
                pending = waiting[nonce]
                if nonce >= account.nonce:
                    owed += pending.cost
                if nonce < account.nonce or owed > account.balance:
                    self._remove(pending)

    def candidates(self, bytes_max: int) -> tuple[Transaction, ...]:
        """Highest fee first among the next transactions of all senders, as far as they fit."""
        heads: list[tuple[int, AccountId, int]] = []
        for sender, waiting in self._senders.items():
            nonce = self._state.accounts[sender].nonce
            if nonce in waiting:
                heads.append((-waiting[nonce].transaction.fee, sender, nonce))
        heapify(heads)
        chosen: list[Transaction] = []
        used = 0
        while heads:
            _, sender, nonce = heads[0]
            waiting = self._senders[sender]
            pending, follower = waiting[nonce], waiting.get(nonce + 1)
            fits = used + pending.size_bytes <= bytes_max
            if fits:
                used += pending.size_bytes
                chosen.append(pending.transaction)
            if fits and follower is not None:
                heapreplace(heads, (-follower.transaction.fee, sender, nonce + 1))
            else:
                heappop(heads)
        return tuple(chosen)

    def next_nonce(self, sender: AccountId) -> int:
        account = self._state.accounts.get(sender)
        nonce = 0 if account is None else account.nonce
        waiting = self._senders.get(sender, {})
        while nonce in waiting:
            nonce += 1
        return nonce

    def of(self, sender: AccountId) -> tuple[Transaction, ...]:
        waiting = self._senders.get(sender, {})
        return tuple(waiting[nonce].transaction for nonce in sorted(waiting))


# ---- receipts ----------------------------------------------------------------------------------


class _Unsettled(msgspec.Struct, frozen=True):
    receipt: ServiceReceipt
    size_bytes: int


class _Receipts:
    """The newest receipt of each channel."""

    def __init__(self, rules: Rules, state: State, limits: MempoolLimits) -> None:
        self._rules = rules
        self._limits = limits
        self._state = state
        self._waiting: dict[ChannelId, _Unsettled] = {}
        self._bytes = 0

    @property
    def count(self) -> int:
        return len(self._waiting)

    def admit(self, receipt: ServiceReceipt) -> Verdict:
        refusal = self._refusal(receipt, epochs_ahead=EPOCHS_AHEAD_MAX)
        if refusal is not None:
            if refusal.reason in _FAULTS:
                return refusal
            return Ignored(refusal.reason, refusal.detail)
        known = self._waiting.get(receipt.channel)
        if known is not None and receipt.seq <= known.receipt.seq:
            two_bodies = (
                receipt.seq == known.receipt.seq
                and receipt.consumer_body() != known.receipt.consumer_body()
            )
            return Ignored(Reason.EQUIVOCATION if two_bodies else Reason.OUTDATED)
        return self._insert(_Unsettled(receipt, len(encode(receipt))), known)

    def _refusal(self, receipt: ServiceReceipt, *, epochs_ahead: int) -> Rejected | None:
        channel = self._state.channels.get(receipt.channel)
        return receipt_refusal(
            receipt,
            channel,
            self._rules,
            height=self._state.height + 1,
            epochs_ahead=epochs_ahead,
        )

    def _insert(self, newcomer: _Unsettled, known: _Unsettled | None) -> Verdict:
        """Put it in, push out what settles least; undo all when that is the newcomer itself."""
        pushed_out = [] if known is None else [self._remove(known)]
        self._add(newcomer)
        while self._full():
            least = min(
                self._waiting.values(),
                key=lambda other: (self._due(other), other is not newcomer, other.receipt.channel),
            )
            pushed_out.append(self._remove(least))
            if least is newcomer:
                for other in pushed_out[:-1]:
                    self._add(other)
                return Ignored(Reason.TOO_MANY, "it settles too little for a full mempool")
        return Accepted()

    def _full(self) -> bool:
        limits = self._limits
        return self.count > limits.receipts_max or self._bytes > limits.receipts_bytes_max

    def _due(self, unsettled: _Unsettled) -> int:
        """Micro-tokens that it would settle now."""
        receipt = unsettled.receipt
        return receipt.amount - self._state.channels[receipt.channel].settled

    def _add(self, unsettled: _Unsettled) -> None:
        self._waiting[unsettled.receipt.channel] = unsettled
        self._bytes += unsettled.size_bytes

    def _remove(self, unsettled: _Unsettled) -> _Unsettled:
        del self._waiting[unsettled.receipt.channel]
        self._bytes -= unsettled.size_bytes
        return unsettled

    def follow(self, state: State) -> None:
        """Drop what is settled, too late, or has lost its channel."""
        self._state = state
        for unsettled in list(self._waiting.values()):
            if self._refusal(unsettled.receipt, epochs_ahead=EPOCHS_AHEAD_MAX) is not None:
                self._remove(unsettled)

    def candidates(self, bytes_max: int) -> tuple[ServiceReceipt, ...]:
        """What settles most first, among what the next block may settle, as far as it fits."""
        ready = [
            unsettled
            for unsettled in self._waiting.values()
            if self._refusal(unsettled.receipt, epochs_ahead=0) is None
        ]
        ready.sort(key=lambda unsettled: (-self._due(unsettled), unsettled.receipt.channel))
        chosen: list[ServiceReceipt] = []
        used = 0
        for unsettled in ready:
            if used + unsettled.size_bytes <= bytes_max:
                chosen.append(unsettled.receipt)
                used += unsettled.size_bytes
        return tuple(chosen)
