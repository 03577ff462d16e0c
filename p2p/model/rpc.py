"""Gossip RPCs, and their codec: the protobuf of libp2p pubsub with GossipSub 1.1's control part.

    RPC      subscriptions = 1 {subscribe = 1, topicid = 2}, publish = 2, control = 3
    Message  from = 1, data = 2, seqno = 3, topic = 4, signature = 5, key = 6
    control  ihave = 1 {topicID = 1, messageIDs = 2}, iwant = 2 {messageIDs = 1},
             graft = 3 {topicID = 1}, idontwant = 5 {messageIDs = 1},
             prune = 4 {topicID = 1, peers = 2 {peerID = 1, signedPeerRecord = 2}, backoff = 3}

Protobuf messages concatenate, so the encoded form of one `Message`, key included, is made once and
reused in every RPC that carries it (`Message.encoded`): encoding an RPC is then one join.

Signature policy StrictNoSign: payloads carry their own signatures. A message with an author,
sequence number, signature or key is decoded with `signed` set; the machine rejects it alone.

The message id is the first 20 bytes of SHA-256(length of the topic as 4 bytes, big-endian || topic
in UTF-8 || data). The length keeps (topic, data) pairs apart. Ids travel in IHAVE and IWANT only,
but there they must agree: a node of another implementation has to be given this id function.

Source: libp2p specs, pubsub/README.md, pubsub/gossipsub/gossipsub-v1.1.md and gossipsub-v1.2.md.
"""

from functools import cached_property
from hashlib import sha256
from typing import Final, NewType

import msgspec

from p2p.primitives.codec import Malformed
from p2p.primitives.protobuf import (
    bytes_field,
    key_of_bytes,
    key_of_number,
    number_field,
    read_fields,
    varint,
    varint_size,
)
from p2p.primitives.units import MIB, PeerId

MessageId = NewType("MessageId", bytes)
"""First 20 bytes of a digest of topic and data; other implementations' ids may be of any length."""

MESSAGE_ID_BYTES: Final = 20

RPC_BYTES_MAX: Final = 1 * MIB
"""One RPC on the wire: the customary bound of GossipSub implementations."""
FIELDS_MAX: Final = 8192
"""Fields in one protobuf message, known or not: what one RPC can make us allocate."""
SUBSCRIPTIONS_MAX: Final = 1024
MESSAGES_MAX: Final = 4096
CONTROLS_MAX: Final = 1024
"""IHAVE, GRAFT and PRUNE entries in one RPC, of each kind."""
IDS_MAX: Final = 8192
"""Message ids in one RPC, of IHAVE, of IWANT and of IDONTWANT; go-libp2p sends at most 5000."""
PX_PEERS_MAX: Final = 64
"""Peers that one PRUNE may suggest; implementations send 16."""
TOPIC_BYTES_MAX: Final = 256
MESSAGE_ID_BYTES_MAX: Final = 128
PEER_ID_BYTES_MAX: Final = 64
PEER_RECORD_BYTES_MAX: Final = 4096


def message_id(topic: str, data: bytes) -> MessageId:
    """The id of a message: deduplication before any other work."""
    name = topic.encode()
    return MessageId(sha256(len(name).to_bytes(4) + name + data).digest()[:MESSAGE_ID_BYTES])


class Subscription(msgspec.Struct, frozen=True, gc=False):
    """The sender wants a topic's messages, or no longer."""

    subscribe: bool
    topic: str


class Message(msgspec.Struct, frozen=True, dict=True):
    """One published message. `signed`: it names an author or carries a signature."""

    topic: str
    data: bytes
    signed: bool = False

    @cached_property
    def id(self) -> MessageId:
        """See `message_id`; computed at most once."""
        return message_id(self.topic, self.data)

    @cached_property
    def encoded(self) -> bytes:
        """The whole `publish` field of an RPC, made at most once."""
        return bytes_field(2, bytes_field(2, self.data) + bytes_field(4, self.topic.encode()))

    @cached_property
    def size(self) -> int:
        """Length of `encoded`, without making it."""
        topic = len(self.topic) if self.topic.isascii() else len(self.topic.encode())
        body = 2 + len(self.data) + topic + varint_size(len(self.data)) + varint_size(topic)
        return 1 + varint_size(body) + body

    @cached_property
    def alone(self) -> "Rpc":
        """The RPC that carries nothing else, one for all who are sent it."""
        return Rpc((), (self,))


