"""Measures, on events made by hand."""

from p2p.primitives.units import Digest, Height, Millis
from p2p.protocol.interface import AdLearned, Committed
from sim_harness.scenario import measures
from sim_harness.scenario.expectations import check_statements
from sim_harness.scenario.results import Commit
from sim_harness.scenario.schema import Comparison, Expect
from sim_harness.scenario.statements import Sample
from sim_harness.virtual.world import World


def world() -> World:
    """Three nodes that never ran."""
    return World(seed=1, nodes=3, validators=3)


def committed(height: int, *, time_ms: int = 0, round_: int = 0) -> Committed:
    none = Digest(bytes(32))
    return Committed(Height(height), none, none, time_ms, round_, 2, 1)


def test_recovery_is_when_the_last_node_has_a_height_that_was_new() -> None:
    here = world()
    first, second, third = here.nodes
    before = [(90, node, committed(4)) for node in here.nodes]
    # A node that only catches up with what was known has not shown that the network goes on.
    after = [(110, first, committed(5)), (120, second, committed(6)), (130, third, committed(4))]
    assert measures.recovery_ms(here, [*before, *after], 100) is None
    last = (150, third, committed(5))
    assert measures.recovery_ms(here, [*before, *after, last], 100) == 50


def test_heights_are_gathered_from_all_nodes() -> None:
    here = world()
    one, other, _ = here.nodes
    seen = [
        (1_200, other, committed(1, time_ms=1_050, round_=1)),
        (1_100, one, committed(1, time_ms=1_050, round_=1)),
    ]
    assert measures.heights_of(seen, 1_000) == [
        Commit(
            height=1,
            block_ms=50,
            first_ms=100,
            last_ms=200,
            nodes=2,
            round=1,
            transactions=2,
            receipts=1,
        )
    ]


def test_an_ad_has_arrived_with_it_or_with_a_newer_one() -> None:
    here = world()
    here.heap.now_us += 60_000_000
    start = here.now_ms - 60_000
    one, other, third = here.nodes
    account = one.key.account
    for node in here.nodes:
        node.lives.append((Millis(start), None))
    third.lives[0] = (Millis(start), Millis(start + 20))
    one.events += [
        (Millis(start + 10), AdLearned(account, 1)),
        (Millis(start + 30), AdLearned(account, 2)),
        (Millis(start + 59_000), AdLearned(account, 3)),  # too late to be judged
    ]
    other.events += [(Millis(start + 75), AdLearned(account, 2))]
    # `third` was up for the first ad alone, and never heard it.
    assert measures.ad_arrivals(here) == ([65, 45], 3)


def test_eventually_looks_behind_the_healing_and_sometimes_everywhere() -> None:
    samples = [Sample(at_ms=1_000, up=3), Sample(at_ms=2_000, up=2), Sample(at_ms=3_000, up=1)]
    expect = Expect(
        always=(Comparison("up", ">=", 2),),
        eventually=(Comparison("up", "==", 3), Comparison("up", "==", 2)),
        sometimes=(Comparison("up", "==", 3), Comparison("up", "==", 9)),
    )
    checks, coverage = check_statements(expect, samples, 2_000)
    assert [(check.name, check.measured, check.holds) for check in checks] == [
        ("always up >= 2", "not at 3s", False),
        ("eventually up == 3", "never", False),
        ("eventually up == 2", "at 2s", True),
    ]
    assert [(one.text, one.first_ms) for one in coverage] == [("up == 3", 1_000), ("up == 9", None)]
