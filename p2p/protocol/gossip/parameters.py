"""The numbers of gossip, with the specification's names beside ours."""

from collections.abc import Mapping
from enum import IntEnum

import msgspec

from p2p.model.rpc import CONTROLS_MAX, PX_PEERS_MAX
from p2p.primitives.units import KIB, MIB


class Priority(IntEnum):
    """What leaves first when much is due, and is dropped last when too much is."""

    CONTROL = 0
    VOTES = 1
    BLOCKS = 2
    RECEIPTS = 3
    ADS = 4


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
    backoff_slack_ms: int = 1_500
    """We graft this much later than the backoff says: clocks and heartbeats do not line up."""
    backoff_ms_max: int = 3_600_000
    """A longer backoff that a peer demands is cut to this."""
    backoffs_per_topic_max: int = 4_096
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
    rpc_bytes_max: int = 60 * KIB
    """RPCs are filled up to this; a larger message travels alone."""
    queue_messages_max: int = 1_024
    queue_bytes_max: int = 4 * MIB
    peers_max: int = 1_024
    topics_max: int = 64
    """Topics that we subscribe to."""
    topics_per_peer_max: int = 128
    """Topics of one peer that we remember."""

    # ---- thresholds of the score (gossipsub v1.1: score thresholds)
    gossip_threshold: int = -10
    publish_threshold: int = -50
    graylist_threshold: int = -80
    px_threshold: int = 0

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
        if not 2 * self.topics_max <= CONTROLS_MAX:
            raise ValueError(f"topics_max must be at most {CONTROLS_MAX // 2}")

    def priority(self, topic: str) -> Priority:
        """The class of a topic's messages."""
        return self.priorities.get(topic, Priority.ADS)
