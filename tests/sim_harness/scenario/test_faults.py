"""Every word does its harm, says what it did, and is over when it is over."""

from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from p2p.model.inputs import TimerFired
from p2p.primitives.units import Millis
from p2p.protocol.interface import ReplicaEffect, ReplicaInput
from sim_harness.scenario.churn import Sessions
from sim_harness.scenario.faults import names
from sim_harness.scenario.reading import parse_scenario
from sim_harness.scenario.run import Run, run_scenario
from sim_harness.scenario.schema import Churn
from sim_harness.virtual.node import VirtualNode
from tests.sim_harness.scenario.worlds import HEAD, run_to, small


def ups(run: Run) -> list[int]:
    return [node.index for node in run.world.nodes if node.is_up]


@pytest.mark.parametrize(("word", "what"), [("kill", "n1 killed"), ("restart", "n1 killed")])
def test_a_killed_process_comes_back(word: str, what: str) -> None:
    story = small(f'kind = "{word}"; nodes = "nodes[1]"; at = "5s"; for = "3s"')
    assert ups(run_to(story, 6)) == [0, 2, 3, 4]
    run = run_to(story, 9)
    assert ups(run) == [0, 1, 2, 3, 4]
    (record,) = run.faults.records
    assert (record.what, record.at_ms, record.until_ms) == (what, 5_000, 8_000)


def test_two_faults_that_keep_a_node_down_must_both_be_over() -> None:
    story = small(
        'kind = "kill"; nodes = "nodes[1]"; at = "5s"; for = "3s"',
        'kind = "kill"; nodes = "nodes[1:3]"; at = "6s"; for = "6s"',
    )
    assert ups(run_to(story, 9)) == [0, 3, 4]
    assert ups(run_to(story, 13)) == [0, 1, 2, 3, 4]


def test_a_fault_may_come_again_and_is_drawn_anew() -> None:
    story = small('kind = "restart"; nodes = "random(1)"; at = "2s"; every = "3s"')
    records = run_to(story, 19.9).faults.records
    assert [record.at_ms for record in records] == [2_000, 5_000, 8_000, 11_000, 14_000, 17_000]
    assert len({record.nodes[0] for record in records}) > 1


def test_what_is_left_is_healed_at_the_end() -> None:
    story = small('kind = "kill"; nodes = "nodes[4]"; at = "5s"')
    run = Run(story, 1)
    run.finish()
    assert ups(run) == [0, 1, 2, 3, 4]
    assert [record.until_ms for record in run.faults.records] == [20_000]
    assert run.result().healed_ms == 20_000


def test_the_proposer_is_whoever_proposes_next() -> None:
    story = small('kind = "kill"; nodes = "proposer"; at = "5s"; for = "6s"')
    run = run_to(story, 11)
    victim = run.faults.records[0].nodes[0]
    rounds = [sample.round for sample in run.recorder.samples if 5_000 < sample.at_ms < 11_000]
    assert victim < 4
    assert max(rounds) == 1


def test_a_frozen_process_says_nothing_and_goes_on_where_it_was() -> None:
    story = small('kind = "pause"; nodes = "nodes[1]"; at = "5s"; for = "4s"')
    run = run_to(story, 8.9)
    frozen, others = run.world.nodes[1], run.world.nodes[2:]
    earlier = run_to(story, 5.05)
    assert earlier.recorder.bytes_by_topic[1] == run.recorder.bytes_by_topic[1]
    assert frozen.disk.batches <= earlier.world.nodes[1].disk.batches
    assert frozen.is_up
    assert frozen.height < min(node.height for node in others)
    went_on = run_to(story, 12).world.nodes
    assert went_on[1].height == went_on[2].height
    assert went_on[1].crashes == 0


def test_freezing_twice_ends_with_the_later() -> None:
    story = small(
        'kind = "pause"; nodes = "nodes[1]"; at = "5s"; for = "4s"',
        'kind = "pause"; nodes = "nodes[1]"; at = "6s"; for = "5s"',
    )
    assert run_to(story, 10).world.nodes[1].is_paused
    assert not run_to(story, 11.5).world.nodes[1].is_paused


