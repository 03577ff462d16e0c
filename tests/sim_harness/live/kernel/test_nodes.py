"""Real nodes under faults of the kernel; and nothing is left, whatever ends the harness."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import trio
from typer.testing import CliRunner

from p2p.primitives.units import Millis
from sim_harness.cli import app
from sim_harness.live.console import Console
from sim_harness.live.figures import is_brought_up
from sim_harness.live.kernel import offer as offers
from sim_harness.live.kernel.offer import find_offer
from sim_harness.live.network import LocalPlan, open_network
from sim_harness.live.only_live import BlackHole
from sim_harness.live.setup import FILE
from sim_harness.scenario.schema import Bandwidth, Delay, Loss, Partition

NODES = 6
"""Four are validators; who is cut off or swallowed is none, so that blocks go on quickly."""


def skip_where_the_kernel_lacks() -> None:
    offer = find_offer()
    for why in (offer.nftables, offer.htb, offer.nfqueue):
        if why:
            pytest.skip(f"the kernel backends are not all here: {why}")


@pytest.mark.live
async def test_words_to_real_nodes_are_done_and_measured_by_the_kernel(tmp_path: Path) -> None:
    """Given 6 nodes; when the kernel cuts one off; then the others go on, and it comes back."""
    skip_where_the_kernel_lacks()
    options = {"setup": str(tmp_path / FILE), "report_ms": "200", "log_level": "warning"}
    plan = LocalPlan(nodes=NODES, epoch_ms=500, seed=5, options=options, kernel=find_offer())
    with trio.fail_after(280):
        async with open_network(plan) as cluster, trio.open_nursery() as nursery:
            words = Console(cluster, seed=5, validators=4, setup=tmp_path / FILE)
            await nursery.start(words.run)
            await cluster.start_all()
            await cluster.wait(is_brought_up, deadline_s=60, what="the network to come up")
            kernel = cluster.kernel
            assert kernel is not None

            async def wait_blocks(count: int, node: int) -> None:
                goal = cluster.nodes[node].height + count
                await cluster.wait(
                    lambda all_: all_.nodes[node].height >= goal, deadline_s=60, what="blocks"
                )

            cut = await words.faults.begin(Partition(groups=("nodes[4]", "rest")))
            await wait_blocks(1, 1)
            alone = cluster.nodes[4].height
            await wait_blocks(4, 1)
            assert cluster.nodes[4].height <= alone + 1  # What was on its way when it was cut.
            await words.faults.end(cut)
            await cluster.wait(lambda all_: all_.agreed(), deadline_s=60, what="agreement")
            others = [
                await words.faults.begin(Delay(nodes="nodes[0]", add=Millis(30))),
                await words.faults.begin(Loss(nodes="nodes[1]", share=1_000)),
                await words.faults.begin(Bandwidth(nodes="nodes[2]", rate=256_000)),
                await words.faults.begin(BlackHole(nodes="nodes[5]")),
            ]
            assert len(kernel.standing) == 4
            await wait_blocks(3, 0)
            for number in others:
                await words.faults.end(number)
            assert kernel.standing == []
            await cluster.wait(lambda all_: all_.agreed(), deadline_s=60, what="agreement")
            nursery.cancel_scope.cancel()
    records = words.faults.records
    assert [records[number].what for number in (cut, *others)] == [
        "n4 | n0-n3, n5 (nftables)",
        "30ms added for n0 (NFQUEUE)",
        "10% of packets lost for n1 (nftables)",
        "uplinks of n2 at 256 kbit/s (tc htb)",
        "nothing arrives from or at n5 (nftables)",
    ]
    told = [records[number].measured for number in (cut, *others)]
    assert re.match(r"0 B crossed, [1-9]\d* packets dropped ", told[0])
    late = re.match(r"(\S+) ms on average, [1-9]\d* packets", told[1])
    assert late is not None
    assert float(late[1]) >= 30
    assert re.match(r"\S+% of [1-9]\d* packets dropped", told[2])
    rate = re.match(r"at most (\d+) kbit/s sent", told[3])
    assert rate is not None
    assert 0 < int(rate[1]) < 280
    assert re.match(r"[1-9]\d* of [1-9]\d* packets dropped", told[4])
    assert cluster.disagreements == []


def in_namespace(link: str) -> list[int]:
    """Processes that are in this network namespace."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{name}/ns/net") == link:
                found.append(int(name))
        except OSError:
            continue  # It has just ended, or is a zombie.
    return found


@pytest.mark.live
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_and_no_namespace_outlives_the_harness(stop: signal.Signals) -> None:
    """Given all backends at work; when the harness is ended; then its namespace is empty."""
    skip_where_the_kernel_lacks()
    command = [sys.executable, "-m", "sim_harness.cli", "up", "--nodes", "3", "--seed", "1"]
    command += ["--validators", "3", "--epoch-ms", "500", "--faults", "kernel"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def read_until(text: str) -> None:
            assert process.stdout is not None
            line = ""
            while text not in line:
                line = process.stdout.readline()
                assert line, "it ended by itself"

        read_until("are up after")
        process.stdin.write("delay 20ms 0\nbandwidth 64 kbit/s 1\npartition 2 | rest\n")
        process.stdin.flush()
        for _ in range(3):
            read_until("(")
        children = psutil.Process(process.pid).children(recursive=True)
        ours = os.readlink("/proc/self/ns/net")
        (link,) = {os.readlink(f"/proc/{child.pid}/ns/net") for child in children} - {ours}
        # The parent of the nodes, they themselves, and who delays packets.
        assert len(in_namespace(link)) == 5
        process.send_signal(stop)
        process.communicate(timeout=20)
    deadline_s = time.monotonic() + 20
    while (left := in_namespace(link)) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert left == []


def test_a_machine_that_lacks_something_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(offers.TOOLS, "no-such-tool", "no-such-package")
    for words in (["up"], ["run", "a.toml", "--world", "live"]):
        found = CliRunner().invoke(app, [*words, "--faults", "kernel"])
        assert found.exit_code == 2
        assert found.output == (
            "sim-harness: --faults kernel cannot be had: there is no no-such-tool here"
            " (Debian: no-such-package)\n"
        )


def test_the_kernel_has_no_virtual_packets() -> None:
    found = CliRunner().invoke(app, ["run", "a.toml", "--faults", "kernel"])
    assert (found.exit_code, found.output.count("\n")) == (2, 1)
    assert "--world live" in found.output
