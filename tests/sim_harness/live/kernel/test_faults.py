"""The kernel does what is asked: measured at the ends of connections, beside its own counters."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from functools import cache

import pytest
import trio

from sim_harness.live.kernel import namespace as namespaces
from sim_harness.live.kernel.counters import counters
from sim_harness.live.kernel.faults import KernelFaults, open_kernel_faults
from sim_harness.live.kernel.namespace import KernelError
from sim_harness.live.kernel.offer import Offer, find_offer
from sim_harness.live.messages import CutSpec, RuleSpec

pytestmark = pytest.mark.live
NODES = 4
HEALED_S = 120
"""TCP tries again after as long a while as it was cut off, which on a busy machine is long."""


@cache
def found() -> Offer:
    return find_offer()


def need(**backends: str) -> None:
    for name, why in backends.items():
        if why:
            pytest.skip(f"no {name} on this machine: {why}")


@pytest.fixture(params=["as root", "without privilege"])
def holder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Generator[int]:
    """A process in a network namespace of its own, and nothing else."""
    need(nftables=found().nftables)
    if request.param == "without privilege":
        monkeypatch.setattr(namespaces, "unshare_words", lambda: ("unshare", "-r", "--net"))
    elif os.geteuid():
        pytest.skip("not root")
    command = [*namespaces.unshare_words(), "sh", "-c", "echo; exec sleep 300"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def command_of(kernel: KernelFaults, word: str, number: int) -> list[str]:
    traffic = [sys.executable, "-m", "tests.sim_harness.live.kernel.traffic"]
    return kernel.namespace.inside([*traffic, word, "0", "1", str(number)])


async def measure(kernel: KernelFaults, word: str, number: int) -> float:
    done = await trio.run_process(command_of(kernel, word, number), capture_stdout=True)
    return float(done.stdout)


async def wait_dropped(kernel: KernelFaults, number: int, packets: int) -> None:
    show = ("nft", "-j", "list", "counters", "table", "ip", f"gigmesh_{number}")
    with trio.fail_after(HEALED_S):
        while counters(await kernel.namespace.run(show))["dropped"].packets < packets:
            pass


async def test_a_cut_holds_what_is_sent_until_it_heals(holder: int) -> None:
    """Given a connection; when a cut lies between its ends; then nothing crosses until it heals."""
    async with open_kernel_faults(holder, found(), NODES) as kernel:
        process = await trio.lowlevel.open_process(
            command_of(kernel, "talk", 0), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdin.send_all(b"before\n")
        assert await process.stdout.receive_some() == b"before\n"
        number = await kernel.begin("partition", (CutSpec(((0, 2), (1,))),))
        await process.stdin.send_all(b"while\n")
        await wait_dropped(kernel, number, 2)
        measured = await kernel.end(number)
        with trio.fail_after(HEALED_S):
            assert await process.stdout.receive_some() == b"while\n"
        await process.stdin.aclose()
        await process.wait()
    told = re.fullmatch(r"0 B crossed, (\d+) packets dropped \((\d+) B\), (\S+) s", measured)
    assert told is not None, measured
    assert int(told[1]) >= 2


async def test_a_share_of_packets_is_lost(holder: int) -> None:
    async with open_kernel_faults(holder, found(), NODES) as kernel:
        assert await measure(kernel, "lost", 1_000) == 0
        number = await kernel.begin("loss", RuleSpec((1,), "in", loss=0.2))
        other = await kernel.begin("loss", RuleSpec((1,), "out", loss=0.99))
        lost = await measure(kernel, "lost", 1_000)
        assert 140 < lost < 260  # Five standard deviations.
        assert await kernel.end(number) == f"{lost / 1_000:.1%} of 1000 packets dropped"
        assert await kernel.end(other) == "0.0% of 0 packets dropped"
        assert await measure(kernel, "lost", 1_000) == 0


async def test_a_narrow_uplink_lets_through_what_it_may(holder: int) -> None:
    need(htb=found().htb)
    size, bytes_per_second = 100_000, 50_000
    async with open_kernel_faults(holder, found(), NODES) as kernel:
        wide_s = await measure(kernel, "bulk", size)
        number = await kernel.begin("bandwidth", RuleSpec((0, 2), bytes_per_second=50_000))
        narrow_s = await measure(kernel, "bulk", size)
        told = re.match(r"at most (\d+) kbit/s sent, ", await kernel.end(number))
        again_s = await measure(kernel, "bulk", size)
    assert max(wide_s, again_s) < 0.9 * size / bytes_per_second < narrow_s
    assert told is not None
    # Until it ended, a process had to start, too.
    assert 100 < int(told[1]) <= 8 * bytes_per_second / 1000 * 1.05


async def test_a_delay_is_as_long_as_was_asked_in_each_direction(holder: int) -> None:
    need(nfqueue=found().nfqueue)
    async with open_kernel_faults(holder, found(), NODES) as kernel:
        free_ms = await measure(kernel, "ping", 5)
        number = await kernel.begin("delay", RuleSpec((0,), delay_us=50_000))
        both_ms = await measure(kernel, "ping", 10)
        more = await kernel.begin("delay", RuleSpec((1,), "in", delay_us=100_000))
        sum_ms = await measure(kernel, "ping", 10)
        await kernel.end(more)
        measured = await kernel.end(number)
        again_ms = await measure(kernel, "ping", 5)
    # Of several round trips the shortest: a busy machine is late with most.
    assert max(free_ms, again_ms) < 100
    assert 100 <= both_ms < 200
    assert 200 <= sum_ms < 400
    told = re.fullmatch(r"(\S+) ms on average, (\d+) packets", measured)
    assert told is not None
    assert float(told[1]) >= 50


async def test_a_black_hole_takes_dials_and_nothing_else(holder: int) -> None:
    """Given a black hole; when a node dials it and sends; then only the handshake gets through."""
    async with open_kernel_faults(holder, found(), NODES) as kernel:
        number = await kernel.begin("black_hole", RuleSpec((1,), swallows=True))
        process = await trio.lowlevel.open_process(
            command_of(kernel, "talk", 0), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdin.send_all(b"into the hole\n")
        await wait_dropped(kernel, number, 2)
        told = re.match(r"(\d+) of (\d+) packets dropped", await kernel.end(number))
        with trio.fail_after(HEALED_S):
            assert await process.stdout.receive_some() == b"into the hole\n"
        await process.stdin.aclose()
        await process.wait()
    assert told is not None
    assert int(told[1]) == int(told[2]) - 3


async def test_what_cannot_be_done_is_a_sentence_and_stands_nowhere(holder: int) -> None:
    async with open_kernel_faults(holder, found(), NODES) as kernel:
        with pytest.raises(KernelError, match=r"^nft delete table: Error: .*No such file"):
            await kernel.namespace.run(("nft", "delete", "table", "ip", "of_nobody"))
        with pytest.raises(KernelError, match=r"^tc qdisc add: Error: "):
            await kernel.namespace.run(("tc", "qdisc", "add", "dev", "lo", "root", "nothing"))
        os.kill(holder, signal.SIGKILL)
        os.waitid(os.P_PID, holder, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - it was killed
        with pytest.raises(KernelError, match="nsenter: "):
            await kernel.begin("bandwidth", RuleSpec((0,), bytes_per_second=1_000))
        assert not kernel.standing