class IHave(msgspec.Struct, frozen=True, dict=True):
    """The sender has these messages of a topic."""

    topic: str
    ids: tuple[MessageId, ...]

    @cached_property
    def size(self) -> int:
        """Length of its field in the control part of an RPC, without making it."""
        return _field_size(_field_size(len(self.topic.encode())) + _ids_size(self.ids))


class PeerInfo(msgspec.Struct, frozen=True, gc=False):
    """A peer to connect to instead; the record, if any, is signed by that peer."""

    peer: PeerId
    record: bytes = b""


class Prune(msgspec.Struct, frozen=True):
    """The sender leaves our mesh of a topic, or refuses to join it. `backoff_s` 0: not said."""

    topic: str
    backoff_s: int = 0
    peers: tuple[PeerInfo, ...] = ()


class Rpc(msgspec.Struct, frozen=True, dict=True):
    """Everything that one neighbour tells another at once.

    `iwant` and `idontwant` are ids of messages, `graft` names topics.
    """

    subscriptions: tuple[Subscription, ...] = ()
    publish: tuple[Message, ...] = ()
    ihave: tuple[IHave, ...] = ()
    iwant: tuple[MessageId, ...] = ()
    graft: tuple[str, ...] = ()
    prune: tuple[Prune, ...] = ()
    idontwant: tuple[MessageId, ...] = ()

    @cached_property
    def size(self) -> int:
        """Length of `encode_rpc(self)`, without making it: what a link has to carry."""
        size = sum([message.size for message in self.publish])
        for subscription in self.subscriptions:
            size += len(_encode_subscription(subscription))
        control = _control_size(self)
        return size + _field_size(control) if control else size


# ---- words of a node about its RPCs ---------------------------------------------------------


class RpcReceived(msgspec.Struct, frozen=True):
    """A decoded gossip RPC."""

    peer: PeerId
    rpc: Rpc


class RpcSent(msgspec.Struct, frozen=True):
    """The last RPC to the peer left; the next may follow."""

    peer: PeerId


class SendRpc(msgspec.Struct, frozen=True):
    """Hand one gossip RPC to the connection; answer `RpcSent` when it left."""

    peer: PeerId
    rpc: Rpc


# ---- encoding -------------------------------------------------------------------------------


def encode_rpc(rpc: Rpc) -> bytes:
    """The RPC's protobuf. Messages were encoded before, or are now for all RPCs to come."""
    parts = [_encode_subscription(subscription) for subscription in rpc.subscriptions]
    parts += [message.encoded for message in rpc.publish]
    control = _encode_control(rpc)
    if control:
        parts.append(bytes_field(3, control))
    return b"".join(parts)


def _control_size(rpc: Rpc) -> int:
    size = _field_size(_ids_size(rpc.iwant)) if rpc.iwant else 0
    if rpc.idontwant:
        size += _field_size(_ids_size(rpc.idontwant))
    for ihave in rpc.ihave:
        size += ihave.size
    for topic in rpc.graft:
        size += _field_size(_field_size(len(topic.encode())))
    for prune in rpc.prune:
        size += _field_size(len(_encode_prune(prune)))
    return size


def _ids_size(ids: tuple[MessageId, ...]) -> int:
    return sum([_field_size(len(one)) for one in ids])


def _field_size(length: int) -> int:
    """Length of a field of so many bytes, whose number is below 16."""
    return 2 + length if length < 128 else 1 + varint_size(length) + length


def _encode_subscription(subscription: Subscription) -> bytes:
    topic = bytes_field(2, subscription.topic.encode())
    return bytes_field(1, number_field(1, subscription.subscribe) + topic)


