"""The sync: asks neighbours for the committed blocks that we lack.

A range of heights goes through

    gap --AskBlocks--> asked --blocks--> held --ApplyBlocks--> applying --BlockApplied--> below us
     ^                   |                |                       |
     +---- nothing, late, out of order ---+------ refused --------+

Gaps are asked for from below, a few at a time, each of another neighbour; what arrives early is
held. The replica judges every block, so a neighbour can only waste time: whoever gave nothing, too
late or something false is left out for a while that doubles with every failure in a row, and its
range is asked of another. One honest neighbour is enough.

What neighbours claim is only a hint where to ask. Claims come by status, asked for on connect and
from a random neighbour at every poll, unless a block came just now, and from blocks that gossip
brings. Consensus goes on meanwhile; whichever commits a height first, the other lets it go.
"""

from typing import assert_never

import msgspec

from p2p.model.block import CommittedBlock
from p2p.model.effects import Penalize, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed, TimerFired
from p2p.model.rejection import Reason
from p2p.model.requests import Status
from p2p.primitives.draws import Draws
from p2p.primitives.units import Height, Millis, PeerId
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
    Paused,
    StatusReceived,
    SyncEffect,
    SyncInput,
    SyncParameters,
)


class _Neighbour:
    """What a connected peer claims, and how it kept its word."""

    __slots__ = ("cool_until_ms", "faults", "height", "lowest_height")

    def __init__(self) -> None:
        self.height = 0
        self.lowest_height = 0
        self.faults = 0
        """Failures since its last block that was applied."""
        self.cool_until_ms = 0


class _Ask(msgspec.Struct, frozen=True):
    """A range under way."""

    peer: PeerId
    first: int
    last: int
    deadline_ms: int


class _Held(msgspec.Struct, frozen=True):
    """A range that arrived, not yet checked by the replica."""

    peer: PeerId
    first: int
    last: int
    blocks: tuple[CommittedBlock, ...]


