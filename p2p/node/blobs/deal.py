"""One transfer with one provider, from the consumer's side."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import trio

from p2p.model.ad import CapacityAd
from p2p.model.blob import (
    LEAVES_BYTES_MAX,
    WINDOW_BYTES,
    GetOpen,
    Manifest,
    Obligation,
    Opened,
    Paid,
    Pay,
    PutOpen,
    Refused,
    is_acceptable,
    split_leaves,
)
from p2p.model.commands import SignReceipt, StoreReceipt, Work
from p2p.model.receipt import EPOCH_SKEW_MAX, ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.network.port import MessageStream
from p2p.node.blobs.moving import Read, Write, receive_chunks, send_chunks
from p2p.node.blobs.port import BlobNode
from p2p.node.blobs.session import (
    PeerFault,
    PeerRefused,
    Refusal,
    ask_receipt,
    checked_ad,
    checked_receipt,
    exchange,
    receive_message,
    send_message,
    send_raw,
    store_shown,
)
from p2p.node.blobs.wallet import Wallet
from p2p.primitives.digests import DIGEST_BYTES
from p2p.primitives.signing import Verified
from p2p.primitives.units import BlobId, ChannelId, Digest
from p2p.protocol.service import (
    Aborted,
    Began,
    ChunksMoved,
    ConsumerTransfer,
    Finish,
    KeepReceipt,
    MoveWindow,
    PaidReceived,
    Plan,
    ReceiptSigned,
    RefusedReceived,
    SendPay,
    SignWindow,
    Window,
    plan_get,
    plan_put,
    total_work,
)

Move = Callable[[Window, Callable[[int], None]], Awaitable[None]]


class DealLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Deadlines of the consuming side, in seconds, and its window in bytes."""

    window_bytes: int = WINDOW_BYTES
    answer_s: float = 15.0
    """For an answer to a request or a payment; the provider syncs its disk before the last."""
    complete_s: float = 60.0
    stall_s: float = 10.0
    """For one chunk."""
    lag_s: float = 15.0
    """How long a provider may be behind the block that holds our channel or deposit."""
    lag_poll_s: float = 0.5


class Shape(msgspec.Struct, frozen=True):
    """A blob that can be checked chunk by chunk."""

    manifest: Manifest
    leaves: tuple[Digest, ...]


class Debts:
    """What broken transfers left unpaid, by channel, as far as this process knows."""

    def __init__(self) -> None:
        self._known: dict[ChannelId, None] = {}
        self._asked: set[ChannelId] = set()

    def broke(self, channel: ChannelId) -> None:
        """A transfer ended early: its provider may ask for a window."""
        self._known[channel] = None

    def grants(self, channel: ChannelId, owed: Work, window_bytes: int) -> bool:
        """Whether to pay what a provider says we owe: one window, after a transfer that broke.

        What an earlier process of ours did is not known; so each channel gets the benefit of the
        doubt once.
        """
        if not owed:
            return True
        if owed.mib_epochs or owed.bytes_put + owed.bytes_get > window_bytes:
            return False
        if channel in self._known:
            del self._known[channel]
            return True
        if channel in self._asked:
            return False
        self._asked.add(channel)
        return True


