"""The sync: ranges, faults, polls, and answers."""

import pytest

from p2p.model.block import CommittedBlock
from p2p.model.effects import Penalize, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed, TimerFired
from p2p.model.rejection import Reason
from p2p.model.requests import BlocksRequest
from p2p.primitives.codec import encode
from p2p.primitives.units import Height, Millis
from p2p.protocol.sync import HeightRange, Sync, answerable, fitting
from p2p.protocol.sync.interface import (
    DEADLINE_TIMER,
    POLL_TIMER,
    ApplyBlocks,
    AskStatus,
    BlockRefused,
    BlocksReceived,
    HeightCommitted,
    HeightSeen,
    StatusReceived,
    SyncInput,
)
from tests.protocol.sync_bench import (
    NOW,
    A,
    B,
    C,
    D,
    applied,
    ask,
    block,
    blocks,
    give,
    meet,
    new_sync,
    status,
    tell,
)

# ---- the way of a range ---------------------------------------------------------------------


def test_a_node_behind_asks_and_applies_up_to_the_target_and_stops() -> None:
    sync = new_sync(height=3)
    assert meet(sync, A, 25) == [ask(1, A, 4, 16)]
    assert (sync.is_behind, sync.target_height, sync.height) == (True, 25, 3)
    assert tell(sync, give(1, A, 4, 19)) == [ApplyBlocks(A, blocks(4, 19)), ask(2, A, 20, 6)]
    assert tell(sync, *applied(4, 19)) == []
    assert tell(sync, give(2, A, 20, 25)) == [ApplyBlocks(A, blocks(20, 25))]
    assert tell(sync, *applied(20, 25)) == []
    assert (sync.is_behind, sync.target_height, sync.height) == (False, 25, 25)


def test_two_neighbours_are_asked_side_by_side_for_distinct_ranges() -> None:
    sync = new_sync(range_max=4)
    assert meet(sync, A, 100) == [ask(1, A, 1, 4)]
    assert meet(sync, B, 100) == [ask(2, B, 5, 4)]
    assert meet(sync, C, 100) == []


def test_what_arrives_early_is_held_and_applied_in_order() -> None:
    sync = new_sync(range_max=4, asks_max=2)
    meet(sync, A, 8)
    meet(sync, B, 8)
    assert tell(sync, give(2, B, 5, 8)) == []
    assert tell(sync, give(1, A, 1, 4)) == [ApplyBlocks(A, blocks(1, 4))]
    assert tell(sync, *applied(1, 4)) == [ApplyBlocks(B, blocks(5, 8))]


def test_held_and_asked_ranges_are_bounded_while_the_lowest_is_missing() -> None:
    sync = new_sync(range_max=1, ranges_max=3)
    meet(sync, A, 100)
    assert meet(sync, B, 100) == [ask(2, B, 2, 1)]
    assert tell(sync, give(2, B, 2, 2)) == [ask(3, B, 3, 1)]
    assert tell(sync, give(3, B, 3, 3)) == []


def test_a_shorter_answer_is_taken_and_the_rest_asked_for_again() -> None:
    sync = new_sync(range_max=4)
    meet(sync, A, 4)
    assert tell(sync, give(1, A, 1, 2)) == [ApplyBlocks(A, blocks(1, 2)), ask(2, A, 3, 2)]


def test_a_gap_between_two_ranges_is_filled_no_wider_than_it_is() -> None:
    sync = new_sync(range_max=4)
    meet(sync, A, 100)
    meet(sync, B, 100)
    assert tell(sync, give(1, A, 1, 2)) == [ApplyBlocks(A, blocks(1, 2)), ask(3, A, 3, 2)]


def test_blocks_that_consensus_committed_meanwhile_are_left_out() -> None:
    sync = new_sync(range_max=4)
    meet(sync, A, 8)
    assert tell(sync, HeightCommitted(Height(2))) == []
    assert tell(sync, give(1, A, 1, 4))[0] == ApplyBlocks(A, blocks(3, 4))
    assert tell(sync, HeightCommitted(Height(8))) == []
    assert tell(sync, give(2, A, 5, 8)) == []
    assert not sync.is_behind


