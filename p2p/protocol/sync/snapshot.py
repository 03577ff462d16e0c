"""The snapshot sync: takes over a proven state in parts, where blocks are too many or gone.

    idle --SnapshotWanted--> offering --offer--> proving --header--> fetching --parts--> idle
             asks a neighbour    |  next neighbour   |  next one         |   InstallState
                                 +-------------------+-- none: idle      +-- none: idle

An offer is worth nothing until the replica has proven the header of its height, by the light
client's rule from our own last block (or the genesis). From then on every part is true or false by
itself: parts come from several neighbours side by side, a false one names its sender, and nobody
else. What was proven and fetched is durable, so a crash costs what was under way.

Only what a neighbour is asked for counts; each has one question at a time. Every question is
answered by the machine's inputs or by `RequestFailed` within the world's deadline.
"""

from typing import Annotated, Final, assert_never

import msgspec
from msgspec import Meta

from p2p.model.effects import Penalize, Persist
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed
from p2p.model.ledger import STATE_BYTES_MAX, State
from p2p.model.light import LIGHT_BLOCK_BYTES_MAX, LightBlock
from p2p.model.persistence import DeleteRange, Put, Table, number_key
from p2p.model.rejection import Reason
from p2p.model.snapshot import OFFER_BYTES_MAX, PartEntries, SnapshotOffer, assembled
from p2p.primitives.codec import Malformed, decode, encode
from p2p.primitives.draws import Draws
from p2p.primitives.units import Height, PeerId

OFFER_KEY: Final = b"offer"
HEADER_KEY: Final = b"proven header"
ALL_SNAPSHOT_ROWS: Final = DeleteRange(Table.SNAPSHOT, b"", b"\xff" * 16)


class SnapshotParameters(msgspec.Struct, frozen=True):
    """Local choices."""

    asks_max: Annotated[int, Meta(ge=1)] = 4
    """Neighbours asked for a part side by side: each answer is 0.5 MiB at most."""
    fruitless_max: int = 3
    """Rounds through all neighbours without a new part, after which the snapshot is given up."""


# ---- inputs -------------------------------------------------------------------------------------


class SnapshotWanted(msgspec.Struct, frozen=True):
    """Blocks cannot or should not bring us up: fetch a state above this height."""

    above: Height


class SnapshotRestored(msgspec.Struct, frozen=True):
    """What the disk holds of a snapshot under way."""

    rows: tuple[tuple[bytes, bytes], ...]


class OfferReceived(msgspec.Struct, frozen=True):
    """The answer to `AskOffer` of this id."""

    request_id: int
    peer: PeerId
    offer: SnapshotOffer


class HeaderProven(msgspec.Struct, frozen=True):
    """The answer to `ProveHeader`: the header of that height, with both validator sets."""

    light: LightBlock


class HeaderUnproven(msgspec.Struct, frozen=True):
    """The answer to `ProveHeader`: the neighbour could not prove it."""

    peer: PeerId


class PartReceived(msgspec.Struct, frozen=True):
    """The answer to `AskPart` of this id."""

    request_id: int
    peer: PeerId
    entries: PartEntries


SnapshotInput = (
    SnapshotWanted
    | SnapshotRestored
    | OfferReceived
    | HeaderProven
    | HeaderUnproven
    | PartReceived
    | RequestFailed
    | PeerConnected
    | PeerDisconnected
)

# ---- effects ------------------------------------------------------------------------------------


class AskOffer(msgspec.Struct, frozen=True):
    """Ask a neighbour for a snapshot."""

    request_id: int
    peer: PeerId
    above: Height


class ProveHeader(msgspec.Struct, frozen=True):
    """Prove the header of a height by asking this neighbour for light blocks."""

    peer: PeerId
    height: Height


class AskPart(msgspec.Struct, frozen=True):
    """Ask a neighbour for a part of a state."""

    request_id: int
    peer: PeerId
    height: Height
    number: int


class InstallState(msgspec.Struct, frozen=True):
    """Go on from this state; the header that vouches for it is proven."""

    state: State
    light: LightBlock


SnapshotEffect = AskOffer | ProveHeader | AskPart | InstallState | Penalize | Persist


class _Offered(msgspec.Struct, frozen=True):
    peer: PeerId
    offer: SnapshotOffer


