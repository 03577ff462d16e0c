"""What is of another height, lower or higher, counts for nothing; and numbers may be large."""

import pytest

from p2p.model.block import Certificate, CommitSignature
from p2p.model.effects import Penalize
from p2p.model.inputs import TimerFired
from p2p.model.persistence import Table, number_key
from p2p.model.rejection import Reason
from p2p.model.vote import Vote
from p2p.primitives.signing import Verified
from p2p.primitives.units import Height, PeerId, Round
from p2p.protocol.consensus.gaps import Offer
from p2p.protocol.consensus.interface import (
    CertificateReceived,
    ProposalReceived,
    ValueBuilt,
    VoteReceived,
    VotesReceived,
)
from p2p.protocol.consensus.sign_state import step_of
from tests.conformance.words import CHAIN, account, proposal, some_value, text_bytes, vote
from tests.protocol.consensus.shell import Shell

FOUR = {"v1": 1, "v2": 1, "v3": 1, "v4": 1}
OTHERS = ("v2", "v3", "v4")
PEER = PeerId(b"peer")
both = pytest.mark.parametrize("height", [4, 6], ids=["lower", "higher"])


def started(name: str = "v1", height: int = 5) -> Shell:
    node = Shell(name, FOUR)
    node.start(Height(height))
    return node


def bunch(*votes: Vote) -> VotesReceived:
    return VotesReceived(tuple(Verified(one) for one in votes), PEER)


@both
def test_a_quorum_of_another_height_does_not_count_here(height: int) -> None:
    node = started()
    quorum = [vote("prevote", who, 0, "A", height=height) for who in OTHERS]
    assert node.step(bunch(*quorum)) == []
    assert node.driver.held() == (0, 0)


@both
def test_strangers_of_another_height_are_nobodys_fault(height: int) -> None:
    """Its validators may be others."""
    node = started()
    assert node.step(bunch(vote("prevote", "x", 0, "A", height=height))) == []
    here = vote("prevote", "x", 0, "A", height=5)
    assert node.step(bunch(here)) == [Penalize(PEER, Reason.NOT_A_VALIDATOR)]


@both
def test_a_value_built_for_another_height_is_not_proposed(height: int) -> None:
    node = started("v2")
    value = some_value("A")
    assert node.step(ValueBuilt(Height(height), Round(0), value, text_bytes(value))) == []
    assert node.step(ValueBuilt(Height(5), Round(0), value, text_bytes(value)))


@both
def test_a_certificate_of_another_height_is_not_looked_at(height: int) -> None:
    node = started()
    node.step(ProposalReceived(Verified(proposal("v2", 0, "A", -1, height=5)), valid=True))
    signatures = tuple(CommitSignature(account(who), b"s") for who in OTHERS)
    proof = Certificate(CHAIN, Height(height), Round(0), some_value("A"), signatures)
    assert node.step(CertificateReceived(Verified(proof), PEER)) == []
    assert node.driver.held() == (1, 1)
    assert node.decisions == []


@both
def test_polkas_and_gaps_of_another_height_are_none(height: int) -> None:
    node, other = started(), started("v4", height)
    node.step(bunch(*(vote("prevote", who, 0, "A", height=5) for who in OTHERS)))
    assert node.driver.polkas(Height(5))
    assert node.driver.polkas(Height(height)) == ()
    summary = other.driver.summary()
    assert summary is not None
    assert node.driver.missing_from(summary) == Offer()


@pytest.mark.parametrize("height", [1, 4, 5])
def test_a_height_that_does_not_rise_is_our_own_bug(height: int) -> None:
    with pytest.raises(ValueError, match=f"height {height} after height 5"):
        started().start(Height(height))


@both
def test_a_journal_of_another_height_is_not_replayed(height: int) -> None:
    node = started()
    node.step(ProposalReceived(Verified(proposal("v2", 0, "A", -1, height=5)), valid=True))
    said = list(node.sent)
    node.crash(Height(height))
    assert node.driver.held() == (0, 0)
    assert node.state.height == height
    assert node.sent == said


def test_votes_of_the_next_height_are_held_beside_those_of_this_one() -> None:
    node = started()
    node.step(VoteReceived(Verified(vote("prevote", "v2", 0, "A", height=5))))
    for height, kind in ((6, "prevote"), (6, "precommit"), (5, "precommit")):
        node.step(VoteReceived(Verified(vote(kind, "v3", 0, "A", height=height))))
    assert node.driver.held() == (4, 0)
    node.step(VoteReceived(Verified(vote("prevote", "v4", 1, "A", height=6))))
    node.step(VoteReceived(Verified(vote("precommit", "v4", 1, "A", height=6))))
    assert node.driver.held() == (6, 0)