def test_a_height_that_falls_is_old_news() -> None:
    sync = new_sync(height=5)
    assert tell(sync, HeightCommitted(Height(4))) == []
    assert sync.height == 5


def test_one_block_behind_gossip_is_given_its_grace() -> None:
    sync = new_sync(height=4)
    assert meet(sync, A, 5) == []
    assert sync.step(HeightSeen(A, Height(5)), NOW) == []
    effects = tell(sync, TimerFired(POLL_TIMER), at_ms=NOW + 1_000)
    assert effects == [AskStatus(A), ask(1, A, 5, 1)]


def test_two_blocks_behind_nothing_is_waited_for() -> None:
    sync = new_sync(height=4)
    meet(sync, A, 4)
    assert tell(sync, HeightSeen(A, Height(6))) == [ask(1, A, 5, 2)]


def test_the_grace_begins_anew_with_every_commit() -> None:
    sync = new_sync(height=4)
    meet(sync, A, 6)
    tell(sync, RequestFailed(1, A))
    later_ms = NOW + 5_000
    assert tell(sync, HeightCommitted(Height(5)), at_ms=later_ms) == []
    assert tell(sync, HeightSeen(A, Height(6)), at_ms=later_ms + 1_000) == [ask(2, A, 6, 1)]


def test_news_of_strangers_is_not_kept() -> None:
    sync = new_sync()
    assert tell(sync, StatusReceived(A, status(9)), HeightSeen(A, Height(9))) == []
    assert tell(sync, PeerDisconnected(A), RequestFailed(1, A)) == []
    assert not sync.is_behind


def test_nobody_is_asked_below_what_it_still_has() -> None:
    sync = new_sync()
    assert meet(sync, A, 100, lowest=2) == []
    assert meet(sync, B, 100, lowest=1) == [ask(1, B, 1, 16), ask(2, A, 17, 16)]


# ---- faults ---------------------------------------------------------------------------------


def test_an_empty_answer_puts_its_sender_last() -> None:
    sync = new_sync()
    meet(sync, A, 9)
    meet(sync, B, 9)
    assert tell(sync, BlocksReceived(1, A, ())) == [ask(2, B, 1, 9)]
    assert tell(sync, RequestFailed(2, B)) == []
    assert tell(sync, TimerFired(POLL_TIMER), at_ms=NOW + 1_000)[1:] in (
        [ask(3, A, 1, 9)],
        [ask(3, B, 1, 9)],
    )


def test_failures_in_a_row_double_the_time_out_and_a_good_range_ends_it() -> None:
    sync = new_sync(cool_ms_min=1_000, cool_ms_max=4_000)
    meet(sync, A, 9)
    now_ms = int(NOW)
    for request_id, cool_ms in enumerate((1_000, 2_000, 4_000, 4_000), start=1):
        assert tell(sync, RequestFailed(request_id, A), at_ms=now_ms) == []
        assert tell(sync, HeightSeen(A, Height(9)), at_ms=now_ms + cool_ms - 1) == []
        now_ms += cool_ms
        assert tell(sync, HeightSeen(A, Height(9)), at_ms=now_ms) == [ask(request_id + 1, A, 1, 9)]
    assert (sync.target_height, sync.is_behind) == (0, False)
    tell(sync, give(5, A, 1, 9), *applied(1, 8), at_ms=now_ms)
    assert sync.target_height == 8
    tell(sync, *applied(9, 9), StatusReceived(A, status(11)), at_ms=now_ms)
    assert sync.target_height == 11


@pytest.mark.parametrize(
    "answer",
    [
        blocks(2, 3),
        blocks(1, 5),
        (block(1), block(3)),
        (block(1, certified=2),),
    ],
)
def test_blocks_other_than_asked_for_are_penalized(answer: tuple[CommittedBlock, ...]) -> None:
    sync = new_sync(range_max=4)
    meet(sync, A, 9)
    meet(sync, B, 9)
    assert tell(sync, BlocksReceived(1, A, answer)) == [
        Penalize(A, Reason.WRONG_HEIGHT, "asked for 1 to 4")
    ]
    assert tell(sync, RequestFailed(2, B)) == []


