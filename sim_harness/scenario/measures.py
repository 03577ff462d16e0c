"""What the events of a run amount to: commits, latencies, deliveries, money."""

from typing import Final

from p2p.model.ledger import RewardRow, State
from p2p.model.persistence import Table
from p2p.primitives.codec import decode
from p2p.primitives.units import MIB, AccountId
from p2p.protocol.interface import AdLearned, Committed
from sim_harness.scenario.building import Market
from sim_harness.scenario.results import Commit, DealingResult, FileResult
from sim_harness.virtual.checkers import stored_chain, stored_state
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.world import World

ROWS_BYTES_MAX: Final = 16 * MIB
AD_GRACE_MS: Final = 5_000
"""An ad published later than this before the end cannot be judged."""

Seen = tuple[int, VirtualNode, Committed]


def commits_of(world: World) -> list[Seen]:
    """Every commit of an honest node, by node and moment (Unix milliseconds)."""
    return [
        (at_ms, node, event)
        for node in world.honest
        for at_ms, event in node.events
        if isinstance(event, Committed)
    ]


def heights_of(commits: list[Seen], start_ms: int) -> list[Commit]:
    """Commits by height."""
    by_height: dict[int, list[Seen]] = {}
    for seen in commits:
        by_height.setdefault(seen[2].height, []).append(seen)
    found = []
    for height in sorted(by_height):
        seen_here = by_height[height]
        event = seen_here[0][2]
        moments = [at_ms for at_ms, _, _ in seen_here]
        found.append(
            Commit(
                height=height,
                block_ms=event.time_ms - start_ms,
                first_ms=min(moments) - start_ms,
                last_ms=max(moments) - start_ms,
                nodes=len({node.index for _, node, _ in seen_here}),
                round=max(event.round for _, _, event in seen_here),
                transactions=event.transactions,
                receipts=event.receipts,
            )
        )
    return found


def recovery_ms(world: World, commits: list[Seen], healed_ms: int) -> int | None:
    """How long after a repair (Unix ms) all honest nodes had a height that nobody had before."""
    before = max((one.height for at_ms, _, one in commits if at_ms <= healed_ms), default=0)
    first: dict[int, int] = {}
    for at_ms, node, event in commits:
        if at_ms > healed_ms and event.height > before:
            first.setdefault(node.index, at_ms)
    if len(first) < len(world.honest):
        return None
    return max(first.values()) - healed_ms


# ---- ads -------------------------------------------------------------------------------------


def ad_arrivals(world: World) -> tuple[list[int], int]:
    """Delays of the ads that arrived, and how many should have.

    An ad should reach every honest node that was up when it was published; a newer ad of the same
    provider is as good. Ads of the last seconds are left out.
    """
    delays: list[int] = []
    wanted = 0
    published: list[tuple[int, AccountId, int]] = []
    arrivals: dict[int, dict[bytes, list[tuple[int, int]]]] = {}
    for node in world.honest:
        mine = arrivals.setdefault(node.index, {})
        for at_ms, event in node.events:
            if not isinstance(event, AdLearned):
                continue
            mine.setdefault(event.provider, []).append((at_ms, event.seq))
            if event.provider == node.key.account:
                published.append((at_ms, node.key.account, event.seq))
    for sent_ms, provider, seq in published:
        if sent_ms > world.now_ms - AD_GRACE_MS:
            continue
        for node in world.honest:
            if node.key.account == provider or not _was_up(node, sent_ms):
                continue
            wanted += 1
            for when, number in arrivals[node.index].get(provider, ()):
                if number >= seq:
                    delays.append(max(0, when - sent_ms))
                    break
    return delays, wanted


def _was_up(node: VirtualNode, at_ms: int) -> bool:
    return any(start <= at_ms and (end is None or at_ms <= end) for start, end in node.lives)


# ---- money -----------------------------------------------------------------------------------


def furthest(world: World) -> VirtualNode:
    """The honest node whose disk holds the longest chain."""
    return max(world.honest, key=lambda node: (_height(stored_state(node)), -node.index))


def reward_rows(node: VirtualNode) -> list[RewardRow]:
    """All settlements on a node's disk."""
    return [
        row
        for _, data in node.store.scan(Table.REWARDS)
        for row in decode(data, tuple[RewardRow, ...], bytes_max=ROWS_BYTES_MAX)
    ]


def burned(node: VirtualNode) -> int:
    """Micro-tokens burned in the chain on a node's disk."""
    return sum(block.block.header.burned for block in stored_chain(node))


def wealth(state: State | None, account: AccountId) -> int:
    """What an account owns: balance, stake, stake on its way back, and deposits of its channels."""
    if state is None or account not in state.accounts:
        return 0
    entry = state.accounts[account]
    back = sum(one.amount for one in state.unbonding if one.account == account)
    held = sum(one.held for one in state.channels.values() if one.consumer == account)
    return entry.balance + entry.bonded + back + held


# ---- files -----------------------------------------------------------------------------------


def files_of(market: Market) -> tuple[FileResult, ...]:
    """What consumers added, and what became of it."""
    if market.adding is None:
        return ()
    start_ms = market.adding.start_ms
    return tuple(
        FileResult(
            blob.number,
            blob.consumer,
            blob.manifest.size_bytes,
            blob.at_ms - start_ms,
            blob.replicas,
            tuple(sorted(blob.held)),
            max(blob.held.values()) - blob.at_ms if blob.is_placed else None,
        )
        for blob in market.adding.blobs
    )


def dealings_of(market: Market) -> tuple[DealingResult, ...]:
    """Every pair that files went between."""
    if market.adding is None:
        return ()
    blobs = market.adding.blobs
    return tuple(
        DealingResult(
            consumer,
            provider,
            sum(one.consumer == consumer and provider in one.held for one in blobs),
            line.breaks,
            line.delivered,
            line.promised,
            line.settled,
        )
        for (consumer, provider), line in sorted(market.adding.lines.items())
    )


def _height(state: State | None) -> int:
    return 0 if state is None else state.height
