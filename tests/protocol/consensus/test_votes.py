import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.model.vote import VoteKind
from p2p.primitives.units import Round
from p2p.protocol.consensus.votes import (
    QUORUM_VALUES_MAX,
    ROUNDS_AHEAD_MAX,
    Counted,
    Crossed,
    Threshold,
    VoteKeeper,
)
from tests.conformance.words import account, some_value, validator_set, vote

FOUR = {"v1": 1, "v2": 1, "v3": 1, "v4": 1}
A, B = some_value("A"), some_value("B")
ZERO = Round(0)


def keeper(weights: dict[str, int] | None = None) -> VoteKeeper:
    return VoteKeeper(validator_set(weights or FOUR))


def crossed(votes: VoteKeeper, *lines: str, current: int = 0) -> list[Crossed | None]:
    """Add votes given as "kind who round value"."""
    found: list[Crossed | None] = []
    for line in lines:
        kind, who, round_, text = line.split()
        one = vote(kind, who, int(round_), None if text == "-" else text)
        found.append(votes.add(one, current=Round(current)).crossed)
    return found


def test_a_value_needs_more_than_two_thirds_of_the_power() -> None:
    votes = keeper({"v1": 2, "v2": 2, "v3": 1, "v4": 1})
    assert crossed(votes, "prevote v1 0 A", "prevote v2 0 A") == [None, None]
    assert crossed(votes, "prevote v3 0 A") == [Crossed(Threshold.POLKA_VALUE, ZERO, A)]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("prevote", "A", Crossed(Threshold.POLKA_VALUE, ZERO, A)),
        ("prevote", "-", Crossed(Threshold.POLKA_NIL, ZERO)),
        ("precommit", "A", Crossed(Threshold.PRECOMMIT_VALUE, ZERO, A)),
        ("precommit", "-", Crossed(Threshold.PRECOMMIT_ANY, ZERO)),
    ],
)
def test_a_threshold_is_crossed_once(kind: str, text: str, expected: Crossed) -> None:
    votes = keeper()
    lines = [f"{kind} v{number} 0 {text}" for number in (1, 2, 3, 4)]
    assert crossed(votes, *lines) == [None, None, expected, None]


def test_votes_that_agree_on_nothing_make_an_any() -> None:
    votes = keeper()
    lines = ["prevote v1 0 A", "prevote v2 0 B", "prevote v3 0 -"]
    assert crossed(votes, *lines) == [None, None, Crossed(Threshold.POLKA_ANY, ZERO)]


def test_the_first_vote_counts_and_the_conflict_is_told_once() -> None:
    votes = keeper()
    first, second = vote("prevote", "v1", 0, "A"), vote("prevote", "v1", 0, "B")
    assert votes.add(first, current=ZERO) == Counted()
    assert votes.add(first, current=ZERO) == Counted()
    assert votes.add(second, current=ZERO) == Counted(None, first)
    assert votes.add(vote("prevote", "v1", 0, None), current=ZERO) == Counted()
    assert votes.convicted(second)
    assert not votes.has_quorum_any(ZERO, VoteKind.PREVOTE)


def test_a_sender_counts_once_towards_a_skip() -> None:
    votes = keeper()
    lines = ["prevote v1 2 A", "precommit v1 2 A", "precommit v2 2 -"]
    skip = Crossed(Threshold.SKIP, Round(2))
    assert crossed(votes, *lines) == [None, None, skip]
    assert votes.skip_round(ZERO) == 2
    assert votes.skip_round(Round(2)) is None


def test_the_highest_round_with_a_third_is_worth_a_skip() -> None:
    votes = keeper()
    crossed(votes, "prevote v1 2 -", "prevote v2 2 -", "precommit v1 5 -", "precommit v3 5 -")
    crossed(votes, "prevote v4 9 -")
    assert votes.skip_round(ZERO) == 5
    assert votes.skip_round(Round(5)) is None


def test_a_third_in_a_round_that_is_over_is_no_skip() -> None:
    votes = keeper()
    assert crossed(votes, "prevote v1 2 A", "prevote v2 2 B", current=3) == [None, None]
    anything = [Crossed(Threshold.POLKA_ANY, Round(2))]
    assert crossed(votes, "prevote v3 2 -", current=3) == anything


def test_polkas_are_quorums_of_prevotes_alone_by_round() -> None:
    votes = keeper()
    names = ("v1", "v2", "v3")
    crossed(votes, *(f"prevote {who} 1 B" for who in names))
    crossed(votes, *(f"prevote {who} 0 A" for who in names))
    crossed(votes, *(f"precommit {who} 0 A" for who in names))
    crossed(votes, *(f"prevote {who} 2 -" for who in names), "precommit v1 3 A")
    quorums = [[vote("prevote", who, 0, "A") for who in names]]
    quorums += [[vote("prevote", who, 1, "B") for who in names]]
    assert list(votes.polkas()) == quorums


