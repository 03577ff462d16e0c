"""Catching up by a snapshot, and helping others to it.

It joins the snapshot sync, the light client and the chain of one node:

    sync is far behind, or nobody has our next block --> SnapshotWanted
    ProveHeader --> bisection from our own last block, asking the neighbour for light blocks;
                    then other neighbours for the same header (`p2p.protocol.light.crosscheck`)
        two of them prove different ones --> the chain was forked: stop, name both, trust neither
    InstallState --> chain, and everybody who follows it

The states that others may fetch are those of the last heights that are multiples of
`snapshot_interval`; they share with the present one what did not change.
"""

from collections.abc import Callable
from typing import Final, Protocol, assert_never

from p2p.model.effects import Penalize, Persist
from p2p.model.ledger import State
from p2p.model.light import LightBlock
from p2p.model.rejection import Reason
from p2p.model.requests import Request
from p2p.model.snapshot import (
    OFFER_BYTES_MAX,
    PartEntries,
    PartRequest,
    SnapshotOffer,
    SnapshotRequest,
    entries_of,
    offer_of,
)
from p2p.primitives.codec import encode
from p2p.primitives.draws import Draws
from p2p.primitives.keys import peer_text
from p2p.primitives.units import AccountId, Digest, Height, Millis, PeerId
from p2p.protocol.light import CrossCheck, LightParameters, TrustedBlock, crosscheck
from p2p.protocol.replica.parameters import NodeParameters
from p2p.protocol.sync import snapshot
from p2p.protocol.sync.machine import Sync

SNAPSHOTS_MAX: Final = 2
"""States kept for others: who began with one has an interval's time to end."""


class _SignaturesChecked:
    """The verifier has checked every signature of an answer before it came here."""

    def verify(
        self, account: AccountId, kind: object, chain_id: Digest, body: bytes, signature: bytes
    ) -> bool:
        return True


class Host(Protocol):
    """What catching up needs of the node around it."""

    @property
    def state(self) -> State: ...

    def ask(self, peer: PeerId, request: Request, *, as_id: int | None = None) -> None: ...

    def penalize(self, peer: PeerId, reason: Reason, detail: str, now_ms: Millis) -> None: ...

    def persist(self, effect: Persist) -> None: ...

    def install(self, state: State, light: LightBlock, now_ms: Millis) -> None: ...

    def forked(self, detail: str, now_ms: Millis) -> None: ...


