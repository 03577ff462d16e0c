"""One's own reward, worked out again from receipts, rows and a header that is trusted.

A settlement proves that a block took a receipt and made a row of it. The rest is arithmetic that
anybody can do: both parties signed the receipt; the row continues what the channel had settled;
its parts are what the pair formula makes of the amount.
"""

from collections.abc import Iterable, Sequence

import msgspec

from p2p.model.block import Header, ValidatorSet
from p2p.model.ledger import RewardRow
from p2p.model.light import Rows, Settlement
from p2p.model.parameters import Parameters
from p2p.model.receipt import ServiceReceipt
from p2p.model.rewards import shares, split
from p2p.primitives.codec import encode
from p2p.primitives.digests import digest
from p2p.primitives.signing import SignatureScheme, SignedKind
from p2p.primitives.units import AccountId, Amount, ChannelId, Height


class Earned(msgspec.Struct, frozen=True):
    """What an account got out of the blocks that were looked at; all of it proven."""

    provided: Amount
    """Received for its work, as a provider."""
    spent: Amount
    """Settled from its deposits, as a consumer."""
    validated: Amount
    """Its share of the fees, as a validator."""


def settlement_fault(
    settlement: Settlement, header: Header, parameters: Parameters, scheme: SignatureScheme
) -> str | None:
    """Why a settlement is not what the header's block did, or did rightly, or None.

    Args:
        settlement: as any node gave it.
        header: a trusted one.
        parameters: the chain's, of which the header holds the digest.
        scheme: verifies both parties' signatures.
    """
    receipt, row = settlement.receipt, settlement.row
    if digest(encode(parameters)) != header.parameters_digest:
        return "the chain's parameters are not those of the header"
    if not settlement.proves(header):
        return "its paths do not lead to the header's roots"
    if receipt.chain_id != header.chain_id or row.height != header.height:
        return "it is of another chain or height"
    if not receipt_is_signed(receipt, scheme):
        return "a signature of its receipt does not verify"
    if (row.consumer, row.provider, row.epoch) != (
        receipt.consumer,
        receipt.provider,
        receipt.epoch,
    ):
        return "its row names other parties or another epoch than its receipt"
    if row.settled + row.amount != receipt.amount:
        return f"its row settles {row.amount} after {row.settled}, its receipt {receipt.amount}"
    return row_fault(row, parameters)


def row_fault(row: RewardRow, parameters: Parameters) -> str | None:
    """Why a row's parts are not what the pair formula makes of its amount, or None."""
    parts = split(row.amount, quality=row.quality, parameters=parameters)
    for name in ("fee", "validators", "bonus", "burned", "received"):
        if getattr(row, name) != getattr(parts, name):
            return f"its {name} is {getattr(row, name)}, and should be {getattr(parts, name)}"
    return None


def receipt_is_signed(receipt: ServiceReceipt, scheme: SignatureScheme) -> bool:
    """Whether both parties signed."""
    by_consumer = scheme.verify(
        receipt.consumer,
        SignedKind.RECEIPT_CONSUMER,
        receipt.chain_id,
        receipt.consumer_body(),
        receipt.consumer_signature,
    )
    return by_consumer and scheme.verify(
        receipt.provider,
        SignedKind.RECEIPT_PROVIDER,
        receipt.chain_id,
        receipt.provider_body(),
        receipt.provider_signature,
    )


def own_receipt_fault(settlement: Settlement, own: Sequence[ServiceReceipt]) -> str | None:
    """Whether our own receipt of the channel and epoch says something else than the settled one.

    A later receipt of ours may have replaced the settled one; then its counters are not lower.
    """
    settled = settlement.receipt
    for mine in own:
        if mine.channel != settled.channel:
            continue
        if mine.seq == settled.seq and mine != settled:
            return "the settled receipt is not the one of this number that we hold"
        if mine.seq > settled.seq and mine.amount < settled.amount:
            return "the settled receipt is of more than a later one that we hold"
        if mine.seq < settled.seq and mine.amount > settled.amount:
            return "the settled receipt is of less than an earlier one that we hold"
    return None


def unsettled(
    own: Iterable[ServiceReceipt], epoch: Height, settlements: Sequence[Settlement]
) -> tuple[ServiceReceipt, ...]:
    """Receipts of ours for an epoch that no settlement covers: the reader should ask why."""
    highest: dict[ChannelId, int] = {}
    for one in settlements:
        channel = one.receipt.channel
        highest[channel] = max(one.receipt.seq, highest.get(channel, -1))
    return tuple(
        mine for mine in own if mine.epoch == epoch and highest.get(mine.channel, -1) < mine.seq
    )


def validator_share(
    rows: Rows, header: Header, validators: ValidatorSet, account: AccountId
) -> Amount | None:
    """What a validator got of the fees of a block, or None where these are not all its rows."""
    if not rows.proves(header) or validators.root() != header.validators_root:
        return None
    pot = sum(row.validators for row in rows.rows)
    return Amount(shares(pot, validators.powers()).get(account, 0))


def earned(
    account: AccountId, settlements: Iterable[Settlement], validated: Iterable[Amount]
) -> Earned:
    """The sums over settlements and shares that were found right."""
    provided = spent = 0
    for one in settlements:
        provided += one.row.received if one.row.provider == account else 0
        spent += one.row.amount if one.row.consumer == account else 0
    return Earned(Amount(provided), Amount(spent), Amount(sum(validated)))
