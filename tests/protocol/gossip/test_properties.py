"""What holds whatever peers, the node and its clock do, in any order."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.model.inputs import PeerConnected, PeerDisconnected, TimerFired
from p2p.model.rejection import Reason
from p2p.model.rpc import (
    IHave,
    Message,
    MessageId,
    PeerInfo,
    Prune,
    Rpc,
    Subscription,
    encode_rpc,
)
from p2p.primitives.units import KIB, Millis, PeerId
from p2p.protocol.gossip import (
    FLUSH,
    HEARTBEAT,
    Gossip,
    GossipEffect,
    GossipInput,
    GossipParameters,
    MessageValidated,
    PeerRated,
    Priority,
    Published,
    RpcReceived,
    RpcSent,
    ScoreParameters,
    SendRpc,
    Started,
    Subscribed,
    Unsubscribed,
    Validate,
    Verdict,
)
from tests.protocol.gossip.kit import names

PEERS = names(6)
TOPICS = ["votes", "blocks", "ads"]
MESSAGES = [
    Message(topic, bytes([number]) * size)
    for topic in TOPICS
    for number, size in enumerate((1, 100, 3 * KIB, 9 * KIB))
]

SMALL = GossipParameters(
    priorities={"votes": Priority.VOTES, "blocks": Priority.BLOCKS},
    degree=3,
    degree_low=2,
    degree_high=4,
    degree_out=1,
    degree_score=2,
    degree_lazy=2,
    backoffs_per_topic_max=3,
    px_peers=2,
    prune_backoff_ms=3_000,
    unsubscribe_backoff_ms=1_000,
    fanout_topics_max=2,
    fanout_ttl_ms=3_000,
    flood_bytes_max=2 * KIB,
    message_bytes_max=8 * KIB,
    history_messages_max=3,
    history_bytes_max=12 * KIB,
    ihave_ids_max=3,
    ihave_rpcs_max=2,
    iwant_ids_max=4,
    wanted_ids_max=4,
    promises_max=3,
    idontwant_bytes=90,
    idontwant_ids_max=3,
    scores=ScoreParameters(retained_max=2, retain_ms=4_000, colocation_threshold=2),
    validations_max=3,
    validations_per_peer_max=2,
    validation_bytes_max=10 * KIB,
    validation_timeout_ms=3_000,
    rpc_bytes_max=8 * KIB,
    queue_messages_max=4,
    queue_bytes_max=10 * KIB,
    peers_max=4,
    topics_max=3,
    topics_per_peer_max=2,
)
"""Bounds so small that every one of them is met."""

peers = st.sampled_from(PEERS)
topics = st.sampled_from([*TOPICS, "unknown"])
messages = st.sampled_from(MESSAGES) | st.builds(
    Message, topics, st.sampled_from([b"a", b"b"]), st.booleans()
)
ids = st.sampled_from([message.id for message in MESSAGES]) | st.sampled_from(
    [MessageId(b""), MessageId(b"another's id"), *(MessageId(bytes([n] * 20)) for n in range(6))]
)


def some(what: st.SearchStrategy[object], most: int = 3) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(what, max_size=most).map(tuple)


rpcs = st.builds(
    Rpc,
    subscriptions=some(st.builds(Subscription, st.booleans(), topics)),
    publish=some(messages),
    ihave=some(st.builds(IHave, topics, some(ids, 6))),
    iwant=some(ids, 6),
    graft=some(topics),
    prune=some(
        st.builds(
            Prune, topics, st.integers(0, 10**12), some(st.builds(PeerInfo, peers, st.just(b"")))
        )
    ),
    idontwant=some(ids, 6),
)
inputs: st.SearchStrategy[GossipInput] = st.one_of(
    st.builds(RpcReceived, peers, rpcs),
    st.builds(RpcReceived, peers, rpcs),
    st.builds(RpcSent, peers),
    st.builds(
        MessageValidated,
        st.sampled_from([message.id for message in MESSAGES]),
        st.sampled_from(Verdict),
        st.sampled_from(Reason),
    ),
    st.sampled_from([m for m in MESSAGES if len(m.data) <= 8 * KIB]).map(
        lambda message: Published(message.topic, message.data)
    ),
    st.sampled_from([TimerFired(HEARTBEAT), TimerFired(FLUSH), TimerFired("?"), Started()]),
    st.builds(
        PeerConnected,
        peers,
        st.booleans(),
        st.sampled_from(["", "/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.2/tcp/1", "/ip4/?", "/ip6/::1"]),
    ),
    st.builds(PeerRated, peers, st.sampled_from([-60.0, -5.0, 3.0])),
    st.builds(PeerDisconnected, peers),
    st.builds(Subscribed, st.sampled_from(TOPICS)),
    st.builds(Unsubscribed, st.sampled_from(TOPICS)),
)
moments = st.integers(0, 2_000)
scores = st.dictionaries(peers, st.sampled_from([-100, -60, -20, -1, 0, 5]))

BOUNDS: dict[str, Callable[[GossipParameters], int]] = {
    "seen": lambda p: p.seen_max,
    "history_messages": lambda p: p.history_messages_max,
    "history_bytes": lambda p: p.history_bytes_max,
    "validations": lambda p: p.validations_max,
    "validation_bytes": lambda p: p.validation_bytes_max,
    "wanted_ids": lambda p: p.wanted_ids_max,
    "promises": lambda p: p.promises_max,
    "retained_scores": lambda p: p.scores.retained_max,
    "unwanted_ids": lambda p: p.idontwant_ids_max,
    "peers": lambda p: p.peers_max,
    "topics": lambda p: p.topics_max,
    "fanout_topics": lambda p: p.fanout_topics_max,
    "backoffs": lambda p: p.backoffs_per_topic_max * len(TOPICS),
    "topics_per_peer": lambda p: p.topics_per_peer_max,
    "queue_messages": lambda p: p.queue_messages_max,
    "queue_bytes": lambda p: p.queue_bytes_max,
}


class World:
    """A machine, and what its peers must believe after what they were told."""

    def __init__(self, flush_ms: int, scores_: dict[PeerId, int]) -> None:
        self.gossip = Gossip(
            PeerId(b"me"),
            GossipParameters(**{**struct(SMALL), "flush_ms": flush_ms}),  # type: ignore[arg-type]
            b"seed",
        )
        self.now_ms = 0
        self.scores = scores_
        self.heard = True
        """Whether the sender of the RPC is not graylisted."""
        self.connected: dict[PeerId, None] = {}
        self.in_flight: set[PeerId] = set()
        self.checking: set[MessageId] = set()
        self.checked: set[MessageId] = set()
        self.linked: set[tuple[PeerId, str]] = set()

    def step(self, input_: GossipInput) -> list[GossipEffect]:
        for peer, points in self.scores.items():
            self.gossip.step(PeerRated(peer, points), Millis(self.now_ms))
        if isinstance(input_, RpcReceived):
            self.heard = self.gossip.score(input_.peer) >= -80
        effects = self.gossip.step(input_, Millis(self.now_ms))
        self.note(input_)
        for effect in effects:
            if isinstance(effect, SendRpc):
                self.note_sent(effect)
            elif isinstance(effect, Validate):
                assert effect.message_id not in self.checked, "checked twice"
                self.checked.add(effect.message_id)
        return effects

    def note(self, input_: GossipInput) -> None:
        match input_:
            case PeerConnected(peer=peer):
                if len(self.connected) < SMALL.peers_max:
                    self.connected[peer] = None
            case PeerDisconnected(peer=peer):
                self.connected.pop(peer, None)
                self.in_flight.discard(peer)
                self.linked = {link for link in self.linked if link[0] != peer}
            case RpcSent(peer=peer):
                self.in_flight.discard(peer)
            case RpcReceived(peer=peer, rpc=rpc):
                if peer in self.connected and self.heard:
                    for one in rpc.subscriptions:
                        if not one.subscribe:
                            self.linked.discard((peer, one.topic))
                    for topic in rpc.graft:
                        if topic in self.gossip.topics:
                            self.linked.add((peer, topic))
                    for prune in rpc.prune:
                        self.linked.discard((peer, prune.topic))
            case _:
                pass

    def note_sent(self, effect: SendRpc) -> None:
        assert effect.peer in self.connected
        assert effect.peer not in self.in_flight, "two RPCs in flight to one peer"
        self.in_flight.add(effect.peer)
        size = len(encode_rpc(effect.rpc))
        assert size == effect.rpc.size > 0
        assert size <= SMALL.rpc_bytes_max or effect.rpc == Rpc(publish=effect.rpc.publish[:1])
        for topic in effect.rpc.graft:
            self.linked.add((effect.peer, topic))
        for prune in effect.rpc.prune:
            self.linked.discard((effect.peer, prune.topic))

    def check(self) -> None:
        sizes = self.gossip.sizes()
        assert sizes.keys() == BOUNDS.keys()
        for what, size in sizes.items():
            assert 0 <= size <= BOUNDS[what](self.gossip.parameters), what
        for topic in TOPICS:
            assert set(self.gossip.mesh(topic)) <= set(self.gossip.peers(topic))
            assert set(self.gossip.peers(topic)) <= self.connected.keys()
            assert not self.gossip.mesh(topic) or topic in self.gossip.topics


def struct(parameters: GossipParameters) -> dict[str, object]:
    return {name: getattr(parameters, name) for name in parameters.__struct_fields__}


@settings(max_examples=300)
@given(st.lists(st.tuples(moments, inputs), max_size=50), st.sampled_from([0, 30]), scores)
def test_nothing_raises_every_table_is_bounded_and_no_message_is_checked_twice(
    steps: list[tuple[int, GossipInput]], flush_ms: int, scores_: dict[PeerId, int]
) -> None:
    world = World(flush_ms, scores_)
    for later_ms, input_ in steps:
        world.now_ms += later_ms
        world.step(input_)
        world.check()


@settings(max_examples=300)
@given(st.lists(st.tuples(moments, inputs), max_size=50), scores)
def test_when_everything_was_sent_both_ends_of_a_link_agree(
    steps: list[tuple[int, GossipInput]], scores_: dict[PeerId, int]
) -> None:
    world = World(0, scores_)
    for topic in TOPICS:
        world.step(Subscribed(topic))
    for later_ms, input_ in steps:
        world.now_ms += later_ms
        effects = world.step(input_)
        while effects:
            sent = [effect.peer for effect in effects if isinstance(effect, SendRpc)]
            effects = [effect for peer in sent for effect in world.step(RpcSent(peer))]
        ours = {(peer, topic) for topic in TOPICS for peer in world.gossip.mesh(topic)}
        assert ours == world.linked


@settings(max_examples=100)
@given(st.lists(st.tuples(moments, inputs), max_size=50))
def test_the_same_seed_and_inputs_give_the_same_effects(
    steps: list[tuple[int, GossipInput]],
) -> None:
    one, other = World(30, {}), World(30, {})
    for later_ms, input_ in steps:
        one.now_ms += later_ms
        other.now_ms += later_ms
        assert one.step(input_) == other.step(input_)
    assert one.gossip.counters == other.gossip.counters
