"""News that more than one machine hears, in the past tense.

Each machine has its own closed union of inputs; those that several share are here.
"""

import msgspec

from p2p.primitives.units import PeerId


class TimerFired(msgspec.Struct, frozen=True):
    """The timer that was set under this key is due; the shell drops stale ones."""

    key: str


class PeerConnected(msgspec.Struct, frozen=True):
    """An authenticated connection to a peer stands."""

    peer: PeerId
    outbound: bool
    address: str


class PeerDisconnected(msgspec.Struct, frozen=True):
    """The connection to a peer is gone."""

    peer: PeerId
    reason: str = ""


class RequestFailed(msgspec.Struct, frozen=True):
    """A request that a machine ordered got no usable answer."""

    request_id: int
    peer: PeerId
