"""What harness, zygote and node processes tell one another: a MessagePack message a packet.

    harness  --Spawn, Signal-->  zygote        harness <--Warmed, Spawned, Exited--  zygote
    harness  <--Ready, Status, ...Noted, Done--  node   (its own socket, which comes with Spawn)
    harness  --LinksHurt, ClockSet, Buy, ...-->  node   (the other way of the same socket)

One packet is one message, so one that is dropped leaves the others whole.
"""

from typing import Final

import msgspec

PACKET_BYTES_MAX: Final = 16 * 1024
"""Far above the largest message, below the smallest socket buffer."""


class _Message(msgspec.Struct, frozen=True, tag=True):
    pass


# ---- harness to zygote -----------------------------------------------------------------------


class Spawn(_Message, frozen=True):
    """Fork a process for a node; its status socket comes with this packet."""

    node: int
    home: str
    log: str
    """File that its standard output and error are added to."""
    options: dict[str, str] = {}
    """For the entry function alone."""


class Signal(_Message, frozen=True):
    """Send a signal to a child, if it still lives."""

    pid: int
    signal: int


Order = Spawn | Signal

# ---- zygote to harness -----------------------------------------------------------------------


class Warmed(_Message, frozen=True):
    """All is imported; forks follow as ordered."""

    pid: int
    seconds: float
    rss_bytes: int


class Spawned(_Message, frozen=True):
    """A child runs."""

    node: int
    pid: int


class Exited(_Message, frozen=True):
    """A child is gone: its exit code, or minus the signal that ended it."""

    pid: int
    code: int


News = Warmed | Spawned | Exited

# ---- node to harness -------------------------------------------------------------------------


class Ready(_Message, frozen=True):
    """The node serves."""

    account: bytes
    peer: str
    addresses: tuple[str, ...]
    api_url: str = ""


class Status(_Message, frozen=True):
    """How a node stands. Counters are since its process began."""

    height: int
    header_digest: bytes
    state_root: bytes
    round: int
    """Round of the last commit."""
    peers: int
    ads: int
    receipts: int
    """Channels with a signed receipt known here."""
    settled: int
    """Receipts settled by the blocks seen to commit."""
    transactions: int
    """Transactions in the blocks seen to commit."""
    earned: int
    """Micro-tokens that this node received as a provider in the blocks seen to commit."""
    cpu_ms: int
    rss_bytes: int
    dropped: int = 0
    """Messages to the harness that found no room."""
    sent: dict[str, int] = {}
    """Bytes of gossip by topic; what is in no message is `control`."""
    heard: int = 0
    """Gossip messages that came, duplicates included."""
    duplicates: int = 0
    unpaid: int = 0
    """Micro-tokens of signed receipts that this node holds as a provider, and no block settled."""
    descriptors: int = 0
    tasks: int = 0
    """Of trio."""
    mesh: int = 0
    """Peers in the smallest mesh of this node's topics."""
    proposer: bytes = b""
    """The account that proposes next, by this node's ledger."""


class CommitNoted(_Message, frozen=True):
    """The node said that this block is final and durable."""

    height: int
    header_digest: bytes
    state_root: bytes
    time_ms: int
    """The block's own time."""
    round: int
    at_ms: int = 0
    """When the node said so, by its machine's clock; 0 where that is not known."""
    transactions: int = 0
    receipts: int = 0


class AdNoted(_Message, frozen=True):
    """The node accepted a provider's newest ad, or issued its own."""

    provider: bytes
    seq: int
    at_ms: int


class AdsNoted(_Message, frozen=True):
    """The same of several that came together: in a large network one by one would be a flood."""

    ads: tuple[AdNoted, ...]


class VoteNoted(_Message, frozen=True):
    """The node saw a truly signed vote or proposal."""

    validator: bytes
    kind: str
    height: int
    round: int
    header_digest: bytes | None
    valid_round: int = -1
    """Of a proposal, or of a prevote that states one."""


class SignedNoted(_Message, frozen=True):
    """The node signed a vote or a proposal, or saw one that is truly signed: its encoding."""

    data: bytes


class BanNoted(_Message, frozen=True):
    """The node hung up on a peer that misbehaved."""

    peer: bytes
    reason: str
    at_ms: int


class Noted(_Message, frozen=True):
    """Something that a person should see: an invariant broken, an equivocation, a penalty."""

    kind: str
    text: str
    at_ms: int = 0
    data: bytes = b""
    """The event, encoded by `pack_event`."""


class DeedNoted(_Message, frozen=True):
    """What the adversary of this node did so far, and what it made of it."""

    deeds: dict[str, int]
    profit: int | None


