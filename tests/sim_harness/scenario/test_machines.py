"""Faults of a node's own machine: slow processors, and pages of its disk that are damaged."""

from p2p.model.persistence import Table
from p2p.storage.rescue import SIGNED
from sim_harness.scenario.run import Run
from sim_harness.virtual.disk import PAGES
from sim_harness.virtual.machine import SharingNode
from tests.sim_harness.scenario.worlds import HEAD, run_to, small


def test_a_slow_node_is_slow_and_catches_up_when_it_is_fast_again() -> None:
    story = small('kind = "slow_cpu"; nodes = "nodes[4]"; speed = "0.2%"; at = "4s"; for = "10s"')
    run = run_to(story, 13.5)
    slow, others = run.world.nodes[4], run.world.nodes[:4]
    assert slow.height < min(node.height for node in others)
    assert run.faults.records[0].what == "n4 at 0.2% of a core"
    run = Run(story, 1)
    run.finish()
    result = run.result()
    assert result.verdict == "pass", result.checks
    nodes = [node for node in run.world.nodes if isinstance(node, SharingNode)]
    assert len(nodes) == 5
    assert all(node.machine.speed == 1.0 for node in nodes)


def test_a_network_may_run_on_slow_cores_from_the_beginning() -> None:
    heights = []
    for cpu in ("100%", "3%"):
        head = HEAD.replace("nodes = 5", f'nodes = 5\ncpu = "{cpu}"')
        run = run_to(small(head=head), 18)
        heights.append(min(node.height for node in run.world.nodes))
    assert heights[0] > heights[1] > 0


def test_two_hindrances_of_one_core_multiply() -> None:
    story = small(
        'kind = "slow_cpu"; nodes = "nodes[4]"; speed = "50%"; at = "4s"; for = "10s"',
        'kind = "slow_cpu"; nodes = "all"; speed = "20%"; at = "5s"; for = "2s"',
    )
    speeds = [
        [round(node.machine.speed, 3) for node in run.world.nodes if isinstance(node, SharingNode)]
        for run in (run_to(story, 6), run_to(story, 8))
    ]
    assert speeds == [[0.2, 0.2, 0.2, 0.2, 0.1], [1.0, 1.0, 1.0, 1.0, 0.5]]


def test_a_damaged_page_is_found_at_the_start_and_mended() -> None:
    for table in ("blocks", "state", "journal", ""):
        words = f'; table = "{table}"' if table else ""
        story = small(f'kind = "corrupt_page"; nodes = "nodes[0]"; at = "9s"; for = "2s"{words}')
        run = Run(story, 1)
        run.finish()
        result = run.result()
        assert result.verdict == "pass", (table, result.checks)
        node = run.world.nodes[0]
        assert node.crashes == 1
        assert node.mended, table
        assert all(
            11_000 <= at_ms - run.world.genesis.time_ms <= 11_200 for at_ms, _ in node.mended
        )
        if table:
            assert run.faults.records[0].what.endswith(f"rows of {table} of n0")


def test_what_a_key_signed_is_never_among_damaged_pages() -> None:
    assert set(PAGES.values()) == set(Table) - set(SIGNED)


def test_nothing_is_damaged_on_an_empty_disk() -> None:
    story = small('kind = "corrupt_page"; nodes = "nodes[0]"; table = "blocks"; at = "0s"')
    run = run_to(story, 3)
    assert run.faults.records[0].what == "a page is damaged: nothing of n0"
    assert run.world.nodes[0].is_up
