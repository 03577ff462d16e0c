"""Whom the demo kills."""

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from p2p.node.errors import UserError
from sim_harness.live.victims import choose_victims


def test_a_provider_of_both_files_and_a_validator_that_holds_none_go() -> None:
    assert choose_victims([[5, 6, 7], [6, 2, 8]], validators=4, spared=[10, 11]) == [0, 6]


def test_a_provider_that_does_not_vote_goes_before_one_that_holds_more() -> None:
    assert choose_victims([[3, 10, 1], [3, 8, 0]], validators=4, spared=[]) == [2, 8]


def test_a_validator_is_both_when_no_other_holder_can_go() -> None:
    assert choose_victims([[1, 4, 3], [1, 2, 4]], validators=4, spared=[5, 4]) == [1]


def test_a_validator_that_holds_the_last_other_replica_stays() -> None:
    assert choose_victims([[0, 5]], validators=4, spared=[]) == [1, 5]


def test_too_few_validators_to_bear_a_fault_are_an_error() -> None:
    with pytest.raises(UserError, match="of 3 validators none can be spared"):
        choose_victims([[3, 4]], validators=3, spared=[])


def test_a_file_that_only_one_node_holds_cannot_lose_it() -> None:
    with pytest.raises(UserError, match=r"none of the nodes \[5\] can be killed"):
        choose_victims([[5]], validators=4, spared=[])


@given(
    st.lists(
        st.lists(st.integers(0, 9), min_size=3, max_size=3, unique=True), min_size=1, max_size=3
    ),
    st.sets(st.integers(4, 9), max_size=2),
)
def test_files_and_chain_survive_every_choice(holders: list[list[int]], spared: set[int]) -> None:
    try:
        chosen = choose_victims(holders, validators=4, spared=sorted(spared))
    except UserError:
        reject()
    assert all(set(held) - set(chosen) for held in holders)
    assert any(set(held) & set(chosen) for held in holders)
    assert sum(node < 4 for node in chosen) == 1
    assert not set(chosen) & spared
