"""A run told in a few lines: what was done to it, how it went on, and how it came back."""

from itertools import pairwise
from typing import Final

import msgspec

from sim_harness.scenario.faults import FaultRecord, names
from sim_harness.scenario.results import Commit, NodeResult, Result

FAULTS_MAX: Final = 6
STOPS_MAX: Final = 3


class Moment(msgspec.Struct, frozen=True):
    """Something that happened, for people."""

    at_ms: int
    kind: str
    """`hurt`, `slow`, `good` or `bad`: how it is shown."""
    text: str


def story(result: Result) -> list[Moment]:
    """In the order of time; the verdict itself stands above."""
    groups = grouped(result.faults)
    moments = [_told(group) for group in groups[:FAULTS_MAX]]
    if len(groups) > FAULTS_MAX:
        rest = groups[FAULTS_MAX:]
        kinds = ", ".join(sorted({group[0].kind for group in rest}))
        moments.append(Moment(rest[0][0].at_ms, "hurt", f"and {len(rest)} faults more: {kinds}"))
    moments += _stopped(result.nodes, result)
    moments += [
        Moment(one.at_ms, "bad", f"a promise is broken: {one.name}, {one.detail}")
        for one in result.violations
    ]
    moments += [
        Moment(result.end_ms, "bad", f"{check.name} does not hold: {check.measured}")
        for check in result.checks
        if not check.holds and check.name not in {one.name for one in result.violations}
    ]
    wait = _longest_wait(result)
    if wait is not None:
        moments.append(wait)
    if result.healed_ms is not None:
        if result.recovered_ms is None:
            text = "the last repair; not every honest node ever committed anew"
            moments.append(Moment(result.healed_ms, "bad", text))
        else:
            took = f"{result.recovered_ms / 1000:.1f} s"
            text = f"the last repair; every honest node had a new block {took} later"
            moments.append(Moment(result.healed_ms, "good", text))
    return sorted(moments, key=lambda moment: moment.at_ms)


def grouped(faults: tuple[FaultRecord, ...]) -> list[list[FaultRecord]]:
    """Faults of one line of the file are one, done again and again."""
    groups: dict[tuple[str, int], list[FaultRecord]] = {}
    for fault in faults:
        groups.setdefault((fault.kind, fault.line), []).append(fault)
    return list(groups.values())


def _told(group: list[FaultRecord]) -> Moment:
    first = group[0]
    if len(group) > 1:
        nodes = sorted({index for fault in group for index in fault.nodes})
        text = f"{first.kind}, {len(group)} times: {names(nodes)}"
    else:
        ending = "to the end"
        if first.until_ms is not None:
            ending = f"for {(first.until_ms - first.at_ms) / 1000:.1f} s"
        text = f"{first.kind} {ending}: {first.what}"
    return Moment(first.at_ms, "hurt", text)


def _stopped(nodes: tuple[NodeResult, ...], result: Result) -> list[Moment]:
    """Nodes that ended by themselves: nobody asked for that."""
    found = [(node, why) for node in nodes for why in node.stops]
    moments = []
    for node, why in found[:STOPS_MAX]:
        ended = [end_ms for _, end_ms in node.lives_ms if end_ms is not None]
        at_ms = ended[0] if ended else result.end_ms
        moments.append(Moment(at_ms, "bad", f"n{node.index} ended by itself: {why}"))
    if len(found) > STOPS_MAX:
        text = f"and {len(found) - STOPS_MAX} ends more that nobody asked for"
        moments.append(Moment(result.end_ms, "bad", text))
    return moments


def _longest_wait(result: Result) -> Moment | None:
    """The longest time between two blocks until the faults were over, where it is worth a word."""
    commits: list[Commit] = sorted(result.commits, key=lambda one: one.first_ms)
    waits = [
        (after.first_ms - before.first_ms, before.first_ms, after.height)
        for before, after in pairwise(commits)
        if before.first_ms < result.faults_end_ms
    ]
    if len(waits) < 3:
        return None
    usual = sorted(wait for wait, _, _ in waits)[len(waits) // 2]
    longest, at_ms, height = max(waits)
    if longest < 2 * usual:
        return None
    text = f"the longest wait for a block: {longest / 1000:.1f} s, until height {height}"
    return Moment(at_ms, "slow", f"{text} (as a rule {usual / 1000:.1f} s)")
