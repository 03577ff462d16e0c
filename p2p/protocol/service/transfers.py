"""The two sides of a transfer: the next window moves only after the last was signed.

    consumer                                     provider
    MOVING --chunks moved--> SIGNING             MOVING --chunks moved--> UNPAID
      ^                        | signed            ^                        | PayReceived
      |                        v                   |                        v
      +---PaidReceived---- PAYING                  +---PayAccepted---- ACCEPTING
      |                        | WRONG_EPOCH:      |                        | WRONG_EPOCH: UNPAID
      v after the last         v sign again        v after the last
     DONE                   SIGNING               DONE

Both are driven by a shell that moves chunks and messages, and by the receipts machine of their node
(`SignReceipt`, `AcceptReceipt`, `StoreReceipt`). What moved and was not signed for is `unpaid`:
never more than one window, besides what an earlier broken transfer left over.
"""

from enum import Enum
from typing import Final, assert_never

import msgspec

from p2p.model.blob import Obligation
from p2p.model.commands import NO_WORK, Work
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.primitives.units import Height
from p2p.protocol.service.windows import Plan, Window

PAY_TRIES_MAX: Final = 4
"""Signatures for one window: a provider may ask for another epoch when a block came between."""


class Phase(Enum):
    """Where a transfer stands."""

    NEW = "new"
    MOVING = "moving"
    SIGNING = "signing"
    PAYING = "paying"
    DONE = "done"
    FAILED = "failed"


# ---- inputs -----------------------------------------------------------------------------------


class Began(msgspec.Struct, frozen=True):
    """Both agreed on the plan."""


class ChunksMoved(msgspec.Struct, frozen=True):
    """Chunks of the window went over the wire and were checked."""

    count: int


class ReceiptSigned(msgspec.Struct, frozen=True):
    """Consumer: our own receipts machine signed for the window."""

    receipt: ServiceReceipt


class PaidReceived(msgspec.Struct, frozen=True):
    """Consumer: the provider returned a receipt; its signatures are checked."""

    receipt: ServiceReceipt


class RefusedReceived(msgspec.Struct, frozen=True):
    """Consumer: the provider did not take our receipt."""

    reason: Reason
    detail: str = ""
    epoch: Height | None = None


class PayReceived(msgspec.Struct, frozen=True):
    """Provider: the consumer's receipt; its signature is checked."""

    receipt: ServiceReceipt


class PayAccepted(msgspec.Struct, frozen=True):
    """Provider: our own receipts machine counter-signed."""

    receipt: ServiceReceipt


class PayDeclined(msgspec.Struct, frozen=True):
    """Provider: our own receipts machine did not take the receipt."""

    why: Rejected
    epoch: Height
    """The epoch that it wants."""


ConsumerInput = Began | ChunksMoved | ReceiptSigned | PaidReceived | RefusedReceived
ProviderInput = Began | ChunksMoved | PayReceived | PayAccepted | PayDeclined

# ---- effects ----------------------------------------------------------------------------------


class MoveWindow(msgspec.Struct, frozen=True):
    """Send or receive these chunks, and report them with `ChunksMoved`."""

    window: Window


class SignWindow(msgspec.Struct, frozen=True):
    """Consumer: ask for a receipt over this work."""

    work: Work
    adds: Obligation | None
    epoch: Height | None


class SendPay(msgspec.Struct, frozen=True):
    """Consumer: hand the half-signed receipt over."""

    receipt: ServiceReceipt


class KeepReceipt(msgspec.Struct, frozen=True):
    """Consumer: store the counter-signed receipt."""

    receipt: ServiceReceipt


class CompleteBlob(msgspec.Struct, frozen=True):
    """Provider of a put: make the blob durable as a whole, before the last window is accepted."""


class AcceptPay(msgspec.Struct, frozen=True):
    """Provider: ask for the counter-signature; the receipt must cover this work."""

    receipt: ServiceReceipt
    work: Work
    adds: Obligation | None


class SendPaid(msgspec.Struct, frozen=True):
    """Provider: return the receipt with both signatures."""

    receipt: ServiceReceipt


class SendRefused(msgspec.Struct, frozen=True):
    """Provider: say why not, and with which epoch it would do."""

    reason: Reason
    detail: str
    epoch: Height | None


class Finish(msgspec.Struct, frozen=True):
    """The last window is paid."""


class Aborted(msgspec.Struct, frozen=True):
    """The transfer ends here; let go of the stream."""

    reason: Reason
    detail: str = ""


ConsumerEffect = MoveWindow | SignWindow | SendPay | KeepReceipt | Finish | Aborted
ProviderEffect = MoveWindow | CompleteBlob | AcceptPay | SendPaid | SendRefused | Finish | Aborted


class _Windows:
    """Which window a transfer is at, and how much of it moved."""

    def __init__(self, plan: Plan, owed: Work, adds: Obligation | None) -> None:
        self.plan = plan
        self.phase = Phase.NEW
        self._adds = adds
        self._owed = owed
        self._index = 0
        self._moved = 0
        self._tries = 0

    @property
    def unpaid(self) -> Work:
        """Bytes that moved and are not signed for by both, should the transfer end here."""
        if self.phase in {Phase.NEW, Phase.DONE}:
            return self._owed
        return self._owed + self.plan.moved(self._window().first_chunk, self._moved)

    def _window(self) -> Window:
        return self.plan.window(self._index)

    def _moves(self, count: int) -> bool:
        """Count moved chunks; False where that many cannot have moved."""
        if self.phase is not Phase.MOVING or count < 0:
            return False
        if self._moved + count > self._window().chunk_count:
            return False
        self._moved += count
        return True

    def _is_moved(self) -> bool:
        return self._moved == self._window().chunk_count

    def _due(self) -> tuple[Work, Obligation | None]:
        window = self._window()
        return self._owed + window.work, self._adds if window.is_last else None

    def _start(self) -> list[MoveWindow]:
        self.phase, self._moved, self._tries = Phase.MOVING, 0, 0
        return [MoveWindow(self._window())]

    def _advance(self) -> list[MoveWindow | Finish]:
        """After a window was paid."""
        self._owed = NO_WORK
        self._index += 1
        if self._index >= self.plan.windows:
            self.phase = Phase.DONE
            return [Finish()]
        return [*self._start()]

    def _fail(self, reason: Reason, detail: str = "") -> list[Aborted]:
        self.phase = Phase.FAILED
        return [Aborted(reason, detail)]


