"""Neighbours fill each other's gaps by asking."""

from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.model.block import is_quorum
from p2p.model.vote import Vote
from p2p.model.vote_summary import SUMMARY_BYTES_MAX, VoteSummary, bits_of, voters_of
from p2p.primitives.codec import decode, encode
from p2p.primitives.signing import Verified
from p2p.primitives.units import Height, Round
from p2p.protocol.consensus.gaps import PROPOSALS_OFFERED_MAX, VOTES_OFFERED_MAX, Offer
from p2p.protocol.consensus.interface import ProposalReceived, VoteReceived, VotesReceived
from tests.conformance.words import name_of, proposal, vote
from tests.protocol.consensus.shell import FIRST, Cluster, Shell

FOUR = {"v1": 1, "v2": 1, "v3": 1, "v4": 1}


def started(name: str, weights: dict[str, int] | None = None) -> Shell:
    node = Shell(name, weights or FOUR)
    node.start(FIRST)
    return node


def offer(one: Shell, to: Shell) -> Offer:
    summary = to.driver.summary()
    assert summary is not None
    assert decode(encode(summary), VoteSummary, bytes_max=SUMMARY_BYTES_MAX) == summary
    return one.driver.missing_from(summary)


def test_a_neighbour_is_offered_the_votes_and_the_proposal_that_it_lacks() -> None:
    one, other = started("v1"), started("v4")
    told = proposal("v2", 0, "A", -1, height=1)
    one.step(ProposalReceived(Verified(told), valid=True))
    common = vote("prevote", "v3", 0, "A", height=1)
    for node in (one, other):
        node.step(VoteReceived(Verified(common)))
    mine = one.sent[0]
    assert isinstance(mine, Vote)
    assert offer(one, to=other) == Offer((mine,), (told,))
    assert offer(other, to=one) == Offer()
    other.step(ProposalReceived(Verified(told), valid=True))
    other.step(VoteReceived(Verified(mine)))
    assert offer(one, to=other) == Offer()


def test_an_equivocators_other_vote_is_offered_with_its_quorum() -> None:
    one, other = started("v1"), started("v4")
    hidden = [vote("precommit", who, 0, "A", height=1) for who in ("v1", "v2", "v3")]
    for told in hidden:
        one.step(VoteReceived(Verified(told)))
    for told in [vote("precommit", "v2", 0, None, height=1), hidden[0], hidden[2]]:
        other.step(VoteReceived(Verified(told)))
    found = offer(one, to=other)
    assert set(found.votes) == set(hidden)
    other.step(VotesReceived(tuple(Verified(told) for told in found.votes)))
    other.step(ProposalReceived(Verified(proposal("v2", 0, "A", -1, height=1)), valid=True))
    assert len(other.decisions) == 1
    assert len(other.evidence) == 1
    assert offer(one, to=other).votes == ()


def test_a_neighbour_in_a_later_round_is_offered_its_own_round() -> None:
    one, other = started("v1"), started("v4")
    for who in ("v2", "v3"):
        other.step(VoteReceived(Verified(vote("prevote", who, 2, None, height=1))))
    one.step(VoteReceived(Verified(vote("prevote", "v2", 2, "A", height=1))))
    one.step(VoteReceived(Verified(vote("precommit", "v1", 2, None, height=1))))
    kept = vote("precommit", "v1", 2, None, height=1)
    assert kept in offer(one, to=other).votes


def test_another_height_is_offered_nothing() -> None:
    one, other = started("v1"), started("v4")
    one.step(VoteReceived(Verified(vote("prevote", "v2", 0, "A", height=1))))
    other.start(Height(2))
    assert offer(one, to=other) == Offer()
    summary = one.driver.summary()
    assert summary is not None
    assert Shell("v2", FOUR).driver.missing_from(summary) == Offer()


def test_an_offer_is_bounded() -> None:
    hundred = {f"v{number}": 1 for number in range(100)}
    one, other = started("v0", hundred), started("v1", hundred)
    for round_ in (0, 1):
        for kind in ("prevote", "precommit"):
            for who in hundred:
                one.step(VoteReceived(Verified(vote(kind, who, round_, "A", height=1))))
    for number in range(4):
        told = proposal(turn_of(one, one.round), one.round, f"value {number}", -1, height=1)
        one.step(ProposalReceived(Verified(told), valid=True))
    found = offer(one, to=other)
    assert 0 < len(found.votes) <= VOTES_OFFERED_MAX
    assert len(found.proposals) == PROPOSALS_OFFERED_MAX


def turn_of(node: Shell, round_: int) -> str:
    proposer = node.driver.proposer(Round(round_))
    assert proposer is not None
    return name_of(proposer)


@given(st.sets(st.integers(0, 99)))
def test_voters_are_bits(indices: set[int]) -> None:
    bits = sum(1 << index for index in indices)
    assert bits_of(voters_of(bits)) == bits
    assert len(voters_of(bits)) <= 13


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_whatever_gossip_loses_the_neighbours_decide_in_the_end(data: st.DataObject) -> None:
    """Faults first: most messages are lost. Then gaps are filled, timers fire, and all decide."""
    cluster = Cluster({"v1": 1, "v2": 1, "v3": 2, "v4": 1})
    cluster.start()
    names = list(cluster.nodes)
    for _ in range(data.draw(st.integers(0, 40))):
        name = data.draw(st.sampled_from(names))
        if data.draw(st.booleans()):
            cluster.fire(name)
        elif cluster.inboxes[name]:
            cluster.deliver(name)
    for inbox in cluster.inboxes.values():
        inbox.clear()
    down = data.draw(st.sampled_from([None, "v1", "v2", "v4"]))
    up = [name for name in names if name != down]
    assert is_quorum(sum({"v3": 2}.get(name, 1) for name in up), 5)
    cluster.settle(up, lambda: all(cluster.nodes[name].decisions for name in up))
    assert len({cluster.nodes[name].decisions[0].header_digest for name in up}) == 1
