"""What a scenario expects of its run: safety of every disk, liveness once all is healed."""

from collections.abc import Callable
from typing import Final

from p2p.primitives.units import BASIS_POINTS
from sim_harness.scenario.building import Market
from sim_harness.scenario.quantities import share_text, span_text
from sim_harness.scenario.results import Check, Coverage, Distribution
from sim_harness.scenario.schema import Comparison, Expect
from sim_harness.scenario.statements import Sample, holds
from sim_harness.virtual import checkers
from sim_harness.virtual.checkers import Checker
from sim_harness.virtual.world import World

SHOWN_MAX: Final = 3
"""Of several faults of one kind, as many are spelled out."""


def safety_of(expect: Expect) -> list[tuple[str, str, Checker]]:
    """Name, promise and checker of everything that holds at every moment."""
    asked = [
        (
            expect.agreement and not expect.forked,
            "agreement",
            "one block a height",
            checkers.agreement,
        ),
        (expect.agreement, "no equivocation", "one word a slot", checkers.no_equivocation),
        (
            expect.agreement,
            "no false punishment",
            "no honest node slashed",
            checkers.nobody_punished_falsely,
        ),
        (expect.validity, "validity", "every chain executes from genesis", checkers.validity),
        (expect.supply, "supply", "genesis less what was burned", checkers.supply_conserved),
        (expect.no_bans, "no bans", "no honest node punished", checkers.nobody_banned),
    ]
    return [(name, promise, checker) for wanted, name, promise, checker in asked if wanted]


def check_safety(world: World, expect: Expect) -> list[Check]:
    """Ask the checkers about every disk."""
    found = []
    for name, promise, checker in safety_of(expect):
        faults = list(checker(world))
        found.append(Check(name, promise, _sentence(faults) or "holds", not faults))
    return found


def ads_differ(world: World) -> list[str]:
    """Which honest nodes lack the newest ad of another: one sentence a node."""
    running = [node for node in world.honest if node.replica is not None]
    newest: dict[bytes, int] = {}
    for node in running:
        assert node.replica is not None, "it runs"
        own = node.replica.registry.get(node.key.account)
        if own is not None:
            newest[node.key.account] = own.value.seq
    found = []
    for node in running:
        assert node.replica is not None, "it runs"
        known = {ad.value.provider: ad.value.seq for ad in node.replica.registry.ads()}
        lacks = sum(known.get(provider, -1) < seq for provider, seq in newest.items())  # type: ignore[call-overload]
        if lacks:
            found.append(f"node {node.index} lacks {lacks} of {len(newest)}")
    return found


def isolated(world: World) -> list[str]:
    """Honest nodes that run without a single honest neighbour: one sentence each."""
    honest = {node.key.peer for node in world.honest if node.is_up}
    found = []
    for node in world.honest:
        if node.replica is None or len(honest) < 2:
            continue
        if not any(peer in honest for peer in node.replica.membership.connected):
            found.append(f"node {node.index} has no honest neighbour")
    return found


def all_up(world: World) -> bool:
    """Whether every honest node runs."""
    return all(node.is_up for node in world.honest)


def height_of(world: World) -> int:
    """What every honest node has committed; 0 while one is down."""
    return min((node.height for node in world.honest), default=0)


def liveness(world: World, expect: Expect, recovered_ms: int | None) -> list[Check]:
    """What must have come true by now, all faults being healed."""
    down = [f"node {node.index} is down" for node in world.honest if not node.is_up]
    limit = span_text(expect.recovers_within)
    took = "never" if recovered_ms is None else span_text(recovered_ms)
    in_time = recovered_ms is not None and recovered_ms <= expect.recovers_within
    height = height_of(world)
    found = [
        Check("all are back", "every honest node runs", _sentence(down) or "all run", not down),
        Check("recovers within", limit, took, in_time),
        Check("heights", f"at least {expect.heights}", str(height), height >= expect.heights),
    ]
    if expect.no_bans:
        alone = isolated(world)
        text = _sentence(alone) or "all are connected"
        found.append(Check("nobody isolated", "an honest neighbour each", text, not alone))
    if expect.ads_converge:
        differ = ads_differ(world)
        text = _sentence(differ) or "all know all"
        found.append(Check("ads converge", "all know the newest of all", text, not differ))
    if expect.receipts_settled:
        unpaid = list(checkers.receipts_settled(world)) if height else ["nothing is committed"]
        text = _sentence(unpaid) or "all paid"
        found.append(Check("receipts settled", "no signed receipt unpaid", text, not unpaid))
    return found


