"""What a store and the last state can tell a light client: `/gigmesh/light/1`.

Nobody has to trust the answers, so nothing is checked here: a disk that lies is found out by the
client. Every answer is bounded by its type.
"""

from typing import assert_never

from p2p.model.block import CommittedBlock, ValidatorSet
from p2p.model.ledger import ROW_BYTES_MAX, RewardRow, State
from p2p.model.light import (
    KNOWN_ROOTS_MAX,
    LIGHT_BLOCK_BYTES_MAX,
    ROWS_MAX,
    SETTLEMENTS_MAX,
    AccountAnswer,
    AccountRequest,
    ChannelAnswer,
    ChannelRequest,
    LeafPath,
    LightBlock,
    LightBlockRequest,
    LightRequest,
    LightResponse,
    Rows,
    RowsRequest,
    Settlement,
    Settlements,
    SettlementsRequest,
    SignedHeader,
)
from p2p.model.parameters import COMMITTED_BYTES_MAX
from p2p.model.persistence import Table, number_key
from p2p.primitives.codec import Value, decode, encode
from p2p.primitives.digests import leaf_digest, merkle_path
from p2p.primitives.units import AccountId, Digest, Height
from p2p.storage.blocks import stored_block
from p2p.storage.port import Store


def light_answer(store: Store, state: State, request: LightRequest) -> LightResponse | None:
    """The answer to a light client's question, or None where we lack what it asks for.

    Raises:
        StoreError: the disk failed.
    """
    match request:
        case LightBlockRequest():
            return _light_block(store, request)
        case AccountRequest(account=account):
            proof = state.account_proof(account)
            return None if proof is None else AccountAnswer(state.height, proof)
        case ChannelRequest(channel=channel):
            found = state.channel_proof(channel)
            return None if found is None else ChannelAnswer(state.height, found)
        case SettlementsRequest(height=height, account=account):
            return _settlements(store, height, account)
        case RowsRequest(height=height):
            rows = stored_rows(store, height)
            return None if rows is None or len(rows) > ROWS_MAX else Rows(height, rows)
        case _:
            assert_never(request)


def stored_rows(store: Store, height: Height) -> tuple[RewardRow, ...] | None:
    """The reward rows of a block, or None when it is not stored."""
    data = store.get(Table.REWARDS, number_key(height))
    if data is None:
        return None
    return decode(data, tuple[RewardRow, ...], bytes_max=ROWS_MAX * ROW_BYTES_MAX)


def stored_validators(store: Store, root: Digest) -> ValidatorSet | None:
    """A validator set that some header names, or None."""
    data = store.get(Table.VALIDATORS, root)
    return None if data is None else decode(data, ValidatorSet, bytes_max=LIGHT_BLOCK_BYTES_MAX)


def stored_header(store: Store, height: Height) -> SignedHeader | None:
    """The header of a height and its certificate, also where the block is pruned, or None."""
    block = stored_block(store, height)
    if block is not None:
        return SignedHeader(block.block.header, block.certificate)
    data = store.get(Table.HEADERS, number_key(height))
    return None if data is None else decode(data, SignedHeader, bytes_max=LIGHT_BLOCK_BYTES_MAX)


def light_block(store: Store, height: Height, known: tuple[Digest, ...] = ()) -> LightBlock | None:
    """The light block of a height, without the sets whose roots are known, or None."""
    signed = stored_header(store, height)
    if signed is None:
        return None
    header = signed.header
    sets = []
    roots = [header.validators_root]
    # The asker fills in a second set that is the first.
    if header.next_validators_root != header.validators_root:
        roots.append(header.next_validators_root)
    for root in roots:
        found = None if root in known else stored_validators(store, root)
        if found is None and root not in known:
            return None
        sets.append(found)
    return LightBlock(header, signed.certificate, sets[0], sets[1] if len(sets) > 1 else None)


def _light_block(store: Store, request: LightBlockRequest) -> LightBlock | None:
    height = _nearest(store, request)
    return None if height is None else light_block(store, height, request.known[:KNOWN_ROOTS_MAX])


def _nearest(store: Store, request: LightBlockRequest) -> Height | None:
    """The height of the header that comes nearest to what was asked for."""
    if not request.height:
        return _edge(store, request.above + 1, request.below, reverse=True)
    below = min(request.height + 1, request.below)
    lower = _edge(store, request.above + 1, below, reverse=True)
    if lower is not None:
        return lower
    return _edge(store, max(request.height, request.above) + 1, request.below, reverse=False)


def _edge(store: Store, low: int, high: int, *, reverse: bool) -> Height | None:
    """The highest (`reverse`) or lowest height in [low, high) of which we hold a header."""
    found = []
    for table in (Table.BLOCKS, Table.HEADERS):
        if low < high:
            rows = store.scan(table, number_key(low), number_key(high), 1, reverse)
            found += [int.from_bytes(key) for key, _ in rows]
    if not found:
        return None
    return Height(max(found) if reverse else min(found))


def _settlements(store: Store, height: Height, account: AccountId) -> Settlements | None:
    data = store.get(Table.BLOCKS, number_key(height))
    rows = stored_rows(store, height)
    if data is None or rows is None:
        return None
    block = decode(data, CommittedBlock, bytes_max=COMMITTED_BYTES_MAX).block
    mine = [
        (place, row) for place, row in enumerate(rows) if account in (row.consumer, row.provider)
    ]
    places = {receipt.channel: place for place, receipt in enumerate(block.receipts)}
    receipt_leaves = _leaves(block.receipts) if mine else []
    row_leaves = _leaves(rows) if mine else []
    taken = tuple(
        Settlement(
            receipt=block.receipts[places[row.channel]],
            receipt_path=_path(receipt_leaves, places[row.channel]),
            row=row,
            row_path=_path(row_leaves, place),
        )
        for place, row in mine[:SETTLEMENTS_MAX]
    )
    return Settlements(height, taken, len(mine) - len(taken))


def _leaves(values: tuple[Value, ...]) -> list[Digest]:
    return [leaf_digest(encode(value)) for value in values]


def _path(leaves: list[Digest], index: int) -> LeafPath:
    return LeafPath(index, len(leaves), merkle_path(leaves, index))
