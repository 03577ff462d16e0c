"""What adding and fetching come to, and how they tell of their progress."""

from collections.abc import Callable
from enum import Enum

import msgspec

from p2p.node.errors import UserError
from p2p.primitives.units import AccountId, BlobId, ChannelId


class AddFailed(UserError):
    """No replica could be placed."""


class GetFailed(UserError):
    """The blob could not be fetched."""


class Stage(Enum):
    """What is being done."""

    HASHING = "hashing"
    PLACING = "placing"
    FETCHING = "fetching"


class Progress(msgspec.Struct, frozen=True):
    """So far: bytes of the whole; `provider` tells replicas apart."""

    stage: Stage
    done_bytes: int
    total_bytes: int
    provider: AccountId | None = None


Report = Callable[[Progress], None]


class Placement(msgspec.Struct, frozen=True):
    """One replica."""

    provider: AccountId
    region: str
    channel: ChannelId
    paid: int
    """Micro-tokens for this replica; 0 where it was held and paid for before."""
    until_epoch: int


class Failure(msgspec.Struct, frozen=True):
    """A provider that did not do, and why."""

    provider: AccountId
    why: str


class AddResult(msgspec.Struct, frozen=True):
    """A blob and who holds it."""

    blob: BlobId
    size_bytes: int
    wanted: int
    placements: tuple[Placement, ...]
    failures: tuple[Failure, ...]

    @property
    def is_complete(self) -> bool:
        """Whether there are as many replicas as were asked for."""
        return len(self.placements) >= self.wanted


class GetResult(msgspec.Struct, frozen=True):
    """A fetched blob and who sent how much of it."""

    blob: BlobId
    size_bytes: int
    paid: int
    sources: tuple[tuple[AccountId, int], ...]
    """Provider and bytes, in order of use."""
    failures: tuple[Failure, ...]
