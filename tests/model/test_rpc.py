from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.pubsub.pb import rpc_pb2

from p2p.model import rpc as wire
from p2p.model.rpc import (
    IHave,
    Message,
    MessageId,
    PeerInfo,
    Prune,
    Rpc,
    Subscription,
    decode_rpc,
    encode_rpc,
    message_id,
)
from p2p.primitives.codec import Malformed
from p2p.primitives.protobuf import bytes_field, number_field
from p2p.primitives.units import PeerId

topics = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ids = st.binary(max_size=40).map(MessageId)
rpcs = st.builds(
    Rpc,
    subscriptions=st.lists(st.builds(Subscription, st.booleans(), topics), max_size=3).map(tuple),
    publish=st.lists(st.builds(Message, topics, st.binary(max_size=300)), max_size=3).map(tuple),
    ihave=st.lists(
        st.builds(IHave, topics, st.lists(ids, max_size=4).map(tuple)), max_size=3
    ).map(tuple),
    iwant=st.lists(ids, max_size=4).map(tuple),
    graft=st.lists(topics, max_size=3).map(tuple),
    prune=st.lists(
        st.builds(
            Prune,
            topics,
            st.integers(0, 2**64 - 1),
            st.lists(
                st.builds(PeerInfo, st.binary(max_size=40).map(PeerId), st.binary(max_size=50)),
                max_size=2,
            ).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
    idontwant=st.lists(ids, max_size=4).map(tuple),
)  # fmt: skip


def to_google(rpc: Rpc) -> rpc_pb2.RPC:
    """The same RPC as py-libp2p builds it."""
    made = rpc_pb2.RPC()
    for subscription in rpc.subscriptions:
        made.subscriptions.add(subscribe=subscription.subscribe, topicid=subscription.topic)
    for message in rpc.publish:
        made.publish.add(data=message.data, topicIDs=[message.topic])
    for ihave in rpc.ihave:
        made.control.ihave.add(topicID=ihave.topic, messageIDs=ihave.ids)
    if rpc.iwant:
        made.control.iwant.add(messageIDs=rpc.iwant)
    for topic in rpc.graft:
        made.control.graft.add(topicID=topic)
    for prune in rpc.prune:
        entry = made.control.prune.add(topicID=prune.topic)
        if prune.backoff_s:
            entry.backoff = prune.backoff_s
        for info in prune.peers:
            peer = entry.peers.add(peerID=info.peer)
            if info.record:
                peer.signedPeerRecord = info.record
    if rpc.idontwant:
        made.control.idontwant.add(messageIDs=rpc.idontwant)
    return made


@given(rpcs)
def test_an_rpc_is_read_back_and_has_the_size_foretold(rpc: Rpc) -> None:
    encoded = encode_rpc(rpc)
    assert decode_rpc(encoded) == rpc
    assert rpc.size == len(encoded)


@given(rpcs)
def test_py_libp2p_reads_what_we_write(rpc: Rpc) -> None:
    assert rpc_pb2.RPC.FromString(encode_rpc(rpc)) == to_google(rpc)


@given(rpcs)
def test_we_read_what_py_libp2p_writes(rpc: Rpc) -> None:
    assert decode_rpc(to_google(rpc).SerializeToString()) == rpc


@given(rpcs, rpcs)
def test_encodings_concatenate(first: Rpc, second: Rpc) -> None:
    merged = decode_rpc(encode_rpc(first) + encode_rpc(second))
    assert merged == Rpc(
        first.subscriptions + second.subscriptions,
        first.publish + second.publish,
        first.ihave + second.ihave,
        first.iwant + second.iwant,
        first.graft + second.graft,
        first.prune + second.prune,
        first.idontwant + second.idontwant,
    )


def test_a_message_is_encoded_once_for_all_rpcs() -> None:
    message = Message("topic", b"data")
    one, other = Rpc(publish=(message,)), Rpc(publish=(message, message))
    assert message.encoded is message.encoded
    assert encode_rpc(one) == message.encoded
    assert encode_rpc(other) == message.encoded * 2


def test_strict_no_sign_a_message_with_an_author_or_signature_is_flagged() -> None:
    for field in ("from_id", "seqno", "signature", "key"):
        made = rpc_pb2.RPC()
        made.publish.add(data=b"fine", topicIDs=["t"])
        setattr(made.publish.add(data=b"signed", topicIDs=["t"]), field, b"")
        assert decode_rpc(made.SerializeToString()).publish == (
            Message("t", b"fine"),
            Message("t", b"signed", signed=True),
        )


def test_unknown_fields_are_skipped() -> None:
    future = bytes_field(3, bytes_field(6, bytes_field(1, b"i" * 20)))
    unknown = number_field(9, 7) + bytes_field(10, b"?") + bytes([11 << 3 | 5]) + bytes(4)
    known_number_other_type = number_field(2, 5)
    message = bytes_field(2, unknown + bytes_field(2, b"d") + bytes_field(4, b"t"))
    data = future + unknown + known_number_other_type + message
    assert decode_rpc(data) == Rpc(publish=(Message("t", b"d"),))


def test_of_a_field_that_stands_once_the_last_counts() -> None:
    message = bytes_field(2, b"a") + bytes_field(4, b"t") + bytes_field(2, b"b")
    assert decode_rpc(bytes_field(2, message)) == Rpc(publish=(Message("t", b"b"),))


def test_the_message_id_is_a_digest_that_keeps_topic_and_data_apart() -> None:
    assert message_id("tä", b"data") == sha256(b"\0\0\0\x03t\xc3\xa4data").digest()[:20]
    assert message_id("ab", b"c") != message_id("a", b"bc")
    assert Message("tä", b"data").id == message_id("tä", b"data")


def nested(number: int, entry: bytes, count: int) -> bytes:
    return bytes_field(number, entry) * count


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (bytes(wire.RPC_BYTES_MAX + 1), "an RPC of"),
        (nested(9, b"", wire.FIELDS_MAX + 1), "8192 fields"),
        (bytes_field(2, nested(9, b"", wire.FIELDS_MAX + 1)), "8192 fields"),
        (nested(1, b"", wire.SUBSCRIPTIONS_MAX + 1), "1025 subscriptions"),
        (nested(2, b"", wire.MESSAGES_MAX + 1), "4097 messages"),
        (bytes_field(3, nested(3, b"", wire.CONTROLS_MAX + 1)), "control entries"),
        (bytes_field(3, nested(1, b"", wire.CONTROLS_MAX + 1)), "control entries"),
        (bytes_field(3, nested(4, b"", wire.CONTROLS_MAX + 1)), "control entries"),
        (bytes_field(3, nested(1, nested(2, b"i", 5000), 2)), "ids in IHAVE"),
        (bytes_field(3, nested(2, nested(1, b"i", 5000), 2)), "ids in IWANT"),
        (bytes_field(3, bytes_field(2, bytes_field(1, bytes(129)))), "bytes of a message id"),
        (bytes_field(3, bytes_field(4, nested(2, b"", 65))), "peers in a PRUNE"),
        (
            bytes_field(3, bytes_field(4, bytes_field(2, bytes_field(1, bytes(65))))),
            "bytes of a peer id",
        ),
        (
            bytes_field(3, bytes_field(4, bytes_field(2, bytes_field(2, bytes(4097))))),
            "bytes of a peer record",
        ),
        (bytes_field(2, bytes_field(4, b"t" * 257)), "bytes of a topic's name"),
        (bytes_field(2, bytes_field(4, b"\xff")), "not UTF-8"),
        (bytes_field(1, bytes_field(2, b"\xff")), "not UTF-8"),
        (b"\x0b", "wire type 3"),
    ],
)
def test_whatever_exceeds_its_bound_or_form_is_malformed(data: bytes, complaint: str) -> None:
    with pytest.raises(Malformed, match=complaint):
        decode_rpc(data)


def test_an_rpc_at_its_bounds_is_read() -> None:
    ids_max = tuple(MessageId(number.to_bytes(20)) for number in range(wire.IDS_MAX))
    rpc = Rpc(iwant=ids_max, ihave=(IHave("t", ids_max),))
    assert decode_rpc(encode_rpc(rpc)) == rpc


@given(st.binary(max_size=400))
def test_decoding_any_bytes_raises_nothing_but_malformed(data: bytes) -> None:
    try:
        rpc = decode_rpc(data)
    except Malformed:
        return
    assert decode_rpc(encode_rpc(rpc)).publish == tuple(
        Message(message.topic, message.data) for message in rpc.publish
    )


@given(rpcs, st.data())
def test_decoding_a_damaged_rpc_raises_nothing_but_malformed(rpc: Rpc, data: st.DataObject) -> None:
    encoded = bytearray(encode_rpc(rpc) or b"\0")
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_rpc(bytes(encoded))
    except Malformed:
        return
