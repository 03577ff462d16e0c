"""The snapshot sync alone: whom it asks, whom it blames, what it keeps."""

import pytest

from p2p.model.block import Certificate, Header, ValidatorSet
from p2p.model.effects import Penalize, Persist
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed
from p2p.model.ledger import Account, State
from p2p.model.light import LightBlock
from p2p.model.persistence import Put, Table, number_key
from p2p.model.rejection import Reason
from p2p.model.snapshot import PartEntries, SnapshotOffer, entries_of, offer_of
from p2p.primitives.codec import encode
from p2p.primitives.digests import ZERO_DIGEST
from p2p.primitives.units import AccountId, Amount, Height, PeerId, Round
from p2p.protocol.sync.snapshot import (
    ALL_SNAPSHOT_ROWS,
    AskOffer,
    AskPart,
    HeaderProven,
    HeaderUnproven,
    InstallState,
    OfferReceived,
    PartReceived,
    ProveHeader,
    SnapshotEffect,
    SnapshotInput,
    SnapshotRestored,
    SnapshotSync,
    SnapshotWanted,
)
from tests.model.test_ledger import small_state

A, B, C = PeerId(b"a"), PeerId(b"b"), PeerId(b"c")


def state_and_header() -> tuple[State, LightBlock]:
    accounts = {AccountId(bytes([n]) * 32): Account(Amount(n)) for n in range(40)}
    state = small_state(height=90, time_ms=5, accounts=accounts)
    header = Header(
        chain_id=ZERO_DIGEST,
        height=Height(90),
        time_ms=state.time_ms,
        proposer=AccountId(bytes(32)),
        previous=ZERO_DIGEST,
        transactions_root=ZERO_DIGEST,
        receipts_root=ZERO_DIGEST,
        rewards_root=ZERO_DIGEST,
        evidence_root=ZERO_DIGEST,
        state_root=state.root,
        validators_root=ZERO_DIGEST,
        next_validators_root=ZERO_DIGEST,
        minted=Amount(0),
        burned=Amount(0),
        supply=Amount(0),
        parameters_digest=ZERO_DIGEST,
    )
    certificate = Certificate(ZERO_DIGEST, Height(90), Round(0), header.digest(), ())
    named = state.named(header.digest())
    return named, LightBlock(header, certificate, ValidatorSet(()), ValidatorSet(()))


STATE, LIGHT = state_and_header()
OFFER = offer_of(STATE, entries_max=15)


def part(number: int) -> PartEntries:
    found = entries_of(STATE, number, entries_max=15)
    assert found is not None
    return found


def new(*peers: PeerId) -> SnapshotSync:
    machine = SnapshotSync()
    for peer in peers:
        machine.step(PeerConnected(peer, True, ""))
    return machine


def tell(machine: SnapshotSync, *items: SnapshotInput) -> list[SnapshotEffect]:
    """What the last of these sets off, without what is persisted."""
    effects: list[SnapshotEffect] = []
    for item in items:
        effects = machine.step(item)
    return [effect for effect in effects if not isinstance(effect, Persist)]


WANTED = SnapshotWanted(Height(50))


def fetching(*peers: PeerId) -> tuple[SnapshotSync, list[SnapshotEffect]]:
    machine = new(*peers)
    assert tell(machine, WANTED) == [AskOffer(1, peers[0], Height(50))]
    offered = OfferReceived(1, peers[0], OFFER)
    assert tell(machine, offered) == [ProveHeader(peers[0], Height(90))]
    return machine, tell(machine, HeaderProven(LIGHT))


def test_there_are_parts_to_speak_of() -> None:
    assert len(OFFER.parts) >= 4


def test_parts_come_from_neighbours_side_by_side_and_make_the_state() -> None:
    machine, asked = fetching(A, B)
    assert asked == [AskPart(2, A, Height(90), 0), AskPart(3, B, Height(90), 1)]
    asks: list[SnapshotEffect] = asked
    while asks:
        ask = asks.pop(0)
        assert isinstance(ask, AskPart)
        asks += tell(machine, PartReceived(ask.request_id, ask.peer, part(ask.number)))
        if asks and isinstance(asks[-1], InstallState):
            break
    assert asks == [InstallState(STATE, LIGHT)]
    assert not machine.is_active
    assert machine.progress == (0, 0)


def test_a_false_part_blames_its_sender_alone_and_is_asked_of_another() -> None:
    machine, _ = fetching(A, B)
    effects = tell(machine, PartReceived(2, A, part(2)))
    assert effects == [Penalize(A, Reason.BAD_ROOT, "part 0 of snapshot 90")]
    # B is busy; when it is free, it gets what A spoilt.
    assert tell(machine, PartReceived(3, B, part(1))) == [AskPart(4, B, Height(90), 0)]
    assert machine.progress[0] == 1


def test_an_answer_that_nobody_asked_for_changes_nothing() -> None:
    machine, _ = fetching(A, B)
    assert tell(machine, PartReceived(3, A, part(1)), PartReceived(9, B, part(0))) == []
    assert tell(machine, RequestFailed(99, A)) == []
    assert tell(machine, OfferReceived(1, A, OFFER), HeaderProven(LIGHT)) == []