class CatchingUp:
    """One instance a node."""

    def __init__(
        self,
        host: Host,
        sync: Sync,
        parameters: NodeParameters,
        chain_id: Digest,
        pause: Callable[[bool, Millis], None],
        draws: Draws,
    ) -> None:
        self.machine = snapshot.SnapshotSync(draws=draws)
        self._host = host
        self._sync = sync
        self._parameters = parameters
        self._chain_id = chain_id
        self._pause = pause
        self._paused = False
        self._not_before_ms = Millis(0)
        self._wanted_since_ms: Millis | None = None
        self._proving: CrossCheck | None = None
        self._primary: PeerId | None = None
        self._held: dict[Height, State] = {}
        self._offers: dict[Height, SnapshotOffer] = {}

    # ---- for others --------------------------------------------------------------------------

    def hold(self, state: State) -> None:
        """Keep a state for others, if it is one of those that are kept."""
        if state.height and state.height % self._parameters.snapshot_interval == 0:
            self._held[state.height] = state
            while len(self._held) > SNAPSHOTS_MAX:
                oldest = min(self._held)
                del self._held[oldest]
                self._offers.pop(oldest, None)

    def offer(self, request: SnapshotRequest) -> SnapshotOffer | None:
        """The newest state that is kept, if it is above what was asked for."""
        height = max(self._held, default=Height(0))
        if request.chain_id != self._chain_id or height <= request.above:
            return None
        if height not in self._offers:
            self._offers[height] = offer_of(self._held[height])
        found = self._offers[height]
        return found if len(encode(found)) <= OFFER_BYTES_MAX else None

    def part(self, request: PartRequest) -> PartEntries | None:
        """A part of a state that is kept."""
        state = self._held.get(request.height)
        return None if state is None else entries_of(state, request.number)

    # ---- for ourselves -----------------------------------------------------------------------

    def look(self, now_ms: Millis) -> None:
        """Begin, or carry on, where blocks will not do; let blocks be asked for where they do."""
        gap = self._parameters.snapshot_gap
        wanted = gap and now_ms >= self._not_before_ms and self._sync.wants_snapshot(gap)
        if self.machine.is_active or (wanted and self._has_witnesses(now_ms)):
            self._not_before_ms = Millis(now_ms + self._parameters.snapshot_retry_ms)
            above = Height(self._host.state.height + self._parameters.snapshot_interval // 2)
            self.step(snapshot.SnapshotWanted(above), now_ms)
        self._follow(now_ms)

    def _has_witnesses(self, now_ms: Millis) -> bool:
        """Whether enough neighbours are here to confirm a header, or were waited for in vain."""
        if self._wanted_since_ms is None:
            self._wanted_since_ms = now_ms
        waited_ms = now_ms - self._wanted_since_ms
        enough = self.machine.neighbours_count > self._parameters.snapshot_witnesses
        return enough or waited_ms >= self._parameters.snapshot_patience_ms

    def _follow(self, now_ms: Millis) -> None:
        if self.machine.is_active != self._paused:
            self._paused = self.machine.is_active
            self._pause(self._paused, now_ms)

    def step(self, item: snapshot.SnapshotInput, now_ms: Millis) -> None:
        """Step the snapshot sync and carry out what it orders."""
        for effect in self.machine.step(item):
            match effect:
                case snapshot.AskOffer(request_id=request_id, peer=peer, above=above):
                    self._host.ask(peer, SnapshotRequest(self._chain_id, above), as_id=request_id)
                case snapshot.AskPart(
                    request_id=request_id, peer=peer, height=height, number=number
                ):
                    self._host.ask(peer, PartRequest(height, number), as_id=request_id)
                case snapshot.ProveHeader(peer=peer, height=height):
                    self._prove(peer, height, now_ms)
                case snapshot.InstallState(state=state, light=light):
                    self._host.install(state, light, now_ms)
                case Penalize(peer=peer, reason=reason, detail=detail):
                    self._host.penalize(peer, reason, detail, now_ms)
                case Persist():
                    self._host.persist(effect)
                case _:
                    assert_never(effect)
        self._follow(now_ms)

    # ---- the header --------------------------------------------------------------------------

    def _prove(self, peer: PeerId, height: Height, now_ms: Millis) -> None:
        state = self._host.state
        self._primary = peer
        self._proving = CrossCheck(
            TrustedBlock(state.height, state.time_ms, state.header_digest, state.validators),
            chain_id=self._chain_id,
            scheme=_SignaturesChecked(),
            parameters=LightParameters(self._parameters.trust_period_ms),
            primary=peer,
            witnesses=self.machine.by_lot(),
            wanted=self._parameters.snapshot_witnesses,
        )
        self._proceed(self._proving.begin(height), now_ms)

    def take_light(self, peer: PeerId, light: LightBlock | None, now_ms: Millis) -> None:
        """A neighbour's answer to a light block that we asked for; None is no answer."""
        if self._proving is not None:
            self._proceed(self._proving.take(peer, light, now_ms), now_ms)

    def _proceed(self, steps: list[crosscheck.CrossCheckStep], now_ms: Millis) -> None:
        for step in steps:
            match step:
                case crosscheck.AskPeer(peer=peer, request=request):
                    self._host.ask(peer, request)
                case crosscheck.WitnessLied(peer=peer, detail=detail):
                    self._host.penalize(peer, Reason.BAD_CERTIFICATE, detail, now_ms)
                case crosscheck.Confirmed(light=light):
                    self._proving = None
                    self.step(snapshot.HeaderProven(light), now_ms)
                case crosscheck.Refused(detail=detail, lied=lied):
                    assert self._primary is not None, "it was asked"
                    self._proving = None
                    if lied:
                        self._host.penalize(self._primary, Reason.BAD_CERTIFICATE, detail, now_ms)
                    self.step(snapshot.HeaderUnproven(self._primary), now_ms)
                case crosscheck.Forked():
                    self._proving = None
                    self._host.forked(_fork_sentence(step), now_ms)
                case _:
                    assert_never(step)


def _fork_sentence(fork: crosscheck.Forked) -> str:
    return f"{peer_text(fork.first)} and {peer_text(fork.second)} prove {fork.attack.what}"