def _encode_control(rpc: Rpc) -> bytes:
    if not (rpc.ihave or rpc.iwant or rpc.graft or rpc.prune or rpc.idontwant):
        return b""
    parts = [
        bytes_field(1, bytes_field(1, ihave.topic.encode()) + _encode_ids(2, ihave.ids))
        for ihave in rpc.ihave
    ]
    if rpc.iwant:
        parts.append(bytes_field(2, _encode_ids(1, rpc.iwant)))
    parts += [bytes_field(3, bytes_field(1, topic.encode())) for topic in rpc.graft]
    parts += [bytes_field(4, _encode_prune(prune)) for prune in rpc.prune]
    if rpc.idontwant:
        parts.append(bytes_field(5, _encode_ids(1, rpc.idontwant)))
    return b"".join(parts)


def _encode_ids(number: int, ids: tuple[MessageId, ...]) -> bytes:
    key = varint(key_of_bytes(number))
    return b"".join([key + varint(len(one)) + one for one in ids])


def _encode_prune(prune: Prune) -> bytes:
    parts = [bytes_field(1, prune.topic.encode())]
    for info in prune.peers:
        record = bytes_field(2, info.record) if info.record else b""
        parts.append(bytes_field(2, bytes_field(1, info.peer) + record))
    if prune.backoff_s:
        parts.append(number_field(3, prune.backoff_s))
    return b"".join(parts)


# ---- decoding: of a field that may stand once, the last one counts ------------------------------

_SUBSCRIPTIONS, _PUBLISH, _CONTROL = key_of_bytes(1), key_of_bytes(2), key_of_bytes(3)
_SUBSCRIBE, _TOPIC_ID = key_of_number(1), key_of_bytes(2)
_DATA, _TOPIC = key_of_bytes(2), key_of_bytes(4)
_AUTHORSHIP = frozenset(key_of_bytes(number) for number in (1, 3, 5, 6))
_IHAVE, _IWANT, _GRAFT, _PRUNE, _IDONTWANT = (key_of_bytes(n) for n in (1, 2, 3, 4, 5))
_FIRST, _SECOND, _BACKOFF = key_of_bytes(1), key_of_bytes(2), key_of_number(3)


def decode_rpc(data: bytes) -> Rpc:
    """The RPC that a peer sent, in time and memory linear in its size.

    Raises:
        Malformed: too long, not protobuf, a topic that is not UTF-8, or more of anything than its
            bound. Nothing else, whatever the bytes are.
    """
    if len(data) > RPC_BYTES_MAX:
        raise Malformed(f"an RPC of {len(data)} bytes, more than the {RPC_BYTES_MAX} allowed")
    subscriptions: list[Subscription] = []
    publish: list[Message] = []
    control: list[bytes] = []
    for key, _, chunk in read_fields(data, fields_max=FIELDS_MAX):
        if key == _PUBLISH:
            publish.append(_decode_message(chunk))
        elif key == _SUBSCRIPTIONS:
            subscriptions.append(_decode_subscription(chunk))
        elif key == _CONTROL:
            control.append(chunk)
    _bound(len(publish), MESSAGES_MAX, "messages")
    _bound(len(subscriptions), SUBSCRIPTIONS_MAX, "subscriptions")
    if not control:
        return Rpc(tuple(subscriptions), tuple(publish))
    # Parts of a message that stands once are merged, as concatenation demands.
    merged = control[0] if len(control) == 1 else b"".join(control)
    return _decode_control(merged, tuple(subscriptions), tuple(publish))


def _bound(count: int, count_max: int, what: str) -> None:
    if count > count_max:
        raise Malformed(f"{count} {what}, more than the {count_max} allowed")


def _decode_topic(chunk: bytes) -> str:
    _bound(len(chunk), TOPIC_BYTES_MAX, "bytes of a topic's name")
    try:
        return chunk.decode()
    except UnicodeDecodeError:
        raise Malformed("a topic's name is not UTF-8") from None