def test_a_quorum_of_a_forgotten_round_is_not_kept_again_nor_one_after_the_decision() -> None:
    node = started()
    for who in ("v2", "v3"):
        node.step(VoteReceived(Verified(vote("prevote", who, 300, None, height=5))))
    before = node.driver.held()
    old = bunch(*(vote("prevote", who, 3, "A", height=5) for who in OTHERS))
    assert node.step(old) == []
    assert node.driver.held() == before
    decided = started()
    decided.step(ProposalReceived(Verified(proposal("v2", 0, "A", -1, height=5)), valid=True))
    decided.step(bunch(*(vote("precommit", who, 0, "A", height=5) for who in OTHERS)))
    entries = len(decided.restored().entries)
    decided.step(bunch(*(vote("prevote", who, 1, "A", height=5) for who in OTHERS)))
    assert len(decided.restored().entries) == entries


def test_the_journal_goes_on_where_it_ended_after_every_restart() -> None:
    node = started()
    node.step(ProposalReceived(Verified(proposal("v2", 0, "A", -1, height=5)), valid=True))
    for round_ in (1, 2, 3):
        node.crash()
        for who in ("v2", "v3"):
            node.step(VoteReceived(Verified(vote("prevote", who, round_, None, height=5))))
        if "consensus/propose" in node.timers:
            node.step(TimerFired("consensus/propose"))
    keys = sorted(key for table, key in node.disk if table is Table.JOURNAL)
    assert keys == [number_key(number) for number in range(len(keys))]
    assert len(keys) >= 8


def number(text: str) -> int:
    """A number of its own: Python shares the objects of small ones, and of equal constants."""
    return int(text)


def test_heights_and_rounds_may_be_large_numbers() -> None:
    """Given height 100,000 and round 3,000; then lock, crash, proof of lock, certificate and gaps
    are as in the first round of the first height.
    """

    def votes(kind: str, round_: str, text: str | None, *names: str) -> VotesReceived:
        return bunch(
            *(vote(kind, who, number(round_), text, height=number("100000")) for who in names)
        )

    def proposed(who: str, round_: str, text: str, pol: str) -> ProposalReceived:
        told = proposal(who, number(round_), text, number(pol), height=number("100000"))
        return ProposalReceived(Verified(told), valid=True, block=text.encode())

    node = started("v1", number("100000"))
    node.step(votes("prevote", "3000", None, "v2", "v3"))
    assert (node.state.height, node.round) == (100_000, 3_000)
    node.step(proposed("v2", "3000", "A", "-1"))
    node.step(votes("prevote", "3000", "A", "v3", "v4", "v2"))
    assert (node.state.locked_round, node.state.locked_value) == (3_000, some_value("A"))
    (polka,) = node.driver.polkas(Height(number("100000")))
    assert polka.round == 3_000
    stranger = Penalize(PEER, Reason.NOT_A_VALIDATOR)
    assert node.step(votes("prevote", "3000", "A", "x")) == [stranger]
    node.crash(Height(number("100000")))
    assert node.state.locked_round == 3_000
    node.step(votes("precommit", "3000", None, "v2", "v3"))
    node.step(TimerFired("consensus/precommit"))
    assert node.round == 3_001
    node.step(proposed("v3", "3001", "A", "3000"))
    last = node.sent[-1]
    assert isinstance(last, Vote)
    assert (last.round, last.header_digest) == (3_001, some_value("A"))
    summary = node.driver.summary()
    assert summary is not None
    other = started("v4", number("100000"))
    other.step(votes("prevote", "3001", "A", "v2", "v3"))
    assert other.driver.missing_from(summary).votes
    signatures = tuple(CommitSignature(account(who), b"s") for who in OTHERS)
    proof = Certificate(
        CHAIN, Height(number("100000")), Round(number("3001")), some_value("A"), signatures
    )
    node.step(CertificateReceived(Verified(proof), PEER))
    assert [one.round for one in node.decisions] == [3_001]
    slots = {(one.round, int(step_of(one))) for one in node.sent}
    assert len(slots) == len({*node.sent})


def test_a_proposer_of_a_large_round_is_asked_and_answered() -> None:
    node = started("v1", number("100000"))
    for who in ("v2", "v3"):
        told = vote("prevote", who, number("3003"), None, height=number("100000"))
        node.step(VoteReceived(Verified(told)))
    value = some_value("A")
    built = ValueBuilt(Height(number("100000")), Round(number("3003")), value, text_bytes(value))
    assert node.step(built)
    assert node.sent[0].round == 3_003
