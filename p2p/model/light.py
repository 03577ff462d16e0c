"""What a node tells a client that trusts no node: `/gigmesh/light/1`.

Every answer is proven by a header, and a header by a certificate of validators whom the client has
come to trust. Answers are bounded in count and bytes, by the one who answers and by the one who
reads.
"""

from typing import Annotated, Final

from msgspec import Meta

from p2p.model.block import Certificate, Header, ValidatorSet
from p2p.model.fields import AccountField, ChannelField, CountField, DigestField, HeightField
from p2p.model.ledger import AccountProof, ChannelProof, RewardRow
from p2p.model.receipt import ServiceReceipt
from p2p.primitives.codec import Value, encode
from p2p.primitives.digests import PATH_LENGTH_MAX, leaf_digest, merkle_root, merkle_verify
from p2p.primitives.units import KIB

LIGHT_PROTOCOL: Final = "/gigmesh/light/1"
LIGHT_BLOCK_BYTES_MAX: Final = 32 * KIB
"""A header, a certificate and two sets of 100 validators take 20 KiB."""
LIGHT_RESPONSE_BYTES_MAX: Final = 512 * KIB
KNOWN_ROOTS_MAX: Final = 4
SETTLEMENTS_MAX: Final = 128
"""Settlements of one account in one block that an answer proves: 2 KiB each."""
ROWS_MAX: Final = 1_500
"""More than the reward rows of the largest block."""


class SignedHeader(Value, frozen=True, tag="signed_header"):
    """A header and the proof that it was decided; kept where blocks are pruned."""

    header: Header
    certificate: Certificate


class LightBlock(Value, frozen=True, tag="light_block"):
    """A header, its proof, and the voters that it names; a set is None where the asker has it."""

    header: Header
    certificate: Certificate
    validators: ValidatorSet | None
    """Of the header's own height."""
    next_validators: ValidatorSet | None
    """Of the height after."""


class LightBlockRequest(Value, frozen=True, tag="light_block?"):
    """The light block of `height`, or of the newest one if that is 0.

    Where it is pruned: the highest above `above` up to `height`, else the lowest below `below`.
    `known` are roots of validator sets that the asker holds.
    """

    height: HeightField
    above: HeightField
    below: HeightField
    known: Annotated[tuple[DigestField, ...], Meta(max_length=KNOWN_ROOTS_MAX)] = ()


class AccountRequest(Value, frozen=True, tag="account?"):
    """What does an account own after the newest block?"""

    account: AccountField


class AccountAnswer(Value, frozen=True, tag="account!"):
    """A proof under the state root of the header of `height`."""

    height: HeightField
    proof: AccountProof


class ChannelRequest(Value, frozen=True, tag="channel?"):
    """What has a channel settled after the newest block?"""

    channel: ChannelField


class ChannelAnswer(Value, frozen=True, tag="channel!"):
    """A proof under the state root of the header of `height`."""

    height: HeightField
    proof: ChannelProof


class SettlementsRequest(Value, frozen=True, tag="settlements?"):
    """What did the block of a height settle that an account paid for or was paid for?"""

    height: HeightField
    account: AccountField


class LeafPath(Value, frozen=True):
    """The way from leaf `index` of `size` to an RFC 6962 root."""

    index: CountField
    size: CountField
    path: Annotated[tuple[DigestField, ...], Meta(max_length=PATH_LENGTH_MAX)]

    def leads(self, leaf: Value, root: bytes) -> bool:
        """Whether the value is that leaf under the root."""
        return merkle_verify(
            root,  # type: ignore[arg-type]
            leaf_digest(encode(leaf)),
            self.path,
            index=self.index,
            size=self.size,
        )


class Settlement(Value, frozen=True):
    """A receipt that a block settled and the row that it became, each with its path."""

    receipt: ServiceReceipt
    receipt_path: LeafPath
    row: RewardRow
    row_path: LeafPath

    def proves(self, header: Header) -> bool:
        """Whether the header's block settled this receipt by this row."""
        return (
            self.row.channel == self.receipt.channel
            # Every receipt of a block makes one row; a path alone may fit several sizes.
            and self.receipt_path.size == self.row_path.size
            and self.receipt_path.leads(self.receipt, header.receipts_root)
            and self.row_path.leads(self.row, header.rewards_root)
        )


class Settlements(Value, frozen=True, tag="settlements"):
    """Those of one account; `left_off` of them did not fit."""

    height: HeightField
    settlements: Annotated[tuple[Settlement, ...], Meta(max_length=SETTLEMENTS_MAX)]
    left_off: CountField = 0


class RowsRequest(Value, frozen=True, tag="rows?"):
    """All reward rows of a block: what its validators earned comes out of every one."""

    height: HeightField


class Rows(Value, frozen=True, tag="rows"):
    """All rows of a block, in order."""

    height: HeightField
    rows: Annotated[tuple[RewardRow, ...], Meta(max_length=ROWS_MAX)]

    def proves(self, header: Header) -> bool:
        """Whether these are all rows of the header's block."""
        return merkle_root([encode(row) for row in self.rows]) == header.rewards_root


LightRequest = (
    LightBlockRequest | AccountRequest | ChannelRequest | SettlementsRequest | RowsRequest
)
LightResponse = LightBlock | AccountAnswer | ChannelAnswer | Settlements | Rows
