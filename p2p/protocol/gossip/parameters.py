"""The numbers of gossip, with the specification's names beside ours."""

from collections.abc import Mapping
from enum import IntEnum

import msgspec

from p2p.model.rpc import CONTROLS_MAX, PX_PEERS_MAX
from p2p.primitives.units import KIB, MIB, PeerId


class Priority(IntEnum):
    """What leaves first when much is due, and is dropped last when too much is."""

    CONTROL = 0
    VOTES = 1
    BLOCKS = 2
    RECEIPTS = 3
    ADS = 4


class TopicScore(msgspec.Struct, frozen=True):
    """What a peer's behaviour in one topic is worth (gossipsub v1.1: the score function).

    Points; decay factors apply once every `decay_ms`. Raises ValueError for a sign or an order
    that the specification forbids. docs/gossip.md says why these values.
    """

    weight: float = 1.0
    """Of the topic in the whole score."""

    # ---- P1: time in mesh
    time_in_mesh_weight: float = 0.02
    time_in_mesh_quantum_ms: int = 1_000
    time_in_mesh_cap: float = 250.0
    """In quanta: after four minutes at most 5 points, less than one false message costs."""

    # ---- P2: first message deliveries
    first_deliveries_weight: float = 0.5
    first_deliveries_decay: float = 0.9885
    """Halves in a minute: what a peer did lately counts."""
    first_deliveries_cap: float = 20.0

    # ---- P3: mesh message deliveries
    mesh_deliveries_weight: float = -2.0
    mesh_deliveries_decay: float = 0.9885
    """Halves in a minute: long enough for a share to mean something, short enough to notice."""
    mesh_deliveries_threshold: float = 5.0
    """Deliveries expected of a mesh peer at most."""
    mesh_deliveries_share: float = 0.05
    """Deliveries expected of a mesh peer per message that we got since it joined, from anyone:
    where nothing is said, nobody is to blame. 1.0 is nearly the specification's fixed threshold."""
    mesh_deliveries_cap: float = 10.0
    mesh_deliveries_activation_ms: int = 60_000
    """Longer than `mute_ms`, and than the 15 s after which a dead connection is given up."""
    mesh_deliveries_window_ms: int = 1_500
    """A copy this soon after the first counts. The specification's few milliseconds would count no
    honest peer that lives far away, whose copy crosses ours on the way."""

    # ---- P3b: mesh failures
    mesh_failure_weight: float = -1.0
    mesh_failure_decay: float = 0.9977
    """Halves in five minutes."""
    mute_failure: float = 160.0
    """Added when a mesh peer showed no sign of life in the topic, no copy, no offer, while
    `mute_messages` came in at least `mute_ms`: below the graylist threshold for five minutes."""
    mute_messages: int = 50
    mute_ms: int = 40_000
    """Far above the 15 s in which a dead connection is noticed."""

    # ---- P4: invalid messages
    invalid_weight: float = -10.0
    """One costs the mesh, three the connection; honest nodes forward none."""
    invalid_decay: float = 0.99885
    """Halves in ten minutes."""

    def __post_init__(self) -> None:
        """Check signs and orders (gossipsub v1.1: overview of new parameters)."""
        rewards = (self.weight, self.time_in_mesh_weight, self.first_deliveries_weight)
        penalties = (self.mesh_deliveries_weight, self.mesh_failure_weight, self.invalid_weight)
        if min(rewards) < 0 or max(penalties) > 0:
            raise ValueError("weights of P1 and P2 must be at least 0, of P3, P3b and P4 at most 0")
        decays = (
            self.first_deliveries_decay,
            self.mesh_deliveries_decay,
            self.mesh_failure_decay,
            self.invalid_decay,
        )
        if not (min(decays) > 0 and max(decays) < 1):
            raise ValueError("decay factors must be between 0 and 1")
        if not 0 <= self.mesh_deliveries_threshold <= self.mesh_deliveries_cap:
            raise ValueError("mesh_deliveries_cap must be at least mesh_deliveries_threshold")
        if self.time_in_mesh_quantum_ms < 1 or self.mesh_deliveries_share < 0:
            raise ValueError("time_in_mesh_quantum_ms must be above 0, shares at least 0")


