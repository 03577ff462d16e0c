import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.model.block import Validator, ValidatorSet
from p2p.model.proposer import (
    ProposerPriorities,
    advance,
    initial_priorities,
    next_height,
    update,
)
from p2p.primitives.codec import decode, encode
from p2p.primitives.units import AMOUNT_MAX, AccountId, Amount, Round
from p2p.protocol.consensus.proposer import WeightedProposers


def validators(powers: dict[str, int]) -> ValidatorSet:
    members = [
        Validator(AccountId(name.encode().ljust(32, b"\0")), Amount(power))
        for name, power in powers.items()
    ]
    return ValidatorSet(tuple(sorted(members, key=lambda v: (-v.power, v.account))))


def turns(powers: dict[str, int], count: int) -> list[str]:
    members = validators(powers)
    priorities, names = initial_priorities(members), []
    for _ in range(count):
        priorities, proposer = advance(priorities, members)
        names.append(proposer.rstrip(b"\0").decode())
    return names


def values(priorities: ProposerPriorities) -> list[int]:
    return [entry.priority for entry in priorities.entries]


powers_of_some = st.dictionaries(
    st.sampled_from([chr(ord("a") + n) for n in range(9)]), st.integers(1, 1_000), min_size=1
)


def test_equal_powers_take_turns_from_the_lowest_account() -> None:
    assert turns({"a": 100, "b": 100, "c": 100}, 7) == ["a", "b", "c", "a", "b", "c", "a"]


def test_the_heavy_one_proposes_more_often_and_never_twice_where_others_are_due() -> None:
    # CometBFT, TestProposerSelection2: power 400 of 600 proposes first and not again at once;
    # with 401 it does.
    assert turns({"a": 100, "b": 100, "c": 400}, 2) == ["c", "a"]
    assert turns({"a": 100, "b": 100, "c": 401}, 3) == ["c", "c", "a"]


def test_priorities_move_as_in_the_specification() -> None:
    members = validators({"a": 10, "b": 1, "c": 1})
    priorities = initial_priorities(members)
    seen = []
    for _ in range(11):
        priorities, _who = advance(priorities, members)
        seen.append(values(priorities))
    assert [seen[0], seen[4], seen[8], seen[10]] == [
        [-2, 1, 1],
        [2, -7, 5],
        [6, -3, -3],
        [2, -1, -1],
    ]


@given(powers_of_some)
def test_in_a_full_cycle_everyone_proposes_in_proportion(powers: dict[str, int]) -> None:
    small = {name: power % 20 + 1 for name, power in powers.items()}
    names = turns(small, sum(small.values()))
    assert {name: names.count(name) for name in small} == small


@given(powers_of_some, st.integers(1, 300))
def test_at_any_moment_nobody_is_ahead_of_its_share_by_more_than_a_few_turns(
    powers: dict[str, int], count: int
) -> None:
    names = turns(powers, count)
    total = sum(powers.values())
    for name, power in powers.items():
        assert abs(names.count(name) * total - count * power) <= 2 * total * len(powers)


@given(powers_of_some, powers_of_some, st.integers(0, 30))
def test_a_changed_set_stays_centred_within_its_window(
    before: dict[str, int], after: dict[str, int], count: int
) -> None:
    old, new = validators(before), validators(after)
    priorities = initial_priorities(old)
    for _ in range(count):
        priorities, _who = advance(priorities, old)
    changed = update(priorities, new)
    assert [entry.account for entry in changed.entries] == [v.account for v in new.validators]
    assert 0 <= sum(values(changed)) < len(after)
    assert max(values(changed)) - min(values(changed)) <= 2 * new.total_power
    assert decode(encode(changed), ProposerPriorities, bytes_max=16_384) == changed


@given(
    history=st.lists(st.tuples(powers_of_some, st.integers(0, 12)), max_size=6),
    last=powers_of_some,
    count=st.integers(1, 200),
)
def test_rotation_is_fair_after_whatever_changes_of_the_set(
    history: list[tuple[dict[str, int], int]], last: dict[str, int], count: int
) -> None:
    """From any moment on, nobody is ahead of its share or behind by more than three turns."""
    start = validators(history[0][0] if history else last)
    priorities = initial_priorities(start)
    for powers, turns_taken in history:
        members = validators(powers)
        priorities = update(priorities, members)
        for _ in range(turns_taken):
            priorities, _who = advance(priorities, members)
    members = validators(last)
    priorities = update(priorities, members)
    proposed: dict[bytes, int] = {}
    for _ in range(count):
        priorities, who = advance(priorities, members)
        proposed[who] = proposed.get(who, 0) + 1
    total = members.total_power
    for voter in members.validators:
        ahead = proposed.get(voter.account, 0) * total - count * voter.power
        assert abs(ahead) <= 3 * total


def test_a_newcomer_queues_at_the_back_and_leaving_gains_nothing() -> None:
    both, one = validators({"a": 10, "b": 10}), validators({"a": 10})
    priorities, first = advance(initial_priorities(both), both)
    assert first.startswith(b"a")
    # It has had its turn; leaving and coming back does not make it forgotten.
    without = update(priorities, validators({"b": 10}))
    back = update(without, both)
    assert advance(back, both)[1].startswith(b"b")
    assert values(update(initial_priorities(one), both)) == [11, -11]


def test_a_shrunken_set_is_scaled_back_into_its_window() -> None:
    heavy = validators({"a": 1_000, "b": 1_000, "c": 1})
    priorities, _who = advance(initial_priorities(heavy), heavy)
    assert values(priorities) == [-1_001, 1_000, 1]
    # A spread of 2001 over a window of 4: divided by 501, towards zero as in Go.
    assert values(update(priorities, validators({"a": 1, "b": 1}))) == [-1, 1]


def test_a_height_advances_once_however_many_rounds_it_took() -> None:
    members = validators({"a": 1, "b": 1, "c": 1})
    priorities = initial_priorities(members)
    proposers = WeightedProposers(priorities, members)
    assert [proposers.of(Round(r))[:1] for r in range(4)] == [b"a", b"b", b"c", b"a"]
    after = next_height(priorities, current=members, following=members)
    assert WeightedProposers(after, members).of(Round(0))[:1] == b"b"


def test_proposers_of_old_and_far_rounds_are_found_again() -> None:
    members = validators({"a": 1, "b": 2})
    proposers = WeightedProposers(initial_priorities(members), members)
    early = [proposers.of(Round(r)) for r in range(5)]
    assert proposers.of(Round(1_000)) == proposers.of(Round(1_000))
    assert [proposers.of(Round(r)) for r in range(5)] == early


def test_astronomical_powers_fit_the_wire() -> None:
    members = validators({"a": AMOUNT_MAX, "b": AMOUNT_MAX, "c": 1})
    priorities = update(initial_priorities(validators({"a": 1})), members)
    for _ in range(10):
        priorities, _who = advance(priorities, members)
        assert decode(encode(priorities), ProposerPriorities, bytes_max=1_024) == priorities


def test_priorities_of_another_set_are_refused() -> None:
    members = validators({"a": 1, "b": 1})
    with pytest.raises(ValueError, match="another validator set"):
        advance(initial_priorities(validators({"a": 1})), members)
    with pytest.raises(ValueError, match="another validator set"):
        advance(ProposerPriorities(()), ValidatorSet(()))


def test_an_empty_set_has_no_priorities() -> None:
    assert update(initial_priorities(validators({"a": 1})), ValidatorSet(())).entries == ()