def test_a_false_block_costs_its_sender_alone_and_the_range_is_asked_of_another() -> None:
    sync = new_sync(range_max=2, ranges_max=4)
    meet(sync, A, 6)
    tell(sync, give(1, A, 1, 2))  # applying; 3 to 4 is asked of A
    meet(sync, B, 6)  # 5 to 6 is asked of B
    tell(sync, give(2, A, 3, 4))
    effects = tell(sync, BlockRefused(Height(2), A, Reason.BAD_ROOT))
    assert effects == [Penalize(A, Reason.BAD_ROOT, "block 2")]
    assert tell(sync, give(3, B, 5, 6)) == [ask(4, B, 1, 2)]
    assert tell(sync, give(4, B, 1, 2)) == [ApplyBlocks(B, blocks(1, 2)), ask(5, B, 3, 2)]


def test_a_false_block_of_a_lost_neighbour_is_refused_all_the_same() -> None:
    sync = new_sync()
    meet(sync, A, 4)
    tell(sync, give(1, A, 1, 4), PeerDisconnected(A))
    refusal = BlockRefused(Height(1), A, Reason.BAD_ROOT)
    assert tell(sync, refusal) == [Penalize(A, Reason.BAD_ROOT, "block 1")]
    assert meet(sync, B, 4) == [ask(2, B, 1, 4)]


def test_ranges_held_above_a_refused_one_give_way_to_it() -> None:
    sync = new_sync(range_max=1, ranges_max=2)
    meet(sync, A, 9)
    tell(sync, give(1, A, 1, 1))  # applying; 2 is asked of A
    meet(sync, B, 9)  # 3 is asked of B
    assert tell(sync, give(3, B, 3, 3)) == []
    assert tell(sync, BlocksReceived(2, A, ())) == [ask(4, B, 2, 1)]
    assert tell(sync, BlockRefused(Height(1), A, Reason.BAD_ROOT), RequestFailed(4, B)) == [
        Penalize(A, Reason.BAD_ROOT, "block 1")
    ]
    meet(sync, C, 9)
    assert tell(sync, give(5, C, 1, 1)) == [ApplyBlocks(C, blocks(1, 1)), ask(6, C, 2, 1)]


def test_a_refusal_of_what_is_not_being_applied_is_old_news() -> None:
    sync = new_sync()
    meet(sync, A, 4)
    refusal = BlockRefused(Height(1), B, Reason.BAD_ROOT)
    assert tell(sync, refusal) == []
    tell(sync, give(1, A, 1, 4))
    assert tell(sync, refusal) == []


def test_late_and_foreign_answers_are_dropped() -> None:
    sync = new_sync()
    meet(sync, A, 4)
    assert tell(sync, give(1, B, 1, 4), give(7, A, 1, 4), RequestFailed(1, B)) == []
    assert tell(sync, give(1, A, 1, 4)) == [ApplyBlocks(A, blocks(1, 4))]


def test_a_range_past_its_deadline_is_asked_of_another() -> None:
    sync = new_sync()
    sync.step(PeerConnected(A, outbound=True, address=""), NOW)
    effects = sync.step(StatusReceived(A, status(4)), NOW)
    assert SetTimer(DEADLINE_TIMER, Millis(NOW + 10_000)) in effects
    meet(sync, B, 4)
    assert tell(sync, TimerFired(DEADLINE_TIMER), at_ms=NOW + 9_999) == []
    assert tell(sync, TimerFired(DEADLINE_TIMER), at_ms=NOW + 10_000) == [ask(2, B, 1, 4)]
    assert tell(sync, give(1, A, 1, 4), at_ms=NOW + 10_001) == []


def test_what_a_lost_neighbour_owed_is_asked_of_another() -> None:
    sync = new_sync()
    meet(sync, A, 4)
    meet(sync, B, 4)
    assert tell(sync, PeerDisconnected(A)) == [ask(2, B, 1, 4)]


def test_what_a_lost_neighbour_gave_is_still_used() -> None:
    sync = new_sync()
    meet(sync, A, 4)
    tell(sync, give(1, A, 1, 4), PeerDisconnected(A), *applied(1, 4))
    assert sync.height == 4


