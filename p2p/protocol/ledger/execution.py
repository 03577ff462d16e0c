"""Blocks: making one from candidates, and following one that somebody else made.

Both carry the block out on a draft and seal it with a header; following compares the header that
must result with the one that came, field by field. A block holds only what succeeds, so a node
that follows never has to guess why its maker left something out.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from p2p.model.admission import receipt_refusal
from p2p.model.block import Block, Header, values_root
from p2p.model.evidence import EVIDENCE_PER_BLOCK_MAX, Evidence, SlashRow, evidence_bytes
from p2p.model.ledger import Executed, RewardRow, Rules, State
from p2p.model.proposer import next_height
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.model.transaction import Transaction
from p2p.primitives.codec import encode
from p2p.primitives.units import KIB, AccountId, Amount, Millis
from p2p.protocol.ledger.draft import Draft
from p2p.protocol.ledger.punishment import punish, punish_all
from p2p.protocol.ledger.settlement import settle
from p2p.protocol.ledger.transactions import apply
from p2p.protocol.ledger.validators import largest_bonds

FRAME_BYTES_MAX: Final = KIB
"""Header and array heads of a block: what its transactions and receipts cannot use."""
EVIDENCE_PART: Final = 4
"""Evidence fills at most one part of so many of a block."""
RECEIPT_SHARE: Final = (3, 4)
"""Part of a block that receipts may fill while transactions wait."""
MINTED: Final = Amount(0)
"""Schedule of new supply (I4): none."""

_REASONS: Final = {
    "chain_id": Reason.WRONG_CHAIN,
    "height": Reason.WRONG_HEIGHT,
    "previous": Reason.WRONG_PARENT,
}


def build_block(
    state: State,
    rules: Rules,
    *,
    proposer: AccountId,
    time_ms: Millis,
    transactions: Iterable[Transaction],
    receipts: Iterable[ServiceReceipt],
    evidence: Iterable[Evidence] = (),
) -> Executed:
    """The block that the proposer offers on top of `state`, and its result.

    Candidates are taken in the order given, as far as they are valid and fit: first evidence, then
    receipts, up to `RECEIPT_SHARE` of the block when there are transactions, then transactions in
    the space left. Evidence is punished after receipts are settled, and before any transaction.
    The block lists its receipts by channel.

    Raises:
        ValueError: the proposer is no validator of the height, or the time does not move on.
    """
    waiting = list(transactions)
    refusal = _origin_refusal(state, proposer=proposer, time_ms=time_ms)
    if refusal is not None:
        raise ValueError(f"cannot propose: {refusal.detail}")
    # Punishment changes stake and reporters' balances, settlement neither reads: either order.
    draft = Draft(state, rules)
    space = rules.parameters.block_bytes_max - FRAME_BYTES_MAX
    named, slashes, taken = _choose_evidence(draft, evidence, bytes_max=space // EVIDENCE_PART)
    space -= taken
    part, whole = RECEIPT_SHARE
    chosen, used = _choose_receipts(
        draft, receipts, bytes_max=space * part // whole if waiting else space
    )
    rows = settle(draft, chosen)
    assert not isinstance(rows, Rejected), "only good receipts were chosen"
    included = _choose_transactions(draft, waiting, bytes_max=space - used)
    return _seal(
        draft,
        rows,
        slashes,
        proposer=proposer,
        time_ms=time_ms,
        transactions=included,
        receipts=chosen,
        evidence=named,
    )


def execute_block(state: State, rules: Rules, block: Block) -> Executed | Rejected:
    """What follows from a block whose contents were verified, or why it does not follow `state`.

    Rejects: WRONG_CHAIN, WRONG_HEIGHT, WRONG_PARENT, BAD_TIME, WRONG_PROPOSER, TOO_LARGE, BAD_ROOT,
    and whatever the ledger finds wrong with a transaction or a receipt. Whether the time agrees
    with the clock and the proposer with the round is for consensus to say.
    """
    header = block.header
    expected: dict[str, object] = {
        "chain_id": rules.chain_id,
        "height": state.height + 1,
        "previous": state.header_digest,
    }
    for name, value in expected.items():
        if getattr(header, name) != value:
            return Rejected(_REASONS[name])
    refusal = _origin_refusal(state, proposer=header.proposer, time_ms=header.time_ms)
    if refusal is not None:
        return refusal
    if len(encode(block)) > rules.parameters.block_bytes_max:
        return Rejected(Reason.TOO_LARGE)
    draft = Draft(state, rules)
    rows = settle(draft, block.receipts)
    if isinstance(rows, Rejected):
        return rows
    slashes = punish_all(draft, block.evidence)
    if isinstance(slashes, Rejected):
        return slashes
    for transaction in block.transactions:
        refusal = apply(draft, transaction)
        if refusal is not None:
            return refusal
    executed = _seal(
        draft,
        rows,
        slashes,
        proposer=header.proposer,
        time_ms=header.time_ms,
        transactions=block.transactions,
        receipts=block.receipts,
        evidence=block.evidence,
    )
    difference = _first_difference(executed.block.header, header)
    return executed if difference is None else Rejected(Reason.BAD_ROOT, difference)


def _origin_refusal(state: State, *, proposer: AccountId, time_ms: Millis) -> Rejected | None:
    if time_ms <= state.time_ms:
        return Rejected(Reason.BAD_TIME, f"{time_ms} does not follow {state.time_ms}")
    if proposer not in state.validators.powers():
        return Rejected(Reason.WRONG_PROPOSER, "the proposer is no validator of the height")
    return None


def _first_difference(ours: Header, theirs: Header) -> str | None:
    if ours == theirs:
        return None
    names = [field.name for field in msgspec.structs.fields(Header)]
    return next(name for name in names if getattr(ours, name) != getattr(theirs, name))


def _choose_evidence(
    draft: Draft, evidence: Iterable[Evidence], *, bytes_max: int
) -> tuple[list[Evidence], tuple[SlashRow, ...], int]:
    """Evidence that fits and was thereby punished, what it came to, and the bytes it takes."""
    named: list[Evidence] = []
    slashes: list[SlashRow] = []
    used = 0
    for found in evidence:
        size = evidence_bytes(found)
        if used + size > bytes_max or len(named) == EVIDENCE_PER_BLOCK_MAX:
            continue
        row = punish(draft, found)
        if not isinstance(row, Rejected):
            named.append(found)
            slashes.append(row)
            used += size
    return named, tuple(slashes), used


def _choose_receipts(
    draft: Draft, receipts: Iterable[ServiceReceipt], *, bytes_max: int
) -> tuple[list[ServiceReceipt], int]:
    """Receipts that settle, one a channel, by channel; and the bytes that they take."""
    chosen: dict[bytes, ServiceReceipt] = {}
    used = 0
    for receipt in receipts:
        channel = draft.channel(receipt.channel)
        if receipt.channel in chosen:
            continue
        if receipt_refusal(receipt, channel, draft.rules, height=draft.height) is not None:
            continue
        size = len(encode(receipt))
        if used + size <= bytes_max:
            chosen[receipt.channel] = receipt
            used += size
    return [chosen[key] for key in sorted(chosen)], used


def _choose_transactions(
    draft: Draft, transactions: Iterable[Transaction], *, bytes_max: int
) -> list[Transaction]:
    """Transactions that fit and apply, which they thereby did."""
    included: list[Transaction] = []
    used = 0
    for transaction in transactions:
        size = len(encode(transaction))
        if used + size <= bytes_max and apply(draft, transaction) is None:
            included.append(transaction)
            used += size
    return included


def _seal(
    draft: Draft,
    rows: tuple[RewardRow, ...],
    slashes: tuple[SlashRow, ...],
    *,
    proposer: AccountId,
    time_ms: Millis,
    transactions: Sequence[Transaction],
    receipts: Sequence[ServiceReceipt],
    evidence: Sequence[Evidence],
) -> Executed:
    """End the epoch, and state the result in a header."""
    draft.end_epoch()
    before, rules = draft.before, draft.rules
    accounts = draft.accounts
    elected = before.next_validators
    if draft.bonds_changed:
        # When all that is left is in jail, the last voters stay: without any a chain cannot go on.
        limit = rules.parameters.validators_max
        fresh = largest_bonds(accounts, validators_max=limit)
        elected = fresh if fresh.validators else elected
    state = State(
        height=draft.height,
        header_digest=before.header_digest,
        time_ms=time_ms,
        supply=Amount(before.supply + MINTED - draft.burned),
        accounts=accounts,
        channels=draft.channels,
        unbonding=draft.unbonding,
        validators=before.next_validators,
        next_validators=elected,
        priorities=next_height(
            before.priorities, current=before.validators, following=before.next_validators
        ),
        punished=draft.punished_entries,
    )
    draft.hand_over_digests(state)
    header = Header(
        chain_id=rules.chain_id,
        height=draft.height,
        time_ms=time_ms,
        proposer=proposer,
        previous=before.header_digest,
        transactions_root=values_root(transactions),
        receipts_root=values_root(receipts),
        evidence_root=values_root(evidence),
        rewards_root=values_root(rows),
        state_root=state.root,
        validators_root=before.validators.root(),
        next_validators_root=before.next_validators.root(),
        minted=MINTED,
        burned=Amount(draft.burned),
        supply=state.supply,
        parameters_digest=rules.parameters_digest,
    )
    return Executed(
        block=Block(header, tuple(transactions), tuple(receipts), tuple(evidence)),
        state=state.named(header.digest()),
        rows=rows,
        slashes=slashes,
    )
