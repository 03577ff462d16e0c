"""Mute peers: in the mesh, and not a word about the topic while it is busy.

P3 asks a mesh peer for a small share of what comes. That takes a poor peer out of the mesh, but a
peer that only listens looks the same as one that lives far away and hears everything from us. What
tells them apart is silence: an honest peer now and then sends a copy, even if late, an offer
(IHAVE), or a message of its own. One that said nothing of a topic while enough came from others,
for long enough, has failed the mesh (P3b). In a large network an honest peer may hear everything
from us and have nothing else to say; so before that it is asked for a message that just came
(IWANT), which any honest implementation sends, and that is a word.

Silence adds up over all stays in the mesh, also over connections: else whoever leaves in time and
comes back would never be found. Any word ends it; outside the mesh it fades as P3b does.

Beyond the specification; docs/gossip.md has the measurements.
"""

from typing import Final

from p2p.protocol.gossip.cache import MessageCache
from p2p.protocol.gossip.mesh import Mesh
from p2p.protocol.gossip.neighbours import Neighbour, Neighbours
from p2p.protocol.gossip.parameters import GossipParameters
from p2p.protocol.gossip.standing import TopicStanding

LOOK_HEARTBEATS: Final = 5
"""Between looks: silence is a matter of many more."""


class Muteness:
    """Looks at every link now and then."""

    __slots__ = (
        "_beats",
        "_cache",
        "_looked_ms",
        "_mesh",
        "_neighbours",
        "_parameters",
        "_span_ms",
        "_totals",
    )

    def __init__(
        self,
        parameters: GossipParameters,
        neighbours: Neighbours,
        mesh: Mesh,
        cache: MessageCache,
    ) -> None:
        self._cache = cache
        self._parameters = parameters.scores
        self._span_ms = LOOK_HEARTBEATS * parameters.heartbeat_ms
        self._neighbours = neighbours
        self._mesh = mesh
        self._beats = 0
        self._looked_ms = 0
        self._totals: dict[str, int] = {}
        """Messages that had come of each of our topics at the last look."""

    def beat(self, now_ms: int) -> None:
        """A heartbeat."""
        self._beats += 1
        if self._parameters.enabled and self._beats % LOOK_HEARTBEATS == 0:
            self._look(now_ms)

    def _look(self, now_ms: int) -> None:
        # Longer than that we were not there to hear anything.
        passed_ms = min(max(0, now_ms - self._looked_ms), self._span_ms)
        self._looked_ms = now_ms
        totals, scores = {}, self._neighbours.scores
        for topic in self._mesh.topics():
            total = totals[topic] = scores.total(topic)
            came = total - self._totals.get(topic, total)
            for neighbour in self._mesh.links(topic).values():
                silence = neighbour.standing.topics[topic]
                if topic in neighbour.spoke:
                    del neighbour.spoke[topic]
                    silence.silent_messages = silence.silent_ms = 0
                elif came or silence.silent_messages:  # else there is nothing to talk about
                    silence.silent_messages += came
                    silence.silent_ms += passed_ms
                    if came:
                        self._ask(neighbour, topic, silence)
                    self._judge(neighbour, topic, silence)
        self._totals = totals

    def _ask(self, neighbour: Neighbour, topic: str, silence: TopicStanding) -> None:
        """Half way to a verdict and beyond, while something is there to be asked for."""
        rules = self._parameters.of(topic)
        if silence.silent_messages >= rules.mute_messages // 2:
            for message_id in self._cache.gossip_ids(topic)[-1:]:
                neighbour.outbox.add_iwant([message_id])

    def _judge(self, neighbour: Neighbour, topic: str, silence: TopicStanding) -> None:
        rules = self._parameters.of(topic)
        if silence.silent_messages >= rules.mute_messages and silence.silent_ms >= rules.mute_ms:
            silence.silent_messages = silence.silent_ms = 0
            self._neighbours.scores.fell_mute(neighbour.standing, topic)
