"""Watches a world while it runs: samples at regular intervals, and bytes by topic.

It changes nothing: a world under it does what it would do without, but for the events of sampling.
"""

from typing import Final

from p2p.model.rpc import Rpc
from p2p.model.topic import Topic, topic_name
from p2p.primitives.units import AccountId
from p2p.protocol.interface import Committed, RoundStarted, StakeSlashed
from sim_harness.scenario.building import Market
from sim_harness.scenario.statements import Sample
from sim_harness.virtual.heap import MICROS_PER_MS
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.spans import millis
from sim_harness.virtual.world import World

SAMPLE_EVERY: Final = millis(500)
FIRST_SAMPLE: Final = millis(2_000)
"""Before, nodes are still starting, and nothing could be said of them."""
NODES_PER_INTERVAL: Final = 100
"""In larger worlds samples are rarer, so that they cost the same."""
CONTROL: Final = "control"
"""What is in no message: subscriptions, grafts, offers."""


class Recorder:
    """Samples of one world, from its construction on."""

    def __init__(self, world: World) -> None:
        self.samples: list[Sample] = []
        self.bytes_by_topic: list[dict[str, int]] = [{} for _ in world.nodes]
        """By node, what it sent."""
        self.market: Market | None = None
        """To count files; None: there are none."""
        self._world = world
        self._start_ms = world.now_ms
        self._read = [0 for _ in world.nodes]
        """How many of each node's events were looked at."""
        chain_id = world.genesis.chain_id
        self._topics = {topic_name(topic, chain_id): topic.value for topic in Topic}
        self._ads_topic = topic_name(Topic.ADS, chain_id)
        self._every_us = SAMPLE_EVERY * MICROS_PER_MS * (1 + len(world.nodes) // NODES_PER_INTERVAL)
        self._height_max = 0
        self._rose_ms = 0
        """When the greatest height was first seen."""
        self._slashed: set[AccountId] = set()
        world.tap = self._measure
        self._plan(FIRST_SAMPLE * MICROS_PER_MS)

    @property
    def now_ms(self) -> int:
        """Milliseconds since the start."""
        return self._world.now_ms - self._start_ms

    def take(self) -> Sample:
        """A sample of this moment."""
        world = self._world
        running = [node for node in world.honest if node.is_up]
        heights = [node.height for node in running] or [0]
        if max(heights) > self._height_max:
            self._height_max, self._rose_ms = max(heights), self.now_ms
        replicas = [node.replica for node in running if node.replica is not None]
        meshes = [len(one.gossip.mesh(self._ads_topic)) for one in replicas]
        sample = Sample(
            at_ms=self.now_ms,
            height=min(heights),
            height_max=max(heights),
            round=max([0, *(self._round_of(node) for node in world.honest)]),
            up=len(running),
            peers=min((len(one.membership.connected) for one in replicas), default=0),
            mesh=min(meshes, default=0),
            mesh_max=max(meshes, default=0),
            ads=min((len(one.registry.ads()) for one in replicas), default=0),
            crashes=sum(node.crashes for node in world.nodes),
            stops=sum(len(node.stops) for node in world.nodes),
            mended=sum(len(node.mended) for node in world.nodes),
            caught_up=int(min(heights) == max(heights)),
            lag=max(heights) - min(heights),
            idle=(self.now_ms - self._rose_ms) // 1_000,
            files=self._files(),
            slashed=len(self._slashed),
            bytes_sent=sum(sum(sent.values()) for sent in self.bytes_by_topic),
        )
        self.samples.append(sample)
        return sample

    def _files(self) -> int:
        if self.market is None or self.market.adding is None:
            return 0
        return sum(blob.is_placed for blob in self.market.adding.blobs)

    def _plan(self, delay_us: int) -> None:
        def sample() -> bytes:
            self._plan(self._every_us)
            taken = self.take()
            return b"%d %d" % (taken.height, taken.height_max)

        self._world.heap.after(delay_us, "sample", sample)

    def _round_of(self, node: VirtualNode) -> int:
        """The highest round of a node's events since the last sample; notes who was slashed."""
        fresh = node.events[self._read[node.index] :]
        self._read[node.index] = len(node.events)
        self._slashed |= {e.row.offender for _, e in fresh if isinstance(e, StakeSlashed)}
        rounds = [event.round for _, event in fresh if isinstance(event, Committed | RoundStarted)]
        return max(rounds, default=0)

    def _measure(self, source: VirtualNode, rpc: Rpc, size: int) -> None:
        sent = self.bytes_by_topic[source.index]
        for message in rpc.publish:
            topic = self._topics.get(message.topic, "other")
            sent[topic] = sent.get(topic, 0) + message.size
            size -= message.size
        sent[CONTROL] = sent.get(CONTROL, 0) + size
