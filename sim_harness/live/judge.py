"""The verdict on a live run, from its evidence alone: nodes may be long gone."""

import os
import platform
import shlex
from collections import Counter
from itertools import pairwise
from typing import Any, Final, Literal

import msgspec

from p2p.primitives.units import AccountId
from p2p.protocol.interface import Committed, RoundStarted
from sim_harness.live.disk.kinds import DiskKind
from sim_harness.live.evidence import Evidence
from sim_harness.live.records import Taken
from sim_harness.live.results import LiveResult, NodeCost, ResourcePoint, WorkResult
from sim_harness.live.watched import WatchedNode
from sim_harness.scenario import measures
from sim_harness.scenario.expectations import (
    all_up,
    check_latencies,
    check_safety,
    check_statements,
    eventually_held,
    liveness,
)
from sim_harness.scenario.results import (
    AdversaryResult,
    Check,
    NodeResult,
    Violation,
    distribution,
)
from sim_harness.scenario.schema import Regions
from sim_harness.virtual.checkers import stored_state

REASONS_MAX: Final = 3
AROUND_MS: Final = 5_000
AROUND_LINES: Final = 40
SHOWN_MAX: Final = 3


def ads_differ(evidence: Evidence) -> list[str]:
    """Which honest nodes lack the newest ad of another, by the ads that they told of."""
    running = [node for node in evidence.world.watched if node.runs]
    honest = [node for node in running if evidence.world.is_honest(node)]
    newest: dict[AccountId, int] = {}
    for node in honest:
        own = node.newest.get(node.key.account)
        if own is not None:
            newest[node.key.account] = own
    found = []
    for node in honest:
        lacks = sum(node.newest.get(provider, -1) < seq for provider, seq in newest.items())
        if lacks:
            found.append(f"node {node.index} lacks {lacks} of {len(newest)}")
    return found


def recovered_ms(evidence: Evidence) -> int | None:
    """How long after the last repair every honest node had committed a new height."""
    ends = [one.until_ms for one in evidence.faults.values() if one.until_ms is not None]
    closed = evidence.marks.get("closed")
    if closed is None:
        return None
    since_ms = evidence.start_ms + max(ends) if ends else evidence.start_ms
    world = evidence.world
    return measures.recovery_ms(world, measures.commits_of(world), since_ms)


def is_well(evidence: Evidence) -> bool:
    """Whether all that is expected in the end has come true."""
    expect, world = evidence.scenario.expect, evidence.world
    honest = [node for node in world.watched if world.is_honest(node)]
    if not all_up(world) or min(node.told_height for node in honest) < expect.heights:
        return False
    if recovered_ms(evidence) is None or (expect.ads_converge and ads_differ(evidence)):
        return False
    if expect.receipts_settled and any(
        node.status is None or node.status.unpaid for node in honest
    ):
        return False
    late = [one for one in evidence.samples if one.at_ms >= evidence.scenario.duration]
    return eventually_held(expect.eventually, late)


def broken_promise(evidence: Evidence) -> str | None:
    """The first promise that was broken for good, while the run goes on; None so far."""
    world, expect = evidence.world, evidence.scenario.expect
    found = [*world.violations, *(f"equivocation: {one}" for one in world.book.conflicts)]
    if expect.no_bans:
        found += [f"no bans: {one}" for one in world.bans]
    return found[0] if found else None


