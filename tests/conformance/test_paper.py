"""Histories written by an independent model of the paper, replayed against our machines.

What the published traces show to who has them, these show to who has the clone alone.
"""

from collections import Counter

import pytest

from tests.conformance.paper import draw_trace, traces
from tests.conformance.replays import Trace, merged, replay_driver, replay_system_node

TRACES = 240


@pytest.mark.parametrize("block", range(4))
def test_a_node_does_what_the_paper_says(block: int) -> None:
    for trace in traces(range(block * TRACES // 4, (block + 1) * TRACES // 4)):
        replay_driver(trace)


def test_own_messages_may_come_back_at_any_later_moment() -> None:
    for trace in traces(range(1000, 1060), delay_own=0.3):
        replay_driver(trace)


@pytest.mark.parametrize("seed", [47_122, 58_058])
def test_votes_that_count_one_by_one_are_not_merged_with_our_own(seed: int) -> None:
    """Of 50,000 histories only these two told a difference: ours counts before the rest."""
    trace = draw_trace(seed, events=80)
    assert merged(trace["events"], trace["me"], trace["weights"]) is None
    replay_driver(trace)


def test_the_history_as_one_run_says_the_same() -> None:
    for trace in traces(range(60)):
        events = trace["events"]
        sent = [out for event in events for out in event["out"]]
        sent = [out for out in sent if out["t"] not in {"timeout", "get_value"}]
        run = {**trace, "in": [event["in"] for event in events], "sent": sent, "height": 0}
        replay_system_node({**run, "final": events[-1]["post"]})


def test_the_histories_reach_every_kind_of_step() -> None:
    """A generator that no longer locks, skips or decides would pass everything."""
    seen: Counter[str] = Counter()
    for trace in traces(range(TRACES)):
        before: Trace = {"round": -1, "step": "no", "locked": [-1, None], "valid": [-1, None]}
        for event in trace["events"]:
            post = event["post"]
            seen["skip of two or more"] += post["round"] > before["round"] + 1 > 0
            seen["unlock"] += before["locked"][0] > -1 and before["locked"][1] != post["locked"][1]
            seen["valid without lock"] += post["valid"][0] > post["locked"][0]
            seen["certificate"] += event["in"]["t"] == "certificate"
            for out in event["out"]:
                seen[out["t"]] += 1
                seen["valid value again"] += out["t"] == "proposal" and out["pol"] >= 0
                seen["prevote against lock"] += (
                    out["t"] == "vote" and out["value"] is None and before["locked"][0] >= 0
                )
            before = post
    assert min(seen.values()) >= 3, seen
    assert len(seen) == 11, seen


def test_a_seed_names_a_history() -> None:
    assert draw_trace(7) == draw_trace(7)
    assert draw_trace(7) != draw_trace(8)