def _decode_message(chunk: bytes) -> Message:
    topic, data, signed = b"", b"", False
    for key, _, value in read_fields(chunk, fields_max=FIELDS_MAX):
        if key == _DATA:
            data = value
        elif key == _TOPIC:
            topic = value
        elif key in _AUTHORSHIP:
            signed = True
    return Message(_decode_topic(topic), data, signed)


def _decode_subscription(chunk: bytes) -> Subscription:
    subscribe, topic = False, b""
    for key, number, value in read_fields(chunk, fields_max=FIELDS_MAX):
        if key == _SUBSCRIBE:
            subscribe = number != 0
        elif key == _TOPIC_ID:
            topic = value
    return Subscription(subscribe, _decode_topic(topic))


def _decode_control(
    chunk: bytes, subscriptions: tuple[Subscription, ...], publish: tuple[Message, ...]
) -> Rpc:
    ihave: list[IHave] = []
    iwant: list[MessageId] = []
    graft: list[str] = []
    prune: list[Prune] = []
    idontwant: list[MessageId] = []
    offered = 0
    for key, _, value in read_fields(chunk, fields_max=FIELDS_MAX):
        if key == _IHAVE:
            ihave.append(_decode_ihave(value))
            offered += len(ihave[-1].ids)
            _bound(offered, IDS_MAX, "ids in IHAVE")
        elif key == _IWANT:
            iwant += _decode_ids(value, _FIRST)
            _bound(len(iwant), IDS_MAX, "ids in IWANT")
        elif key == _GRAFT:
            graft.append(_decode_last_topic(value))
        elif key == _PRUNE:
            prune.append(_decode_prune(value))
        elif key == _IDONTWANT:
            idontwant += _decode_ids(value, _FIRST)
            _bound(len(idontwant), IDS_MAX, "ids in IDONTWANT")
    _bound(max(len(ihave), len(graft), len(prune)), CONTROLS_MAX, "control entries")
    return Rpc(
        subscriptions,
        publish,
        tuple(ihave),
        tuple(iwant),
        tuple(graft),
        tuple(prune),
        tuple(idontwant),
    )


def _decode_ids(chunk: bytes, key_of_ids: int) -> list[MessageId]:
    ids = [
        MessageId(value)
        for key, _, value in read_fields(chunk, fields_max=FIELDS_MAX + 1)
        if key == key_of_ids
    ]
    if ids:
        _bound(max(map(len, ids)), MESSAGE_ID_BYTES_MAX, "bytes of a message id")
    return ids


def _decode_last_topic(chunk: bytes) -> str:
    topic = b""
    for key, _, value in read_fields(chunk, fields_max=FIELDS_MAX + 1):
        if key == _FIRST:
            topic = value
    return _decode_topic(topic)


def _decode_ihave(chunk: bytes) -> IHave:
    return IHave(_decode_last_topic(chunk), tuple(_decode_ids(chunk, _SECOND)))


def _decode_prune(chunk: bytes) -> Prune:
    topic, backoff_s = b"", 0
    peers: list[PeerInfo] = []
    for key, number, value in read_fields(chunk, fields_max=FIELDS_MAX):
        if key == _FIRST:
            topic = value
        elif key == _SECOND:
            peers.append(_decode_peer(value))
        elif key == _BACKOFF:
            backoff_s = number
    _bound(len(peers), PX_PEERS_MAX, "peers in a PRUNE")
    return Prune(_decode_topic(topic), backoff_s, tuple(peers))


def _decode_peer(chunk: bytes) -> PeerInfo:
    peer, record = b"", b""
    for key, _, value in read_fields(chunk, fields_max=FIELDS_MAX):
        if key == _FIRST:
            peer = value
        elif key == _SECOND:
            record = value
    _bound(len(peer), PEER_ID_BYTES_MAX, "bytes of a peer id")
    _bound(len(record), PEER_RECORD_BYTES_MAX, "bytes of a peer record")
    return PeerInfo(PeerId(peer), record)
