"""The sync: catching up among liars."""

from hypothesis import given
from hypothesis import strategies as st

from p2p.model.block import CommittedBlock
from p2p.model.effects import Penalize, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed, TimerFired
from p2p.model.rejection import Reason
from p2p.primitives.draws import Draws
from p2p.primitives.units import Height, Millis, PeerId
from p2p.protocol.sync import Sync, SyncParameters
from p2p.protocol.sync.interface import (
    POLL_TIMER,
    ApplyBlocks,
    AskBlocks,
    AskStatus,
    BlockApplied,
    BlockRefused,
    BlocksReceived,
    StatusReceived,
    SyncEffect,
    SyncInput,
)
from tests.protocol.sync_bench import (
    FALSE_ROOT,
    NOW,
    A,
    B,
    C,
    D,
    block,
    blocks,
    new_sync,
    status,
)

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
