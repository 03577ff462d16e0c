"""One run of a scenario in the virtual world, in two phases.

    faults, liars and load: safety must hold --duration--> heal everything, close the market
        --> wait until the network is as it should be, or its time is over --> check, and measure

The second phase looks every `LOOK_EVERY`; a run that keeps its promises early ends early.
"""

import re
import shlex
from collections.abc import Callable
from typing import Final

import msgspec

from p2p.primitives.units import Millis
from p2p.protocol.interface import (
    Committed,
    EquivocationFound,
    EvidenceFound,
    PeerPenalized,
    RoundStarted,
    StakeSlashed,
)
from sim_harness.adversaries.adversary import Adversary
from sim_harness.scenario import measures
from sim_harness.scenario.building import Market, build_world, population_in, recruit_all
from sim_harness.scenario.expectations import (
    ads_differ,
    all_up,
    check_latencies,
    check_losses,
    check_safety,
    check_statements,
    eventually_held,
    height_of,
    isolated,
    liveness,
)
from sim_harness.scenario.faults import FaultRunner
from sim_harness.scenario.forks import check_fork
from sim_harness.scenario.recorder import Recorder
from sim_harness.scenario.results import (
    AdversaryResult,
    NodeResult,
    Result,
    TradeResult,
    Violation,
    distribution,
)
from sim_harness.scenario.schema import Regions, Scenario
from sim_harness.virtual.checkers import stored_state
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.spans import millis, seconds
from sim_harness.virtual.world import SafetyViolated, World

LOOK_EVERY: Final = millis(500)
EPOCHS_TO_SETTLE: Final = 16
"""What late receipts, their renewals and a slow round take, with room to spare."""
SETTLE_MIN: Final = seconds(30)
AROUND_MS: Final = 5_000
AROUND_LINES: Final = 40


