"""Selectors name nodes."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_harness.scenario.selectors import Population, check_selector, select, select_groups

PEOPLE = Population(
    nodes=10,
    validators=4,
    consumers=2,
    regions=("Tokyo", "London") * 5,
    proposer=lambda: 3,
)


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("all", list(range(10))),
        ("validators", [0, 1, 2, 3]),
        ("others", [4, 5, 6, 7, 8, 9]),
        ("consumers", [8, 9]),
        ("nodes[3]", [3]),
        ("nodes[-1]", [9]),
        ("validators[0:2]", [0, 1]),
        ("validators[2:]", [2, 3]),
        ("others[:-4]", [4, 5]),
        ("region:Tokyo", [0, 2, 4, 6, 8]),
        ("proposer", [3]),
        ("nodes[7], validators[0], nodes[7]", [0, 7]),
    ],
)
def test_words_mean_nodes(text: str, nodes: list[int]) -> None:
    check_selector(text, PEOPLE)
    assert select(text, PEOPLE, Random(1)) == nodes


@pytest.mark.parametrize(
    ("text", "count"),
    [("50%", 5), ("1%", 1), ("99%", 9), ("random(3)", 3), ("50% of validators", 2)],
)
def test_shares_and_numbers_are_drawn(text: str, count: int) -> None:
    assert len(select(text, PEOPLE, Random(1))) == count


def test_who_is_drawn_follows_from_the_stream() -> None:
    draws, same = Random(7), Random(7)
    first = [select("random(3) of others", PEOPLE, draws) for _ in range(20)]
    assert first == [select("random(3) of others", PEOPLE, same) for _ in range(20)]
    assert len({tuple(one) for one in first}) > 5
    assert all(set(one) <= set(range(4, 10)) for one in first)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("validator", "'validator' is no selector; did you mean 'validators'?"),
        ("nodes[10]", "'nodes[10]' matches no node; there are 10 nodes"),
        ("validators[4:]", "'validators[4:]' matches no node; there are 4 validators"),
        ("region:Oregon", "'region:Oregon' matches no node; regions here: Tokyo, London"),
        ("random(0)", "'random(0)' matches no node"),
        ("random(5) of validators", "'random(5) of validators' wants 5 of 4 nodes"),
        ("0%", "'0%' matches no node"),
        ("120%", "expected a share such as '5%', not '120%'"),
    ],
)
def test_what_matches_nobody_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text follows
        check_selector(text, PEOPLE)
    assert str(caught.value) == why


def test_a_region_needs_regions() -> None:
    with pytest.raises(ValueError, match="are in no regions"):
        check_selector("region:Tokyo", Population(3, 3, 0, ()))


@given(st.lists(st.sampled_from(["validators[0:2]", "rest", "30%", "others"]), min_size=1))
def test_nobody_is_in_two_groups_and_the_rest_is_everybody_else(groups: list[str]) -> None:
    once = groups[:1] + [one for one in groups[1:] if one != "rest"]
    found = select_groups(once, PEOPLE, Random(3))
    members = [index for group in found for index in group]
    assert len(members) == len(set(members))
    if "rest" in groups[:1]:
        assert sorted(members) == list(range(10))
