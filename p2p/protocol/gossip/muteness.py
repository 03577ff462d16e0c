"""Mute peers: in the mesh, and not a word about the topic while it is busy.

P3 asks a mesh peer for a small share of what comes. That takes a poor peer out of the mesh, but a
peer that only listens looks the same as one that lives far away and hears everything from us. What
tells them apart is silence: an honest peer now and then sends a copy, even if late, an offer
(IHAVE), or a message of its own. One that said nothing of a topic while enough came from others,
for long enough, has failed the mesh (P3b).

Beyond the specification; docs/gossip.md has the measurements.
"""

from p2p.protocol.gossip.mesh import Mesh
from p2p.protocol.gossip.neighbours import Neighbour, Neighbours
from p2p.protocol.gossip.parameters import GossipParameters


class Muteness:
    """Looks at every link once a heartbeat."""

    __slots__ = ("_mesh", "_neighbours", "_parameters")

    def __init__(self, parameters: GossipParameters, neighbours: Neighbours, mesh: Mesh) -> None:
        self._parameters = parameters.scores
        self._neighbours = neighbours
        self._mesh = mesh

    def look(self, now_ms: int) -> None:
        """A heartbeat."""
        if not self._parameters.enabled:
            return
        for topic in self._mesh.topics():
            total = self._neighbours.scores.total(topic)
            for neighbour in self._mesh.links(topic).values():
                if topic in neighbour.spoke or topic not in neighbour.heard:
                    neighbour.spoke.pop(topic, None)
                    neighbour.heard[topic] = (total, now_ms)
                else:
                    self._judge(neighbour, topic, total, now_ms)

    def postpone(self, by_ms: int) -> None:
        """We were not there to hear anything for a while."""
        for topic in self._mesh.topics():
            for neighbour in self._mesh.links(topic).values():
                if topic in neighbour.heard:
                    total, since_ms = neighbour.heard[topic]
                    neighbour.heard[topic] = (total, since_ms + by_ms)

    def _judge(self, neighbour: Neighbour, topic: str, total: int, now_ms: int) -> None:
        rules = self._parameters.of(topic)
        before, since_ms = neighbour.heard[topic]
        if total == before:
            neighbour.heard[topic] = (total, now_ms)  # nothing to talk about
        if total - before < rules.mute_messages or now_ms - since_ms < rules.mute_ms:
            return
        neighbour.heard[topic] = (total, now_ms)
        self._neighbours.scores.fell_mute(neighbour.standing, topic)
