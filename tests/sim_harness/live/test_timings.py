"""Latencies of both worlds come from the same words by the same rules."""

from pathlib import Path

from p2p.primitives.units import Millis
from sim_harness.live.cluster import LiveCluster, LiveNode
from sim_harness.live.messages import AdNoted, CommitNoted
from sim_harness.live.timings import (
    Final,
    Heard,
    Timings,
    ad_latencies,
    commit_latencies,
    live_timings,
    virtual_timings,
)
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.world import World


def test_a_commit_is_as_late_as_its_block_is_old_at_each_node() -> None:
    finals = [Final(0, 1_000, 1_150), Final(1, 1_000, 1_170), Final(0, 3_000, 3_100)]
    assert commit_latencies(finals, from_ms=1_000, until_ms=3_000) == [150, 170]


def test_an_ad_counts_from_its_issue_to_every_other_node() -> None:
    heard = [
        Heard(0, 0, 1, 100),  # issued before the window
        Heard(1, 0, 1, 900),
        Heard(0, 0, 2, 1_000),
        Heard(1, 0, 2, 1_040),
        Heard(2, 0, 3, 1_070),  # a newer one is as good
        Heard(0, 0, 3, 1_060),
        Heard(3, 1, 1, 5),
    ]
    assert ad_latencies(heard, from_ms=1_000, until_ms=1_050) == ([40, 70], 1)


def test_both_worlds_tell_alike() -> None:
    world = World(seed=1, nodes=4, validators=4, latency=lambda one, other: 20_000)
    world.start(within=Millis(1))
    world.run_for(seconds(20))
    found = virtual_timings(world)
    assert {one.node for one in found.finals} == {0, 1, 2, 3}
    assert all(one.at_ms >= one.block_ms + 40 for one in found.finals), "two hops at least"
    latencies, missing = ad_latencies(
        found.heard, from_ms=world.now_ms - 20_000, until_ms=world.now_ms - 1_000
    )
    assert min(latencies) >= 20
    assert missing == 0


class _Told:
    def __init__(self, nodes: list[LiveNode]) -> None:
        self.nodes = nodes


def test_words_of_live_processes_are_numbered_by_node(tmp_path: Path) -> None:
    nodes = [LiveNode(index, tmp_path) for index in range(2)]
    for node in nodes:
        node.account = b"account %d" % node.index
    nodes[1].commits[5] = CommitNoted(5, b"", b"", 1_000, 0, at_ms=1_200)
    nodes[1].ads = [AdNoted(b"account 0", 3, 77), AdNoted(b"a stranger", 1, 78)]
    cluster: LiveCluster = _Told(nodes)  # type: ignore[assignment]
    assert live_timings(cluster) == Timings((Final(1, 1_000, 1_200),), (Heard(1, 0, 3, 77),))