class Measured(_Message, frozen=True):
    """What was injected, as the node measured it: totals since its process began."""

    at_s: float = 0.0
    """Of the node's monotonic time."""
    sends: int = 0
    asked_s: float = 0.0
    """What distances alone would have taken, summed over the sends."""
    parcels: int = 0
    """Sends that went to the real socket."""
    late_s: float = 0.0
    """From the send to the real socket, summed over them."""
    bytes: int = 0
    crossed: int = 0
    """Bytes that went to the other side of a partition while it stood: none should."""
    held: int = 0
    """Sends that a partition kept."""
    packets: int = 0
    retransmissions: int = 0
    """Packets lost, by the draws."""
    breaks: int = 0
    """Connections that losses broke."""
    swallowed: int = 0
    """Bytes gone in a black hole."""
    read_bytes: int = 0
    refused: int = 0
    """Accepts and dials that failed because no descriptor was left."""
    commits: int = 0
    commits_s: float = 0.0
    """What the store's commits took together."""
    clock_ms: float = 0.0
    """How far the node's clock is ahead of the machine's, now."""


class Done(_Message, frozen=True):
    """An order with a ticket was carried out, or could not be."""

    ticket: int
    ok: bool
    text: str = ""
    """Why not."""
    blob: bytes = b""
    size_bytes: int = 0
    """Moved for it."""
    paid: int = 0
    took_ms: int = 0


NodeWord = (
    Ready
    | Status
    | CommitNoted
    | AdNoted
    | AdsNoted
    | VoteNoted
    | SignedNoted
    | BanNoted
    | Noted
    | DeedNoted
    | Measured
    | Done
)

# ---- harness to node -------------------------------------------------------------------------


class CutSpec(msgspec.Struct, frozen=True):
    """A partition: as `sim_harness.virtual.cuts.Cut`."""

    groups: tuple[tuple[int, ...], ...]
    direction: str = "both"
    elsewhere: int | None = None


class RuleSpec(msgspec.Struct, frozen=True):
    """A hindrance: as `sim_harness.virtual.weather.Rule`, and three that only sockets know."""

    nodes: tuple[int, ...]
    direction: str = "both"
    delay_us: int = 0
    jitter_us: int = 0
    loss: float = 0.0
    bytes_per_second: int | None = None
    swallows: bool = False
    """What is sent is gone for good, while dials succeed: a black hole."""
    reads_per_second: int | None = None
    """Bytes that these nodes read: slow readers."""


class LinksHurt(_Message, frozen=True):
    """All that lies on links from now on; whatever is not named here is over."""

    cuts: tuple[CutSpec, ...] = ()
    rules: tuple[RuleSpec, ...] = ()


class ConnectionsForgotten(_Message, frozen=True):
    """The node's own ends of its connections break, and nobody is told: half-open ones remain."""


class ClockSet(_Message, frozen=True):
    """The wall clock stands apart from the machine's by an offset and, from now on, a drift."""

    offset_us: int = 0
    drift_ppm: int = 0


class DiskHurt(_Message, frozen=True):
    """From now on commits take so much longer; `tears`: the process dies within the next one."""

    add_us: int = 0
    tears: bool = False


class DescriptorsHeld(_Message, frozen=True):
    """From now on the process has no descriptor left, or has them again."""

    held: bool


class Buy(_Message, frozen=True):
    """Store a blob of random bytes at providers."""

    ticket: int
    size_bytes: int
    replicas: int
    epochs: int
    seed: int


class Fetch(_Message, frozen=True):
    """Get a blob, and compare it with what was stored."""

    ticket: int
    blob: bytes
    size_bytes: int
    seed: int
    """What its bytes were drawn from."""


class Pay(_Message, frozen=True):
    """Transfer micro-tokens to an account."""

    ticket: int
    account: bytes
    amount: int


class Reprice(_Message, frozen=True):
    """Change the offer: another price of what is stored, in basis points of the present one."""

    ticket: int
    price_bp: int


class Measure(_Message, frozen=True):
    """Tell `Measured`."""


NodeOrder = (
    LinksHurt
    | ConnectionsForgotten
    | ClockSet
    | DiskHurt
    | DescriptorsHeld
    | Buy
    | Fetch
    | Pay
    | Reprice
    | Measure
)

_order: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_news: msgspec.msgpack.Decoder[News] = msgspec.msgpack.Decoder(News)
_word: msgspec.msgpack.Decoder[NodeWord] = msgspec.msgpack.Decoder(NodeWord)
_node_order: msgspec.msgpack.Decoder[NodeOrder] = msgspec.msgpack.Decoder(NodeOrder)
_encoder = msgspec.msgpack.Encoder()


def pack(message: Order | News | NodeWord | NodeOrder) -> bytes:
    """One packet. Raises ValueError when it is too large."""
    data = _encoder.encode(message)
    if len(data) > PACKET_BYTES_MAX:
        raise ValueError(f"a packet of {len(data)} bytes; at most {PACKET_BYTES_MAX} fit")
    return data


def unpack_order(data: bytes) -> Order:
    """What the harness ordered. Raises msgspec.DecodeError."""
    return _order.decode(data)


def unpack_news(data: bytes) -> News:
    """What the zygote tells. Raises msgspec.DecodeError."""
    return _news.decode(data)


def unpack_word(data: bytes) -> NodeWord:
    """What a node tells. Raises msgspec.DecodeError."""
    return _word.decode(data)


def unpack_node_order(data: bytes) -> NodeOrder:
    """What the harness orders a node. Raises msgspec.DecodeError."""
    return _node_order.decode(data)
