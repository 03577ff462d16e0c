"""Requests between neighbours and their answers.

`/gigmesh/sync/1` carries status, blocks and round gaps; `/gigmesh/peers/1` carries addresses
and ads. Every
answer is bounded in count and bytes, by the one who answers and by the one who reads.
"""

from typing import Annotated, Final

from msgspec import Meta

from p2p.model.ad import CapacityAd
from p2p.model.block import CommittedBlock
from p2p.model.fields import AccountField, AddressText, DigestField, HeightField
from p2p.model.light import LightRequest, LightResponse
from p2p.model.parameters import COMMITTED_BYTES_MAX
from p2p.model.snapshot import PartEntries, PartRequest, SnapshotOffer, SnapshotRequest
from p2p.model.vote import ProposedBlock, Vote
from p2p.model.vote_summary import VoteSummary
from p2p.primitives.codec import Value
from p2p.primitives.units import KIB

SYNC_PROTOCOL: Final = "/gigmesh/sync/1"
PEERS_PROTOCOL: Final = "/gigmesh/peers/1"

REQUEST_BYTES_MAX: Final = 16 * KIB
RESPONSE_BYTES_MAX: Final = 2 * COMMITTED_BYTES_MAX
BLOCKS_COUNT_MAX: Final = 64
VOTES_COUNT_MAX: Final = 256
PEERS_COUNT_MAX: Final = 32
ADS_COUNT_MAX: Final = 64
ADDRESSES_MAX: Final = 8


class StatusRequest(Value, frozen=True, tag="status?"):
    """Where are you? Says where the asker is."""

    chain_id: DigestField
    height: HeightField


class Status(Value, frozen=True, tag="status"):
    """The last committed height, and the lowest one whose block can be asked for."""

    chain_id: DigestField
    height: HeightField
    header_digest: DigestField
    lowest_height: HeightField


class BlocksRequest(Value, frozen=True, tag="blocks?"):
    """Committed blocks from a height upwards."""

    from_height: HeightField
    count: Annotated[int, Meta(ge=1, le=BLOCKS_COUNT_MAX)]


class Blocks(Value, frozen=True, tag="blocks"):
    """Consecutive blocks from the height asked for; fewer, or none, when that is what there is."""

    blocks: Annotated[tuple[CommittedBlock, ...], Meta(max_length=BLOCKS_COUNT_MAX)]


class RoundRequest(Value, frozen=True, tag="round?"):
    """What I hold of the open height: answered with votes and a proposal that I lack."""

    summary: VoteSummary


class RoundMessages(Value, frozen=True, tag="round"):
    """Votes and a proposal that the asker lacks; at most one block, since blocks are large."""

    votes: Annotated[tuple[Vote, ...], Meta(max_length=VOTES_COUNT_MAX)]
    proposal: ProposedBlock | None


class PeersRequest(Value, frozen=True, tag="peers?"):
    """Whom do you know? `wanted` names validators whose addresses the asker needs."""

    wanted: Annotated[tuple[AccountField, ...], Meta(max_length=PEERS_COUNT_MAX)] = ()


class PeerRecord(Value, frozen=True):
    """A peer and where it was reached."""

    account: AccountField
    addresses: Annotated[tuple[AddressText, ...], Meta(min_length=1, max_length=ADDRESSES_MAX)]


class Peers(Value, frozen=True, tag="peers"):
    """Peers that the answerer has been connected to, or has an ad of."""

    records: Annotated[tuple[PeerRecord, ...], Meta(max_length=PEERS_COUNT_MAX)]


AD_MARK_BYTES: Final = 4
ADS_KNOWN_MAX: Final = 256


class AdsRequest(Value, frozen=True, tag="ads?"):
    """Ads that you know and we do not, of providers above `after`, upwards."""

    after: Annotated[bytes, Meta(max_length=32)]
    count: Annotated[int, Meta(ge=1, le=ADS_COUNT_MAX)]
    until: Annotated[bytes, Meta(max_length=32)] = b""
    """The last provider asked about; empty: to the end."""
    known: Annotated[bytes, Meta(max_length=AD_MARK_BYTES * ADS_KNOWN_MAX)] = b""
    """Marks of the ads between that we have: the first bytes of their signatures, one after the
    other. A chance of 2^-32 that an ad is missed costs a wait for its renewal."""


class Ads(Value, frozen=True, tag="ads"):
    """Ads by provider upwards; fewer than asked for when there are no more."""

    ads: Annotated[tuple[CapacityAd, ...], Meta(max_length=ADS_COUNT_MAX)]


SyncRequest = StatusRequest | BlocksRequest | RoundRequest | SnapshotRequest | PartRequest
SyncResponse = Status | Blocks | RoundMessages | SnapshotOffer | PartEntries
PeersProtocolRequest = PeersRequest | AdsRequest
PeersProtocolResponse = Peers | Ads
Request = SyncRequest | PeersProtocolRequest | LightRequest
Response = SyncResponse | PeersProtocolResponse | LightResponse