class ScoreParameters(msgspec.Struct, frozen=True):
    """How a peer is judged by what it does (gossipsub v1.1: peer scoring). Points and counts."""

    enabled: bool = True
    """False: everybody's score is 0, for comparison."""
    topic: TopicScore = TopicScore()
    """Of every topic that is not in `topics`."""
    topics: Mapping[str, TopicScore] = {}
    topics_cap: float = 20.0
    """TopicCap: good work counts up to this, so that nobody saves up for an attack."""

    # ---- P5: what the application says
    application_weight: float = 1.0
    application_decay: float = 0.9885

    # ---- P6: peers at one address
    colocation_weight: float = -10.0
    colocation_threshold: int = 8
    """Peers at one IP address (IPv6: one /64) that are nobody's fault: households, universities.
    Loopback addresses are not counted."""

    # ---- P7: misbehaviour
    behaviour_weight: float = -5.0
    behaviour_threshold: float = 4.0
    """Misdeeds that bad luck explains: an offer whose sender died, a GRAFT that crossed a PRUNE."""
    behaviour_decay: float = 0.9885
    graft_flood_ms: int = 10_000
    """A GRAFT this soon after the PRUNE counts twice."""

    # ---- thresholds
    gossip_threshold: float = -10.0
    """Below: no IHAVE or IWANT to or from the peer."""
    publish_threshold: float = -50.0
    """Below: our own messages are not sent to the peer."""
    graylist_threshold: float = -80.0
    """Below: nothing of the peer is listened to."""
    px_threshold: float = 5.0
    """From here on peers that a PRUNE suggests are believed: only good work leads here."""
    opportunistic_threshold: float = 2.0
    """A mesh whose median is below takes in better peers."""

    # ---- time
    decay_ms: int = 1_000
    """DecayInterval."""
    decay_to_zero: float = 0.01
    """A counter below this is 0."""
    retain_ms: int = 600_000
    """RetainScore: how long the score of a peer that left is kept."""
    retained_max: int = 2_048
    """Peers that left and are remembered; the best are forgotten first."""

    def __post_init__(self) -> None:
        """Check signs and orders (gossipsub v1.1: score thresholds, overview of parameters)."""
        ordered = (self.graylist_threshold, self.publish_threshold, self.gossip_threshold)
        if not (ordered[0] < ordered[1] <= ordered[2] < 0):
            raise ValueError("thresholds must be graylist < publish <= gossip < 0")
        if min(self.px_threshold, self.opportunistic_threshold, self.application_weight) < 0:
            raise ValueError("px and opportunistic thresholds and P5's weight must be at least 0")
        if max(self.colocation_weight, self.behaviour_weight) > 0:
            raise ValueError("weights of P6 and P7 must be at most 0")
        if not (0 < self.behaviour_decay < 1 and 0 < self.application_decay < 1):
            raise ValueError("decay factors must be between 0 and 1")
        if self.colocation_threshold < 1 or self.decay_ms < 1:
            raise ValueError("colocation_threshold and decay_ms must be at least 1")

    def of(self, topic: str) -> TopicScore:
        """What counts in a topic."""
        return self.topics.get(topic, self.topic)