# ---- polls ----------------------------------------------------------------------------------


def poll_delays(sync: Sync, now_ms: int, *events: SyncInput) -> list[int]:
    return [
        effect.at_ms - now_ms
        for event in events
        for effect in sync.step(event, Millis(now_ms))
        if isinstance(effect, SetTimer) and effect.key == POLL_TIMER
    ]


def test_polls_are_slow_while_all_is_well_and_fast_while_behind_or_stalled() -> None:
    sync = new_sync(height=4)
    (slow_ms,) = poll_delays(sync, NOW, PeerConnected(A, outbound=True, address=""))
    assert 3_750 <= slow_ms <= 6_250
    (fast_ms,) = poll_delays(sync, NOW, StatusReceived(A, status(5)))
    assert 750 <= fast_ms <= 1_250
    tell(sync, HeightCommitted(Height(5)))
    (slow_ms,) = poll_delays(sync, NOW + 10_000, TimerFired(POLL_TIMER))
    assert slow_ms >= 3_750
    (fast_ms,) = poll_delays(sync, NOW + 10_001, TimerFired(POLL_TIMER))
    assert fast_ms <= 1_250


def test_a_flood_of_news_does_not_put_the_poll_off() -> None:
    sync = new_sync()
    connected = PeerConnected(A, outbound=True, address="")
    assert len(poll_delays(sync, NOW, connected)) == 1
    assert poll_delays(sync, NOW + 1_000, *[HeightSeen(A, Height(0))] * 5) == []


def test_nobody_is_asked_while_blocks_come_when_they_are_expected() -> None:
    def asks(after_ms: int) -> bool:
        sync = new_sync(height=4)
        tell(sync, PeerConnected(A, outbound=True, address=""), HeightCommitted(Height(5)))
        found = sync.step(TimerFired(POLL_TIMER), Millis(NOW + after_ms))
        return AskStatus(A) in found

    assert not asks(7_499)
    assert asks(7_500)
    sync = new_sync(height=4)
    tell(sync, PeerConnected(A, outbound=True, address=""), HeightCommitted(Height(5)))
    tell(sync, StatusReceived(A, status(6)))
    assert AskStatus(A) in tell(sync, TimerFired(POLL_TIMER))


def test_polls_go_to_random_neighbours_and_end_with_the_last() -> None:
    sync = new_sync()
    for peer in (A, B, C, D):
        meet(sync, peer, 0)
    late = Millis(NOW + 60_000)
    asked = [sync.step(TimerFired(POLL_TIMER), late) for _ in range(40)]
    statuses = [[one for one in found if isinstance(one, AskStatus)] for found in asked]
    assert {peer for peer in (A, B, C, D) if [AskStatus(peer)] in statuses} == {A, B, C, D}
    for peer in (A, B, C, D):
        tell(sync, PeerDisconnected(peer))
    assert sync.step(TimerFired(POLL_TIMER), NOW) == []


def test_an_unknown_timer_is_an_error() -> None:
    with pytest.raises(ValueError, match="no timer"):
        new_sync().step(TimerFired("registry/renew"), NOW)


# ---- answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "count", "expected"),
    [(5, 3, 3), (5, 64, 6), (10, 9, 1), (11, 1, 0), (2, 9, 0), (3, 2, 2)],
)
def test_a_request_is_answered_within_what_the_store_holds(
    first: int, count: int, expected: int
) -> None:
    request = BlocksRequest(Height(first), count)
    answer = answerable(request, lowest_height=Height(3), height=Height(10))
    assert answer == HeightRange(Height(first), expected)


def test_an_answer_stops_before_the_block_that_does_not_fit() -> None:
    size = len(encode(block(1)))
    assert fitting(blocks(1, 9), bytes_max=64 + 3 * size) == blocks(1, 3)
    assert fitting(blocks(1, 9), bytes_max=63 + 3 * size) == blocks(1, 2)
    assert fitting(blocks(1, 9)) == blocks(1, 9)
    assert fitting(()) == ()