def check_losses(market: Market) -> list[Check]:
    """I9: a provider loses at most one window for each time that it crashed.

    For files: `delivered` counts a window when its receipt is durable, or when a crash of its
    provider forgot it. All receipts settle in the end, for no less than the windows that they
    cover. One window moves at a time, with what the transfer before it left unpaid, so that a crash
    forgets at most one, and `window_price_max` includes it. A transfer that broke off loses nothing
    by itself: it is remembered, and paid with the next. For a trade `delivered` counts windows when
    they are worked, so one more may be under way.
    """
    found, trades = [], market.trades
    lines = [] if market.adding is None else list(market.adding.lines.values())
    for line in lines:
        lost = line.delivered - line.settled
        limit = line.window_price_max * line.provider.crashes
        if lost > limit:
            found.append(f"node {line.provider.index} lost {lost}, more than {limit}")
    for trade in trades:
        lost = trade.delivered - trade.settled
        limit = trade.window_price_max * (1 + trade.provider.crashes)
        if lost > limit:
            found.append(f"node {trade.provider.index} lost {lost}, more than {limit}")
    count = len(trades) + len(lines)
    text = _sentence(found) or f"{count} trades within it"
    return [Check("losses", "a window a crash", text, not found)] if count else []


def check_latencies(
    expect: Expect, commits: Distribution, ads: Distribution, delivery: float | None
) -> list[Check]:
    """Bounds on percentiles and on the delivery of ads."""
    found = []
    for name, limit, measured in (
        ("commit latency p95", expect.commit_latency_p95, commits),
        ("ad latency p95", expect.ad_latency_p95, ads),
    ):
        if limit is not None:
            in_time = measured.count > 0 and measured.p95 <= limit
            found.append(Check(name, span_text(limit), span_text(measured.p95), in_time))
    if expect.ad_delivery is not None:
        share = 0.0 if delivery is None else delivery
        reached = share * BASIS_POINTS >= expect.ad_delivery
        wanted = f"at least {share_text(expect.ad_delivery)}"
        found.append(Check("ad delivery", wanted, f"{share:.2%}", reached))
    return found


def check_statements(
    expect: Expect, samples: list[Sample], healed_ms: int
) -> tuple[list[Check], list[Coverage]]:
    """`always` and `eventually`, and what `sometimes` should have happened."""
    checks = []
    for statement in expect.always:
        broken = _first(samples, lambda one, wanted=statement: not holds(wanted, one))  # type: ignore[misc]
        text = "held" if broken is None else f"not at {span_text(broken)}"
        checks.append(Check(f"always {statement.text}", "at every moment", text, broken is None))
    late = [sample for sample in samples if sample.at_ms >= healed_ms]
    for statement in expect.eventually:
        since = _first(late, lambda one, wanted=statement: holds(wanted, one))  # type: ignore[misc]
        text = "never" if since is None else f"at {span_text(since)}"
        wanted = "at a moment after healing"
        checks.append(Check(f"eventually {statement.text}", wanted, text, since is not None))
    coverage = [
        Coverage(one.text, _first(samples, lambda sample, wanted=one: holds(wanted, sample)))  # type: ignore[misc]
        for one in expect.sometimes
    ]
    return checks, coverage


def eventually_held(statements: tuple[Comparison, ...], samples: list[Sample]) -> bool:
    """Whether each statement was true of one of the samples."""
    return all(any(holds(one, sample) for sample in samples) for one in statements)


def _first(samples: list[Sample], is_so: Callable[[Sample], bool]) -> int | None:
    return next((sample.at_ms for sample in samples if is_so(sample)), None)


def _sentence(faults: list[str]) -> str:
    more = len(faults) - SHOWN_MAX
    return "; ".join(faults[:SHOWN_MAX]) + (f"; and {more} more" if more > 0 else "")