class SnapshotSync:
    """One instance a node; `step` alone changes it.

    Args:
        parameters: local choices.
        draws: by which neighbours are chosen; None takes them in the order of their connection.
    """

    def __init__(
        self, parameters: SnapshotParameters | None = None, draws: Draws | None = None
    ) -> None:
        self._parameters = parameters or SnapshotParameters()
        self._draws = draws
        self._peers: dict[PeerId, None] = {}
        self._useless: dict[PeerId, None] = {}
        """Neighbours that failed in this round."""
        self._above = Height(0)
        self._asked_offer: tuple[int, PeerId] | None = None
        self._proving: _Offered | None = None
        self._offer: SnapshotOffer | None = None
        """Of a proven header; its parts are being fetched."""
        self._light: LightBlock | None = None
        self._parts: dict[int, PartEntries] = {}
        self._asks: dict[int, tuple[PeerId, int]] = {}
        self._fruitless = 0
        self._next_id = 1

    # ---- queries -------------------------------------------------------------------------------

    @property
    def is_active(self) -> bool:
        """Whether a snapshot is under way: blocks need not be asked for meanwhile."""
        return bool(self._asked_offer or self._proving or self._offer)

    @property
    def neighbours_count(self) -> int:
        """How many could be asked."""
        return len(self._peers)

    @property
    def progress(self) -> tuple[int, int]:
        """Parts that are here, and parts in all (0 before an offer is proven)."""
        return len(self._parts), 0 if self._offer is None else len(self._offer.parts)

    # ---- the step -------------------------------------------------------------------------------

    def step(self, event: SnapshotInput) -> list[SnapshotEffect]:
        """Take in one piece of news."""
        match event:
            case SnapshotWanted(above=above):
                self._above = above
                return self._next()
            case SnapshotRestored(rows=rows):
                return self._restore(rows)
            case OfferReceived():
                return self._take_offer(event)
            case HeaderProven(light=light):
                return self._take_header(light)
            case HeaderUnproven(peer=peer):
                return self._give_up_offer(peer)
            case PartReceived():
                return self._take_part(event)
            case RequestFailed(request_id=request_id, peer=peer):
                return self._fail(request_id, peer)
            case PeerConnected(peer=peer):
                self._peers[peer] = None
                return self._next() if self._offer is not None else []
            case PeerDisconnected(peer=peer):
                self._peers.pop(peer, None)
                return []
            case _:
                assert_never(event)

    def _next(self) -> list[SnapshotEffect]:
        """Ask whoever is free for what is missing."""
        if self._offer is not None:
            return self._ask_parts(self._offer)
        if self._asked_offer is not None or self._proving is not None:
            return []
        for peer in self.by_lot():
            if peer not in self._useless:
                self._asked_offer = (self._take_id(), peer)
                return [AskOffer(*self._asked_offer, self._above)]
        self._useless.clear()
        return []

    def by_lot(self) -> list[PeerId]:
        """All neighbours; whoever came first must not be asked first by everybody."""
        peers = list(self._peers)
        return peers if self._draws is None else list(self._draws.sample(peers, len(peers)))

    def _take_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    # ---- the offer -------------------------------------------------------------------------------

    def _take_offer(self, event: OfferReceived) -> list[SnapshotEffect]:
        if self._asked_offer != (event.request_id, event.peer):
            return []
        self._asked_offer = None
        if event.offer.height <= self._above:
            return self._give_up_offer(event.peer)
        if event.offer.root() is None:
            fault = Penalize(event.peer, Reason.BAD_ROOT, "a snapshot that does not fit together")
            return [fault, *self._give_up_offer(event.peer)]
        self._proving = _Offered(event.peer, event.offer)
        return [ProveHeader(event.peer, event.offer.height)]

    def _give_up_offer(self, peer: PeerId) -> list[SnapshotEffect]:
        self._proving = None
        self._useless[peer] = None
        return self._next()

    def _take_header(self, light: LightBlock) -> list[SnapshotEffect]:
        offered = self._proving
        if offered is None or offered.offer.height != light.header.height:
            return []
        self._proving = None
        header, frame = light.header, offered.offer.frame
        is_true = (
            offered.offer.root() == header.state_root
            and frame.header_digest == header.digest()
            and frame.time_ms == header.time_ms
        )
        if not is_true:
            fault = Penalize(offered.peer, Reason.BAD_ROOT, f"snapshot {header.height}")
            return [fault, *self._give_up_offer(offered.peer)]
        self._offer, self._light = offered.offer, light
        self._parts, self._fruitless = {}, 0
        self._useless.clear()
        kept = Persist(
            (
                ALL_SNAPSHOT_ROWS,
                Put(Table.SNAPSHOT, OFFER_KEY, encode(offered.offer)),
                Put(Table.SNAPSHOT, HEADER_KEY, encode(light)),
            )
        )
        return [kept, *self._next()]

    # ---- parts ----------------------------------------------------------------------------------

    def _ask_parts(self, offer: SnapshotOffer) -> list[SnapshotEffect]:
        effects: list[SnapshotEffect] = []
        busy = {peer for peer, _ in self._asks.values()}
        asked = {number for _, number in self._asks.values()}
        missing = iter(
            number
            for number in range(len(offer.parts))
            if number not in self._parts and number not in asked
        )
        for peer in self.by_lot():
            if len(self._asks) >= self._parameters.asks_max:
                break
            if peer in busy or peer in self._useless:
                continue
            number = next(missing, None)
            if number is None:
                break
            request_id = self._take_id()
            self._asks[request_id] = (peer, number)
            effects.append(AskPart(request_id, peer, offer.height, number))
        if not self._asks:
            return self._round_over()
        return effects

    def _round_over(self) -> list[SnapshotEffect]:
        """Nobody is left to ask: wait for the next want, or give the snapshot up."""
        self._useless.clear()
        self._fruitless += 1
        if self._fruitless <= self._parameters.fruitless_max:
            return []
        self._forget()
        return [Persist((ALL_SNAPSHOT_ROWS,))]

    def _forget(self) -> None:
        self._offer = self._light = None
        self._parts, self._asks, self._fruitless = {}, {}, 0

    def _take_part(self, event: PartReceived) -> list[SnapshotEffect]:
        peer, number = self._asks.pop(event.request_id, (None, 0))
        offer = self._offer
        if offer is None or peer != event.peer:
            return []
        if not event.entries.is_part(offer, number):
            self._useless[event.peer] = None
            detail = f"part {number} of snapshot {offer.height}"
            return [Penalize(event.peer, Reason.BAD_ROOT, detail), *self._next()]
        self._parts[number] = event.entries
        self._fruitless = 0
        kept = Put(Table.SNAPSHOT, number_key(number), encode(event.entries))
        if len(self._parts) < len(offer.parts):
            return [Persist((kept,)), *self._next()]
        return self._install(offer)

    def _install(self, offer: SnapshotOffer) -> list[SnapshotEffect]:
        assert self._light is not None, "parts are asked for under a proven header"
        effect = InstallState(assembled(offer, self._parts), self._light)
        self._forget()
        return [effect]

    def _fail(self, request_id: int, peer: PeerId) -> list[SnapshotEffect]:
        if self._asked_offer == (request_id, peer):
            self._asked_offer = None
            return self._give_up_offer(peer)
        if self._asks.pop(request_id, None) is None:
            return []
        self._useless[peer] = None
        return self._next()

    # ---- after a crash ---------------------------------------------------------------------

    def _restore(self, rows: tuple[tuple[bytes, bytes], ...]) -> list[SnapshotEffect]:
        """Take up what was fetched; rows that are not as we wrote them are fetched again."""
        held = dict(rows)
        try:
            offer = decode(held[OFFER_KEY], SnapshotOffer, bytes_max=OFFER_BYTES_MAX)
            light = decode(held[HEADER_KEY], LightBlock, bytes_max=2 * LIGHT_BLOCK_BYTES_MAX)
        except (KeyError, Malformed):
            return [Persist((ALL_SNAPSHOT_ROWS,))] if rows else []
        self._offer, self._light = offer, light
        for number in range(len(offer.parts)):
            data = held.get(number_key(number))
            if data is not None:
                entries = decode(data, PartEntries, bytes_max=STATE_BYTES_MAX)
                if entries.is_part(offer, number):
                    self._parts[number] = entries
        return self._install(offer) if len(self._parts) == len(offer.parts) else []
