"""Real nodes on delayed wires: what they tell is as late as the distance says."""

import pytest
import trio

from sim_harness.live.figures import is_brought_up
from sim_harness.live.network import LocalPlan, open_network
from sim_harness.live.node_process import local_option
from sim_harness.live.timings import ad_latencies, commit_latencies, live_timings

pytestmark = pytest.mark.live

DELAY_MS = 40


async def test_blocks_and_ads_of_real_nodes_travel_as_long_as_the_wires_are() -> None:
    """Given 4 nodes 40 ms apart; then no ad is faster, and no block is final before 3 hops."""
    plan = LocalPlan(
        nodes=4,
        epoch_ms=500,
        parameters={"propose_timeout_ms": 5_000},
        options={
            "delay_ms": str(DELAY_MS),
            "local": local_option((("epoch_ms", 500), ("gossip.flush_ms", 0))),
            "watch_ads": "yes",
        },
    )
    with trio.fail_after(60):
        async with open_network(plan) as cluster:
            await cluster.start_all()
            await cluster.wait(is_brought_up, deadline_s=30, what="the network to come up")
            height = cluster.nodes[0].height
            await cluster.wait(
                lambda all_: min(node.height for node in all_.nodes) >= height + 4,
                deadline_s=30,
                what="some blocks",
            )
            found = live_timings(cluster)
    commits = sorted(commit_latencies(found.finals, from_ms=0, until_ms=2**60))
    ads, _ = ad_latencies(found.heard, from_ms=0, until_ms=2**60)
    assert len(commits) >= 16
    # The proposal, the prevotes, the precommits; validators hear their own words at once.
    assert commits[0] >= 2 * DELAY_MS
    assert commits[len(commits) // 2] >= 3 * DELAY_MS
    assert ads
    assert min(ads) >= DELAY_MS - 2, "whole milliseconds of two processes"
    assert cluster.disagreements == []
