"""Real nodes, one process each: they agree, and a killed one comes back to what it had."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import trio

from sim_harness.live.crash_audit import CrashAudit, read_disk
from sim_harness.live.figures import is_brought_up
from sim_harness.live.network import LocalPlan, open_network

pytestmark = pytest.mark.live


async def test_a_validator_killed_in_the_act_comes_back_and_contradicts_nobody(
    tmp_path: Path,
) -> None:
    """Given 4 validators; when one is killed and restarted; then one chain goes on."""
    plan = LocalPlan(
        nodes=4, epoch_ms=500, directory=tmp_path / "net", options={"watch_votes": "1"}
    )
    audit = CrashAudit()
    with trio.fail_after(60):
        async with open_network(plan) as cluster:
            await cluster.start_all()
            await cluster.wait(is_brought_up, deadline_s=30, what="the network to come up")
            await cluster.kill(1)
            victim = cluster.nodes[1]
            said = dict(victim.commits)
            audit.acknowledge(said.values(), "node 1")
            audit.check_disk(read_disk(victim.home), said, "node 1")
            height = cluster.nodes[0].height
            await cluster.wait(
                lambda all_: all_.nodes[0].height >= height + 2,
                deadline_s=20,
                what="three validators to go on",
            )
            await cluster.start(1)
            await cluster.wait(lambda all_: all_.agreed(), deadline_s=20, what="agreement")
            pids = [node.pid for node in cluster.nodes if node.pid is not None]
        for node in cluster.nodes:
            audit.hear(node.votes, f"node {node.index}")
            audit.check_disk(read_disk(node.home), node.commits, f"node {node.index}")
    assert cluster.disagreements == []
    assert audit.violations == []
    assert len(audit.statements) > 4 * height
    assert len(pids) == 4
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


@pytest.mark.parametrize("stop", ["SIGINT", "SIGTERM"])
def test_an_interrupted_up_ends_soon_and_leaves_nothing(tmp_path: Path, stop: str) -> None:
    import signal

    home = tmp_path / "net"
    command = [sys.executable, "-m", "sim_harness.cli", "up", "--nodes", "3", "--home", str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = ""
        while "3/3 up" not in line:
            line = process.stdout.readline()
            assert line, "it ended by itself"
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) == 5, "three nodes, their parent, the janitor"
        process.send_signal(getattr(signal, stop))
        process.communicate(timeout=10)
        assert process.returncode == 0
    assert not [one for one in family if one.is_running() and one.status() != "zombie"]
