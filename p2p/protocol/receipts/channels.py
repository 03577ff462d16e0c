"""Receipts between a consumer and a provider: who owes what, durable before it is said.

One channel, one chain of receipts, cumulative. The consumer signs first, the provider second:

    consumer                                       provider
    SignReceipt   -> Persist(promise), Reply  -->  AcceptReceipt -> Persist(receipt), Reply
    StoreReceipt  -> Persist(receipt), Reply  <--
                                                   BlockCommitted -> PublishReceipt ... settled

A promise is a receipt that we signed as consumer and do not know to be counter-signed. It is never
signed over: the next one takes a higher seq, and what the promise paid for is credit towards it,
since counters are the larger of "agreed + new work" and "promised". So whatever breaks, and whoever
lies, a consumer is out by one window at most, and no seq ever has two bodies of ours (I3, I9).

A receipt's epoch is the height being worked on. When that height is committed the provider
publishes the channel's newest receipt, and again after each commit until the ledger shows it
settled or it is too late for it; then it accepts no further receipt of that epoch, since the ledger
settles one a channel and epoch. A receipt that is accepted just after its height is published at
once: the next block may be the last that settles it. What came too late rides on the next receipt.
Where that, too, came too late, receipts are dated ahead and published at once until one settles:
blocks may come so fast that nothing published after its height, or renewed in it, is in time.
"""

from collections.abc import Iterator, Mapping
from typing import Final, assert_never

import msgspec

from p2p.model.blob import Obligation
from p2p.model.commands import (
    AcceptReceipt,
    DropObligation,
    ReceiptCommand,
    RecordObligation,
    Reply,
    SignReceipt,
    StoreReceipt,
)
from p2p.model.effects import Persist
from p2p.model.ledger import Channel
from p2p.model.parameters import Parameters
from p2p.model.persistence import Delete, Put, Table, Write
from p2p.model.receipt import ServiceReceipt, sign_as_consumer, sign_as_provider
from p2p.model.rejection import Reason, Rejected
from p2p.primitives.codec import encode
from p2p.primitives.signing import Signer
from p2p.primitives.units import AccountId, ChannelId, Digest, Height
from p2p.protocol.receipts.book import (
    NO_RECORD,
    ChannelRecord,
    Obligations,
    decode_obligation,
    decode_record,
    obligation_key,
)
from p2p.protocol.receipts.publishing import Publications
from p2p.protocol.receipts.rules import (
    cover_refusal,
    draft_receipt,
    party_refusal,
    sign_refusal,
    store_refusal,
)

CHANNELS_MAX: Final = 10_000
"""Channels remembered: each costs its consumer a deposit and a fee, and us about 1 KiB."""
OBLIGATIONS_MAX: Final = 200_000
"""Blobs remembered, held and placed together."""


class BlockCommitted(msgspec.Struct, frozen=True):
    """A block is final; `channels` is the ledger after it."""

    height: Height
    channels: Mapping[ChannelId, Channel]


class Restored(msgspec.Struct, frozen=True):
    """The first input: what was on disk, and the ledger as it stands."""

    height: Height
    channels: Mapping[ChannelId, Channel]
    receipts: tuple[tuple[bytes, bytes], ...] = ()
    obligations: tuple[tuple[bytes, bytes], ...] = ()


ReceiptsInput = ReceiptCommand | BlockCommitted | Restored


class PublishReceipt(msgspec.Struct, frozen=True):
    """Gossip a receipt that waits to be settled."""

    receipt: ServiceReceipt


ReceiptsEffect = Persist | Reply | PublishReceipt


