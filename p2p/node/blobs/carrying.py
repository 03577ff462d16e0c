"""One transfer from the provider's side: the pure machine between the stream and our receipts."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import assert_never

from p2p.model.ad import CapacityAd
from p2p.model.blob import MESSAGE_BYTES_MAX, BlobMessage, Obligation, Paid, Pay, Refused
from p2p.model.commands import AcceptReceipt, Work
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Rejected
from p2p.network.port import MessageStream
from p2p.node.blobs.port import BlobNode
from p2p.node.blobs.session import PeerFault, ask_receipt, receive_message, send_message
from p2p.primitives.codec import Malformed, decode
from p2p.primitives.signing import Verified
from p2p.protocol.service import (
    Aborted,
    AcceptPay,
    Began,
    ChunksMoved,
    CompleteBlob,
    Finish,
    MoveWindow,
    PayAccepted,
    PayDeclined,
    PayReceived,
    ProviderEffect,
    ProviderTransfer,
    SendPaid,
    SendRefused,
    Window,
)

Moved = Callable[[int], None]
Move = Callable[[Window, Moved], Awaitable[None]]
"""Send or receive a window, reporting chunks as they are done."""
Complete = Callable[[], Awaitable[None]]
"""Make a stored blob durable."""


async def countersign(
    node: BlobNode,
    receipt: ServiceReceipt,
    ad: CapacityAd,
    work: Work,
    adds: Obligation | None,
) -> ServiceReceipt | Rejected:
    """Sign what the consumer signed, if it covers the work."""
    verified = node.verifier.receipt_consumer(receipt)
    if isinstance(verified, Rejected):
        return verified
    known: Verified[ServiceReceipt] = verified
    return await ask_receipt(node, lambda ticket: AcceptReceipt(ticket, known, ad, work, adds))


def is_pay(data: bytes) -> bool:
    """Whether a raw message is a consumer's pay."""
    try:
        message: BlobMessage = decode(data, Pay, bytes_max=MESSAGE_BYTES_MAX)
    except Malformed:
        return False
    return isinstance(message, Pay)


class Carrier:
    """Carries out what a `ProviderTransfer` orders."""

    def __init__(
        self,
        node: BlobNode,
        stream: MessageStream,
        ad: CapacityAd,
        *,
        stall_s: float,
        pay_s: float,
    ) -> None:
        """`stall_s` is for one message to leave, `pay_s` for the consumer to sign a window."""
        self._node = node
        self._stream = stream
        self._ad = ad
        self._stall_s = stall_s
        self._pay_s = pay_s

    async def run(self, transfer: ProviderTransfer, move: Move, complete: Complete | None) -> None:
        """Carry a transfer to its end. Raises a session fault when it ends early."""

        def moved(count: int) -> None:
            assert not transfer.step(ChunksMoved(count)), "chunks are counted as they are planned"

        effects = deque(transfer.step(Began()))
        while True:
            while effects:
                effect = effects.popleft()
                match effect:
                    case MoveWindow(window=window):
                        await move(window, moved)
                    case CompleteBlob():
                        assert complete is not None, "only a put completes a blob"
                        await complete()
                    case AcceptPay():
                        effects.extend(await self._accept(transfer, effect))
                    case SendPaid(receipt=receipt):
                        await self._send(Paid(receipt))
                    case SendRefused(reason=reason, detail=detail, epoch=epoch):
                        await self._send(Refused(reason, detail, epoch))
                    case Finish():
                        return
                    case Aborted(reason=reason, detail=detail):
                        raise PeerFault(detail or reason.value)
                    case _:
                        assert_never(effect)
            effects.extend(transfer.step(PayReceived(await self._receive_pay())))

    async def _send(self, message: BlobMessage) -> None:
        await send_message(self._stream, message, deadline_s=self._stall_s)

    async def _receive_pay(self) -> ServiceReceipt:
        message = await receive_message(self._stream, deadline_s=self._pay_s)
        if not isinstance(message, Pay):
            raise PeerFault(f"{type(message).__name__} instead of pay")
        return message.receipt

    async def _accept(self, transfer: ProviderTransfer, pay: AcceptPay) -> list[ProviderEffect]:
        result = await countersign(self._node, pay.receipt, self._ad, pay.work, pay.adds)
        if isinstance(result, Rejected):
            epoch = self._node.replica.channels.epoch_wanted(pay.receipt.channel)
            return transfer.step(PayDeclined(result, epoch))
        return transfer.step(PayAccepted(result))
