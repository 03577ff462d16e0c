"""`/metrics`: what a Prometheus server reads from a node, built anew for each question.

Names are those that users of GossipSub know: `gossipsub_*` as rust-libp2p's and js-libp2p's nodes
export them, `p2p_pubsub_*` as those have it who count with go-libp2p-pubsub's tracer. Nothing is
counted twice for it: the gossip machine's own totals are shown.
"""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from p2p.api.chain_metrics import ConsensusMetrics, EvidenceMetrics
from p2p.network.port import Transport
from p2p.node.port import NodePort
from p2p.protocol.gossip import Gossip, Priority

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SCORE_BUCKETS: Final = (-80.0, -50.0, -10.0, 0.0, 2.0, 5.0, 10.0, 20.0)
"""The thresholds, and steps of good standing."""
_COUNTERS: Final = (
    ("p2p_pubsub_publish", "published", "Messages of this node."),
    ("gossipsub_topic_msg_recv_counts_unfiltered", "received", "Messages received, copies too."),
    ("gossipsub_topic_msg_recv_counts", "delivered", "Messages of others that were accepted."),
    ("p2p_pubsub_deliver", "delivered", "Messages of others that were accepted."),
    ("p2p_pubsub_duplicate", "duplicates", "Messages received again."),
    ("gossipsub_invalid_messages", "invalid", "Messages that were found false."),
    ("p2p_pubsub_reject", "invalid", "Messages that were found false."),
    ("gossipsub_ignored_messages", "ignored", "Messages neither accepted nor found false."),
    ("gossipsub_unwanted_messages", "unwanted", "Messages of topics that are not subscribed to."),
    ("p2p_pubsub_throttled", "throttled", "Messages not looked at while the verifier was busy."),
    ("gossipsub_validation_expired", "expired", "Messages that the verifier never answered for."),
    ("p2p_pubsub_rpc_sent", "rpcs_sent", "RPCs sent."),
    ("p2p_pubsub_rpc_sent_ihave", "ihave_sent", "Message ids offered by IHAVE."),
    ("p2p_pubsub_rpc_recv_ihave", "ihave_received", "Message ids that peers offered by IHAVE."),
    ("gossipsub_ihave_ignored", "ihave_ignored", "RPCs whose IHAVE was over the limit."),
    ("gossipsub_topic_iwant_msgs", "iwant_sent", "Message ids asked for by IWANT."),
    ("p2p_pubsub_rpc_recv_iwant", "iwant_received", "Message ids that peers asked for by IWANT."),
    ("gossipsub_iwant_served", "iwant_served", "Messages sent in answer to IWANT."),
    ("gossipsub_idontwant_sent", "idontwant_sent", "Message ids declined by IDONTWANT."),
    ("gossipsub_idontwant_msgs", "idontwant_received", "Message ids that peers declined."),
    ("p2p_pubsub_graft", "graft_sent", "GRAFTs sent."),
    ("p2p_pubsub_graft_received", "graft_received", "GRAFTs received."),
    ("p2p_pubsub_prune", "prune_sent", "PRUNEs sent."),
    ("p2p_pubsub_prune_received", "prune_received", "PRUNEs received."),
    ("gossipsub_broken_promises", "promises_broken", "Offered messages that never came."),
    ("gossipsub_graylisted_rpcs", "graylisted", "RPCs ignored for the score of their sender."),
)


class _Collected(Collector):
    """A node's metrics at one moment."""

    def __init__(self, gossip: Gossip, transport: Transport) -> None:
        self._gossip, self._transport = gossip, transport

    def collect(self) -> Iterator[Metric]:
        totals = self._gossip.counters
        for name, field, text in _COUNTERS:
            yield CounterMetricFamily(name, text, value=getattr(totals, field))
        drops = CounterMetricFamily(
            "p2p_pubsub_rpc_drop", "Left out of full queues.", labels=("priority",)
        )
        for priority, count in zip(Priority, totals.dropped, strict=True):
            drops.add_metric((priority.name.lower(),), count)
        yield drops
        yield CounterMetricFamily(
            "gossipsub_rpc_overflows",
            "Connections given up because too many RPCs were queued to the peer; should be 0.",
            value=self._transport.rpc_overflows,
        )
        yield from self._topics()
        yield from self._scores()
        for name, size in self._gossip.sizes().items():
            yield GaugeMetricFamily(f"gossipsub_size_{name}", "How full a table is.", value=size)

    def _topics(self) -> Iterator[Metric]:
        mesh = GaugeMetricFamily(
            "gossipsub_mesh_peer_counts", "Peers in the mesh of a topic.", labels=("topic",)
        )
        peers = GaugeMetricFamily(
            "gossipsub_topic_peers_counts", "Peers that subscribe to a topic.", labels=("topic",)
        )
        for topic in self._gossip.topics:
            mesh.add_metric((topic,), len(self._gossip.mesh(topic)))
            peers.add_metric((topic,), len(self._gossip.peers(topic)))
        yield mesh
        yield peers

    def _scores(self) -> Iterator[Metric]:
        scores = [self._gossip.score(peer) for peer in self._gossip.connected()]
        buckets = [
            (str(bound), float(sum(score <= bound for score in scores))) for bound in SCORE_BUCKETS
        ]
        yield HistogramMetricFamily(
            "gossipsub_peer_score",
            "Scores of the connected peers.",
            buckets=[*buckets, ("+Inf", float(len(scores)))],
            sum_value=sum(scores),
        )
        thresholds = self._gossip.parameters.scores
        below = GaugeMetricFamily(
            "gossipsub_peers_below_threshold",
            "Connected peers whose score is below a threshold.",
            labels=("threshold",),
        )
        for name, bound in (
            ("mesh", 0.0),
            ("gossip", thresholds.gossip_threshold),
            ("publish", thresholds.publish_threshold),
            ("graylist", thresholds.graylist_threshold),
        ):
            below.add_metric((name,), sum(score < bound for score in scores))
        yield below


def metrics(node: NodePort) -> bytes:
    """Everything in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(node.replica.gossip, node.transport))
    registry.register(ConsensusMetrics(node))
    registry.register(EvidenceMetrics(node))
    return generate_latest(registry)
