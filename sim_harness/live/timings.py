"""When blocks were final and ads arrived, told alike of virtual and of live nodes.

- commit latency: from a block's own time, which its proposer gave it, to each node's word that it
  is final and durable there;
- ad propagation: from the moment when a provider issued an ad to the moment when each other node
  accepted it, or a newer one of the same provider.

Live nodes run on one machine, so their clocks are one.
"""

from collections.abc import Sequence

import msgspec

from p2p.protocol.interface import AdLearned, Committed
from sim_harness.live.cluster import LiveCluster
from sim_harness.virtual.world import World


class Final(msgspec.Struct, frozen=True):
    """A node called a block final."""

    node: int
    block_ms: int
    at_ms: int


class Heard(msgspec.Struct, frozen=True):
    """A node accepted an ad; its provider is among those who do."""

    node: int
    provider: int
    seq: int
    at_ms: int


class Timings(msgspec.Struct, frozen=True):
    """All that was seen of one run, in Unix milliseconds."""

    finals: tuple[Final, ...]
    heard: tuple[Heard, ...]


def virtual_timings(world: World) -> Timings:
    """What the nodes of a world notified of."""
    numbers = {bytes(node.key.account): node.index for node in world.nodes}
    finals, heard = [], []
    for node in world.nodes:
        for at_ms, event in node.events:
            match event:
                case Committed(time_ms=block_ms):
                    finals.append(Final(node.index, block_ms, at_ms))
                case AdLearned(provider=provider, seq=seq):
                    heard.append(Heard(node.index, numbers[provider], seq, at_ms))
                case _:
                    pass
    return Timings(tuple(finals), tuple(heard))


def live_timings(cluster: LiveCluster) -> Timings:
    """What the nodes of a cluster told; ads only when they were started with `watch_ads`."""
    numbers = {node.account: node.index for node in cluster.nodes}
    return Timings(
        tuple(
            Final(node.index, commit.time_ms, commit.at_ms)
            for node in cluster.nodes
            for commit in node.commits.values()
        ),
        tuple(
            Heard(node.index, numbers[ad.provider], ad.seq, ad.at_ms)
            for node in cluster.nodes
            for ad in node.ads
            if ad.provider in numbers
        ),
    )


def commit_latencies(finals: Sequence[Final], *, from_ms: int, until_ms: int) -> list[int]:
    """Of the blocks dated from a moment until another, at each node."""
    return [one.at_ms - one.block_ms for one in finals if from_ms <= one.block_ms < until_ms]


def ad_latencies(heard: Sequence[Heard], *, from_ms: int, until_ms: int) -> tuple[list[int], int]:
    """Of the ads issued from a moment until another, at each other node; and how many are missing.

    The nodes are those that heard anything at all.
    """
    arrivals: dict[tuple[int, int], list[Heard]] = {}
    for one in sorted(heard, key=lambda one: one.at_ms):
        arrivals.setdefault((one.node, one.provider), []).append(one)
    nodes = sorted({one.node for one in heard})
    latencies, missing = [], 0
    for issued in heard:
        if issued.node != issued.provider or not from_ms <= issued.at_ms < until_ms:
            continue
        for node in nodes:
            if node == issued.provider:
                continue
            seen = arrivals.get((node, issued.provider), [])
            arrived = next((one.at_ms for one in seen if one.seq >= issued.seq), None)
            if arrived is None:
                missing += 1
            else:
                latencies.append(arrived - issued.at_ms)
    return latencies, missing
