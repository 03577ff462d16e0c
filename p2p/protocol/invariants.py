"""What no block may break, checked from outside: these know what must hold, not how it is done.

Pure checkers over values that any node has. A live node asks `check_block` after every block, the
harness asks the others, too. Each returns what it found; nothing found is an empty tuple.
Source: design, section 6.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from p2p.model.block import Block, Header
from p2p.model.evidence import offender
from p2p.model.ledger import Channel, Executed, RewardRow, State
from p2p.model.parameters import Parameters
from p2p.model.rejection import Rejected
from p2p.model.transaction import ChannelClose
from p2p.primitives.units import BASIS_POINTS, AccountId, ChannelId, Digest, Height

CONSERVATION: Final = "I1 conservation"
ONE_SETTLEMENT: Final = "I2 one settlement, within the deposit"
MONOTONE: Final = "I3 counters never fall"
SCHEDULE: Final = "I4 minted within the schedule"
NO_GAIN: Final = "I5 a payment pays out no more than it takes"
PAIR_FORMULA: Final = "I6 to I8 a payment is the pair formula of its own channel and quality"
STAKE: Final = "stake leaves by its owner's order, or for evidence"
CHAIN: Final = "blocks follow one another"
AGREEMENT: Final = "agreement"
VALIDITY: Final = "validity"


class Violation(msgspec.Struct, frozen=True):
    """A rule that was broken, and where."""

    name: str
    detail: str


def check_block(
    before: State, block: Block, after: State, *, minted_max: int = 0
) -> tuple[Violation, ...]:
    """I1 to I4, and that the block and both states name one another; a few ms for any ledger."""
    return (
        *_chain(before, block, after),
        *_conservation(before, block, after),
        *_one_settlement(before, block, after),
        *_monotone(before, block, after),
        *_stake(before, block, after),
        *_schedule(block, minted_max),
    )


def check_rewards(block: Block, rows: Sequence[RewardRow]) -> tuple[Violation, ...]:
    """I5: every payment is worth to provider and validators at most what the consumer paid.

    That bounds any coalition: what its members receive comes out of what its members pay. The sums
    of the rows must also agree with what the header says was burned.
    """
    found = []
    for row in rows:
        paid_out = row.received + row.validators
        if paid_out + row.burned != row.amount or row.burned < 0:
            detail = f"channel {row.channel.hex()}: {row.amount} came in, {paid_out} went out"
            found.append(Violation(NO_GAIN, f"{detail}, {row.burned} burned"))
    burned = sum(row.burned for row in rows)
    if burned > block.header.burned:
        detail = f"rows burn {burned}, the header says {block.header.burned}"
        found.append(Violation(CONSERVATION, detail))
    return tuple(found)


def check_payments(
    before: State, block: Block, rows: Sequence[RewardRow], parameters: Parameters
) -> tuple[Violation, ...]:
    """I6 to I8: a row is the pair formula of its own amount and its own provider's quality.

    What depends on nothing else is the same in any order of receipts (I7) and whatever others'
    quality is (I8); and the formula, worked out here again, never pays two parts more (I6).
    """
    due = {receipt.channel: receipt.amount for receipt in block.receipts}
    found = []
    if [row.channel for row in rows] != sorted(due) or len(due) != len(block.receipts):
        found.append(Violation(PAIR_FORMULA, f"{len(rows)} rows of {len(block.receipts)} receipts"))
    for row in rows:
        channel, provider = before.channels.get(row.channel), before.accounts.get(row.provider)
        settled = 0 if channel is None else channel.settled
        quality = parameters.quality_initial if provider is None else provider.quality
        amount = due.get(row.channel, 0) - settled
        fee = min(amount, -(-amount * parameters.fee_rate // BASIS_POINTS))
        to_validators = -(-fee * parameters.validator_rate // BASIS_POINTS)
        cap = min(fee - to_validators, fee * parameters.bonus_rate // BASIS_POINTS)
        bonus = cap * quality // BASIS_POINTS
        wanted = (amount, to_validators, fee - to_validators - bonus, amount - fee + bonus)
        measured = (row.amount, row.validators, row.burned, row.received)
        if measured != wanted:
            detail = f"channel {row.channel.hex()}: {measured} instead of {wanted}"
            found.append(Violation(PAIR_FORMULA, detail))
    return tuple(found)


def check_agreement(headers: Iterable[Header]) -> tuple[Violation, ...]:
    """No two headers of one height, whoever committed them."""
    first: dict[Height, Digest] = {}
    found = []
    for header in headers:
        name = header.digest()
        other = first.setdefault(header.height, name)
        if other != name:
            detail = f"height {header.height}: {other.hex()} and {name.hex()}"
            found.append(Violation(AGREEMENT, detail))
    return tuple(found)


def check_validity(
    execute: Callable[[State, Block], Executed | Rejected],
    before: State,
    block: Block,
    after: State,
) -> tuple[Violation, ...]:
    """The block executes again, to the same state."""
    again = execute(before, block)
    if isinstance(again, Rejected):
        detail = f"height {block.header.height}: {again.reason.value} {again.detail}".rstrip()
        return (Violation(VALIDITY, detail),)
    if again.state != after:
        return (Violation(VALIDITY, f"height {block.header.height}: another state"),)
    return ()


def _chain(before: State, block: Block, after: State) -> list[Violation]:
    header = block.header
    follows = (
        header.height == before.height + 1 == after.height
        and header.previous == before.header_digest
        and header.digest() == after.header_digest
        and header.time_ms == after.time_ms > before.time_ms
        and header.state_root == after.root
    )
    return [] if follows else [Violation(CHAIN, f"height {header.height} after {before.height}")]


def _conservation(before: State, block: Block, after: State) -> list[Violation]:
    """I1: balances + bonded + unbonding + deposits = supply; only minting and burning change it."""
    found = []
    accounts = after.accounts.values()
    balances = sum([account.balance for account in accounts])
    bonded = sum([account.bonded for account in accounts])
    unbonding = sum([entry.amount for entry in after.unbonding])
    deposits = sum([channel.held for channel in after.channels.values()])
    if balances + bonded + unbonding + deposits != after.supply:
        parts = f"{balances} + {bonded} + {unbonding} + {deposits}"
        found.append(Violation(CONSERVATION, f"{parts} is not the supply of {after.supply}"))
    header = block.header
    if not before.supply + header.minted - header.burned == after.supply == header.supply:
        change = f"{before.supply} + {header.minted} - {header.burned}"
        detail = f"{change} became {after.supply}, and {header.supply} in the header"
        found.append(Violation(CONSERVATION, detail))
    if any(account.balance < 0 or account.bonded < 0 for account in accounts):
        found.append(Violation(CONSERVATION, "an account owns less than nothing"))
    return found


def _one_settlement(before: State, block: Block, after: State) -> list[Violation]:
    """I2: a (channel, epoch) settles once, what its receipt says, and never beyond the deposit."""
    found = []
    settled: dict[tuple[ChannelId, Height], None] = {}
    due = {receipt.channel: receipt for receipt in block.receipts}
    for receipt in block.receipts:
        slot = (receipt.channel, receipt.epoch)
        channel = before.channels.get(receipt.channel)
        if slot in settled or channel is None or receipt.epoch <= channel.last_settled_epoch:
            detail = f"channel {receipt.channel.hex()} epoch {receipt.epoch} again, or unknown"
            found.append(Violation(ONE_SETTLEMENT, detail))
        settled[slot] = None
    for key, channel in _changed(before.channels, after.channels):
        old, paid = before.channels.get(key), due.get(key)
        was = (0, 0) if old is None else (old.settled, old.last_settled_epoch)
        wanted = was if paid is None else (paid.amount, paid.epoch)
        if (channel.settled, channel.last_settled_epoch) != wanted:
            detail = f"channel {key.hex()}: {channel.settled} settled without a receipt of it"
            found.append(Violation(ONE_SETTLEMENT, detail))
        if not 0 <= channel.settled <= channel.deposit:
            detail = f"channel {key.hex()}: {channel.settled} of {channel.deposit}"
            found.append(Violation(ONE_SETTLEMENT, detail))
    return found


def _changed(
    before: Mapping[ChannelId, Channel], after: Mapping[ChannelId, Channel]
) -> list[tuple[ChannelId, Channel]]:
    return [(key, channel) for key, channel in after.items() if before.get(key) is not channel]


def _monotone(before: State, block: Block, after: State) -> list[Violation]:
    """I3: seq, counters, amount and nonces never fall; nothing vanishes but a closed channel."""
    found = []
    for key, channel in _changed(before.channels, after.channels):
        old = before.channels.get(key)
        if old is not None and _fell(old, channel):
            found.append(Violation(MONOTONE, f"channel {key.hex()}"))
    closed = {
        transaction.action.channel
        for transaction in block.transactions
        if isinstance(transaction.action, ChannelClose)
    }
    for key, old in before.channels.items():
        if key not in after.channels and not old.closing_height and key not in closed:
            found.append(Violation(MONOTONE, f"channel {key.hex()} vanished while open"))
    for account, owner in before.accounts.items():
        now = after.accounts.get(account)
        if now is None or now.nonce < owner.nonce:
            found.append(Violation(MONOTONE, f"account {account.hex()} lost its nonce"))
    return found


def _stake(before: State, block: Block, after: State) -> list[Violation]:
    """Stake falls only when it is paid out after unbonding, or as evidence names its owner."""
    liars = {offender(evidence.offence) for evidence in block.evidence}
    queued: dict[AccountId, int] = {}
    for entry in before.unbonding:
        if entry.release_height > after.height:
            queued[entry.account] = queued.get(entry.account, 0) + entry.amount
    left: dict[AccountId, int] = {}
    for entry in after.unbonding:
        left[entry.account] = left.get(entry.account, 0) + entry.amount
    found = []
    for key, owner in before.accounts.items():
        now = after.accounts.get(key)
        if key in liars or now is None or not (owner.bonded or key in queued):
            continue
        stake, kept = owner.bonded + queued.get(key, 0), now.bonded + left.get(key, 0)
        if kept < stake:
            found.append(Violation(STAKE, f"account {key.hex()}: {stake} became {kept}"))
    return found


def _fell(old: Channel, new: Channel) -> bool:
    return (
        new.seq < old.seq
        or new.bytes_put < old.bytes_put
        or new.bytes_get < old.bytes_get
        or new.mib_epochs < old.mib_epochs
        or new.settled < old.settled
        or new.deposit < old.deposit
        or new.last_settled_epoch < old.last_settled_epoch
        or (new.consumer, new.provider) != (old.consumer, old.provider)
        or old.closing_height not in (0, new.closing_height)
    )


def _schedule(block: Block, minted_max: int) -> list[Violation]:
    """I4: no more new supply than the schedule allows."""
    minted = block.header.minted
    if minted > minted_max:
        return [Violation(SCHEDULE, f"{minted} of {minted_max}")]
    return []