class Run:
    """A scenario that is being run. `finish` once, then `result`."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        *,
        real_signatures: bool = False,
        file: str = "",
        canary: str | None = None,
    ) -> None:
        self.scenario = scenario
        self.world: World = build_world(scenario, seed, real_signatures=real_signatures)
        self._file = file
        self._canary = canary
        self._real_signatures = real_signatures
        self._start_ms = self.world.now_ms
        population = population_in(self.world, scenario, self._holders)
        self.adversaries: list[Adversary] = recruit_all(self.world, scenario, population)
        if canary is not None:
            # Broken builds are loaded when one is asked for, and never else.
            from sim_harness import canaries

            canaries.plant(self.world, canaries.canary(canary))
        self.recorder = Recorder(self.world)
        self.faults = FaultRunner(self.world, population, scenario.directory)
        self.market = Market(self.world, scenario.load, population)
        self.recorder.market = self.market
        self._healed_ms: int | None = None
        """Of Unix time."""
        self._violations: list[Violation] = []
        self.world.start()
        self.faults.plan(scenario.faults, scenario.duration)

    def finish(self, progress: Callable[[int], None] | None = None) -> None:
        """Run both phases; `progress` hears of the virtual milliseconds that passed."""
        try:
            self._hurt(progress)
            self._heal(progress)
        except SafetyViolated as error:
            self._note(str(error).partition("; seed ")[0])

    def _holders(self, number: int | None) -> list[int]:
        return self.market.holders(number)

    @property
    def violations(self) -> tuple[Violation, ...]:
        """What broke so far: the first of it, since nothing runs on."""
        return tuple(self._violations)

    def run_until_ms(self, until_ms: int) -> None:
        """Run up to a moment since the start, at most to the end of the scenario."""
        end_ms = self.scenario.duration + self._patience_ms()
        try:
            if until_ms <= self.scenario.duration:
                self.world.run_for(Millis(until_ms))
                return
            self._hurt(None)
            self._close()
            self.world.run_for(Millis(min(until_ms, end_ms) - self.scenario.duration))
        except SafetyViolated as error:
            self._note(str(error).partition("; seed ")[0])

    # ---- phases ------------------------------------------------------------------------------

    def _hurt(self, progress: Callable[[int], None] | None) -> None:
        left_ms = int(self.scenario.duration)
        while left_ms > 0:
            span_ms = min(left_ms, LOOK_EVERY)
            self.world.run_for(Millis(span_ms))
            left_ms -= span_ms
            if progress is not None:
                progress(span_ms)

    def _close(self) -> None:
        self.market.close()
        self.faults.heal()
        ends = [record.until_ms for record in self.faults.records if record.until_ms is not None]
        if ends:
            self._healed_ms = self._start_ms + max(ends)

    def _heal(self, progress: Callable[[int], None] | None) -> None:
        self._close()
        patience_ms = self._patience_ms()
        while patience_ms > 0 and not self._is_well():
            self.world.run_for(LOOK_EVERY)
            patience_ms -= LOOK_EVERY
            if progress is not None:
                progress(LOOK_EVERY)

    def _patience_ms(self) -> int:
        epochs_ms = EPOCHS_TO_SETTLE * self.world.genesis.parameters.epoch_ms
        return max(self.scenario.expect.recovers_within, epochs_ms, SETTLE_MIN)

    def _is_well(self) -> bool:
        """Whether all that is expected in the end has come true."""
        expect = self.scenario.expect
        if not all_up(self.world) or height_of(self.world) < expect.heights:
            return False
        if self._recovered_ms() is None or (expect.ads_converge and ads_differ(self.world)):
            return False
        if expect.receipts_settled and not self.market.is_settled():
            return False
        if expect.no_bans and isolated(self.world):
            return False
        closed_ms = self.scenario.duration
        late = [sample for sample in self.recorder.samples if sample.at_ms >= closed_ms]
        return eventually_held(expect.eventually, late)

    def _recovered_ms(self) -> int | None:
        since_ms = self._start_ms if self._healed_ms is None else self._healed_ms
        return measures.recovery_ms(self.world, measures.commits_of(self.world), since_ms)

    # ---- violations --------------------------------------------------------------------------

    def _note(self, text: str) -> None:
        name, _, detail = text.partition(": ")
        if name == "agreement" and self.scenario.expect.forked:
            return  # As expected; `check_fork` looks at it.
        around = tuple(self._around(self.world.now_ms))
        at_ms = self.world.now_ms - self._start_ms
        self._violations.append(Violation(name, detail or text, at_ms, around))

    def _around(self, now_ms: int) -> list[str]:
        """What happened just before, one line an event."""
        lines: list[tuple[int, int, str]] = []
        for record in self.faults.records:
            at_ms = record.at_ms + self._start_ms
            if at_ms > now_ms - AROUND_MS or record.until_ms is None:
                lines.append((at_ms, -1, f"fault {record.kind}: {record.what}"))
        for node in self.world.nodes:
            for at_ms, event in node.events:
                if at_ms > now_ms - AROUND_MS:
                    lines.append((at_ms, node.index, _event_text(node, event)))
        lines.sort(key=lambda line: line[:2])
        return [
            f"t={(at_ms - self._start_ms) / 1000:.3f}s {text}"
            for at_ms, _, text in lines[-AROUND_LINES:]
        ]

    # ---- the result --------------------------------------------------------------------------

    def result(self) -> Result:
        """Verdict and measures; equal runs have equal results."""
        world, expect, scenario = self.world, self.scenario.expect, self.scenario
        self.recorder.take()
        commits = measures.commits_of(world)
        heights = measures.heights_of(commits, self._start_ms)
        commit_latency = distribution([max(0, at_ms - one.time_ms) for at_ms, _, one in commits])
        decide_latency = distribution([max(0, one.first_ms - one.block_ms) for one in heights])
        delays, wanted = measures.ad_arrivals(world)
        ad_latency, delivery = distribution(delays), len(delays) / wanted if wanted else None
        recovered_ms = self._recovered_ms()
        healed_ms = None if self._healed_ms is None else self._healed_ms - self._start_ms
        statements, coverage = check_statements(
            expect, self.recorder.samples, int(scenario.duration)
        )
        if expect.forked:
            # Nothing runs on, so nothing is asked of what would come later.
            checks = [check_fork(world), *check_safety(world, expect)]
        else:
            checks = [
                *check_safety(world, expect),
                *liveness(world, expect, recovered_ms),
                *check_losses(self.market),
                *check_latencies(expect, commit_latency, ad_latency, delivery),
                *statements,
            ]
        passed = not self._violations and all(check.holds for check in checks)
        ledger = measures.furthest(world)
        return Result(
            verdict="pass" if passed else "fail",
            digest=world.digest,
            heights=tuple(node.height for node in world.nodes),
            violations=tuple(self._violations),
            replay=self._replay(),
            name=scenario.name,
            about=scenario.about,
            seed=world.seed,
            signatures="real" if self._real_signatures else "fast",
            world="virtual",
            nodes_count=len(world.nodes),
            validators_count=len(world.validators),
            faults_end_ms=int(scenario.duration),
            healed_ms=healed_ms,
            recovered_ms=recovered_ms,
            end_ms=world.now_ms - self._start_ms,
            events=world.heap.events,
            checks=tuple(checks),
            coverage=tuple(coverage),
            faults=tuple(self.faults.records),
            commit_latency=commit_latency,
            decide_latency=decide_latency,
            ad_latency=ad_latency,
            ad_delivery=delivery,
            commits=tuple(heights),
            nodes=tuple(self._node(node, ledger) for node in world.nodes),
            adversaries=tuple(
                AdversaryResult(one.node.index, one.kind, dict(one.deeds), one.profit())
                for one in self.adversaries
            ),
            trades=tuple(
                TradeResult(
                    trade.consumer.index,
                    trade.provider.index,
                    trade.delivered,
                    trade.promised,
                    trade.settled,
                    trade.window_price_max,
                )
                for trade in self.market.trades
            ),
            files=measures.files_of(self.market),
            dealings=measures.dealings_of(self.market),
            samples=tuple(self.recorder.samples),
            burned=measures.burned(ledger),
            retransmissions=world.links.weather.retransmissions,
            last_events=() if passed or self._violations else tuple(self._around(world.now_ms)),
        )

    def _replay(self) -> str:
        words = ["sim-harness", "run", self._file or "FILE", "--seed", str(self.world.seed)]
        if self._violations:
            until_s = self._violations[0].at_ms / 1000
            words[1:2] = ["replay"]
            words += ["--until", f"{until_s:.3f}s"]
            if named := re.search(r"\bnode (\d+)", self._violations[0].detail):
                words += ["--node", named[1]]
        if self._real_signatures:
            words += ["--signatures", "real"]
        if self._canary is not None:
            words += ["--canary", self._canary]
        return shlex.join(words)

    def _node(self, node: VirtualNode, ledger: VirtualNode) -> NodeResult:
        world, account = self.world, node.key.account
        liar = world.liars.get(account)
        buys = any(trade.consumer is node for trade in self.market.trades)
        role = "validator" if node in world.validators else "consumer" if buys else "node"
        counters = None if node.replica is None else node.replica.gossip.counters
        sent = self.recorder.bytes_by_topic[node.index]
        rows = measures.reward_rows(ledger)
        state = stored_state(ledger)
        first = next(entry for entry in world.genesis.accounts if entry.account == account)
        has = measures.wealth(state, account) if state else first.balance + first.bonded
        regions = self.scenario.network.distance
        names = regions.names if isinstance(regions, Regions) else ("",)
        rounds = [
            at_ms - self._start_ms
            for at_ms, event in node.events
            if isinstance(event, RoundStarted)
        ]
        return NodeResult(
            index=node.index,
            name=liar or role,
            region=names[node.index % len(names)],
            height=node.height,
            crashes=node.crashes,
            stops=tuple(
                f"{(at_ms - self._start_ms) / 1000:.1f}s: {why}" for at_ms, why in node.stops
            ),
            peers=0 if node.replica is None else len(node.replica.membership.connected),
            bytes_sent=sum(sent.values()),
            bytes_by_topic={topic: sent[topic] for topic in sorted(sent)},
            messages_heard=0 if counters is None else counters.received,
            duplicates=0 if counters is None else counters.duplicates,
            dropped=0 if counters is None else sum(counters.dropped),
            paid=sum(row.amount for row in rows if row.consumer == account),
            received=sum(row.received for row in rows if row.provider == account),
            change=has - first.balance - first.bonded,
            lives_ms=tuple(
                (start_ms - self._start_ms, None if end_ms is None else end_ms - self._start_ms)
                for start_ms, end_ms in node.lives
            ),
            commits_ms=tuple(
                at_ms - self._start_ms
                for at_ms, event in node.events
                if isinstance(event, Committed)
            ),
            rounds_ms=tuple(rounds),
        )


def run_scenario(
    scenario: Scenario, seed: int, *, real_signatures: bool = False, file: str = ""
) -> Result:
    """Run a scenario to its end."""
    run = Run(scenario, seed, real_signatures=real_signatures, file=file)
    run.finish()
    return run.result()


def _event_text(node: VirtualNode, event: msgspec.Struct) -> str:
    match event:
        case Committed(height=height, header_digest=found, round=round_):
            what = f"commits {height} in round {round_}: {found.hex()[:8]}"
        case RoundStarted(height=height, round=round_):
            what = f"enters round {round_} of height {height}"
        case PeerPenalized(reason=reason, detail=detail):
            what = f"penalizes a peer: {reason.value} {detail}".rstrip()
        case EquivocationFound(validator=who, height=height, round=round_, what=said):
            what = f"finds two {said}s of {who.hex()[:8]} at {height}/{round_}"
        case EvidenceFound(kind=kind, offender=who, height=height):
            what = f"holds evidence of {kind} by {who.hex()[:8]} at {height}"
        case StakeSlashed(row=row):
            what = f"sees {row.offender.hex()[:8]} lose {row.slashed} for {row.kind}"
        case _:
            what = type(event).__name__
    return f"n{node.index:02} {what}"
