"""The cluster's bookkeeping, with processes that import nothing heavy."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import trio

from sim_harness.live.cluster import STARTING_MAX, ClusterError, LiveCluster, NodeState
from sim_harness.live.homes import open_homes
from sim_harness.live.messages import NodeWord

pytestmark = pytest.mark.live

STAND_IN = "tests.sim_harness.live.stand_in:run"


@asynccontextmanager
async def cluster_of(
    tmp_path: Path, count: int, options: dict[str, str] | None = None
) -> AsyncIterator[LiveCluster]:
    homes = [tmp_path / f"node-{index}" for index in range(count)]
    for home in homes:
        home.mkdir()
    with trio.fail_after(20):
        async with open_homes(homes, entry=STAND_IN, options=options) as cluster:
            yield cluster


async def test_all_nodes_start_serve_and_are_gone_at_the_end(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, 6) as cluster:
        await cluster.start_all()
        await cluster.wait(lambda all_: all(n.height >= 3 for n in all_.nodes), deadline_s=5)
        assert [node.state for node in cluster.nodes] == [NodeState.UP] * 6
        pids = [node.pid for node in cluster.nodes]
        assert len(set(pids)) == 6
    assert not [pid for pid in pids if pid is not None and psutil.pid_exists(pid)]


class Order:
    """Hears in which order nodes begin."""

    def __init__(self) -> None:
        self.begun: list[int] = []

    def began(self, index: int) -> None:
        self.begun.append(index)

    def heard(self, index: int, word: NodeWord) -> None: ...

    def ended(self, index: int, code: int, *, ordered: bool) -> bool:
        return True


async def test_the_first_nodes_start_first(tmp_path: Path) -> None:
    """Given seeds and validators in front; when all start; then nobody overtakes by far."""
    async with cluster_of(tmp_path, 16) as cluster:
        cluster.listener = order = Order()
        await cluster.start_all()
    assert sorted(order.begun) == list(range(16))
    assert all(abs(index - at) < STARTING_MAX for at, index in enumerate(order.begun))


async def test_a_killed_node_comes_back_with_what_it_had(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, 2) as cluster:
        await cluster.start_all()
        await cluster.wait(lambda all_: all_.nodes[1].height >= 5, deadline_s=5)
        await cluster.kill(1)
        assert cluster.nodes[1].state is NodeState.DOWN
        before = cluster.nodes[1].height
        await cluster.start(1)
        await cluster.wait(lambda all_: all_.nodes[1].height > before, deadline_s=5)
        assert cluster.nodes[1].starts == 2
        assert min(cluster.nodes[1].commits) == 1
        assert cluster.disagreements == []
        assert cluster.failures == []


async def test_a_stopped_node_ends_by_itself(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, 1) as cluster:
        await cluster.start(0)
        assert await cluster.stop(0) == 0
        assert cluster.nodes[0].state is NodeState.DOWN


async def test_a_paused_node_stands_still_until_it_is_resumed(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, 2) as cluster:
        await cluster.start_all()
        await cluster.pause(0)
        paused_at = int((cluster.nodes[0].home / "height").read_text() or "0")
        here = cluster.nodes[1].height
        await cluster.wait(lambda all_: all_.nodes[1].height > here + 10, deadline_s=5)
        assert int((cluster.nodes[0].home / "height").read_text() or "0") <= paused_at + 1
        await cluster.resume(0)
        await cluster.wait(lambda all_: all_.nodes[0].height > paused_at + 5, deadline_s=5)
        await cluster.pause(0)
        assert await cluster.stop(0) == 0


async def test_an_end_that_nobody_ordered_is_told_with_the_log(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, 2) as cluster:
        await cluster.start(0)
        with pytest.raises(ClusterError, match=r"(?s)node 1 .* exit code 3.*out of cheese"):
            await cluster.start(1, {"crash": "1"})
        assert len(cluster.failures) == 1


async def test_what_does_not_happen_in_time_is_named(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, 1) as cluster:
        await cluster.start(0)
        with pytest.raises(ClusterError, match="waited 0 s for the moon, in vain"):
            await cluster.wait(lambda _: False, deadline_s=0.1, what="the moon")


async def test_two_nodes_that_commit_different_blocks_are_a_disagreement(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, 2) as cluster:
        await cluster.start(0)
        await cluster.start(1, {"fork": "other"})
        await cluster.wait(lambda all_: len(all_.disagreements) > 0, deadline_s=5)
        assert "at height 1, another node" in cluster.disagreements[0]
