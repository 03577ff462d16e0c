"""Transactions that wait, by sender, then by nonce."""

from heapq import heapify, heappop, heapreplace
from typing import Final

import msgspec

from p2p.model.admission import spending, transaction_form_refusal
from p2p.model.ledger import Rules, State
from p2p.model.rejection import Reason
from p2p.model.transaction import Transaction
from p2p.primitives.codec import encode
from p2p.primitives.units import AccountId, Digest, div_ceil
from p2p.protocol.mempool.interface import Accepted, Ignored, MempoolLimits, Verdict

REPLACEMENT_PERCENT: Final = 10
"""How much a replacing fee must exceed the old one: replacing costs gossip everywhere."""


class _Pending(msgspec.Struct, frozen=True):
    transaction: Transaction
    digest: Digest
    size_bytes: int
    cost: int
    """Fee and spending, in micro-tokens."""


class Transactions:
    """The pool of transactions, judged against the last committed state."""

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
