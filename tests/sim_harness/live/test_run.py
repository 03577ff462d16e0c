"""A scenario on real processes: words do what they say, and the log alone gives the verdict."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest
import trio

from p2p.model.ledger import STATE_BYTES_MAX, State
from p2p.model.persistence import Table
from p2p.node.home import Home
from p2p.primitives.codec import decode, encode
from p2p.primitives.digests import digest
from sim_harness.live.commands import check_run, sized
from sim_harness.live.disk.offer import fuse_lacks
from sim_harness.live.evidence import Evidence
from sim_harness.live.judge import Verdict
from sim_harness.live.network import LocalPlan, make_homes
from sim_harness.live.records import FORMAT, LENGTH_BYTES, Disk, Head, Value, read_records
from sim_harness.live.run import LivePlan, run_live
from sim_harness.scenario.reading import parse_scenario
from sim_harness.scenario.results import Check
from sim_harness.scenario.sections import ScenarioError

pytestmark = pytest.mark.live

STORY = """
name = "a bit of everything"
duration = "14s"

[network]
nodes = 7
validators = 5
latency = "5ms"

[parameters]
epoch_ms = 800
flush_ms = 10

[load]
consumers = 1
receipts_per_minute = 60
transfers_per_minute = 60

[[adversary]]
kind = "equivocator"
nodes = "validators[4]"

[[fault]]
kind = "partition"
groups = ["others[0]", "rest"]
at = "1s"
for = "3s"

[[fault]]
kind = "kill"
nodes = "validators[0]"
at = "2s"
for = "2s"

[[fault]]
kind = "torn_write"
nodes = "validators[1]"
at = "5s"
for = "2s"

[[fault]]
kind = "disk_full"
nodes = "validators[2]"
at = "8s"
for = "2s"

[[fault]]
kind = "clock_skew"
nodes = "others[0]"
offset = "2s"
at = "10s"
for = "2s"

[[fault]]
kind = "pause"
nodes = "validators[3]"
at = "11s"
for = "2s"

[expect]
heights = 5
sometimes = ["crashes >= 3"]
"""


def enrich(log: Path) -> None:
    """Let the log say that the first disk held money out of nothing."""
    values, disks = {}, []
    for record in read_records(log):
        if isinstance(record, Value):
            values[digest(record.data)] = record.data
        elif isinstance(record, Disk):
            disks.append(record)
    (found,) = (name for table, _, name in disks[0].rows if table == Table.STATE.value)
    state = decode(values[found], State, bytes_max=STATE_BYTES_MAX)
    data = encode(msgspec.structs.replace(state, supply=state.supply + 1))
    rows = tuple(
        (table, key, digest(data) if name == found else name) for table, key, name in disks[0].rows
    )
    with log.open("ab") as file:
        for record in (Value(data), msgspec.structs.replace(disks[0], rows=rows)):
            packed = msgspec.msgpack.encode(record)
            file.write(len(packed).to_bytes(LENGTH_BYTES) + packed)


def family(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def test_faults_on_real_processes_are_as_asked_and_every_promise_is_kept(tmp_path: Path) -> None:
    """Given 7 processes; when all goes wrong in turn; then one chain, and the log says the same."""
    scenario = parse_scenario(STORY, tmp_path / "story.toml")
    plan = LivePlan(scenario=scenario, seed=3, file="story.toml", runs=tmp_path / "runs")
    result = trio.run(run_live, plan)
    failed = [check for check in result.checks if not check.holds]
    assert (result.verdict, failed, result.violations) == ("pass", [], ())
    measured = {fault.kind: fault.measured for fault in result.faults}
    assert measured["partition"].startswith("0 B crossed")
    assert measured["kill"].startswith("1 of 1 down")
    assert measured["torn_write"] == "torn at the end of the log: n1: 2048 B"
    assert measured["disk_full"].startswith("1 of 1 stopped")
    assert measured["pause"].startswith("1 of 1 stopped by the kernel")
    skew = float(measured["clock_skew"].split()[4])
    assert 1_800 < skew < 2_200
    assert result.adversaries[0].kind == "equivocator"
    assert sum(result.adversaries[0].deeds.values()) > 0
    assert {work.kind for work in result.work} >= {"add", "transfer"}
    assert all(work.done for work in result.work if work.kind in ("add", "transfer"))
    assert result.checks[0] == Check("disks", "every one was read", "7 of 7", holds=True)
    assert result.peak_memory_mib > 50
    assert not (Path(result.run_directory) / "homes").exists()
    again = check_run(Path(result.run_directory))
    assert msgspec.json.encode(again.checks) == msgspec.json.encode(result.checks)
    assert (again.verdict, again.commit_latency) == (result.verdict, result.commit_latency)
    enrich(Path(result.run_directory) / "events.log")
    forged = check_run(Path(result.run_directory))
    assert {one.name for one in forged.checks if not one.holds} == {"validity", "supply"}


@pytest.mark.parametrize("disk", ["injected", "fuse"])
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_a_run_that_was_ended(
    tmp_path: Path, stop: signal.Signals, disk: str
) -> None:
    """Given a run at work; when its harness is ended; then no process and no home is left."""
    if disk == "fuse" and (lacks := fuse_lacks()):
        pytest.skip(lacks)
    story = tmp_path / "story.toml"
    story.write_text('name = "short"\nduration = "60s"\n[network]\nnodes = 4\n')
    command = [sys.executable, "-m", "sim_harness.cli", "run", str(story), "--world", "live"]
    command += ["--runs", str(tmp_path / "runs"), "--disk", disk]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "all serve" not in process.stderr.readline():
            assert process.poll() is None, "it ended by itself"
        children = family(process.pid)
        assert len(children) == (7 if disk == "fuse" else 6), "with parent, janitor and disk"
        os.kill(process.pid, stop)
        process.communicate(timeout=20)
    assert process.returncode == (-9 if stop is signal.SIGKILL else 130)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
    deadline_s = time.monotonic() + 10
    while list(tmp_path.glob("runs/*/homes")) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not list(tmp_path.glob("runs/*/homes"))
    assert str(tmp_path) not in Path("/proc/mounts").read_text(encoding="utf-8")


def test_a_log_without_a_disk_is_no_pass(tmp_path: Path) -> None:
    """Given a log that ends before the disks were read; when it is judged; then that is said."""
    scenario = parse_scenario(STORY, tmp_path / "story.toml")
    local = LocalPlan(nodes=7, validators=5, seed=3)
    genesis = Home(make_homes(local, tmp_path / "homes")[0]).read_genesis()
    head = Head(FORMAT, 3, 5, encode(genesis), str(tmp_path), "story.toml")
    (disks, *_) = Verdict(Evidence(scenario, head), directory="").result().checks
    assert disks == Check("disks", "every one was read", "0 of 7", holds=False)


def test_another_size_is_checked_against_the_selectors(tmp_path: Path) -> None:
    scenario = parse_scenario(STORY, tmp_path / "story.toml")
    assert sized(scenario, None) is scenario
    assert sized(scenario, 9).network.nodes == 9
    with pytest.raises(ScenarioError, match="matches no node"):
        sized(scenario, 4)
