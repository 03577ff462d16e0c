"""What harness, zygote and node processes tell one another: a MessagePack message a packet.

    harness  --Spawn, Signal-->  zygote        harness <--Warmed, Spawned, Exited--  zygote
    harness  <--Ready, Status, Noted--  node   (a socket of its own, handed over with Spawn)

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


class CommitNoted(_Message, frozen=True):
    """The node said that this block is final and durable."""

    height: int
    header_digest: bytes
    state_root: bytes
    time_ms: int
    """The block's own time."""
    round: int
    at_ms: int = 0
    """When the node said so, by its clock; 0 where that is not known."""


class AdNoted(_Message, frozen=True):
    """The node accepted a provider's newest ad, or issued its own."""

    provider: bytes
    seq: int
    at_ms: int


class VoteNoted(_Message, frozen=True):
    """The node saw a truly signed vote or proposal."""

    validator: bytes
    kind: str
    height: int
    round: int
    header_digest: bytes | None
    valid_round: int = -1
    """Of a proposal."""


class Noted(_Message, frozen=True):
    """Something that a person should see: an invariant broken, an equivocation, a penalty."""

    kind: str
    text: str


NodeWord = Ready | Status | CommitNoted | AdNoted | VoteNoted | Noted

_order: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_news: msgspec.msgpack.Decoder[News] = msgspec.msgpack.Decoder(News)
_word: msgspec.msgpack.Decoder[NodeWord] = msgspec.msgpack.Decoder(NodeWord)
_encoder = msgspec.msgpack.Encoder()


def pack(message: Order | News | NodeWord) -> bytes:
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
