"""Runs: two phases, a verdict that can be no, and the same digest every time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from p2p.model.persistence import Put, Table, number_key
from sim_harness.scenario.reading import parse_scenario, read_scenario
from sim_harness.scenario.results import Distribution, distribution
from sim_harness.scenario.run import Run, run_scenario
from tests.sim_harness.scenario.worlds import run_to, small

EXAMPLES = sorted(
    path
    for path in Path("examples/scenarios").glob("*.toml")
    if not path.stem.startswith("live-")  # for real processes; minutes in the virtual world
)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_story_is_true(path: Path) -> None:
    result = run_scenario(read_scenario(path), 1, file=str(path))
    assert [check for check in result.checks if not check.holds] == []
    assert result.violations == ()
    assert result.verdict == "pass"
    assert [cover.text for cover in result.coverage if cover.first_ms is None] == []


def test_a_calm_network_needs_no_recovery() -> None:
    result = run_scenario(small(), 4)
    assert result.healed_ms is None
    assert result.verdict == "pass"
    assert result.end_ms == result.faults_end_ms
    assert set(result.heights) == {max(result.heights)}
    assert result.ad_delivery == 1.0
    assert result.ad_latency.p50 < 100


def test_what_did_not_come_true_fails_the_run() -> None:
    expect = """
heights = 99
recovers_within = "1ms"
commit_latency_p95 = "1ms"
ad_latency_p95 = "2ms"
always = ["height < 3", "up >= 1"]
eventually = ["up == 6", "up == 5"]
"""
    story = small('kind = "kill"; nodes = "nodes[4]"; at = "15s"; for = "2s"', expect=expect)
    result = run_scenario(story, 1)
    assert result.verdict == "fail"
    assert [(check.name, check.wanted) for check in result.checks if not check.holds] == [
        ("recovers within", "1ms"),
        ("heights", "at least 99"),
        ("commit latency p95", "1ms"),
        ("ad latency p95", "2ms"),
        ("always height < 3", "at every moment"),
        ("eventually up == 6", "at a moment after healing"),
    ]


def test_too_many_liars_stop_the_chain_and_the_run_says_so() -> None:
    text = '[[adversary]]\nkind = "silent"\nnodes = 2'
    head = 'name = "x"\nduration = "20s"\n[parameters]\nepoch_ms = 1000\n'
    result = run_scenario(parse_scenario(head + text, Path("x.toml")), 1)
    assert result.verdict == "fail"
    assert max(result.heights) == 0
    assert [one.kind for one in result.adversaries] == ["silent", "silent"]
    assert [check.name for check in result.checks if not check.holds] == [
        "recovers within",
        "heights",
        "receipts settled",
    ]


def test_what_never_happened_was_not_tested() -> None:
    result = run_scenario(small(expect='sometimes = ["crashes >= 1", "height >= 3"]'), 1)
    never, first = result.coverage
    assert never.first_ms is None
    assert first.first_ms is not None
    assert result.verdict == "pass"


def test_a_broken_promise_ends_the_run_with_the_events_around_it() -> None:
    run = Run(small('kind = "kill"; nodes = "nodes[4]"; at = "5s"'), 1, file="small.toml")
    world = run.world

    def fork() -> bytes:
        world.violations.append("agreement: node 2 at height 5")
        return b"fork"

    world.heap.after(8_000_000, "fork", fork)
    run.finish()
    result = run.result()
    (violation,) = result.violations
    assert (violation.name, violation.at_ms) == ("agreement", 8_000)
    assert violation.detail == "node 2 at height 5"
    assert "t=5.000s fault kill: n4 killed" in violation.around
    assert any("n00 commits " in line for line in violation.around)
    assert result.verdict == "fail"
    assert result.replay == "sim-harness replay small.toml --seed 1 --until 8.000s --node 2"
    assert result.end_ms == 8_000


def test_another_block_on_one_disk_is_a_broken_agreement() -> None:
    run = run_to(small(), 10)
    node, other = run.world.nodes[:2]
    key = number_key(3)
    fourth = other.store.get(Table.BLOCKS, number_key(4))
    assert fourth is not None
    node.store.commit([Put(Table.BLOCKS, key, fourth)])
    names = [check.name for check in run.result().checks if not check.holds]
    assert "validity" in names


def test_work_is_paid_for() -> None:
    head = 'name = "x"\nduration = "25s"\n[network]\nnodes = 6\nlatency = "20ms"\n'
    text = head + "[parameters]\nepoch_ms = 1000\n[load]\nconsumers = 2\ntransfers_per_minute = 60"
    result = run_scenario(parse_scenario(text, Path("x.toml")), 1)
    assert result.verdict == "pass"
    assert len(result.trades) == 2
    for trade in result.trades:
        assert 0 < trade.delivered == trade.settled
        consumer, provider = result.nodes[trade.consumer], result.nodes[trade.provider]
        assert consumer.name == "consumer"
        assert consumer.paid == trade.settled
        assert provider.received > 0
    assert sum(node.change for node in result.nodes) == -result.burned < 0


def test_equal_runs_are_equal_and_other_seeds_are_other_runs() -> None:
    story = small('kind = "churn"; nodes = "nodes[4]"; mean = "3s"; down = "1s"')
    first, again, other = (run_scenario(story, seed) for seed in (7, 7, 8))
    assert first == again
    assert first.digest != other.digest


def test_signatures_change_bytes_and_no_decision() -> None:
    story = small('kind = "kill"; nodes = "validators[1]"; at = "5s"; for = "4s"')
    fast = run_scenario(story, 2)
    real = run_scenario(story, 2, real_signatures=True)
    assert real.heights == fast.heights
    assert real.commits == fast.commits
    assert real.verdict == "pass"


SCRIPT = """
import sys
from pathlib import Path
import msgspec
from sim_harness.scenario.reading import read_scenario
from sim_harness.scenario.run import run_scenario
result = run_scenario(read_scenario(Path(sys.argv[1])), 5)
print(msgspec.json.encode(result).decode())
"""


def test_another_process_with_another_hash_seed_finds_the_same(tmp_path: Path) -> None:
    """With constant latency, no jitter and equal periods, many events share their moment."""
    text = """
name = "ties"
duration = "20s"
[network]
nodes = 6
latency = "10ms"
jitter = "0ms"
[parameters]
epoch_ms = 1000
[load]
consumers = 1
transfers_per_minute = 60
[[fault]]
kind = "restart"
nodes = "random(2)"
at = "5s"
every = "5s"
[[fault]]
kind = "loss"
share = "5%"
at = "5s"
"""
    path = tmp_path / "ties.toml"
    path.write_text(text)
    found = []
    for hash_seed in ("1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(path)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        found.append(json.loads(done.stdout))
    assert found[0] == found[1]
    here = run_scenario(read_scenario(path), 5)
    assert json.loads(msgspec.json.encode(here)) == found[0]


def test_percentiles_are_values_that_were_measured() -> None:
    assert distribution([]) == Distribution()
    assert distribution([7]) == Distribution(1, 7, 7, 7, 7)
    assert distribution(list(range(1, 101))) == Distribution(100, 50, 95, 99, 100)