class Sync:
    """Catching up by blocks. One instance a node; `step` alone changes it."""

    def __init__(
        self, parameters: SyncParameters | None = None, *, seed: bytes, height: Height
    ) -> None:
        self._parameters = parameters or SyncParameters()
        self._draws = Draws(b"sync", seed)
        self._height = int(height)
        self._neighbours: dict[PeerId, _Neighbour] = {}
        self._asks: dict[int, _Ask] = {}
        self._held: list[_Held] = []
        self._applying: _Held | None = None
        self._claimed = 0
        """The greatest height that anybody ever claimed."""
        self._is_paused = False
        self._next_request_id = 1
        self._progress_ms: Millis | None = None
        """When our height last rose, or the first step."""
        self._behind_since_ms: Millis | None = None
        self._poll_ms: Millis | None = None
        self._deadline_ms: int | None = None

    # ---- queries ----------------------------------------------------------------------------

    @property
    def height(self) -> Height:
        """Our last committed height."""
        return Height(self._height)

    @property
    def target_height(self) -> Height:
        """The greatest height that a neighbour claims who has not failed too often; or our own."""
        if self._claimed <= self._height:
            return Height(self._height)
        claims = [
            one.height
            for one in self._neighbours.values()
            if one.faults < self._parameters.faults_max
        ]
        return Height(max([self._height, *claims]))

    @property
    def is_behind(self) -> bool:
        """Whether somebody claims a greater height: a hint, no ground to stop taking part."""
        return self.target_height > self._height

    def wants_snapshot(self, gap: int) -> bool:
        """Whether blocks will not do: nobody has our next one, or more than `gap` are missing."""
        ahead = [
            one
            for one in self._neighbours.values()
            if one.height > self._height and one.faults < self._parameters.faults_max
        ]
        if ahead and all(one.lowest_height > self._height + 1 for one in ahead):
            return True
        return self.target_height - self._height > gap

    # ---- the step ---------------------------------------------------------------------------

    def step(self, event: SyncInput, now_ms: Millis) -> list[SyncEffect]:
        """Take in one piece of news."""
        if self._progress_ms is None:
            self._progress_ms = now_ms
        effects = self._take(event, now_ms)
        effects += self._apply_next()
        effects += self._ask_on(now_ms)
        effects += self._set_timers(now_ms)
        return effects

    def _take(self, event: SyncInput, now_ms: Millis) -> list[SyncEffect]:
        match event:
            case HeightCommitted(height=height) | BlockApplied(height=height):
                return self._rise(height, now_ms)
            case HeightSeen(peer=peer, height=height):
                return self._see(peer, height)
            case StatusReceived(peer=peer, status=status):
                return self._note_status(peer, status)
            case BlocksReceived(request_id=request_id, peer=peer, blocks=blocks):
                return self._hold(request_id, peer, blocks, now_ms)
            case BlockRefused(peer=peer, reason=reason, height=height):
                return self._refuse(peer, reason, height, now_ms)
            case RequestFailed(request_id=request_id, peer=peer):
                if self._pop_ask(request_id, peer) is not None:
                    self._fault(peer, now_ms)
                return []
            case PeerConnected(peer=peer):
                self._neighbours.setdefault(peer, _Neighbour())
                return [AskStatus(peer)]
            case PeerDisconnected(peer=peer):
                return self._forget(peer)
            case TimerFired(key=key):
                return self._on_timer(key, now_ms)
            case Paused(paused=paused):
                self._is_paused = paused
                return []
            case _:
                assert_never(event)

    # ---- claims -----------------------------------------------------------------------------

    def _see(self, peer: PeerId, height: Height) -> list[SyncEffect]:
        neighbour = self._neighbours.get(peer)
        if neighbour is not None:
            neighbour.height = max(neighbour.height, height)
            self._claimed = max(self._claimed, height)
        return []

    def _note_status(self, peer: PeerId, status: Status) -> list[SyncEffect]:
        neighbour = self._neighbours.get(peer)
        if neighbour is not None:
            neighbour.height, neighbour.lowest_height = status.height, status.lowest_height
            self._claimed = max(self._claimed, status.height)
        return []

    def _forget(self, peer: PeerId) -> list[SyncEffect]:
        """Ask others for what the peer owed; what it gave is judged like any other."""
        self._neighbours.pop(peer, None)
        for request_id in [one for one, ask in self._asks.items() if ask.peer == peer]:
            del self._asks[request_id]
        return []

    def _fault(self, peer: PeerId, now_ms: Millis) -> None:
        neighbour = self._neighbours.get(peer)
        if neighbour is None:
            return
        doublings = min(neighbour.faults, 32)
        cool_ms = min(self._parameters.cool_ms_min << doublings, self._parameters.cool_ms_max)
        neighbour.faults += 1
        neighbour.cool_until_ms = now_ms + cool_ms

    # ---- ranges -----------------------------------------------------------------------------

    def _rise(self, height: Height, now_ms: Millis) -> list[SyncEffect]:
        if height <= self._height:
            return []
        self._height, self._progress_ms, self._behind_since_ms = height, now_ms, None
        if self._applying is not None and self._applying.last <= height:
            giver = self._neighbours.get(self._applying.peer)
            if giver is not None:
                giver.faults = 0
            self._applying = None
        self._held = [held for held in self._held if held.last > height]
        return []

    def _hold(
        self, request_id: int, peer: PeerId, blocks: tuple[CommittedBlock, ...], now_ms: Millis
    ) -> list[SyncEffect]:
        ask = self._pop_ask(request_id, peer)
        if ask is None:
            return []  # Too late: its range was asked of another.
        if not blocks:
            self._fault(peer, now_ms)
            return []
        last = ask.first + len(blocks) - 1
        if last > ask.last or not _are_consecutive(blocks, ask.first):
            self._fault(peer, now_ms)
            return [Penalize(peer, Reason.WRONG_HEIGHT, f"asked for {ask.first} to {ask.last}")]
        if last > self._height:
            self._held.append(_Held(peer, ask.first, last, blocks))
        return []

    def _refuse(
        self, peer: PeerId, reason: Reason, height: Height, now_ms: Millis
    ) -> list[SyncEffect]:
        """One block was false: nothing else that this peer gave is worth the replica's time."""
        if self._applying is None or self._applying.peer != peer:
            return []
        self._applying = None
        self._held = [held for held in self._held if held.peer != peer]
        self._fault(peer, now_ms)
        return [Penalize(peer, reason, f"block {height}")]

    def _pop_ask(self, request_id: int, peer: PeerId) -> _Ask | None:
        ask = self._asks.get(request_id)
        if ask is None or ask.peer != peer:
            return None
        return self._asks.pop(request_id)

    def _apply_next(self) -> list[SyncEffect]:
        """Hand the replica the range that continues our chain, if it is here."""
        if self._applying is not None:
            return []
        wanted = self._height + 1
        for held in self._held:
            if held.first <= wanted:
                self._held.remove(held)
                self._applying = held
                return [ApplyBlocks(held.peer, held.blocks[wanted - held.first :])]
        return []

    def _ask_on(self, now_ms: Millis) -> list[SyncEffect]:
        """Ask for the lowest gaps, as far as bounds and neighbours allow."""
        effects: list[SyncEffect] = []
        if (
            self._claimed <= self._height
            or max([one.height for one in self._neighbours.values()], default=0) <= self._height
        ):
            self._behind_since_ms = None
            return effects
        if self._behind_since_ms is None:
            self._behind_since_ms = now_ms
        while not self._is_paused and len(self._asks) < self._parameters.asks_max:
            first, room = self._lowest_gap()
            peer = self._choose(first, now_ms)
            if peer is None or not self._make_room(first):
                break
            count = min(self._parameters.range_max, room, self._neighbours[peer].height - first + 1)
            deadline_ms = now_ms + self._parameters.deadline_ms
            request_id, self._next_request_id = self._next_request_id, self._next_request_id + 1
            self._asks[request_id] = _Ask(peer, first, first + count - 1, deadline_ms)
            effects.append(AskBlocks(request_id, peer, Height(first), count))
        return effects

    def _make_room(self, first: int) -> bool:
        """Whether one more range may be open; what is held above a gap gives way to the gap.

        Without that, ranges held above one that was refused would stay, and keep it from being
        asked for again.
        """
        if len(self._asks) + len(self._held) < self._parameters.ranges_max:
            return True
        highest = max(self._held, key=lambda held: held.first, default=None)
        if highest is None or highest.first < first:
            return False
        self._held.remove(highest)
        return True

    def _lowest_gap(self) -> tuple[int, int]:
        """The first height that nothing covers, and how many follow it uncovered."""
        first = (self._applying.last if self._applying else self._height) + 1
        spans = [(ask.first, ask.last) for ask in self._asks.values()]
        spans += [(held.first, held.last) for held in self._held]
        for span_first, span_last in sorted(spans):
            if span_first > first:
                return first, span_first - first
            first = max(first, span_last + 1)
        return first, self._parameters.range_max

    def _choose(self, first: int, now_ms: Millis) -> PeerId | None:
        """Who may give this height: the least at fault, by lot among equals."""
        assert self._behind_since_ms is not None
        patient = now_ms < self._behind_since_ms + self._parameters.grace_ms
        claim_min = max(first, self._height + 2) if patient else first
        busy = [ask.peer for ask in self._asks.values()]
        able = [
            (one.faults, peer)
            for peer, one in self._neighbours.items()
            if one.lowest_height <= first
            and one.height >= claim_min
            and one.cool_until_ms <= now_ms
            and peer not in busy
        ]
        if not able:
            return None
        fewest = min(faults for faults, _ in able)
        return self._draws.choice([peer for faults, peer in able if faults == fewest])

    # ---- timers -----------------------------------------------------------------------------

    def _on_timer(self, key: str, now_ms: Millis) -> list[SyncEffect]:
        if key == POLL_TIMER:
            self._poll_ms = None
            if not self._neighbours or self._is_up_to_date(now_ms):
                return []
            return [AskStatus(self._draws.choice(list(self._neighbours)))]
        if key == DEADLINE_TIMER:
            self._deadline_ms = None
            late = [(one, ask) for one, ask in self._asks.items() if ask.deadline_ms <= now_ms]
            for request_id, ask in late:
                del self._asks[request_id]
                self._fault(ask.peer, now_ms)
            return []
        raise ValueError(f"the sync has no timer {key!r}")

    def _set_timers(self, now_ms: Millis) -> list[SyncEffect]:
        effects: list[SyncEffect] = []
        if self._neighbours:
            span_ms = self._poll_span_ms(now_ms)
            # Kept while it is due soon enough: a flood of news must not put the poll off.
            if self._poll_ms is None or self._poll_ms > now_ms + span_ms + span_ms // 4:
                drawn_ms = span_ms - span_ms // 4 + self._draws.below(span_ms // 2 + 1)
                self._poll_ms = Millis(now_ms + drawn_ms)
                effects.append(SetTimer(POLL_TIMER, self._poll_ms))
        first_ms = min((ask.deadline_ms for ask in self._asks.values()), default=None)
        if first_ms is not None and (self._deadline_ms is None or first_ms < self._deadline_ms):
            self._deadline_ms = first_ms
            effects.append(SetTimer(DEADLINE_TIMER, Millis(first_ms)))
        return effects

    def _is_up_to_date(self, now_ms: Millis) -> bool:
        """Whether blocks come when they are expected, and nobody claims more: no need to ask."""
        assert self._progress_ms is not None
        parameters = self._parameters
        quiet_ms = min(parameters.quiet_ms_max, parameters.epoch_ms * 3 // 2)
        return not self.is_behind and now_ms < self._progress_ms + quiet_ms

    def _poll_span_ms(self, now_ms: Millis) -> int:
        assert self._progress_ms is not None
        stalled = now_ms - self._progress_ms > 2 * self._parameters.epoch_ms
        behind = self._behind_since_ms is not None
        return self._parameters.poll_fast_ms if stalled or behind else self._parameters.poll_ms


def _are_consecutive(blocks: tuple[CommittedBlock, ...], first: int) -> bool:
    """Whether blocks and their certificates are of the heights from `first` upwards."""
    return all(
        one.block.header.height == height and one.certificate.height == height
        for height, one in enumerate(blocks, start=first)
    )