def test_a_quorum_counts_against_the_first_votes_and_convicts() -> None:
    votes = keeper()
    crossed(votes, "prevote v1 0 B", "prevote v2 0 A")
    quorum = [vote("prevote", who, 0, "A") for who in ("v1", "v2", "v3")]
    assert votes.is_together(quorum)
    assert votes.add_quorum(quorum) == [(vote("prevote", "v1", 0, "B"), quorum[0])]
    assert votes.has_quorum(ZERO, VoteKind.PREVOTE, A)
    tally = votes.tally(ZERO, VoteKind.PREVOTE)
    assert tally is not None
    assert {one.validator for one in tally.votes_for(A)} == {
        account("v1"),
        account("v2"),
        account("v3"),
    }
    assert votes.add_quorum(quorum) == []
    assert len(votes) == 4


def test_only_a_few_values_may_come_by_quorum() -> None:
    votes = keeper()
    crossed(votes, *(f"prevote v{number} 0 -" for number in (1, 2, 3, 4)))
    for text in ("A", "B", "C", "D"):
        votes.add_quorum([vote("prevote", who, 0, text) for who in ("v1", "v2", "v3")])
    assert len(votes) == 4 + 3 * QUORUM_VALUES_MAX


def test_too_few_or_strange_votes_are_not_a_quorum() -> None:
    votes = keeper()
    assert not votes.is_together([vote("prevote", who, 0, "A") for who in ("v1", "v1", "v2")])
    assert not votes.is_together([vote("prevote", who, 0, "A") for who in ("v1", "v2", "x")])
    assert votes.is_together([vote("prevote", who, 0, "A") for who in ("v1", "x", "v2", "v3")])


def test_a_far_vote_is_parked_until_its_round_is_near() -> None:
    votes = keeper()
    far = vote("prevote", "v1", 100, "A")
    assert votes.is_far(Round(100), current=ZERO)
    assert votes.would_park(far)
    votes.park(far)
    assert not votes.would_park(far)
    assert not votes.would_park(vote("prevote", "v1", 99, "A"))
    assert not votes.would_park(vote("precommit", "v1", 99, "A"))
    other = vote("precommit", "v1", 100, "A")
    assert votes.would_park(other)
    votes.park(other)
    assert votes.take_ready(Round(50)) == []
    assert votes.take_ready(Round(90)) == [far, other]
    assert votes.take_ready(Round(90)) == []


def test_the_window_ends_with_its_last_round() -> None:
    votes = keeper()
    assert not votes.is_far(Round(5 + ROUNDS_AHEAD_MAX), current=Round(5))
    assert votes.is_far(Round(6 + ROUNDS_AHEAD_MAX), current=Round(5))


def test_both_kinds_of_a_large_round_are_parked() -> None:
    votes = keeper()
    for kind in ("prevote", "precommit"):
        one = vote(kind, "v1", int("70000"), None)  # An object of its own, unlike small numbers.
        assert votes.would_park(one)
        votes.park(one)
    assert len(votes) == 2


def test_the_highest_far_round_with_a_third_comes_back_at_once() -> None:
    votes = keeper({"v1": 1, "v2": 1, "v3": 1, "v4": 1, "v5": 1})
    told = [vote("prevote", f"v{n}", r, None) for n, r in [(1, 80), (2, 80), (3, 90), (4, 90)]]
    for one in told:
        votes.park(one)
    assert votes.take_ready(ZERO) == told[2:]
    assert len(votes) == 2


def test_forgotten_rounds_take_their_evidence_along_and_pinned_ones_stay() -> None:
    votes = keeper()
    for round_ in (0, 1, 2):
        crossed(votes, f"prevote v1 {round_} A", f"prevote v1 {round_} B")
    votes.forget(below=Round(2), pinned=[Round(1)])
    assert votes.tally(Round(0), VoteKind.PREVOTE) is None
    assert not votes.convicted(vote("prevote", "v1", 0, "B"))
    assert votes.convicted(vote("prevote", "v1", 1, "B"))
    assert len(votes) == 2


def test_forgetting_a_round_takes_no_evidence_of_lower_rounds_that_stay() -> None:
    votes = keeper()
    for round_ in ("69999", "70000", "70001"):  # Objects of their own, unlike small numbers.
        votes.add(vote("prevote", "v2", int(round_), "A"), current=ZERO)
        for text in ("A", "B"):
            votes.add(vote("prevote", "v1", int(round_), text), current=ZERO)
    votes.forget(below=Round(70_001), pinned=[Round(69_999)])
    assert [
        votes.convicted(vote("prevote", "v1", round_, "B")) for round_ in (69_999, 70_000, 70_001)
    ] == [True, False, True]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["prevote", "precommit"]),
            st.sampled_from(list(FOUR)),
            st.integers(0, 2),
            st.sampled_from(["A", "B", None]),
        ),
        max_size=60,
    )
)
def test_power_is_the_power_of_distinct_senders_whatever_comes(
    told: list[tuple[str, str, int, str | None]],
) -> None:
    votes = keeper()
    senders: dict[tuple[int, str], set[str]] = {}
    for kind, who, round_, text in told:
        votes.add(vote(kind, who, round_, text), current=ZERO)
        senders.setdefault((round_, kind), set()).add(who)
    for (round_, kind), names in senders.items():
        tally = votes.tally(Round(round_), VoteKind[kind.upper()])
        assert tally is not None
        assert tally.power == len(names) == len(tally)
        assert tally.has_quorum_any() == (len(names) >= 3)
        assert sum(tally.has_quorum(value) for value, _ in set(tally.stands())) <= 1