class GossipParameters(msgspec.Struct, frozen=True):
    """A node's own choice; neighbours may have others. Raises ValueError for a bad combination."""

    priorities: Mapping[str, Priority] = {}
    """By topic name; a topic that is not listed counts as ADS."""

    # ---- the mesh
    degree: int = 6
    """D: the mesh peers we want for a topic."""
    degree_low: int = 4
    """D_low: below it, the heartbeat grafts."""
    degree_high: int = 12
    """D_high: above it, the heartbeat prunes; at it, only outbound peers may graft."""
    degree_out: int = 2
    """D_out: mesh peers that we dialled ourselves; the defence against a ring of inbound peers."""
    degree_score: int = 4
    """D_score: the best by score, kept when the mesh is pruned."""
    heartbeat_ms: int = 1_000
    prune_backoff_ms: int = 60_000
    unsubscribe_backoff_ms: int = 10_000
    full_backoff_ms: int = 10_000
    """After a PRUNE for no other reason than that the mesh was full. A minute, as after others,
    left nodes with a few busy neighbours below D_low (docs/decisions/0023)."""
    backoff_slack_ms: int = 1_500
    """We graft this much later than the backoff says: clocks and heartbeats do not line up."""
    backoff_ms_max: int = 3_600_000
    """A longer backoff that a peer demands is cut to this."""
    backoffs_per_topic_max: int = 4_096
    opportunistic_ms: int = 60_000
    """Between looks at the mesh's median score."""
    opportunistic_peers: int = 2
    """Peers that a poor mesh takes in at once."""
    px_peers: int = 16
    """Peers that a PRUNE suggests (peer exchange): more than D_high, enough for a whole mesh."""

    # ---- publishing
    fanout_ttl_ms: int = 60_000
    fanout_topics_max: int = 64
    flood_bytes_max: int = 16 * KIB
    """Our own messages up to this size go to every peer of the topic (flood publishing, 0: never);
    larger ones, blocks, go to the mesh: 50 uploads of 512 KiB would hold the votes up."""
    message_bytes_max: int = 1 * MIB - 4 * KIB
    """Data of one message: with its frame it stays below the customary 1 MiB of an RPC."""

    # ---- lazy gossip
    degree_lazy: int = 6
    """D_lazy: peers outside the mesh that hear IHAVE, at least."""
    gossip_percent: int = 25
    """Gossip factor: share of the peers outside the mesh that hear IHAVE."""
    history_windows: int = 5
    """mcache_len: heartbeats for which a message can be asked for."""
    history_gossip: int = 3
    """mcache_gossip: heartbeats for which it is offered."""
    history_messages_max: int = 4_096
    history_bytes_max: int = 16 * MIB
    ihave_ids_max: int = 2_000
    """Ids offered to one peer a heartbeat, and taken from it: 44 KiB, so they fit in one RPC."""
    ihave_rpcs_max: int = 10
    """RPCs with IHAVE that one peer may send a heartbeat."""
    iwant_ids_max: int = 4_000
    """Ids that one peer may ask for a heartbeat, repetitions included."""
    iwant_repeats_max: int = 3
    """How often one message is sent to one peer that asks for it."""
    iwant_peers_max: int = 2
    """Peers that we ask for one message a heartbeat: one may be lying, more is waste."""
    wanted_ids_max: int = 16_384
    """Ids asked for in one heartbeat, of all peers."""
    iwant_followup_ms: int = 5_000
    """An offered message that was asked for and has not come by then is a broken promise."""
    promises_max: int = 4_096
    """Promises that are tracked, one drawn id for each RPC that made us ask."""

    # ---- messages that are not wanted twice (v1.2)
    idontwant_bytes: int = 4 * KIB
    """Of messages from this size on, mesh peers hear at once that we need no other copy; for
    smaller ones the word costs more than the copies that it saves."""
    idontwant_ids_max: int = 1_024
    """max_idontwant_messages: ids that a peer may name a heartbeat, and that we remember of it."""
    idontwant_heartbeats: int = 3
    """How long such a word is remembered: a message is forwarded once, soon or never."""

    # ---- seen and checked
    seen_ttl_ms: int = 120_000
    seen_max: int = 65_536
    validations_max: int = 1_024
    """Messages at the verifier at once."""
    validations_per_peer_max: int = 256
    """Of these, from one peer: a flooder does not shut out the others."""
    validation_bytes_max: int = 16 * MIB
    validation_timeout_ms: int = 30_000
    """A verdict that is later than this is not waited for."""

    # ---- towards one peer
    flush_ms: int = 0
    """How long an RPC waits for company; 0: it leaves in the step that caused it."""
    patience_ms: int = 0
    """How long a message of the lowest class waits for company once another such left; 0: never.
    Alone it leaves at once: so a thousand nodes that meet cost a few RPCs a neighbour, not a
    thousand."""
    rpc_bytes_max: int = 60 * KIB
    """RPCs are filled up to this; a larger message travels alone."""
    queue_messages_max: int = 1_024
    queue_bytes_max: int = 4 * MIB
    peers_max: int = 1_024
    topics_max: int = 64
    """Topics that we subscribe to."""
    topics_per_peer_max: int = 128
    """Topics of one peer that we remember."""

    # ---- whom we trust
    direct_peers: tuple[PeerId, ...] = ()
    """Explicit peering agreements: outside of mesh and score; made by both ends' operators."""
    scores: ScoreParameters = ScoreParameters()

    def __post_init__(self) -> None:
        """Check what the specification demands of the degrees, and what our bounds assume."""
        degrees = (self.degree_low, self.degree, self.degree_high)
        if list(degrees) != sorted(degrees) or self.degree_low < 0:
            raise ValueError("degrees must be 0 <= degree_low <= degree <= degree_high")
        # gossipsub v1.1: D_out must be below D_low and at most D/2; all zero is a bootstrapper.
        if self.degree_out and not (
            self.degree_out < self.degree_low and 2 * self.degree_out <= self.degree
        ):
            raise ValueError("degree_out must be below degree_low and at most half of degree")
        if not 1 <= self.history_gossip <= self.history_windows:
            raise ValueError("history_gossip must be from 1 to history_windows")
        if self.heartbeat_ms < 1 or self.flush_ms < 0:
            raise ValueError("heartbeat_ms must be above 0, flush_ms at least 0")
        if self.rpc_bytes_max < 8 * KIB or self.px_peers > PX_PEERS_MAX:
            raise ValueError("rpc_bytes_max must hold any one control entry: 8 KiB")
        if self.queue_bytes_max < self.message_bytes_max + KIB:
            raise ValueError("queue_bytes_max must hold the largest message")
        if len(self.direct_peers) > self.peers_max:
            raise ValueError("there are more direct_peers than peers_max")
        if not 2 * self.topics_max <= CONTROLS_MAX:
            raise ValueError(f"topics_max must be at most {CONTROLS_MAX // 2}")

    def priority(self, topic: str) -> Priority:
        """The class of a topic's messages."""
        return self.priorities.get(topic, Priority.ADS)
