"""The replica's face: everything that can happen to a node, and everything it can order.

A world (live or virtual) feeds inputs to `Replica.step(input, now_ms)` and carries out the effects
in list order. `Persist` is durable before anything after it leaves. Commands are inputs with a
`ticket`; each is answered by exactly one `Reply` of the same ticket, sooner or later.
"""

import msgspec

from p2p.model.commands import ReceiptCommand, Reply
from p2p.model.effects import CancelTimer, Dial, HangUp, Persist, SetTimer
from p2p.model.evidence import SlashRow
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed, TimerFired
from p2p.model.offer import Offer
from p2p.model.rejection import Reason
from p2p.model.requests import PeerRecord, Request, Response
from p2p.model.rpc import RpcReceived, RpcSent, SendRpc
from p2p.model.topic import GossipValue, Topic
from p2p.model.transaction import Action
from p2p.primitives.signing import Verified
from p2p.primitives.units import AccountId, Amount, Digest, Height, PeerId

Rows = tuple[tuple[bytes, bytes], ...]


class Saved(msgspec.Struct, frozen=True):
    """What a store held when the node started: rows of each table that a machine restores from."""

    state: bytes | None = None
    sign_state: bytes | None = None
    journal: Rows = ()
    receipts: Rows = ()
    obligations: Rows = ()
    peers: Rows = ()
    offer: Rows = ()
    snapshot: Rows = ()
    lowest_height: Height = Height(0)
    """Of the lowest block that is kept; 0 where there is none."""


# ---- inputs: news from the world ------------------------------------------------------------


class Started(msgspec.Struct, frozen=True):
    """The world runs; set the first timers. `addresses` are where we can be reached."""

    addresses: tuple[str, ...]


class DialFailed(msgspec.Struct, frozen=True):
    """A dial that was ordered came to nothing."""

    peer: PeerId


class PeerMisbehaved(msgspec.Struct, frozen=True):
    """The shell or the verifier caught a peer at something: undecodable bytes, a false answer."""

    peer: PeerId
    reason: Reason
    detail: str = ""


class NeighboursFound(msgspec.Struct, frozen=True):
    """Peers that the local network named to the shell; no more than hearsay."""

    records: tuple[PeerRecord, ...]


class MessageVerified(msgspec.Struct, frozen=True):
    """A gossip message that `Verify` asked about is well-formed and truly signed."""

    message_id: bytes
    topic: Topic
    peer: PeerId
    value: Verified[GossipValue]


class MessageRefused(msgspec.Struct, frozen=True):
    """A gossip message that `Verify` asked about is not."""

    message_id: bytes
    topic: Topic
    peer: PeerId
    reason: Reason
    detail: str = ""


class RequestArrived(msgspec.Struct, frozen=True):
    """A neighbour asks; answer with `Respond` of the same id."""

    request_id: int
    peer: PeerId
    request: Request


class ResponseArrived(msgspec.Struct, frozen=True):
    """A verified answer to our `SendRequest` of this id."""

    request_id: int
    peer: PeerId
    response: Verified[Response]


# ---- inputs: commands of the node's owner and of its services -----------------------------------


class SubmitTransaction(msgspec.Struct, frozen=True):
    """Sign and publish an action of this account. Reply: `Transaction` or `Rejected`."""

    ticket: int
    action: Action
    fee: Amount | None = None


class ChangeOffer(msgspec.Struct, frozen=True):
    """Replace what this node offers; a new ad follows. Reply: `Offer` or `Rejected`."""

    ticket: int
    offer: Offer


class SpaceMeasured(msgspec.Struct, frozen=True):
    """Free room for blobs, measured by the shell; the ad follows in due time."""

    free_bytes: int


Command = SubmitTransaction | ChangeOffer | ReceiptCommand

ReplicaInput = (
    Started
    | TimerFired
    | PeerConnected
    | PeerDisconnected
    | DialFailed
    | RpcReceived
    | RpcSent
    | PeerMisbehaved
    | NeighboursFound
    | MessageVerified
    | MessageRefused
    | RequestArrived
    | ResponseArrived
    | RequestFailed
    | SpaceMeasured
    | Command
)

# ---- effects ---------------------------------------------------------------------------------


class Verify(msgspec.Struct, frozen=True):
    """Decode and check a gossip message; answer `MessageVerified` or `MessageRefused`."""

    message_id: bytes
    topic: Topic
    data: bytes
    peer: PeerId


class SendRequest(msgspec.Struct, frozen=True):
    """Ask a neighbour; answer `ResponseArrived` or `RequestFailed` within `deadline_ms`."""

    request_id: int
    peer: PeerId
    request: Request
    deadline_ms: int


class Respond(msgspec.Struct, frozen=True):
    """Answer a neighbour's request; None refuses it."""

    request_id: int
    response: Response | None


class RespondBlocks(msgspec.Struct, frozen=True):
    """Answer a neighbour's request with up to `count` stored blocks from a height upwards."""

    request_id: int
    from_height: Height
    count: int


class Committed(msgspec.Struct, frozen=True):
    """A block is final and durable here."""

    height: Height
    header_digest: Digest
    state_root: Digest
    time_ms: int
    round: int
    transactions: int
    receipts: int


class RoundStarted(msgspec.Struct, frozen=True):
    """Consensus entered a round above 0: somebody was slow, silent or wrong."""

    height: Height
    round: int


class AdLearned(msgspec.Struct, frozen=True):
    """A provider's newest ad was accepted."""

    provider: bytes
    seq: int


class PeerPenalized(msgspec.Struct, frozen=True):
    """A peer was at fault."""

    peer: PeerId
    reason: Reason
    detail: str


class EquivocationFound(msgspec.Struct, frozen=True):
    """A validator signed two different votes or proposals for one slot."""

    validator: bytes
    height: Height
    round: int
    what: str


class EvidenceFound(msgspec.Struct, frozen=True):
    """This node holds two signed statements of one key that contradict, and told the others."""

    kind: str
    offender: AccountId
    height: Height
    """Of the offence, or the open one where it has none."""


class StakeSlashed(msgspec.Struct, frozen=True):
    """A committed block punished a liar."""

    row: SlashRow


class InvariantViolated(msgspec.Struct, frozen=True):
    """A block broke a rule that no block may break; the node stops taking part."""

    name: str
    height: Height
    detail: str


Event = (
    Committed
    | RoundStarted
    | AdLearned
    | PeerPenalized
    | EquivocationFound
    | EvidenceFound
    | StakeSlashed
    | InvariantViolated
)


class Notify(msgspec.Struct, frozen=True):
    """Tell whoever watches this node."""

    event: Event


ReplicaEffect = (
    SendRpc
    | Verify
    | SendRequest
    | Respond
    | RespondBlocks
    | SetTimer
    | CancelTimer
    | Persist
    | Dial
    | HangUp
    | Reply
    | Notify
)