def unfit(offer: SnapshotOffer) -> SnapshotOffer:
    return SnapshotOffer(offer.frame, offer.accounts * 2, offer.channels)


def test_an_offer_that_does_not_fit_together_blames_its_sender() -> None:
    machine = new(A, B)
    tell(machine, WANTED)
    assert tell(machine, OfferReceived(1, A, unfit(OFFER))) == [
        Penalize(A, Reason.BAD_ROOT, "a snapshot that does not fit together"),
        AskOffer(2, B, Height(50)),
    ]


def test_an_offer_of_another_state_than_the_headers_blames_its_sender() -> None:
    other = offer_of(small_state(height=90, time_ms=5).named(LIGHT.header.digest()))
    machine = new(A, B)
    tell(machine, WANTED, OfferReceived(1, A, other))
    assert tell(machine, HeaderProven(LIGHT)) == [
        Penalize(A, Reason.BAD_ROOT, "snapshot 90"),
        AskOffer(2, B, Height(50)),
    ]


@pytest.mark.parametrize(
    "news", [RequestFailed(1, A), OfferReceived(1, A, offer_of(small_state(height=50)))]
)
def test_who_has_no_snapshot_for_us_is_passed_over_without_blame(news: SnapshotInput) -> None:
    machine = new(A, B)
    tell(machine, WANTED)
    assert tell(machine, news) == [AskOffer(2, B, Height(50))]
    assert tell(machine, RequestFailed(2, B)) == []
    assert not machine.is_active
    # Another time all are asked anew.
    assert tell(machine, WANTED) == [AskOffer(3, A, Height(50))]


def test_a_header_that_cannot_be_proven_leads_to_the_next_neighbour() -> None:
    machine = new(A, B)
    tell(machine, WANTED, OfferReceived(1, A, OFFER))
    assert tell(machine, HeaderUnproven(A)) == [AskOffer(2, B, Height(50))]
    assert tell(machine, WANTED) == []  # one at a time


def test_a_snapshot_that_nobody_has_any_more_is_given_up() -> None:
    machine, asked = fetching(A)
    for _ in range(3):
        (ask,) = asked
        assert isinstance(ask, AskPart)
        assert tell(machine, RequestFailed(ask.request_id, A)) == []
        assert machine.is_active
        asked = tell(machine, WANTED)
    (ask,) = asked
    assert isinstance(ask, AskPart)
    assert machine.step(RequestFailed(ask.request_id, A)) == [Persist((ALL_SNAPSHOT_ROWS,))]
    assert not machine.is_active


def test_a_new_neighbour_is_asked_at_once_and_one_that_left_no_more() -> None:
    machine, _ = fetching(A)
    assert tell(machine, PeerConnected(B, True, "")) == [AskPart(3, B, Height(90), 1)]
    assert tell(machine, PeerDisconnected(B), RequestFailed(3, B)) == []
    assert tell(machine, PartReceived(2, A, part(0))) == [AskPart(4, A, Height(90), 1)]


def kept(machine: SnapshotSync, *items: SnapshotInput) -> dict[bytes, bytes]:
    """What is on the disk after these."""
    rows: dict[bytes, bytes] = {}
    for item in items:
        for effect in machine.step(item):
            for write in effect.writes if isinstance(effect, Persist) else ():
                if isinstance(write, Put):
                    assert write.table is Table.SNAPSHOT
                    rows[write.key] = write.value
                else:
                    assert write == ALL_SNAPSHOT_ROWS
                    rows.clear()
    return rows


def test_what_was_fetched_survives_a_crash() -> None:
    items = (WANTED, OfferReceived(1, A, OFFER), HeaderProven(LIGHT), PartReceived(2, A, part(0)))
    rows = kept(new(A), *items)
    again = new()
    assert again.step(SnapshotRestored(tuple(rows.items()))) == []
    assert again.progress == (1, len(OFFER.parts))
    assert tell(again, PeerConnected(B, True, "")) == [AskPart(1, B, Height(90), 1)]


def test_what_a_disk_holds_falsely_is_fetched_again() -> None:
    items = (WANTED, OfferReceived(1, A, OFFER), HeaderProven(LIGHT), PartReceived(2, A, part(0)))
    rows = kept(new(A), *items)
    torn = {key: value for key, value in rows.items() if key != b"offer"}
    assert new().step(SnapshotRestored(tuple(torn.items()))) == [Persist((ALL_SNAPSHOT_ROWS,))]
    assert new().step(SnapshotRestored(())) == []


def test_a_snapshot_that_was_whole_before_the_crash_is_installed() -> None:
    items: list[SnapshotInput] = [WANTED, OfferReceived(1, A, OFFER), HeaderProven(LIGHT)]
    rows = kept(new(A), *items)
    for number in range(len(OFFER.parts)):
        rows[number_key(number)] = encode(part(number))
    again = new()
    assert again.step(SnapshotRestored(tuple(rows.items()))) == [InstallState(STATE, LIGHT)]