class Deal:
    """A stream to a provider and a funded channel; good for one transfer."""

    def __init__(
        self,
        node: BlobNode,
        wallet: Wallet,
        debts: Debts,
        limits: DealLimits,
        *,
        stream: MessageStream,
        channel: ChannelId,
        ad: CapacityAd,
    ) -> None:
        """`ad` is the one that the provider was chosen by: nothing dearer is accepted."""
        self._node = node
        self._wallet = wallet
        self._debts = debts
        self._limits = limits
        self._stream = stream
        self._channel = channel
        self._chosen_ad = ad
        self._ad: Verified[CapacityAd] | None = None
        self.paid_before = node.replica.channels.promised(channel)

    @property
    def paid(self) -> int:
        """Micro-tokens signed for in this deal."""
        return self._node.replica.channels.promised(self._channel) - self.paid_before

    # ---- put and get -----------------------------------------------------------------------------

    async def put(
        self,
        manifest: Manifest,
        leaves: Sequence[Digest],
        *,
        epochs: int,
        name: str,
        read: Read,
        moved: Callable[[int], None],
    ) -> Obligation:
        """Store a blob; the obligation that both signed. Raises a session fault."""
        channels = self._node.replica.channels
        request = PutOpen(
            channel=self._channel,
            manifest=manifest,
            epochs=epochs,
            window_bytes=self._limits.window_bytes,
            receipt=channels.newest(self._channel),
        )
        opened = await self._open(request)
        if opened.manifest != manifest:
            raise PeerFault("it answered for another blob")
        plan = plan_put(manifest, epochs=epochs, window_bytes=opened.window_bytes)
        adds = Obligation(
            blob=manifest.blob,
            channel=self._channel,
            provider=self._chosen_ad.provider,
            consumer=self._node.account,
            size_bytes=manifest.size_bytes,
            until_epoch=opened.epoch + epochs,
            name=name,
        )
        owed = await self._agree(opened, plan)
        await send_raw(self._stream, b"".join(leaves), deadline_s=self._limits.stall_s)

        async def move(window: Window, count: Callable[[int], None]) -> None:
            await send_chunks(
                self._stream,
                manifest,
                window,
                read=read,
                moved=count,
                stall_s=self._limits.stall_s,
            )

        await self._run(ConsumerTransfer(plan, owed=owed, adds=adds), move, moved)
        return adds

    async def get(
        self,
        blob: BlobId,
        *,
        from_chunk: int,
        shape: Shape | None,
        learned: Callable[[Shape], None],
        write: Write,
        moved: Callable[[int], None],
    ) -> None:
        """Fetch a blob from a chunk onwards; `learned` hears its shape. Raises a session fault."""
        request = GetOpen(
            channel=self._channel,
            blob=blob,
            from_chunk=from_chunk,
            window_bytes=self._limits.window_bytes,
            leaves=shape is None,
            receipt=self._node.replica.channels.newest(self._channel),
        )
        opened = await self._open(request)
        manifest = opened.manifest
        if manifest.blob != blob or not is_acceptable(manifest):
            raise PeerFault("its manifest is not the blob's")
        plan = plan_get(manifest, from_chunk=from_chunk, window_bytes=opened.window_bytes)
        owed = await self._agree(opened, plan)
        if shape is None:
            shape = await self._leaves(manifest)
            learned(shape)
        leaves = shape.leaves

        async def move(window: Window, count: Callable[[int], None]) -> None:
            await receive_chunks(
                self._stream,
                manifest,
                window,
                leaves=leaves,
                write=write,
                moved=count,
                stall_s=self._limits.stall_s,
            )

        await self._run(ConsumerTransfer(plan, owed=owed), move, moved)

    async def _leaves(self, manifest: Manifest) -> Shape:
        size = max(manifest.chunks * DIGEST_BYTES, 1)
        data = await self._stream.receive(
            bytes_max=min(size, LEAVES_BYTES_MAX), deadline_s=self._limits.answer_s
        )
        leaves = split_leaves(manifest, data)
        if leaves is None:
            raise PeerFault("its leaves are not the blob's")
        return Shape(manifest, leaves)

    # ---- agreeing --------------------------------------------------------------------------------

    async def _open(self, request: PutOpen | GetOpen) -> Opened:
        """Ask until the provider's ledger has caught up with ours. Raises a session fault."""
        answer: object = None
        with trio.move_on_after(self._limits.lag_s):
            while True:
                try:
                    answer = await exchange(self._stream, request, deadline_s=self._limits.answer_s)
                    break
                except PeerRefused as error:
                    if error.refused.reason not in _LAGGING:
                        raise
                    answer = error
                await trio.sleep(self._limits.lag_poll_s)
        if isinstance(answer, PeerRefused):
            raise answer
        if not isinstance(answer, Opened):
            raise PeerFault("it did not open the transfer")
        return answer

    async def _agree(self, opened: Opened, plan: Plan) -> Work:
        """Check the provider's terms; what we owe from before. Raises a session fault."""
        ad = checked_ad(self._node, opened.ad)
        self._check_price(ad.value)
        channels = self._node.replica.channels
        if abs(opened.epoch - channels.epoch) > EPOCH_SKEW_MAX:
            raise PeerFault(f"it works on epoch {opened.epoch}, we on {channels.epoch}")
        if opened.window_bytes > self._limits.window_bytes:
            raise PeerFault("its window is larger than ours")
        if opened.receipt is not None and opened.receipt.channel != self._channel:
            raise PeerFault("it showed a receipt of another channel")
        await store_shown(self._node, opened.receipt)
        if opened.obligations_root != channels.root(self._channel, opened.epoch):
            self._wallet.spoil(self._channel)
            raise Refusal(Reason.OBLIGATIONS_DIFFER, "another channel is needed")
        owed = Work(opened.owed.bytes_put, opened.owed.bytes_get, opened.owed.mib_epochs)
        if not self._debts.grants(self._channel, owed, self._limits.window_bytes):
            raise PeerFault("it asks for pay that we do not owe")
        self._ad = ad
        work = total_work(plan) + owed
        price = ad.value.price.amount(
            bytes_put=work.bytes_put, bytes_get=work.bytes_get, mib_epochs=work.mib_epochs
        )
        if price > self._wallet.left(self._channel):
            raise Refusal(Reason.OVERSPENT, f"{price} micro-tokens are needed on the channel")
        return owed

    def _check_price(self, ad: CapacityAd) -> None:
        price, chosen = ad.price, self._chosen_ad.price
        if ad.provider != self._chosen_ad.provider:
            raise PeerFault("it showed another provider's ad")
        if (
            price.per_mib_put > chosen.per_mib_put
            or price.per_mib_get > chosen.per_mib_get
            or price.per_mib_epoch > chosen.per_mib_epoch
        ):
            raise Refusal(Reason.MISPRICED, "it became dearer than its ad")

    # ---- running ---------------------------------------------------------------------------------

    async def _run(
        self, transfer: ConsumerTransfer, move: Move, report: Callable[[int], None]
    ) -> None:
        effects = deque(transfer.step(Began()))

        def moved(count: int) -> None:
            effects.extend(transfer.step(ChunksMoved(count)))
            report(count)

        try:
            while True:
                effect = effects.popleft()
                match effect:
                    case MoveWindow(window=window):
                        await move(window, moved)
                    case SignWindow():
                        effects.extend(transfer.step(ReceiptSigned(await self._sign(effect))))
                    case SendPay(receipt=receipt):
                        effects.extend(transfer.step(await self._pay(receipt)))
                    case KeepReceipt(receipt=receipt):
                        await self._keep(receipt)
                    case Aborted(reason=reason, detail=detail):
                        if reason is Reason.OBLIGATIONS_DIFFER:
                            self._wallet.spoil(self._channel)
                        raise PeerRefused(Refused(reason, detail))
                    case Finish():
                        return
        except BaseException:
            if transfer.unpaid:
                self._debts.broke(self._channel)
            raise

    async def _sign(self, effect: SignWindow) -> ServiceReceipt:
        assert self._ad is not None, "terms come before work"
        ad, channel = self._ad, self._channel
        result = await ask_receipt(
            self._node,
            lambda ticket: SignReceipt(ticket, channel, ad, effect.work, effect.adds, effect.epoch),
        )
        if isinstance(result, Rejected):
            raise Refusal(result.reason, result.detail)
        return result

    async def _pay(self, receipt: ServiceReceipt) -> PaidReceived | RefusedReceived:
        await send_message(self._stream, Pay(receipt), deadline_s=self._limits.answer_s)
        answer = await receive_message(self._stream, deadline_s=self._limits.complete_s)
        match answer:
            case Paid(receipt=signed):
                checked_receipt(self._node, signed)
                return PaidReceived(signed)
            case Refused(reason=reason, detail=detail, epoch=epoch):
                return RefusedReceived(reason, detail, epoch)
            case _:
                raise PeerFault(f"{type(answer).__name__} instead of a receipt")

    async def _keep(self, receipt: ServiceReceipt) -> None:
        verified = checked_receipt(self._node, receipt)
        result = await ask_receipt(self._node, lambda ticket: StoreReceipt(ticket, verified))
        if isinstance(result, Rejected):
            raise PeerFault(f"a receipt that we cannot keep: {result.reason.value}")


_LAGGING = frozenset({Reason.UNKNOWN_CHANNEL, Reason.OVERSPENT, Reason.BUSY})
"""Refusals that a block may end: the provider has not seen our channel or deposit yet."""
