"""Gossip: GossipSub v1.1 as a pure machine (design, section 4)."""

from p2p.model.rpc import RpcReceived, RpcSent, SendRpc
from p2p.protocol.gossip.counters import GossipCounters
from p2p.protocol.gossip.interface import (
    GossipEffect,
    GossipInput,
    MessageValidated,
    PeerRated,
    Published,
    Started,
    Subscribed,
    SuggestPeers,
    Unsubscribed,
    Validate,
    Verdict,
)
from p2p.protocol.gossip.machine import FLUSH, HEARTBEAT, Gossip
from p2p.protocol.gossip.parameters import GossipParameters, Priority, ScoreParameters, TopicScore
from p2p.protocol.gossip.scores import ScoreReport, TopicReport

__all__ = [
    "FLUSH",
    "HEARTBEAT",
    "Gossip",
    "GossipCounters",
    "GossipEffect",
    "GossipInput",
    "GossipParameters",
    "MessageValidated",
    "PeerRated",
    "Priority",
    "Published",
    "RpcReceived",
    "RpcSent",
    "ScoreParameters",
    "ScoreReport",
    "SendRpc",
    "Started",
    "Subscribed",
    "SuggestPeers",
    "TopicReport",
    "TopicScore",
    "Unsubscribed",
    "Validate",
    "Verdict",
]