def test_killing_a_frozen_process_starts_a_fresh_one() -> None:
    story = small(
        'kind = "pause"; nodes = "nodes[1]"; at = "5s"; for = "12s"',
        'kind = "kill"; nodes = "nodes[1]"; at = "6s"; for = "1s"',
    )
    nodes = run_to(story, 16).world.nodes
    assert nodes[1].height == nodes[2].height > 8


def test_disconnected_nodes_hear_nobody() -> None:
    story = small('kind = "disconnect"; nodes = "nodes[0:2]"; at = "5s"; for = "10s"')
    run = run_to(story, 14)
    links = run.world.links
    assert links.is_cut(0, 1)
    assert links.is_cut(0, 4)
    assert not links.is_cut(2, 4)
    assert max(node.height for node in run.world.nodes) <= 5
    assert run.faults.records[0].nodes == [0, 1]


@pytest.mark.parametrize(("direction", "blind"), [("in", True), ("out", False)])
def test_a_partition_may_be_one_way(direction: str, blind: bool) -> None:
    story = small(
        f'kind = "partition"; groups = ["nodes[4]", "rest"]; direction = "{direction}"; '
        'at = "5s"; for = "6s"'
    )
    run = run_to(story, 10)
    behind = run.world.nodes[0].height - run.world.nodes[4].height
    assert (behind > 3) is blind
    assert run.faults.records[0].nodes == [4]


def test_delay_is_added() -> None:
    story = small('kind = "delay"; nodes = "validators"; add = "150ms"; at = "5s"; for = "10s"')
    run = run_to(story, 14.9)
    assert run.world.links.delay_us(0, 1) == 170_000
    assert run.world.links.delay_us(0, 4) == 170_000
    assert run_to(story, 16).world.links.delay_us(0, 1) == 20_000
    assert run.faults.records[0].what == "150ms added for n0-n3"


def test_lost_packets_make_messages_late() -> None:
    calm = run_scenario(small(), 1)
    lossy = run_scenario(small('kind = "loss"; share = "20%"; at = "3s"; for = "15s"'), 1)
    assert calm.retransmissions == 0
    assert lossy.retransmissions > 100
    assert lossy.verdict == calm.verdict == "pass"
    assert lossy.commit_latency.p95 > calm.commit_latency.p95 + 100


def test_uplinks_are_narrowed() -> None:
    calm = run_scenario(small(), 1)
    story = small('kind = "bandwidth"; nodes = "validators"; rate = "64 kbit/s"; at = "3s"')
    narrow = run_scenario(story, 1)
    assert narrow.verdict == "pass"
    assert narrow.commit_latency.p95 > calm.commit_latency.p95 + 100


def test_a_slow_disk_is_slow() -> None:
    calm = run_scenario(small(), 1)
    slow = run_scenario(small('kind = "slow_disk"; add = "80ms"; at = "3s"; for = "15s"'), 1)
    assert slow.decide_latency.p95 >= calm.decide_latency.p95 + 160


def test_a_full_disk_stops_a_node_until_there_is_space() -> None:
    story = small('kind = "disk_full"; nodes = "validators[0]"; at = "5s"; for = "6s"')
    stopped = run_to(story, 10).world.nodes[0]
    assert not stopped.is_up
    assert [why for _, why in stopped.stops] == ["no space left on the disk"]
    run = Run(story, 1)
    run.finish()
    assert run.result().verdict == "pass"
    assert run.faults.records[0].what == "no space on the disks of n0; n0 stopped"


def test_a_killed_node_does_not_start_while_its_disk_is_full() -> None:
    story = small(
        'kind = "disk_full"; nodes = "nodes[0]"; at = "5s"; for = "10s"',
        'kind = "restart"; nodes = "nodes[0]"; at = "5s"; for = "1s"',
    )
    run = run_to(story, 14)
    assert ups(run) == [1, 2, 3, 4]
    assert run.world.nodes[0].crashes == 1
    assert ups(run_to(story, 16)) == [0, 1, 2, 3, 4]


