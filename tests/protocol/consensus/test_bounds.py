"""What liars can make a node hold, write down or do, whatever they send."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.primitives.signing import Verified
from p2p.primitives.units import Height
from p2p.protocol.consensus.early import EARLY_ROUNDS_MAX
from p2p.protocol.consensus.interface import ProposalReceived, VoteReceived, VotesReceived
from p2p.protocol.consensus.proposals import PROPOSALS_PER_ROUND_MAX
from p2p.protocol.consensus.votes import ROUNDS_AHEAD_MAX, ROUNDS_BEHIND_MAX, VoteKeeper
from tests.conformance.words import proposal, validator_set, vote
from tests.protocol.consensus.shell import FIRST, Shell

SEVEN = {f"v{number}": 1 for number in range(1, 8)}
LIARS = ["v2", "v3"]  # two of seven, and v2 proposes round 0
ROUNDS = st.one_of(st.integers(0, 30), st.integers(0, 2**31))

votes = st.tuples(
    st.just("vote"),
    st.sampled_from(["prevote", "precommit"]),
    st.sampled_from(LIARS),
    ROUNDS,
    st.sampled_from(["A", "B", "C", None]),
    st.sampled_from([1, 1, 1, 2, 3]),
)
proposals = st.tuples(
    st.just("proposal"),
    st.sampled_from(LIARS),
    ROUNDS,
    st.sampled_from([f"value {number}" for number in range(30)]),
    st.integers(-1, 40),
)
bunches = st.tuples(st.just("votes"), st.lists(votes, max_size=5))


def feed(node: Shell, told: tuple[Any, ...]) -> None:
    match told:
        case ("vote", kind, who, round_, text, height):
            one = Verified(vote(kind, who, round_, text, height=height))
            node.step(VoteReceived(one))
        case ("votes", lines):
            bunch = [vote(k, w, r, t, height=h) for _, k, w, r, t, h in lines]
            node.step(VotesReceived(tuple(Verified(one) for one in bunch)))
        case ("proposal", who, round_, text, pol):
            one_proposal = Verified(proposal(who, round_, text, pol, height=1))
            node.step(ProposalReceived(one_proposal, valid=True, block=b"block"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(votes, proposals, bunches), max_size=150))
def test_a_third_of_liars_neither_moves_nor_fills_a_node(told: list[tuple[Any, ...]]) -> None:
    node = Shell("v1", SEVEN)
    node.start(FIRST)
    for one in told:
        feed(node, one)
    window = ROUNDS_AHEAD_MAX + 1
    held_votes, held_proposals = node.driver.held()
    of_each_liar = 2 * window + 2 + 2 * EARLY_ROUNDS_MAX
    assert held_votes <= len(LIARS) * of_each_liar + 2
    # Liars propose two rounds of seven.
    assert held_proposals <= PROPOSALS_PER_ROUND_MAX * 2 * (window // 7 + 1)
    assert node.round == 0, json.dumps(told, default=str)
    assert node.decisions == []


def test_a_flood_of_far_rounds_is_not_written_down() -> None:
    node = Shell("v1", SEVEN)
    node.start(FIRST)
    for round_ in range(100, 3_000):
        feed(node, ("vote", "prevote", "v2", round_, None, 1))
    feed(node, ("proposal", "v2", 0, "value 0", -1))
    assert len(node.restored().entries) == 3  # the height, the proposal, our prevote
    assert node.driver.held() == (2, 1)


def test_the_window_moves_and_does_not_grow() -> None:
    node = Shell("v1", SEVEN)
    node.start(FIRST)
    most = 0
    for round_ in range(1, 400):
        for who in ("v2", "v3", "v4"):
            feed(node, ("vote", "prevote", who, round_, None, 1))
        most = max(most, node.driver.held()[0])
    assert node.round == 399
    assert most <= 3 * (ROUNDS_BEHIND_MAX + ROUNDS_AHEAD_MAX + 2) + 400 * 0 + 2


def test_an_early_flood_is_one_vote_a_slot() -> None:
    node = Shell("v1", SEVEN)
    node.start(FIRST)
    for round_ in range(200):
        for text in ("A", "B"):
            feed(node, ("vote", "prevote", "v2", round_, text, 2))
    assert node.driver.held() == (EARLY_ROUNDS_MAX, 0)
    node.start(Height(2))
    assert node.driver.held() == (EARLY_ROUNDS_MAX, 0)


def test_parked_votes_are_one_round_a_sender() -> None:
    keeper = VoteKeeper(validator_set(SEVEN))
    for round_ in range(50, 500):
        for kind in ("prevote", "precommit"):
            one = vote(kind, "v2", round_, None)
            assert keeper.would_park(one)
            keeper.park(one)
    assert len(keeper) == 2