class Channels:
    """All channels of one account, in both roles."""

    def __init__(
        self, me: AccountId, signer: Signer, chain_id: Digest, parameters: Parameters
    ) -> None:
        self._me = me
        self._signer = signer
        self._chain_id = chain_id
        self._late_epochs = parameters.receipt_late_epochs
        self._height = Height(0)
        self._ledger: Mapping[ChannelId, Channel] = {}
        self._records: dict[ChannelId, ChannelRecord] = {}
        self._published = Publications(self._late_epochs)
        self._obligations = Obligations()

    def step(self, item: ReceiptsInput, now_ms: int) -> list[ReceiptsEffect]:
        """Take one input. Commands are answered at once."""
        match item:
            case SignReceipt():
                return self._sign(item, now_ms)
            case AcceptReceipt():
                return self._accept(item)
            case StoreReceipt():
                return self._store(item)
            case RecordObligation():
                return self._record_obligation(item)
            case DropObligation():
                return self._drop_obligation(item)
            case BlockCommitted():
                return self._commit(item)
            case Restored():
                self._restore(item)
                return []
            case _:
                assert_never(item)

    # ---- to read ---------------------------------------------------------------------------------

    @property
    def epoch(self) -> Height:
        """The height being worked on, as far as this node knows."""
        return Height(self._height + 1)

    @property
    def obligations(self) -> Obligations:
        """Blobs held and blobs placed. To read."""
        return self._obligations

    def records(self) -> Iterator[tuple[ChannelId, ChannelRecord]]:
        """Channels with a receipt, in the order of their first."""
        return iter(self._records.items())

    def record(self, channel: ChannelId) -> ChannelRecord:
        """What is known of a channel; empty for an unknown one."""
        return self._records.get(channel, NO_RECORD)

    def newest(self, channel: ChannelId) -> ServiceReceipt | None:
        """The newest receipt that both signed."""
        return self.record(channel).receipt

    def promised(self, channel: ChannelId) -> int:
        """Amount that we signed for or agreed on, in micro-tokens."""
        record = self.record(channel)
        return max(receipt.amount if receipt else 0 for receipt in (record.receipt, record.promise))

    def root(self, channel: ChannelId, epoch: int, adds: Obligation | None = None) -> Digest:
        """Root of what is owed on a channel in an epoch, after `adds`."""
        return self._obligations.root(channel, epoch, adds)

    def epoch_wanted(self, channel: ChannelId) -> Height:
        """Provider: the epoch that the channel's next receipt should have."""
        newest, ledger = self.newest(channel), self._ledger.get(channel)
        floors = [
            Height(self.epoch + self._published.epochs_ahead(channel)),
            Height(self._published.last(channel) + 1),
        ]
        if newest is not None:
            floors.append(newest.epoch)
        if ledger is not None:
            floors.append(Height(ledger.last_settled_epoch + 1))
        return max(floors)

    def stale(self) -> tuple[ServiceReceipt, ...]:
        """Provider: newest receipts that came too late and wait to be dated anew."""
        found = []
        for channel, record in self._records.items():
            receipt, ledger = record.receipt, self._ledger.get(channel)
            if receipt is None or receipt.provider != self._me or ledger is None:
                continue
            late = self.epoch > receipt.epoch + self._late_epochs
            if late and receipt.amount > ledger.settled and not ledger.closing_height:
                found.append(receipt)
        return tuple(found)

    def misses(self, channel: ChannelId) -> int:
        """Provider: how often what was published came too late since one settled."""
        return self._published.misses(channel)

    # ---- commands --------------------------------------------------------------------------------

    def _sign(self, item: SignReceipt, now_ms: int) -> list[ReceiptsEffect]:
        ledger = self._ledger.get(item.channel)
        if ledger is None:
            return _refuse(item.ticket, Reason.UNKNOWN_CHANNEL)
        if item.channel not in self._records and len(self._records) >= CHANNELS_MAX:
            return _refuse(item.ticket, Reason.TOO_MANY, "channels")
        record = self.record(item.channel)
        epoch = self._epoch_to_sign(record) if item.epoch is None else item.epoch
        refusal = sign_refusal(
            item, record, ledger, me=self._me, epoch=epoch, current=self.epoch, now_ms=now_ms
        )
        if refusal is not None:
            return [Reply(item.ticket, refusal)]
        draft = draft_receipt(
            item,
            record,
            ledger,
            chain_id=self._chain_id,
            epoch=epoch,
            obligations_root=self.root(item.channel, epoch, item.adds),
        )
        if isinstance(draft, Rejected):
            return [Reply(item.ticket, draft)]
        promise = sign_as_consumer(draft, self._signer)
        write = self._keep(
            item.channel, ChannelRecord(record.receipt, promise=promise, pending=item.adds)
        )
        return [Persist((write,)), Reply(item.ticket, promise)]

    def _epoch_to_sign(self, record: ChannelRecord) -> Height:
        floors = [receipt.epoch for receipt in (record.receipt, record.promise) if receipt]
        return max([self.epoch, *floors])

    def _accept(self, item: AcceptReceipt) -> list[ReceiptsEffect]:
        receipt = item.receipt.value
        refusal = self._receipt_refusal(receipt)
        if refusal is None and receipt.provider != self._me:
            refusal = Rejected(Reason.WRONG_PARTY, "another's receipt")
        if refusal is not None:
            return [Reply(item.ticket, refusal)]
        ledger = self._ledger[receipt.channel]
        newest = self.newest(receipt.channel)
        if newest is not None and newest.consumer_body() == receipt.consumer_body():
            if item.work or item.adds is not None:
                return _refuse(item.ticket, Reason.UNPAID, "the receipt was used before")
            return [Reply(item.ticket, newest)]
        refusal = (
            cover_refusal(receipt, newest, ad=item.ad, work=item.work, ledger=ledger)
            or self._epoch_refusal(receipt, ledger)
            or self._root_refusal(receipt, item.adds)
        )
        if refusal is not None:
            return [Reply(item.ticket, refusal)]
        signed = sign_as_provider(receipt, self._signer)
        writes = [self._keep(receipt.channel, ChannelRecord(signed))]
        if item.adds is not None:
            writes.append(self._owe(item.adds))
        # Its height may be committed: at the next commit it can be too late for it.
        published = self._publish(signed, ledger)
        return [Persist(tuple(writes)), *published, Reply(item.ticket, signed)]

    def _receipt_refusal(self, receipt: ServiceReceipt) -> Rejected | None:
        ledger = self._ledger.get(receipt.channel)
        if ledger is None:
            return Rejected(Reason.UNKNOWN_CHANNEL)
        if receipt.channel not in self._records and len(self._records) >= CHANNELS_MAX:
            return Rejected(Reason.TOO_MANY, "channels")
        return party_refusal(receipt, ledger, me=self._me, chain_id=self._chain_id)

    def _epoch_refusal(self, receipt: ServiceReceipt, ledger: Channel) -> Rejected | None:
        """A provider takes its current epoch, one to either side, and never one it published."""
        wanted = self.epoch_wanted(receipt.channel)
        oldest = self._oldest_open(receipt.channel, ledger)
        newest = max(wanted, self.epoch + 1)
        if not oldest <= receipt.epoch <= newest:
            return Rejected(Reason.WRONG_EPOCH, f"epoch {receipt.epoch}; sign for {wanted}")
        last = ledger.closing_height + self._late_epochs
        if ledger.closing_height and max(receipt.epoch, self.epoch) > last:
            return Rejected(Reason.CHANNEL_CLOSED, f"in block {ledger.closing_height}")
        return None

    def _oldest_open(self, channel: ChannelId, ledger: Channel) -> int:
        newest = self.newest(channel)
        return max(
            self._height,
            newest.epoch if newest else 0,
            self._published.last(channel) + 1,
            ledger.last_settled_epoch + 1,
        )

    def _root_refusal(self, receipt: ServiceReceipt, adds: Obligation | None) -> Rejected | None:
        if adds is not None:
            if (adds.channel, adds.provider) != (receipt.channel, receipt.provider):
                return Rejected(Reason.WRONG_PARTY, "the blob is of another channel")
            if len(self._obligations) >= OBLIGATIONS_MAX:
                return Rejected(Reason.TOO_MANY, "blobs")
        if receipt.obligations_root != self.root(receipt.channel, receipt.epoch, adds):
            return Rejected(Reason.OBLIGATIONS_DIFFER)
        return None

    def _store(self, item: StoreReceipt) -> list[ReceiptsEffect]:
        receipt = item.receipt.value
        refusal = self._receipt_refusal(receipt)
        if refusal is not None:
            return [Reply(item.ticket, refusal)]
        record = self.record(receipt.channel)
        if record.receipt == receipt:
            return [Reply(item.ticket, receipt)]
        refusal = store_refusal(receipt, record)
        if refusal is not None:
            return [Reply(item.ticket, refusal)]
        promise, pending = record.promise, record.pending
        writes: list[Write] = []
        if promise is not None and receipt.seq >= promise.seq:
            if pending is not None and receipt.seq == promise.seq:
                writes.append(self._owe(pending))
            promise = pending = None
        writes.insert(0, self._keep(receipt.channel, ChannelRecord(receipt, promise, pending)))
        return [Persist(tuple(writes)), Reply(item.ticket, receipt)]

    def _record_obligation(self, item: RecordObligation) -> list[ReceiptsEffect]:
        held = item.obligation
        if self._me not in (held.provider, held.consumer):
            return _refuse(item.ticket, Reason.WRONG_PARTY, "neither held nor placed by us")
        if len(self._obligations) >= OBLIGATIONS_MAX:
            return _refuse(item.ticket, Reason.TOO_MANY, "blobs")
        return [Persist((self._owe(held),)), Reply(item.ticket, held)]

    def _drop_obligation(self, item: DropObligation) -> list[ReceiptsEffect]:
        held = self._obligations.get(item.channel, item.blob)
        if held is None:
            return [Reply(item.ticket, False)]
        return [Persist((self._release(held),)), Reply(item.ticket, True)]

    # ---- blocks ----------------------------------------------------------------------------------

    def _commit(self, item: BlockCommitted) -> list[ReceiptsEffect]:
        before, self._height, self._ledger = self._ledger, item.height, item.channels
        # A ledger rebuilt from a damaged disk may not have come to a channel's opening yet.
        gone = [one for one in self._records if one in before and one not in item.channels]
        writes: list[Write] = [self._forget(channel) for channel in gone]
        # A receipt of an epoch up to `late` ago may still be signed or settled for.
        expired = [
            held for held in self._obligations if held.until_epoch + self._late_epochs < self.epoch
        ]
        writes += [self._release(held) for held in expired]
        effects: list[ReceiptsEffect] = [Persist(tuple(writes))] if writes else []
        for channel, record in self._records.items():
            receipt = record.receipt
            ledger = item.channels.get(channel)
            if receipt is not None and ledger is not None:
                self._published.follow(channel, ledger, item.height)
                effects += self._publish(receipt, ledger)
        return effects

    def _publish(self, receipt: ServiceReceipt, ledger: Channel) -> list[PublishReceipt]:
        """Publish our receipt if it is due; no other receipt of its epoch is accepted then."""
        if not self._is_due(receipt, ledger):
            return []
        self._published.note(receipt.channel, receipt.epoch, ledger)
        return [PublishReceipt(receipt)]

    def _is_due(self, receipt: ServiceReceipt, ledger: Channel) -> bool:
        """Whether a block that comes soon can settle our receipt, and none has."""
        ahead = self._published.epochs_ahead(receipt.channel)
        latest = self.epoch + ahead if ahead else self._height
        if ledger.closing_height:
            latest = receipt.epoch  # No more work is to come, and there is little time.
        return (
            receipt.provider == self._me
            and receipt.amount > ledger.settled
            and receipt.epoch <= latest
            and self.epoch <= receipt.epoch + self._late_epochs
        )

    def _restore(self, item: Restored) -> None:
        self._height, self._ledger = item.height, item.channels
        for key, data in item.receipts:
            channel, record = ChannelId(key), decode_record(data)
            self._records[channel] = record
            if record.receipt is not None and record.receipt.epoch <= item.height:
                # Perhaps published before: a second receipt of that epoch would never settle.
                self._published.restore(channel, record.receipt.epoch)
        for _, data in item.obligations:
            self._obligations.put(decode_obligation(data))

    # ---- memory, each change with its write ------------------------------------------------------

    def _keep(self, channel: ChannelId, record: ChannelRecord) -> Write:
        self._records[channel] = record
        return Put(Table.RECEIPTS, channel, encode(record))

    def _forget(self, channel: ChannelId) -> Write:
        del self._records[channel]
        self._published.forget(channel)
        return Delete(Table.RECEIPTS, channel)

    def _owe(self, held: Obligation) -> Write:
        self._obligations.put(held)
        return Put(Table.OBLIGATIONS, obligation_key(held), encode(held))

    def _release(self, held: Obligation) -> Write:
        self._obligations.drop(held.channel, held.blob)
        return Delete(Table.OBLIGATIONS, obligation_key(held))


def _refuse(ticket: int, reason: Reason, detail: str = "") -> list[ReceiptsEffect]:
    return [Reply(ticket, Rejected(reason, detail))]
