"""What the gossip machine hears, and what it orders."""

from enum import Enum

import msgspec

from p2p.model.effects import Penalize, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, TimerFired
from p2p.model.rejection import Reason
from p2p.model.rpc import MessageId, RpcReceived, RpcSent, SendRpc
from p2p.primitives.units import PeerId


class Verdict(Enum):
    """What the verifier says about a message."""

    ACCEPT = "accept"
    REJECT = "reject"
    """False whatever else happens: whoever sent it is penalised."""
    IGNORE = "ignore"
    """Not wanted here and now: dropped, nobody's fault."""


class Started(msgspec.Struct, frozen=True):
    """The node runs: the first heartbeat is due soon."""


class Subscribed(msgspec.Struct, frozen=True):
    """The node wants a topic's messages from now on."""

    topic: str


class Unsubscribed(msgspec.Struct, frozen=True):
    """The node wants a topic's messages no more."""

    topic: str


class Published(msgspec.Struct, frozen=True):
    """The node has something to say, checked by itself, on a topic it need not subscribe to."""

    topic: str
    data: bytes


class MessageValidated(msgspec.Struct, frozen=True):
    """The verdict on a message that `Validate` asked about. `reason` is for REJECT."""

    message_id: MessageId
    verdict: Verdict
    reason: Reason = Reason.MALFORMED


class PeerRated(msgspec.Struct, frozen=True):
    """What the application thinks of a peer from now on, in points of the score (P5); it decays."""

    peer: PeerId
    points: float


class Validate(msgspec.Struct, frozen=True):
    """Check a message seen for the first time; forwarding waits for `MessageValidated`."""

    message_id: MessageId
    topic: str
    data: bytes
    peer: PeerId


class SuggestPeers(msgspec.Struct, frozen=True):
    """A peer that pruned us names others of the topic; dial those whose addresses are known."""

    source: PeerId
    topic: str
    peers: tuple[PeerId, ...]


GossipInput = (
    RpcReceived
    | RpcSent
    | MessageValidated
    | Published
    | TimerFired
    | PeerConnected
    | PeerDisconnected
    | Subscribed
    | Unsubscribed
    | PeerRated
    | Started
)

GossipEffect = SendRpc | Validate | SetTimer | Penalize | SuggestPeers
