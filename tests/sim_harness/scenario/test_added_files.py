"""Files that consumers add: placed by the product's rules, paid for, and named by selectors."""

from pathlib import Path

import pytest

from p2p.primitives.units import MIB
from sim_harness.scenario.expectations import check_losses
from sim_harness.scenario.reading import parse_scenario
from sim_harness.scenario.run import Run
from sim_harness.scenario.schema import Load, Scenario
from sim_harness.scenario.sections import ScenarioError
from sim_harness.scenario.writing import write_scenario
from tests.sim_harness.scenario.worlds import HEAD, small

ADDING = (
    HEAD.replace("nodes = 5", "nodes = 8")
    + """
[load]
consumers = 1
adds_per_minute = 40
blob_bytes = [4096, 2097152]
window_bytes = 262144
"""
)


def finished(story: Scenario, seed: int = 1) -> Run:
    run = Run(story, seed)
    run.finish()
    return run


def test_files_are_held_by_as_many_providers_as_were_wanted_and_paid() -> None:
    run = finished(small(head=ADDING))
    result = run.result()
    assert result.verdict == "pass", result.checks
    placed = [one for one in result.files if one.placed_ms is not None]
    assert len(placed) >= 8
    assert all(len(one.holders) == 2 and one.consumer == 7 for one in placed)
    assert max(one.size_bytes for one in placed) > MIB > min(one.size_bytes for one in placed)
    assert sum(one.settled for one in result.dealings) > 0
    assert all(one.settled == one.promised >= one.delivered for one in result.dealings)
    # The machines of the nodes know of it: each holder owes the blob on its own disk.
    for blob in run.market.adding.blobs if run.market.adding else ():
        for index in blob.held:
            replica = run.world.nodes[index].replica
            assert replica is not None
            held = replica.channels.obligations.of_blob(blob.manifest.blob)
            assert [one.provider for one in held] == [replica.account]


def test_a_provider_that_stores_for_nothing_is_told() -> None:
    """I9, for files: the checker hears of work that no receipt pays, beyond a window a crash."""
    run = finished(small(head=ADDING))
    assert [check.holds for check in check_losses(run.market)] == [True]
    assert run.market.adding is not None
    line = next(one for one in run.market.adding.lines.values() if one.delivered)
    line.provider.crashes = 2
    limit = 2 * line.window_price_max
    line.delivered = line.settled + limit
    assert [check.holds for check in check_losses(run.market)] == [True]
    line.delivered += 1
    (check,) = check_losses(run.market)
    said = f"node {line.provider.index} lost {limit + 1}, more than {limit}"
    assert (check.holds, check.measured) == (False, said)


def test_a_file_finds_other_providers_when_one_is_gone() -> None:
    story = small('kind = "kill"; nodes = "nodes[4:6]"; at = "3s"', head=ADDING)
    files = finished(story, seed=2).result().files
    in_time = [
        set(one.holders)
        for one in files
        if one.at_ms > 3_000 and one.placed_ms is not None and one.at_ms + one.placed_ms < 20_000
    ]
    assert len(in_time) >= 4
    assert not {4, 5} & set().union(*in_time)


def test_who_holds_a_file_can_be_named() -> None:
    story = small('kind = "pause"; nodes = "holders(1)"; at = "14s"; for = "1s"', head=ADDING)
    run = finished(story)
    (record,) = run.faults.records
    assert record.nodes == sorted(run.result().files[0].holders)
    newest = small('kind = "pause"; nodes = "holders(last)"; at = "14s"; for = "1s"', head=ADDING)
    (latest,) = finished(newest).faults.records
    assert len(latest.nodes) == 2
    assert latest.nodes != record.nodes


def test_a_fault_at_the_holders_of_nothing_hurts_nobody() -> None:
    story = small(
        'kind = "kill"; nodes = "random(2) of holders(900)"; at = "5s"; for = "1s"', head=ADDING
    )
    (record,) = finished(story).faults.records
    assert (record.nodes, record.what) == ([], "nobody killed")


@pytest.mark.parametrize(
    ("head", "fault", "error"),
    [
        (
            HEAD,
            'kind = "kill"; nodes = "holders(1)"',
            (
                "small.toml:17: nodes: 'holders(1)' matches no node: no file is added "
                "(adds_per_minute)"
            ),
        ),
        (
            ADDING,
            'kind = "kill"; nodes = "holders(0)"',
            "small.toml:23: nodes: 'holders(0)': files are counted from 1",
        ),
        (
            ADDING.replace("[4096, 2097152]", "[5, 4]"),
            'kind = "kill"; nodes = "all"',
            "small.toml:18: blob_bytes must be [least, greatest], up to 67108864, not [5, 4]",
        ),
        (
            ADDING.replace("consumers = 1", "consumers = 0"),
            'kind = "kill"; nodes = "all"',
            "small.toml:17: adds_per_minute: there are no consumers to add",
        ),
    ],
)
def test_what_makes_no_sense_names_its_line(head: str, fault: str, error: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        small(fault, head=head)
    assert str(caught.value) == error


def test_the_load_reads_back_as_it_was_written() -> None:
    story = small(head=ADDING)
    assert story.load == Load(
        consumers=1,
        receipts_per_minute=0,
        adds_per_minute=40,
        blob_bytes=(4096, 2 * MIB),
        window_bytes=262_144,
    )
    assert parse_scenario(write_scenario(story), Path("small.toml")).load == story.load
