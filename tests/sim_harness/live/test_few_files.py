"""Processes without a descriptor: strangers silence nobody, and the validator goes on signing."""

import json
import os
import resource
from math import inf
from pathlib import Path

import pytest
import trio
import trio.testing

from p2p.node.home import Home
from sim_harness.live.console import Console
from sim_harness.live.crash_audit import CrashAudit, read_disk
from sim_harness.live.figures import is_brought_up
from sim_harness.live.held_descriptors import HeldDescriptors
from sim_harness.live.network import LocalPlan, open_network
from sim_harness.live.only_live import FewFiles
from sim_harness.live.rough_wires import is_exhausted
from sim_harness.live.setup import FILE


def test_what_is_held_leaves_nothing_and_gives_all_back() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = HeldDescriptors()
    held.hold()
    try:
        with pytest.raises(OSError, match="Too many open files") as caught:
            os.open(os.devnull, os.O_RDONLY)
        assert is_exhausted(caught.value)
        assert held.refused == 1
        held.hold()
        assert held.refused == 2
    finally:
        held.let_go()
    assert held.count == 0
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limit
    os.close(os.open(os.devnull, os.O_RDONLY))


def test_who_holds_nothing_never_wakes_up() -> None:
    """Twenty wake-ups a second in each of 300 processes were two thirds of all they had."""
    held = HeldDescriptors()

    async def watch() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(held.run)
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().seconds_to_next_deadline == inf
            held.hold()
            try:
                await trio.sleep(1)
                assert held.refused > 100
            finally:
                held.let_go()
            await trio.sleep(1)
            assert trio.lowlevel.current_statistics().seconds_to_next_deadline == inf
            held.hold()
            held.let_go()  # before `run` came to take anything
            await trio.sleep(1)
            assert held.count == 0
            nursery.cancel_scope.cancel()

    trio.run(watch, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_dial_for_want_of_a_descriptor_is_known_in_a_group() -> None:
    inner = ExceptionGroup("all attempts failed", [OSError(24, "Too many open files")])
    outer = OSError("all attempts to connect failed")
    assert not is_exhausted(outer)
    outer.__cause__ = inner
    assert is_exhausted(outer)
    assert not is_exhausted(None)


def signed_height(home: Path) -> int:
    """Of what a node's key signed last, by the file beside the key; 0 before its first word."""
    if not Home(home).key_state_path.exists():
        return 0
    return int(json.loads(Home(home).key_state_path.read_bytes())["height"])


@pytest.mark.live
async def test_a_validator_without_descriptors_goes_on_signing_and_serves_again(
    tmp_path: Path,
) -> None:
    """Given 4 validators; when one has no descriptor; then it signs on, and serves when it has."""
    home, setup = tmp_path / "net", tmp_path / FILE
    options = {"watch_votes": "1", "setup": str(setup), "report_ms": "200"}
    plan = LocalPlan(nodes=4, epoch_ms=500, directory=home, options=options, seed=1)
    audit = CrashAudit()
    with trio.fail_after(240):
        async with open_network(plan) as cluster, trio.open_nursery() as nursery:
            words = Console(cluster, seed=1, validators=4, setup=setup)
            await nursery.start(words.run)
            await cluster.start_all()
            await cluster.wait(is_brought_up, deadline_s=60, what="the network to come up")
            number = await words.faults.begin(FewFiles(nodes="nodes[1:2]"))
            victim = cluster.nodes[1]
            height, starts = victim.height, victim.starts
            await cluster.wait(
                lambda _: signed_height(victim.home) >= height + 3 and victim.height > height,
                deadline_s=90,
                what="words of its own",
            )
            await words.faults.end(number)
            told = words.faults.records[number]
            status = await trio.to_thread.run_sync(cluster.client(1).get, "/status")
            assert isinstance(status, dict)
            assert isinstance(status["height"], int)
            assert status["height"] > height
            await cluster.wait(
                lambda all_: len(all_.up()) == 4 and all_.agreed(), deadline_s=60, what="agreement"
            )
            assert victim.starts == starts
            nursery.cancel_scope.cancel()
        for node in cluster.nodes:
            audit.hear(node.votes, f"node {node.index}")
            audit.check_disk(read_disk(node.home), node.commits, f"node {node.index}")
    taken, _, limit, *_, refused, _, _, _, _, _, _ = told.measured.split()
    assert taken == limit, told.measured
    assert int(refused) > 0, told.measured
    assert cluster.disagreements == []
    assert audit.violations == []
