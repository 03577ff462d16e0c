"""The providing side: stores, serves and counts, one window ahead of its pay at most."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import trio

from p2p.model.ad import CapacityAd
from p2p.model.blob import (
    LEAVES_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    WINDOW_BYTES,
    Find,
    Found,
    GetOpen,
    Manifest,
    Obligation,
    Opened,
    Owed,
    PutOpen,
    Refused,
    Renew,
    is_acceptable,
    split_leaves,
)
from p2p.model.commands import NO_WORK, Work
from p2p.model.ledger import Channel
from p2p.model.rejection import Reason
from p2p.network.port import MessageStream
from p2p.node.blobs.carrying import Carrier, Complete, Move, Moved, is_pay
from p2p.node.blobs.moving import receive_chunks, send_chunks
from p2p.node.blobs.port import BlobNode
from p2p.node.blobs.session import (
    SESSION_FAULTS,
    Refusal,
    describe,
    receive_message,
    send_message,
    send_raw,
    store_shown,
)
from p2p.primitives.keys import account_of, peer_text
from p2p.primitives.units import BlobId, ChannelId, PeerId
from p2p.protocol.service import (
    Plan,
    ProviderTransfer,
    Window,
    agree_window,
    plan_get,
    plan_put,
    total_work,
)
from p2p.storage.blobs import BlobFault, BlobFiles, BlobWriter, NoSpace

log = logging.getLogger(__name__)

DEBTS_MAX: Final = 10_000
"""Channels whose unpaid window we remember; the oldest is forgiven beyond it."""


class ProviderLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds and deadlines of the providing side. Sizes in bytes, times in seconds."""

    sessions_max: int = 256
    sessions_per_peer_max: int = 8
    transfers_max: int = 32
    window_bytes: int = WINDOW_BYTES
    idle_s: float = 30.0
    """Between two requests on a stream."""
    stall_s: float = 20.0
    """For one chunk or message to come or go."""
    pay_s: float = 30.0
    """For the consumer to sign a window."""


Renewed = Callable[[MessageStream, Renew], Awaitable[None]]


