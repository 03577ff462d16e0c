"""Receipts that wait: the newest of each channel."""

from typing import Final

import msgspec

from p2p.model.admission import receipt_refusal
from p2p.model.ledger import Rules, State
from p2p.model.receipt import EPOCHS_AHEAD_MAX, ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.primitives.codec import encode
from p2p.primitives.units import ChannelId
from p2p.protocol.mempool.interface import Accepted, Ignored, MempoolLimits, Verdict

_EPOCHS_AHEAD: Final = 1 + EPOCHS_AHEAD_MAX
"""A receipt may be for an epoch that has begun elsewhere, where the last block came earlier, and
be dated ahead of that."""
_FAULTS: Final = (Reason.WRONG_CHAIN, Reason.WRONG_PARTY)
"""What is wrong with a receipt in every state."""


class _Unsettled(msgspec.Struct, frozen=True):
    receipt: ServiceReceipt
    size_bytes: int


class Receipts:
    """The pool of receipts, judged against the last committed state."""

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
        refusal = self._refusal(receipt, epochs_ahead=_EPOCHS_AHEAD)
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
            if self._refusal(unsettled.receipt, epochs_ahead=_EPOCHS_AHEAD) is not None:
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
