"""Faults outside gossip, and what gossip makes of them."""

from pathlib import Path

from p2p.model.inputs import PeerConnected
from p2p.model.rejection import Reason
from p2p.primitives.keys import Key
from p2p.protocol.interface import PeerMisbehaved
from tests.api.fake_node import FakeNode


def test_a_fault_outside_gossip_lowers_the_gossip_score(tmp_path: Path) -> None:
    node, peer = FakeNode(tmp_path), Key(bytes(32)).peer
    node.replica.step(PeerConnected(peer, outbound=True, address=""), node.now_ms())
    for _ in range(2):
        node.replica.step(PeerMisbehaved(peer, Reason.OUTDATED, "an answer"), node.now_ms())
    assert node.replica.gossip.score(peer) == -10.0
