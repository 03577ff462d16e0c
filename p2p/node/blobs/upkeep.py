"""Following the chain: unpaid blobs are let go, and late receipts are dated anew.

A receipt that could not be settled in time (a partition, say) is worth nothing until a newer one
carries its amount. No work may be coming, so its provider asks the consumer for a later date:

    provider                    consumer
    Renew(newest, epoch)  -->   the same counters and amount, next seq, that epoch
                          <--   Pay
    Paid                  -->
"""

import logging
from typing import Final

import trio

from p2p.model.blob import Paid, Pay, Renew
from p2p.model.commands import NO_WORK, SignReceipt, StoreReceipt
from p2p.model.receipt import EPOCH_SKEW_MAX, ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.network.port import MessageStream
from p2p.node.blobs.carrying import countersign
from p2p.node.blobs.port import BlobNode
from p2p.node.blobs.provider import BlobProvider
from p2p.node.blobs.session import (
    SESSION_FAULTS,
    PeerFault,
    Refusal,
    ask_receipt,
    checked_ad,
    checked_receipt,
    describe,
    exchange,
    open_session,
    receive_message,
    send_message,
    store_shown,
)
from p2p.node.blobs.wallet import Wallet
from p2p.primitives.keys import peer_id_of
from p2p.primitives.units import AccountId
from p2p.protocol.interface import Committed
from p2p.storage.blobs import BlobFault, BlobFiles

log = logging.getLogger(__name__)

RENEWALS_MAX: Final = 16
"""Consumers asked at once."""
RENEWAL_S: Final = 10.0
"""For each message."""


class Upkeep:
    """What a provider does after each commit."""

    def __init__(self, node: BlobNode, files: BlobFiles, provider: BlobProvider) -> None:
        self._node = node
        self._files = files
        self._provider = provider

    async def run(self) -> None:
        """Follow commits until cancelled. Nothing is removed before the first one."""
        async with self._node.events() as events:
            async for event in events:
                if isinstance(event, Committed):
                    await self.tidy()
                    await self.renew()

    async def tidy(self) -> None:
        """Remove blobs that we owe to nobody."""
        account, channels = self._node.account, self._node.replica.channels
        owed = {held.blob for held in channels.obligations if held.provider == account}
        owed.update(self._provider.landing())
        try:
            for blob in self._files.blobs():
                if blob not in owed:
                    await trio.to_thread.run_sync(self._files.remove, blob)
        except BlobFault as error:
            log.warning("%s", error)

    async def renew(self) -> None:
        """Ask consumers for a later date on receipts that were too late to settle."""
        stale = self._node.replica.channels.stale()
        async with trio.open_nursery() as nursery:
            for receipt in stale[:RENEWALS_MAX]:
                nursery.start_soon(self._renew, receipt)

    async def _renew(self, receipt: ServiceReceipt) -> None:
        try:
            with self._provider.one_transfer(receipt.channel):
                async with open_session(
                    self._node.transport,
                    peer_id_of(receipt.consumer),
                    self._addresses_of(receipt.consumer),
                    deadline_s=RENEWAL_S,
                ) as stream:
                    await self._ask(stream, receipt)
        except SESSION_FAULTS as error:
            log.debug("no later date for channel %s: %s", receipt.channel.hex(), describe(error))

    def _addresses_of(self, consumer: AccountId) -> tuple[str, ...]:
        """Where to dial a consumer: a partition may have ended the connection that it opened."""
        replica = self._node.replica
        return replica.registry.addresses_of(consumer) or replica.membership.addresses_of(consumer)

    async def _ask(self, stream: MessageStream, receipt: ServiceReceipt) -> None:
        ad = self._provider.own_ad()
        epoch = self._node.replica.channels.epoch_wanted(receipt.channel)
        answer = await exchange(stream, Renew(ad, receipt, epoch), deadline_s=RENEWAL_S)
        if not isinstance(answer, Pay) or answer.receipt.channel != receipt.channel:
            raise PeerFault("no pay for the channel")
        result = await countersign(self._node, answer.receipt, ad, NO_WORK, None)
        if isinstance(result, Rejected):
            raise Refusal(result.reason, result.detail)
        await send_message(stream, Paid(result), deadline_s=RENEWAL_S)


class Renewer:
    """The consumer's answer: it costs nothing, since the amount was agreed on before."""

    def __init__(self, node: BlobNode, wallet: Wallet) -> None:
        self._node = node
        self._wallet = wallet

    async def renew(self, stream: MessageStream, request: Renew) -> None:
        """Sign the channel's newest receipt for a later epoch. Raises a session fault."""
        channel, node = request.receipt.channel, self._node
        if peer_id_of(request.receipt.provider) != stream.peer:
            raise Refusal(Reason.WRONG_PARTY)
        if self._wallet.is_in_use(request.receipt.provider):
            raise Refusal(Reason.BUSY)
        epoch = request.epoch
        if abs(epoch - node.replica.channels.epoch) > EPOCH_SKEW_MAX:
            raise Refusal(Reason.WRONG_EPOCH)
        ad = checked_ad(node, request.ad)
        await store_shown(node, request.receipt)
        signed = await ask_receipt(
            node, lambda ticket: SignReceipt(ticket, channel, ad, NO_WORK, None, epoch)
        )
        if isinstance(signed, Rejected):
            raise Refusal(signed.reason, signed.detail)
        await send_message(stream, Pay(signed), deadline_s=RENEWAL_S)
        answer = await receive_message(stream, deadline_s=RENEWAL_S)
        if not isinstance(answer, Paid):
            raise PeerFault("no receipt came back")
        verified = checked_receipt(node, answer.receipt)
        await ask_receipt(node, lambda ticket: StoreReceipt(ticket, verified))