class Verdict:
    """Judges evidence; `result` is everything."""

    def __init__(self, evidence: Evidence, *, directory: str, interrupted: bool = False) -> None:
        self._evidence = evidence
        self._world = evidence.world
        self._directory = directory
        self._interrupted = interrupted

    def result(self) -> LiveResult:
        """The verdict and all measures. Reads what disks held."""
        evidence, world, scenario = self._evidence, self._world, self._evidence.scenario
        start_ms, expect = evidence.start_ms, scenario.expect
        commits = measures.commits_of(world)
        heights = measures.heights_of(commits, start_ms)
        commit_latency = distribution([max(0, at - one.time_ms) for at, _, one in commits])
        decide_latency = distribution([max(0, one.first_ms - one.block_ms) for one in heights])
        delays, wanted = measures.ad_arrivals(world)
        ad_latency, delivery = distribution(delays), len(delays) / wanted if wanted else None
        ends = [one.until_ms for one in evidence.faults.values() if one.until_ms is not None]
        statements, coverage = check_statements(expect, evidence.samples, int(scenario.duration))
        violations = tuple(self._violations())
        work = tuple(self._work())
        checks = [
            self._disks(),
            *check_safety(world, expect),
            *self._liveness(),
            *check_latencies(expect, commit_latency, ad_latency, delivery),
            *self._work_checks(work),
            *self._stops(),
            *statements,
        ]
        good = not violations and not self._interrupted and all(check.holds for check in checks)
        verdict: Literal["pass", "fail"] = "pass" if good else "fail"
        honest_states = [stored_state(node) for node in world.honest]
        ledger = measures.furthest(world) if any(honest_states) else None
        resources, costs = self._resources(), self._costs()
        closed = evidence.marks.get("closed")
        over = evidence.marks.get("over")
        up = evidence.marks.get("up")
        started = evidence.marks.get("started")
        end_ms = evidence.since_ms(over.at_ms if over else int(world.now_ms))
        values: dict[str, Any] = {
            name: () for name in ("files", "dealings") if name in LiveResult.__struct_fields__
        }
        mean = [one.cpu_percent for one in costs]
        return LiveResult(
            **values,
            verdict=verdict,
            digest="",
            heights=tuple(node.told_height for node in world.watched),
            violations=violations,
            replay=self._replay(),
            name=scenario.name,
            about=scenario.about,
            seed=world.seed,
            signatures="real",
            world="live",
            nodes_count=len(world.nodes),
            validators_count=len(world.validators),
            faults_end_ms=evidence.since_ms(closed.at_ms) if closed else int(scenario.duration),
            healed_ms=max(ends) if ends else None,
            recovered_ms=recovered_ms(evidence),
            end_ms=max(1, end_ms),
            events=evidence.records,
            checks=tuple(checks),
            coverage=tuple(coverage),
            faults=tuple(evidence.faults[number] for number in sorted(evidence.faults)),
            commit_latency=commit_latency,
            decide_latency=decide_latency,
            ad_latency=ad_latency,
            ad_delivery=delivery,
            commits=tuple(heights),
            nodes=tuple(self._node(node, ledger) for node in world.watched),
            adversaries=tuple(
                AdversaryResult(
                    one.node.index,
                    one.kind,
                    world.deeds.get(one.node.index, {}),
                    world.profits.get(one.node.index),
                )
                for one in evidence.seated
            ),
            trades=(),
            samples=tuple(evidence.samples),
            burned=0 if ledger is None else measures.burned(ledger),
            retransmissions=0,
            peak_memory_mib=round(max([0.0, *(one.pss_mib for one in evidence.taken)]), 1),
            bring_up_s=round(up.number, 2) if up else 0.0,
            started_s=round(started.number, 2) if started else 0.0,
            rss_sum_mib=round(max([0.0, *(sum(one.rss_mib.values()) for one in evidence.taken)])),
            cpu_percent_node=round(sum(mean) / len(mean), 2) if mean else 0.0,
            cpu_percent_total=round(sum(mean), 1),
            machine=f"{os.cpu_count()} cores, {platform.machine()},"
            f" Python {platform.python_version()}",
            load_average=over.number if over else 0.0,
            dropped=sum(node.status.dropped for node in world.watched if node.status),
            run_directory=self._directory,
            interrupted=self._interrupted,
            work=work,
            resources=resources,
            costs=costs,
        )

    # ---- parts -------------------------------------------------------------------------------

    def _disks(self) -> Check:
        """That the checkers of disks had disks to look at."""
        count, read = len(self._world.nodes), len(self._evidence.disks)
        return Check("disks", "every one was read", f"{read} of {count}", read == count)

    def _liveness(self) -> list[Check]:
        """The virtual world's checks, with what nodes told in the place of what they know."""
        evidence, world = self._evidence, self._world
        expect = evidence.scenario.expect
        up = {node.index for node in world.watched if node.runs}
        for node in world.watched:
            node.runs = node.index in self._last_up() or node.runs
        plain = msgspec.structs.replace(expect, ads_converge=False)
        if not any(stored_state(node) for node in world.honest):
            plain = msgspec.structs.replace(plain, receipts_settled=False)
        checks = liveness(world, plain, recovered_ms(evidence))
        if expect.ads_converge:
            differ = ads_differ(evidence)
            text = _sentence(differ) or "all know all"
            checks.append(Check("ads converge", "all know the newest of all", text, not differ))
        for node in world.watched:
            node.runs = node.index in up
        return checks

    def _last_up(self) -> set[int]:
        """Who ran when the run was over: their processes were stopped since."""
        over = self._evidence.marks.get("over")
        if over is None:
            return set()
        return {
            node.index
            for node in self._world.watched
            if node.lives and (node.lives[-1][1] is None or node.lives[-1][1] >= over.at_ms)
        }

    def _violations(self) -> list[Violation]:
        evidence = self._evidence
        found = []
        for broken in evidence.broken:
            name, _, detail = broken.text.partition(": ")
            at_ms = evidence.since_ms(broken.at_ms)
            around = tuple(self._around(broken.at_ms))
            found.append(Violation(name, detail or broken.text, at_ms, around))
        return found

    def _around(self, now_ms: int) -> list[str]:
        """What happened just before, one line an event."""
        lines: list[tuple[int, str]] = []
        start_ms = self._evidence.start_ms
        for record in self._evidence.faults.values():
            at_ms = record.at_ms + start_ms
            if now_ms - AROUND_MS < at_ms <= now_ms:
                lines.append((at_ms, f"fault {record.kind}: {record.what}"))
        for node in self._world.nodes:
            for at, event in node.events:
                if now_ms - AROUND_MS < at <= now_ms and isinstance(
                    event, Committed | RoundStarted
                ):
                    lines.append(
                        (
                            at,
                            f"n{node.index:02} {type(event).__name__} {event.height}/{event.round}",
                        )
                    )
        lines.sort(key=lambda line: line[0])
        return [f"t={(at - start_ms) / 1000:.3f}s {text}" for at, text in lines[-AROUND_LINES:]]

    def _stops(self) -> list[Check]:
        """No process ended by itself, but for those whose disk or power a fault took."""
        excused = ("no space left on the disk", "power failed within a write")
        found = [
            f"node {node.index}: {why}"
            for node in self._world.nodes
            for _, why in node.stops
            if why not in excused
        ]
        return [
            Check("processes", "none ends by itself", _sentence(found) or "none did", not found)
        ]

    def _work(self) -> list[WorkResult]:
        kinds: dict[str, list[Any]] = {}
        for one in self._evidence.work:
            kinds.setdefault(one.kind, []).append(one)
        found = []
        for kind, done in kinds.items():
            good = [one for one in done if one.ok]
            why = Counter(one.why for one in done if not one.ok)
            found.append(
                WorkResult(
                    kind,
                    len(done),
                    len(good),
                    len(done) - len(good),
                    distribution([one.took_ms for one in good]),
                    sum(one.size_bytes for one in good),
                    sum(one.paid for one in good),
                    tuple(f"{count} x {text}" for text, count in why.most_common(REASONS_MAX)),
                )
            )
        return found

    def _work_checks(self, work: tuple[WorkResult, ...]) -> list[Check]:
        """Whatever was fetched has to be what was stored, and a network without faults serves."""
        wrong = [f"node {one.node}: {one.why}" for one in self._evidence.work if "OTHER" in one.why]
        if not work:
            return []
        text = "; ".join(f"{one.done} of {one.asked} {one.kind}" for one in work)
        return [Check("work", "no blob comes back altered", _sentence(wrong) or text, not wrong)]

    def _resources(self) -> tuple[ResourcePoint, ...]:
        points, before = [], None
        for one in self._evidence.taken:
            points.append(
                ResourcePoint(
                    self._evidence.since_ms(one.at_ms),
                    round(one.pss_mib, 1),
                    _percent(before, one),
                    _harness_percent(before, one),
                    max(one.descriptors.values(), default=0),
                )
            )
            before = one
        return tuple(points)

    def _costs(self) -> tuple[NodeCost, ...]:
        taken = [one for one in self._evidence.taken if one.at_ms >= self._evidence.start_ms]
        found = []
        for node in self._world.nodes:
            index, spent_s, seen_s = node.index, 0.0, 0.0
            for early, late in pairwise(taken):
                if index in early.cpu_s and late.cpu_s.get(index, -1) >= early.cpu_s[index]:
                    spent_s += late.cpu_s[index] - early.cpu_s[index]
                    seen_s += (late.at_ms - early.at_ms) / 1000
            rss = [one.rss_mib[index] for one in taken if index in one.rss_mib]
            files = [one.descriptors[index] for one in taken if index in one.descriptors]
            if seen_s:
                percent = round(100 * spent_s / seen_s, 2)
                found.append(NodeCost(index, percent, max(rss, default=0.0), max(files, default=0)))
        return tuple(found)

    def _replay(self) -> str:
        evidence = self._evidence
        words = ["sim-harness", "run", evidence.head.file or "FILE", "--world", "live"]
        words += ["--seed", str(evidence.head.seed), "--nodes", str(len(self._world.nodes))]
        words += ["--faults", "kernel"] if evidence.head.kernel else []
        words += [] if evidence.head.disk is DiskKind.INJECTED else ["--disk", evidence.head.disk]
        return shlex.join(words)

    def _node(self, node: WatchedNode, ledger: object) -> NodeResult:
        world, account, start_ms = self._world, node.key.account, self._evidence.start_ms
        buyers = self._evidence.population.members("consumers")
        role = (
            "validator"
            if node.index < len(world.validators)
            else "consumer"
            if node.index in buyers
            else "node"
        )
        source = measures.furthest(world) if ledger is not None else None
        state = None if source is None else stored_state(source)
        rows = [] if source is None else self._rows(source)
        first = next(entry for entry in world.genesis.accounts if entry.account == account)
        has = measures.wealth(state, account) if state else first.balance + first.bonded
        told, distance = node.status, self._evidence.scenario.network.distance
        places = distance.names if isinstance(distance, Regions) else ("",)
        sent = told.sent if told else {}
        return NodeResult(
            index=node.index,
            name=world.liars.get(account) or role,
            region=places[node.index % len(places)],
            height=node.told_height,
            crashes=node.crashes,
            stops=tuple(f"{(at - start_ms) / 1000:.1f}s: {why}" for at, why in node.stops),
            peers=told.peers if told else 0,
            bytes_sent=sum(sent.values()),
            bytes_by_topic={topic: sent[topic] for topic in sorted(sent)},
            messages_heard=told.heard if told else 0,
            duplicates=told.duplicates if told else 0,
            dropped=0,
            paid=sum(row.amount for row in rows if row.consumer == account),
            received=sum(row.received for row in rows if row.provider == account),
            change=has - first.balance - first.bonded,
            lives_ms=tuple(
                (begin - start_ms, None if end is None else end - start_ms)
                for begin, end in node.lives
            )
            or ((0, 0),),
            commits_ms=tuple(
                at - start_ms for at, event in node.events if isinstance(event, Committed)
            ),
            rounds_ms=tuple(
                at - start_ms for at, event in node.events if isinstance(event, RoundStarted)
            ),
        )

    def _rows(self, source: Any) -> list[Any]:
        if not hasattr(self, "_cached_rows"):
            self._cached_rows: list[Any] = measures.reward_rows(source)
        return self._cached_rows


def _percent(before: Taken | None, now: Taken) -> float:
    if before is None or now.at_ms <= before.at_ms:
        return 0.0
    spent_s = sum(
        spent - before.cpu_s[index]
        for index, spent in now.cpu_s.items()
        if spent >= before.cpu_s.get(index, spent + 1)
    )
    return round(100 * spent_s / ((now.at_ms - before.at_ms) / 1000), 1)


def _harness_percent(before: Taken | None, now: Taken) -> float:
    if before is None or now.at_ms <= before.at_ms:
        return 0.0
    spent_s = now.harness_cpu_s - before.harness_cpu_s
    return round(100 * spent_s / ((now.at_ms - before.at_ms) / 1000), 1)


def _sentence(faults: list[str]) -> str:
    more = len(faults) - SHOWN_MAX
    return "; ".join(faults[:SHOWN_MAX]) + (f"; and {more} more" if more > 0 else "")
