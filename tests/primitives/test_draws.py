"""The random stream of machines: the same everywhere, and fair enough."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.primitives.draws import Draws


def test_a_seed_names_one_stream_on_every_machine() -> None:
    draws = Draws(b"gigmesh", b"\x01")
    assert [draws.next_u64() for _ in range(3)] == [
        13483609812069808012,
        7309001978724679164,
        12923413004592287544,
    ]


def test_it_is_splitmix64() -> None:
    """The first outputs for the state 1234567, as Steele's and Vigna's code gives them."""
    draws = Draws()
    draws._state = 1234567
    assert [draws.next_u64() for _ in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@given(st.lists(st.binary(max_size=4), max_size=3), st.lists(st.binary(max_size=4), max_size=3))
def test_other_seed_parts_name_other_streams(one: list[bytes], other: list[bytes]) -> None:
    same = Draws(*one).next_u64() == Draws(*other).next_u64()
    assert same == (one == other)


@given(st.binary(), st.integers(1, 2**64))
def test_a_draw_is_below_its_bound(seed: bytes, bound: int) -> None:
    assert 0 <= Draws(seed).below(bound) < bound


@pytest.mark.parametrize("bound", [0, -1])
def test_an_empty_range_has_no_number(bound: int) -> None:
    with pytest.raises(ValueError, match="empty range"):
        Draws().below(bound)
    with pytest.raises(ValueError, match="empty range"):
        Draws().choice([])


@given(st.binary(), st.lists(st.integers(), unique=True))
def test_a_shuffle_keeps_the_items(seed: bytes, items: list[int]) -> None:
    shuffled = list(items)
    Draws(seed).shuffle(shuffled)
    assert sorted(shuffled) == sorted(items)


def test_a_shuffle_reaches_every_order_about_equally() -> None:
    draws, seen = Draws(b"orders"), Counter[str]()
    for _ in range(6_000):
        letters = list("abc")
        draws.shuffle(letters)
        seen["".join(letters)] += 1
    assert len(seen) == 6
    assert all(900 < count < 1_100 for count in seen.values())


@given(st.binary(), st.lists(st.integers(), unique=True), st.integers(-1, 20))
def test_a_sample_is_of_distinct_items(seed: bytes, items: list[int], count: int) -> None:
    sample = Draws(seed).sample(items, count)
    assert len(sample) == len(set(sample)) == min(len(items), max(0, count))
    assert set(sample) <= set(items)


def test_a_choice_is_one_of_the_items() -> None:
    draws = Draws(b"choice")
    assert {draws.choice("xyz") for _ in range(100)} == {"x", "y", "z"}