def test_a_torn_write_is_lost_and_the_node_comes_back() -> None:
    story = small('kind = "torn_write"; nodes = "validators[0]"; at = "5s"; for = "4s"')
    run = Run(story, 1)
    run.finish()
    assert run.result().verdict == "pass"
    assert run.world.nodes[0].crashes == 1
    assert "wrote nothing" not in run.faults.records[0].what


def test_clocks_are_wrong_and_put_right() -> None:
    story = small(
        'kind = "clock_skew"; nodes = "nodes[4]"; offset = "2s"; at = "5s"; for = "5s"',
        'kind = "clock_skew"; nodes = "nodes[3]"; drift = "10000 ppm"; at = "5s"; for = "5s"',
    )
    run = run_to(story, 9.9)
    assert run.world.nodes[4].clock.error_ms == 2_000
    assert run.world.nodes[3].clock.error_ms == pytest.approx(49, abs=2)
    assert run.faults.records[0].what == "clocks of n4 off by 2s"
    # Behind, a clock runs at half speed until it is right.
    assert run_to(story, 18).world.nodes[4].clock.error_ms == pytest.approx(0, abs=110)


def test_timers_follow_the_clock_of_their_node() -> None:
    story = small('kind = "clock_skew"; nodes = "nodes[4]"; drift = "-10%"; at = "2s"')
    run = Run(story, 1)
    fired: list[int] = []

    def watch(
        node: VirtualNode, item: ReplicaInput, effects: list[ReplicaEffect]
    ) -> list[ReplicaEffect]:
        if isinstance(item, TimerFired) and item.key == "gossip/heartbeat":
            fired.append(run.faults.now_ms)
        return effects

    run.world.nodes[4].behaviour = watch
    run.run_until_ms(19_000)
    slow = [later - one for one, later in pairwise(fired) if one > 3_000]
    assert len(slow) > 10
    assert all(1_105 <= span <= 1_120 for span in slow)


@pytest.mark.parametrize("sessions", ["exponential", "weibull"])
def test_sessions_have_the_mean_that_was_asked_for(sessions: str) -> None:
    churn = Churn(sessions=sessions, mean=Millis(60_000), nodes="all")
    drawn = Sessions(churn, ".", Random(1))
    lengths = [drawn.next_ms() for _ in range(40_000)]
    assert sum(lengths) / len(lengths) == pytest.approx(60_000, rel=0.05)
    median = sorted(lengths)[20_000]
    assert (median < 20_000) is (sessions == "weibull")


@pytest.mark.parametrize("sessions", ["exponential", "weibull"])
def test_churning_nodes_come_and_go(sessions: str) -> None:
    story = small(
        f'kind = "churn"; nodes = "nodes[4]"; sessions = "{sessions}"; mean = "2s"; down = "500ms"'
    )
    result = run_scenario(story, 3)
    assert result.verdict == "pass"
    assert 3 <= result.nodes[4].crashes <= 20
    assert [node.crashes for node in result.nodes[:4]] == [0, 0, 0, 0]


def test_sessions_may_come_from_a_trace(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text("3\n4.5\n")
    text = HEAD + '[[fault]]\nkind = "churn"\nnodes = "nodes[4]"\nsessions = "trace"\ndown = "1s"'
    run = Run(parse_scenario(text, tmp_path / "story.toml"), 1)
    run.run_until_ms(19_000)
    lives = run.world.nodes[4].lives
    first, second = ((end or 0) - start for start, end in lives[:2])
    assert first == pytest.approx(3_000, abs=1_000)  # it counts from the fault, not from the start
    assert second == pytest.approx(4_500, abs=200)


def test_nodes_are_named_in_runs() -> None:
    assert names([0, 1, 2, 5, 7, 8]) == "n0-n2, n5, n7-n8"
    assert names([]) == "nobody"


def test_few_nodes_are_named_and_many_are_counted() -> None:
    assert names([0, 1, 2, 3, 7]) == "n0-n3, n7"
    assert names([]) == "nobody"
    assert names(range(0, 40, 2)) == "20 nodes (n0, n2, n4, n6, ...)"