class ConsumerTransfer(_Windows):
    """The side that pays."""

    def __init__(self, plan: Plan, *, owed: Work = NO_WORK, adds: Obligation | None = None) -> None:
        """`owed` is what an earlier transfer left unpaid; `adds` the blob of a put."""
        super().__init__(plan, owed, adds)
        self._signed: ServiceReceipt | None = None

    def step(self, item: ConsumerInput) -> list[ConsumerEffect]:
        """Take one input; one that does not fit the phase aborts the transfer."""
        match item:
            case Began() if self.phase is Phase.NEW:
                if self.plan.windows == 0:
                    self.phase = Phase.DONE
                    return [Finish()]
                return self._after_move([*self._start()])
            case ChunksMoved(count=count) if self._moves(count):
                return self._after_move([])
            case ReceiptSigned(receipt=receipt) if self.phase is Phase.SIGNING:
                self.phase, self._signed = Phase.PAYING, receipt
                return [SendPay(receipt)]
            case PaidReceived(receipt=receipt) if self.phase is Phase.PAYING:
                return self._paid(receipt)
            case RefusedReceived() if self.phase is Phase.PAYING:
                return self._refused(item)
            case RefusedReceived(reason=reason, detail=detail):
                return [*self._fail(reason, detail)]
            case Began() | ChunksMoved() | ReceiptSigned() | PaidReceived():
                return [*self._fail(Reason.MALFORMED, f"{type(item).__name__} in {self.phase}")]
            case _:
                assert_never(item)

    def _after_move(self, effects: list[ConsumerEffect]) -> list[ConsumerEffect]:
        return [*effects, *self._ask(None)] if self._is_moved() else effects

    def _ask(self, epoch: Height | None) -> list[ConsumerEffect]:
        self.phase = Phase.SIGNING
        self._tries += 1
        work, adds = self._due()
        return [SignWindow(work, adds, epoch)]

    def _paid(self, receipt: ServiceReceipt) -> list[ConsumerEffect]:
        assert self._signed is not None, "paying follows signing"
        if receipt.consumer_body() != self._signed.consumer_body():
            return [*self._fail(Reason.EQUIVOCATION, "the provider returned another receipt")]
        return [KeepReceipt(receipt), *self._advance()]

    def _refused(self, item: RefusedReceived) -> list[ConsumerEffect]:
        again = item.reason is Reason.WRONG_EPOCH and item.epoch is not None
        if again and self._tries < PAY_TRIES_MAX:
            return self._ask(item.epoch)
        return [*self._fail(item.reason, item.detail)]


class ProviderTransfer(_Windows):
    """The side that works."""

    def __init__(self, plan: Plan, *, owed: Work = NO_WORK, adds: Obligation | None = None) -> None:
        """`owed` is what this consumer left unpaid before; `adds` the blob of a put."""
        super().__init__(plan, owed, adds)

    def step(self, item: ProviderInput) -> list[ProviderEffect]:
        """Take one input; one that does not fit the phase aborts the transfer."""
        match item:
            case Began() if self.phase is Phase.NEW:
                if self.plan.windows == 0:
                    self.phase = Phase.DONE
                    return [Finish()]
                effects = self._start()
                self._after_move()
                return [*effects]
            case ChunksMoved(count=count) if self._moves(count):
                self._after_move()
                return []
            case PayReceived(receipt=receipt) if self.phase is Phase.SIGNING:
                return self._pay(receipt)
            case PayAccepted(receipt=receipt) if self.phase is Phase.PAYING:
                return [SendPaid(receipt), *self._advance()]
            case PayDeclined(why=why, epoch=epoch) if self.phase is Phase.PAYING:
                return self._declined(why, epoch)
            case Began() | ChunksMoved() | PayReceived() | PayAccepted() | PayDeclined():
                return [*self._fail(Reason.MALFORMED, f"{type(item).__name__} in {self.phase}")]
            case _:
                assert_never(item)

    def _after_move(self) -> None:
        if self._is_moved():
            self.phase = Phase.SIGNING

    def _pay(self, receipt: ServiceReceipt) -> list[ProviderEffect]:
        self.phase = Phase.PAYING
        self._tries += 1
        work, adds = self._due()
        accept = AcceptPay(receipt, work, adds)
        first_try_of_blob = self.plan.is_put and self._window().is_last and self._tries == 1
        return [CompleteBlob(), accept] if first_try_of_blob else [accept]

    def _declined(self, why: Rejected, epoch: Height) -> list[ProviderEffect]:
        refused = SendRefused(
            why.reason, why.detail, epoch if why.reason is Reason.WRONG_EPOCH else None
        )
        if why.reason is Reason.WRONG_EPOCH and self._tries < PAY_TRIES_MAX:
            self.phase = Phase.SIGNING
            return [refused]
        return [refused, *self._fail(why.reason, why.detail)]
