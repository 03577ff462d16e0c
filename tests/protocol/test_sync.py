"""The sync: ranges, faults, polls, and catching up among liars."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.model.block import Block, Certificate, CommittedBlock, Header
from p2p.model.effects import Penalize, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed, TimerFired
from p2p.model.rejection import Reason
from p2p.model.requests import BlocksRequest, Status
from p2p.primitives.codec import encode
from p2p.primitives.digests import ZERO_DIGEST, digest
from p2p.primitives.draws import Draws
from p2p.primitives.units import AccountId, Amount, Height, Millis, PeerId, Round
from p2p.protocol.sync import HeightRange, Sync, SyncParameters, answerable, fitting
from p2p.protocol.sync.interface import (
    DEADLINE_TIMER,
    POLL_TIMER,
    ApplyBlocks,
    AskBlocks,
    AskStatus,
    BlockApplied,
    BlockRefused,
    BlocksReceived,
    HeightCommitted,
    HeightSeen,
    StatusReceived,
    SyncEffect,
    SyncInput,
)

NOW = Millis(1_000_000)
A, B, C, D = (PeerId(name) for name in (b"a", b"b", b"c", b"d"))
FALSE_ROOT = digest(b"false")


def block(height: int, *, certified: int | None = None, false: bool = False) -> CommittedBlock:
    header = Header(
        chain_id=ZERO_DIGEST,
        height=Height(height),
        time_ms=Millis(0),
        proposer=AccountId(bytes(32)),
        previous=ZERO_DIGEST,
        transactions_root=ZERO_DIGEST,
        receipts_root=ZERO_DIGEST,
        evidence_root=ZERO_DIGEST,
        rewards_root=ZERO_DIGEST,
        state_root=FALSE_ROOT if false else ZERO_DIGEST,
        validators_root=ZERO_DIGEST,
        next_validators_root=ZERO_DIGEST,
        minted=Amount(0),
        burned=Amount(0),
        supply=Amount(0),
        parameters_digest=ZERO_DIGEST,
    )
    proof = Height(height if certified is None else certified)
    certificate = Certificate(ZERO_DIGEST, proof, Round(0), ZERO_DIGEST, ())
    return CommittedBlock(Block(header, (), ()), certificate)


def blocks(first: int, last: int) -> tuple[CommittedBlock, ...]:
    return tuple(block(height) for height in range(first, last + 1))


def status(height: int, lowest: int = 1) -> Status:
    return Status(ZERO_DIGEST, Height(height), ZERO_DIGEST, Height(lowest))


def new_sync(height: int = 0, **parameters: int) -> Sync:
    return Sync(SyncParameters(**parameters), seed=b"test", height=Height(height))


def tell(sync: Sync, *events: SyncInput, at_ms: int = NOW) -> list[SyncEffect]:
    """Effects of these inputs, without the timers."""
    effects = [effect for event in events for effect in sync.step(event, Millis(at_ms))]
    return [effect for effect in effects if not isinstance(effect, SetTimer)]


def meet(sync: Sync, peer: PeerId, height: int, lowest: int = 1) -> list[SyncEffect]:
    connected = PeerConnected(peer, outbound=True, address="")
    effects = tell(sync, connected, StatusReceived(peer, status(height, lowest)))
    assert effects[0] == AskStatus(peer)
    return effects[1:]


def ask(request_id: int, peer: PeerId, first: int, count: int) -> AskBlocks:
    return AskBlocks(request_id, peer, Height(first), count)


def give(request_id: int, peer: PeerId, first: int, last: int) -> BlocksReceived:
    return BlocksReceived(request_id, peer, blocks(first, last))


def applied(first: int, last: int) -> list[SyncInput]:
    return [BlockApplied(Height(height)) for height in range(first, last + 1)]


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


# ---- catching up among liars ----------------------------------------------------------------


class Swarm:
    """Neighbours of one syncing node: honest ones, and liars of every kind; virtual time."""

    STEPS_MAX = 4_000

    def __init__(self, kinds: dict[PeerId, tuple[str, int]], seed: bytes) -> None:
        self.kinds = kinds
        self.draws = Draws(seed)
        self.sync = Sync(SyncParameters(range_max=4), seed=seed, height=Height(0))
        self.now_ms = int(NOW)
        self.queue: list[tuple[int, int, SyncInput]] = []
        self.timers: dict[str, int] = {}
        self.sequence = 0
        self.asked: dict[int, AskBlocks] = {}
        self.gone: list[PeerId] = []

    def later(self, event: SyncInput, delay_ms: int) -> None:
        self.sequence += 1
        self.queue.append((self.now_ms + delay_ms, self.sequence, event))

    def run(self, goal: int) -> None:
        for peer in self.kinds:
            self.later(PeerConnected(peer, outbound=True, address=""), self.draws.below(500))
        for _ in range(self.STEPS_MAX):
            if self.sync.height >= goal:
                return
            self.step()
        raise AssertionError(f"at {self.sync.height} after {self.STEPS_MAX} steps")

    def step(self) -> None:
        due = [(at_ms, 0, TimerFired(key)) for key, at_ms in sorted(self.timers.items())]
        first = min([*self.queue, *due], key=lambda one: one[:2])
        self.now_ms = max(self.now_ms, first[0])
        event = first[2]
        if isinstance(event, TimerFired):
            del self.timers[event.key]
        else:
            self.queue = [one for one in self.queue if one[1] != first[1]]
        self.feed(event)

    def feed(self, event: SyncInput) -> None:
        if getattr(event, "peer", None) in self.gone and not isinstance(event, PeerDisconnected):
            return
        for effect in self.sync.step(event, Millis(self.now_ms)):
            self.carry_out(effect)
        ranges = len(self.sync._asks) + len(self.sync._held)
        assert ranges <= 4
        assert len(self.sync._asks) <= 2

    def carry_out(self, effect: SyncEffect) -> None:
        delay_ms = 10 + self.draws.below(200)
        match effect:
            case SetTimer(key=key, at_ms=at_ms):
                self.timers[key] = at_ms
            case AskStatus(peer=peer):
                self.answer_status(peer, delay_ms)
            case AskBlocks(peer=peer):
                self.answer_blocks(effect, delay_ms)
            case ApplyBlocks(peer=peer, blocks=given):
                self.apply(peer, given)
            case Penalize(peer=peer):
                assert self.kinds[peer][0] != "honest"

    def answer_status(self, peer: PeerId, delay_ms: int) -> None:
        kind, height = self.kinds[peer]
        claim = height if kind in ("honest", "leaver") else 2**53
        self.later(StatusReceived(peer, status(claim)), delay_ms)

    def answer_blocks(self, request: AskBlocks, delay_ms: int) -> None:
        peer, first = request.peer, request.from_height
        last = first + request.count - 1
        kind, height = self.kinds[peer]
        if kind == "leaver":
            self.gone.append(peer)
            self.later(PeerDisconnected(peer), delay_ms)
        elif kind == "honest":
            assert last <= height
            last = first + self.draws.below(request.count)
            self.later(BlocksReceived(request.request_id, peer, blocks(first, last)), delay_ms)
        elif kind == "empty":
            self.later(BlocksReceived(request.request_id, peer, ()), delay_ms)
        elif kind == "shuffler":
            answer = tuple(reversed(blocks(first, last + 1)))
            self.later(BlocksReceived(request.request_id, peer, answer), delay_ms)
        elif kind == "forger":
            answer = tuple(block(height, false=True) for height in range(first, last + 1))
            self.later(BlocksReceived(request.request_id, peer, answer), delay_ms)
        elif kind == "refuser":
            self.later(RequestFailed(request.request_id, peer), delay_ms)
        else:
            assert kind == "silent"

    def apply(self, peer: PeerId, given: tuple[CommittedBlock, ...]) -> None:
        """The replica: checks each block against the one below."""
        for height, one in enumerate(given, start=self.sync.height + 1):
            assert one.block.header.height == height
            if one.block.header.state_root == FALSE_ROOT:
                self.later(BlockRefused(Height(height), peer, Reason.BAD_ROOT), 0)
                return
            self.later(BlockApplied(Height(height)), 0)


LIARS = ["leaver", "empty", "shuffler", "forger", "refuser", "silent"]


@given(
    honest=st.lists(st.integers(0, 40), min_size=1, max_size=3),
    liars=st.lists(st.sampled_from(LIARS), max_size=8),
    seed=st.binary(min_size=1, max_size=4),
)
def test_one_honest_neighbour_is_enough_whatever_the_others_are(
    honest: list[int], liars: list[str], seed: bytes
) -> None:
    kinds = {PeerId(b"liar%d" % n): (kind, 60) for n, kind in enumerate(liars)}
    kinds |= {PeerId(b"honest%d" % n): ("honest", height) for n, height in enumerate(honest)}
    Swarm(kinds, seed).run(goal=max(honest))


def test_without_liars_catching_up_takes_no_longer_than_the_answers() -> None:
    swarm = Swarm({A: ("honest", 40), B: ("honest", 40)}, b"quick")
    swarm.run(goal=40)
    assert swarm.now_ms - NOW < 6_000


def test_the_same_seed_and_inputs_give_the_same_effects() -> None:
    def trace() -> list[list[SyncEffect]]:
        sync = new_sync(range_max=2)
        events: list[SyncInput] = []
        for peer in (A, B, C, D):
            events += [PeerConnected(peer, outbound=True, address="")]
            events += [StatusReceived(peer, status(50))]
        events += [TimerFired(POLL_TIMER)] * 5
        return [sync.step(event, NOW) for event in events]

    assert trace() == trace()
