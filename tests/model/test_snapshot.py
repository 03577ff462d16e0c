import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.model.ledger import Account, AccountEntry, State
from p2p.model.snapshot import (
    PartEntries,
    SnapshotOffer,
    assembled,
    entries_of,
    offer_of,
)
from p2p.primitives.codec import Malformed, decode, encode
from p2p.primitives.digests import EMPTY_ROOT
from p2p.primitives.units import AccountId, Amount
from tests.model.test_ledger import PROVEN, small_state, states


def parts_of(state: State, offer: SnapshotOffer, entries_max: int) -> dict[int, PartEntries]:
    found = {}
    for number in range(len(offer.parts)):
        part = entries_of(state, number, entries_max=entries_max)
        assert part is not None
        assert part.is_part(offer, number)
        found[number] = part
    assert entries_of(state, len(offer.parts), entries_max=entries_max) is None
    return found


@settings(max_examples=40)
@given(states(), st.integers(1, 4))
def test_a_state_comes_back_from_its_parts(state: State, entries_max: int) -> None:
    offer = offer_of(state, entries_max=entries_max)
    again = decode(encode(offer), SnapshotOffer, bytes_max=100_000)
    assert again.root() == state.root
    parts = parts_of(state, again, entries_max)
    assert assembled(again, parts) == state


OFFER = offer_of(PROVEN, entries_max=3)
PARTS = parts_of(PROVEN, OFFER, 3)


def test_a_large_state_is_cut_into_small_parts() -> None:
    assert len(OFFER.accounts) > 2
    assert max(len(part.accounts) for part in PARTS.values()) <= 3
    assert OFFER.height == PROVEN.height


@settings(max_examples=200)
@given(st.data())
def test_a_part_with_any_bit_flipped_is_refused(data: st.DataObject) -> None:
    number = data.draw(st.sampled_from(sorted(PARTS)))
    written = bytearray(encode(PARTS[number]))
    place = data.draw(st.integers(0, 8 * len(written) - 1))
    written[place // 8] ^= 1 << place % 8
    try:
        bad = decode(bytes(written), PartEntries, bytes_max=100_000)
    except Malformed:
        return
    assert not bad.is_part(OFFER, number)


@settings(max_examples=200)
@given(st.data())
def test_an_offer_with_any_bit_flipped_has_another_root(data: st.DataObject) -> None:
    written = bytearray(encode(OFFER))
    place = data.draw(st.integers(0, 8 * len(written) - 1))
    written[place // 8] ^= 1 << place % 8
    try:
        bad = decode(bytes(written), SnapshotOffer, bytes_max=100_000)
    except Malformed:
        return
    # The name of the last header stands beside the root; the proven header vouches for it.
    renamed = bad.frame.header_digest != OFFER.frame.header_digest
    assert renamed or bad.root() != PROVEN.root


def test_parts_in_the_wrong_place_are_refused() -> None:
    first, last = PARTS[0], PARTS[len(OFFER.accounts)]
    assert not first.is_part(OFFER, 1)
    assert not first.is_part(OFFER, len(OFFER.accounts))
    assert not last.is_part(OFFER, 0)
    assert not first.is_part(OFFER, len(PARTS))
    turned = PartEntries(first.accounts[::-1], ())
    assert not turned.is_part(OFFER, 0)
    with_channel = PartEntries(first.accounts, last.channels)
    assert not with_channel.is_part(OFFER, 0)


def test_an_offer_that_does_not_fit_together_has_no_root() -> None:
    assert msgspec.structs.replace(OFFER, accounts=OFFER.accounts[:-1]).root() is None
    assert msgspec.structs.replace(OFFER, channels=()).root() is None
    assert msgspec.structs.replace(OFFER, frame=PROVEN).root() is None


def test_other_entries_than_those_offered_make_no_state() -> None:
    other = {**PARTS, 0: PartEntries((AccountEntry(AccountId(bytes(32)), Account(Amount(9))),), ())}
    with pytest.raises(ValueError, match="do not make up"):
        assembled(OFFER, other)


def test_an_empty_state_has_one_empty_part_of_each_kind() -> None:
    offer = offer_of(small_state())
    assert [part.digest for part in offer.parts] == [EMPTY_ROOT, EMPTY_ROOT]
    assert offer.root() == small_state().root