class BlobProvider:
    """Serves `/gigmesh/blob/1` from a folder of blobs."""

    def __init__(
        self,
        node: BlobNode,
        files: BlobFiles,
        limits: ProviderLimits | None = None,
        *,
        on_renew: Renewed | None = None,
    ) -> None:
        """`on_renew` answers providers who ask us, their consumer, to date a receipt anew."""
        self._node = node
        self._files = files
        self._limits = limits or ProviderLimits()
        self._on_renew = on_renew
        self._sessions: dict[PeerId, int] = {}
        self._busy: set[ChannelId] = set()
        self._landing: list[Manifest] = []
        """Blobs between being complete and being owed."""
        self._debts: dict[ChannelId, Work] = {}

    @property
    def is_busy(self) -> bool:
        """Whether a transfer is under way."""
        return bool(self._busy)

    # ---- sessions --------------------------------------------------------------------------------

    async def serve(self, stream: MessageStream) -> None:
        """Answer one stream until it ends. Raises nothing but cancellation."""
        mine = self._sessions.get(stream.peer, 0)
        limits = self._limits
        if (
            mine >= limits.sessions_per_peer_max
            or sum(self._sessions.values()) >= limits.sessions_max
        ):
            await stream.reset()
            return
        self._sessions[stream.peer] = mine + 1
        try:
            while True:
                await self._answer(stream)
        except SESSION_FAULTS as error:
            log.debug("blob session with %s ended: %s", peer_text(stream.peer), describe(error))
        finally:
            self._sessions[stream.peer] -= 1
            if not self._sessions[stream.peer]:
                del self._sessions[stream.peer]
            await stream.close()

    async def _answer(self, stream: MessageStream) -> None:
        request = await receive_message(stream, deadline_s=self._limits.idle_s)
        try:
            match request:
                case Find():
                    await self._find(stream, request)
                case PutOpen():
                    await self._put(stream, request)
                case GetOpen():
                    await self._get(stream, request)
                case Renew() if self._on_renew is not None:
                    await self._on_renew(stream, request)
                case _:
                    raise Refusal(Reason.MALFORMED, f"{type(request).__name__} is no request")
        except Refusal as refusal:
            await self._refuse(stream, refusal.refused)
        except NoSpace as error:
            await self._refuse(stream, Refused(Reason.NO_SPACE, str(error)))
        except BlobFault as error:
            log.warning("%s", error)
            await self._refuse(stream, Refused(Reason.DISK_FAULT))

    async def _refuse(self, stream: MessageStream, refused: Refused) -> None:
        await send_message(stream, refused, deadline_s=self._limits.stall_s)

    async def _find(self, stream: MessageStream, request: Find) -> None:
        found = Found(self._held(request.blob), self.own_ad())
        await send_message(stream, found, deadline_s=self._limits.stall_s)

    # ---- what we agree to ----------------------------------------------------------------------

    def _held(self, blob: BlobId) -> Manifest:
        for known in self._node.replica.channels.obligations.of_blob(blob):
            manifest = self._files.manifest(known.blob)
            if manifest is not None and known.provider == self._node.account:
                return manifest
        raise Refusal(Reason.UNKNOWN_BLOB)

    def landing(self) -> tuple[BlobId, ...]:
        """Blobs between being complete and being owed: not to be let go."""
        return tuple(manifest.blob for manifest in self._landing)

    def own_ad(self) -> CapacityAd:
        """The ad at whose prices we work now. Raises Refusal."""
        ad = self._node.replica.registry.get(self._node.account)
        if ad is None:
            raise Refusal(Reason.NOT_ACCEPTING, "no offer yet")
        return ad.value

    def _channel(self, stream: MessageStream, channel: ChannelId) -> Channel:
        ledger = self._node.replica.state.channels.get(channel)
        if ledger is None:
            raise Refusal(Reason.UNKNOWN_CHANNEL)
        if (ledger.consumer, ledger.provider) != (account_of(stream.peer), self._node.account):
            raise Refusal(Reason.WRONG_PARTY)
        if ledger.closing_height:
            raise Refusal(Reason.CHANNEL_CLOSED, f"in block {ledger.closing_height}")
        return ledger

    def _takes(self, request: PutOpen, ad: CapacityAd) -> None:
        """Whether we take a new blob. Raises Refusal."""
        epoch = self._node.replica.channels.epoch
        if not ad.accepting or 0 < ad.drain_epoch <= epoch:
            raise Refusal(Reason.NOT_ACCEPTING)
        if not is_acceptable(request.manifest) or request.manifest.size_bytes > ad.blob_bytes_max:
            raise Refusal(Reason.TOO_LARGE, f"at most {ad.blob_bytes_max} bytes")

    @contextmanager
    def one_transfer(self, channel: ChannelId) -> Iterator[None]:
        """Keep a channel for oneself. Raises Refusal."""
        if channel in self._busy or len(self._busy) >= self._limits.transfers_max:
            raise Refusal(Reason.BUSY)
        self._busy.add(channel)
        try:
            yield
        finally:
            self._busy.discard(channel)

    async def _open(
        self, stream: MessageStream, request: PutOpen | GetOpen, ad: CapacityAd, plan: Plan
    ) -> Opened:
        """Agree on a plan, with enough money behind it. Raises Refusal, PeerFault, StreamClosed."""
        channel = request.channel
        if request.receipt is not None and request.receipt.channel != channel:
            raise Refusal(Reason.WRONG_PARTY, "a receipt of another channel")
        await store_shown(self._node, request.receipt)
        channels = self._node.replica.channels
        newest = channels.newest(channel)
        owed = self._debts.get(channel, NO_WORK)
        work = total_work(plan) + owed
        price = ad.price.amount(
            bytes_put=work.bytes_put, bytes_get=work.bytes_get, mib_epochs=work.mib_epochs
        )
        deposit = self._channel(stream, channel).deposit
        if price + (newest.amount if newest else 0) > deposit:
            raise Refusal(Reason.OVERSPENT, f"the transfer costs {price}")
        epoch = channels.epoch_wanted(channel)
        opened = Opened(
            ad=ad,
            manifest=plan.manifest,
            epoch=epoch,
            window_bytes=plan.window_bytes,
            receipt=newest,
            obligations_root=channels.root(channel, epoch),
            owed=Owed(owed.bytes_put, owed.bytes_get, owed.mib_epochs),
        )
        await send_message(stream, opened, deadline_s=self._limits.stall_s)
        return opened

    # ---- put and get ---------------------------------------------------------------------------

    async def _put(self, stream: MessageStream, request: PutOpen) -> None:
        self._channel(stream, request.channel)
        ad, manifest = self.own_ad(), request.manifest
        self._takes(request, ad)
        window_bytes = agree_window(
            manifest.chunk_bytes, self._limits.window_bytes, request.window_bytes
        )
        plan = plan_put(manifest, epochs=request.epochs, window_bytes=window_bytes)
        with self.one_transfer(request.channel):
            writer = await trio.to_thread.run_sync(self._files.begin, manifest)
            with writer:
                opened = await self._open(stream, request, ad, plan)
                try:
                    await self._store(stream, request, opened, plan, writer)
                except (Refusal, BlobFault):
                    # The consumer listens after its window: hear it out, or the reason is lost.
                    with trio.move_on_after(self._limits.stall_s):
                        await self._drain(stream, plan)
                    raise

    async def _store(
        self,
        stream: MessageStream,
        request: PutOpen,
        opened: Opened,
        plan: Plan,
        writer: BlobWriter,
    ) -> None:
        manifest, stall_s = plan.manifest, self._limits.stall_s
        data = await stream.receive(bytes_max=LEAVES_BYTES_MAX, deadline_s=stall_s)
        leaves = split_leaves(manifest, data)
        if leaves is None:
            raise Refusal(Reason.WRONG_CONTENT, "the leaves")
        known = leaves
        consumer = account_of(stream.peer)
        assert consumer is not None, "it is the channel's consumer"
        adds = Obligation(
            blob=manifest.blob,
            channel=request.channel,
            provider=self._node.account,
            consumer=consumer,
            size_bytes=manifest.size_bytes,
            until_epoch=opened.epoch + request.epochs,
        )

        async def move(window: Window, moved: Moved) -> None:
            await receive_chunks(
                stream,
                manifest,
                window,
                leaves=known,
                write=writer.write,
                moved=moved,
                stall_s=stall_s,
            )

        async def complete() -> None:
            self._landing.append(manifest)
            await trio.to_thread.run_sync(writer.complete, data)

        transfer = ProviderTransfer(plan, owed=_debt(opened), adds=adds)
        try:
            await self._carry(stream, request.channel, opened, transfer, move, complete)
        finally:
            self._landing = [one for one in self._landing if one is not manifest]

    async def _drain(self, stream: MessageStream, plan: Plan) -> None:
        for _ in range(plan.window_chunks + 1):
            data = await stream.receive(
                bytes_max=max(plan.manifest.chunk_bytes, MESSAGE_BYTES_MAX),
                deadline_s=self._limits.stall_s,
            )
            if is_pay(data):
                return

    async def _get(self, stream: MessageStream, request: GetOpen) -> None:
        self._channel(stream, request.channel)
        ad, manifest = self.own_ad(), self._held(request.blob)
        if request.from_chunk > manifest.chunks:
            raise Refusal(Reason.MALFORMED, f"the blob has {manifest.chunks} chunks")
        window_bytes = agree_window(
            manifest.chunk_bytes, self._limits.window_bytes, request.window_bytes
        )
        plan = plan_get(manifest, from_chunk=request.from_chunk, window_bytes=window_bytes)
        stall_s = self._limits.stall_s
        with self.one_transfer(request.channel), self._files.open(manifest.blob) as reader:
            opened = await self._open(stream, request, ad, plan)
            if request.leaves:
                leaves = await trio.to_thread.run_sync(self._files.leaves, manifest.blob)
                await send_raw(stream, leaves, deadline_s=stall_s)

            async def move(window: Window, moved: Moved) -> None:
                await send_chunks(
                    stream, manifest, window, read=reader.read, moved=moved, stall_s=stall_s
                )

            transfer = ProviderTransfer(plan, owed=_debt(opened))
            await self._carry(stream, request.channel, opened, transfer, move, None)

    async def _carry(
        self,
        stream: MessageStream,
        channel: ChannelId,
        opened: Opened,
        transfer: ProviderTransfer,
        move: Move,
        complete: Complete | None,
    ) -> None:
        carrier = Carrier(
            self._node,
            stream,
            opened.ad,
            stall_s=self._limits.stall_s,
            pay_s=self._limits.pay_s,
        )
        try:
            await carrier.run(transfer, move, complete)
        finally:
            self._remember(channel, transfer.unpaid)

    def _remember(self, channel: ChannelId, unpaid: Work) -> None:
        """What a broken transfer left unpaid is asked for when the channel is next used."""
        self._debts.pop(channel, None)
        if unpaid:
            self._debts[channel] = unpaid
        if len(self._debts) > DEBTS_MAX:
            del self._debts[next(iter(self._debts))]


def _debt(opened: Opened) -> Work:
    owed = opened.owed
    return Work(owed.bytes_put, owed.bytes_get, owed.mib_epochs)
