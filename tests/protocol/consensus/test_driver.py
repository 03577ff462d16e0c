"""The driver's face: what it takes, blames, ignores and orders, beyond the paper's rules."""

import msgspec
import pytest

from p2p.model.accusation import POLKAS_MAX, Polka
from p2p.model.block import Certificate, CommitSignature
from p2p.model.effects import CancelTimer, Penalize, SetTimer
from p2p.model.inputs import TimerFired
from p2p.model.parameters import Parameters
from p2p.model.rejection import Reason, Rejected
from p2p.model.vote import VoteKind
from p2p.primitives.keys import Key, verify_bytes
from p2p.primitives.signing import Ed25519Signer, SignedKind, Verified, signing_bytes
from p2p.primitives.units import NO_ROUND, Height, Millis, PeerId, Round
from p2p.protocol.consensus.driver import ConsensusDriver
from p2p.protocol.consensus.early import EARLY_ROUNDS_MAX
from p2p.protocol.consensus.interface import (
    BroadcastVote,
    BuildValue,
    CertificateReceived,
    ConsensusEffect,
    Decided,
    HeightStarted,
    ProposalReceived,
    ValueBuilt,
    VoteReceived,
    VotesReceived,
)
from p2p.protocol.consensus.proposals import PROPOSALS_PER_ROUND_MAX, VALUES_PER_ROUND_MAX
from p2p.protocol.consensus.screening import Screening
from p2p.protocol.consensus.votes import ROUNDS_AHEAD_MAX
from tests.conformance.words import (
    CHAIN,
    RotatingProposers,
    account,
    proposal,
    some_value,
    validator_set,
    vote,
)
from tests.protocol.consensus.shell import FIRST, Cluster, Shell

FOUR = {"v1": 1, "v2": 1, "v3": 1, "v4": 1}
PEER = PeerId(b"peer")


def started(name: str = "v1", height: Height = FIRST) -> Shell:
    node = Shell(name, FOUR)
    node.start(height)
    return node


def heard(node: Shell, text: str, *, height: int = 1) -> list[ConsensusEffect]:
    """Hear votes "kind who round value", one after the other; the last one's effects."""
    effects: list[ConsensusEffect] = []
    for line in text.split(", "):
        kind, who, round_, value = line.split()
        one = vote(kind, who, int(round_), None if value == "-" else value, height=height)
        effects = node.step(VoteReceived(Verified(one), PEER))
    return effects


def certificate(*names: str, text: str = "A", round_: int = 0, height: int = 1) -> Certificate:
    signatures = tuple(CommitSignature(account(name), b"s") for name in names)
    return Certificate(CHAIN, Height(height), Round(round_), some_value(text), signatures)


def test_our_votes_verify_under_our_key() -> None:
    signer = Ed25519Signer(Key(b"k" * 32))
    driver = ConsensusDriver(signer.account, signer, CHAIN, Parameters())
    validators = validator_set(FOUR)
    mine = msgspec.structs.replace(validators.validators[0], account=signer.account)
    validators = msgspec.structs.replace(validators, validators=(mine, *validators.validators[1:]))
    proposers = RotatingProposers(["v2", "v3"])
    driver.step(HeightStarted(FIRST, validators, proposers), Millis(0))
    effects = driver.step(TimerFired("consensus/propose"), Millis(0))
    cast = next(effect.vote for effect in effects if isinstance(effect, BroadcastVote))
    signed = signing_bytes(SignedKind.VOTE, CHAIN, cast.body())
    assert verify_bytes(signer.account, signed, cast.signature)
    assert driver.own_messages() == (cast,)


def test_before_its_first_height_a_driver_does_nothing() -> None:
    node = Shell("v1", FOUR)
    one = vote("prevote", "v2", 0, "A", height=1)
    assert node.step(VoteReceived(Verified(one), PEER)) == []
    assert node.driver.screen(one) is Screening.IGNORED
    assert node.driver.screen(proposal("v2", 0, "A", -1, height=1)) is Screening.IGNORED
    views = (node.driver.height, node.driver.state, node.driver.decided, node.driver.summary())
    assert views == (None, None, None, None)
    assert node.driver.proposer(Round(0)) is None
    assert node.driver.own_messages() == ()
    assert node.driver.held() == (0, 0)
    assert node.driver.ballots(Round(0), VoteKind.PREVOTE) == ()
    assert node.driver.polkas(FIRST) == ()


def test_the_views_tell_of_the_open_height() -> None:
    node = started()
    heard(node, "prevote v2 0 A")
    node.step(ProposalReceived(Verified(proposal("v2", 0, "A", -1, height=1)), valid=True))
    assert node.driver.height == 1
    assert node.driver.decided is None
    assert node.driver.proposer(Round(1)) == account("v3")
    assert node.driver.held() == (2, 1)
    others = vote("prevote", "v2", 0, "A", height=1)
    mine = node.sent[0]
    assert node.driver.ballots(Round(0), VoteKind.PREVOTE) == (others, mine)
    assert node.driver.ballots(Round(0), VoteKind.PRECOMMIT) == ()


def test_the_polkas_of_the_open_height_are_what_a_judge_may_ask_for() -> None:
    node = started()
    heard(node, "prevote v2 1 C, prevote v3 1 C, prevote v4 1 C")  # the later round first
    heard(node, "prevote v4 0 A, prevote v3 0 A, prevote v2 0 A, precommit v2 0 A")
    heard(node, "prevote v2 2 -, prevote v3 2 -, prevote v4 2 -")
    signed = [CommitSignature(account(name), b"s") for name in ("v2", "v3", "v4")]
    first = Polka(CHAIN, FIRST, Round(0), some_value("A"), NO_ROUND, tuple(signed))
    second = Polka(CHAIN, FIRST, Round(1), some_value("C"), NO_ROUND, tuple(signed))
    assert node.driver.polkas(FIRST) == (first, second)
    assert node.driver.polkas(Height(2)) == ()


def test_the_polkas_of_the_last_rounds_are_kept() -> None:
    node = started()
    for round_ in range(POLKAS_MAX + 2):
        for who in ("v2", "v3", "v4"):
            heard(node, f"prevote {who} {round_} A")
    rounds = [polka.round for polka in node.driver.polkas(FIRST)]
    assert rounds == list(range(2, POLKAS_MAX + 2))


@pytest.mark.parametrize(
    ("kind", "text", "valid_round"),
    [("prevote", "A", 0), ("prevote", "A", 1), ("prevote", None, 0), ("precommit", "A", 0)],
)
def test_votes_that_no_rule_signs_are_blamed_alone_and_in_a_bunch(
    kind: str, text: str | None, valid_round: int
) -> None:
    node = started()
    told = [
        msgspec.structs.replace(
            vote(kind, who, 0 if text else 1, text, height=1), valid_round=Round(valid_round)
        )
        for who in ("v2", "v3", "v4")
    ]
    alone = node.step(VoteReceived(Verified(told[0]), PEER))
    [blamed] = alone
    assert isinstance(blamed, Penalize)
    assert (blamed.peer, blamed.reason) == (PEER, Reason.MALFORMED)
    bunch = tuple(Verified(one) for one in told)
    assert node.step(VotesReceived(bunch, PEER)) == [Penalize(PEER, Reason.MALFORMED)]
    assert node.step(VotesReceived(bunch)) == []
    assert node.driver.held() == (0, 0)


def test_a_peer_that_passes_on_a_strangers_vote_is_penalized() -> None:
    node = started()
    assert heard(node, "prevote x 0 A") == [Penalize(PEER, Reason.NOT_A_VALIDATOR)]
    stranger = vote("prevote", "x", 0, "A", height=1)
    assert node.step(VoteReceived(Verified(stranger))) == []
    votes = tuple(Verified(vote("prevote", who, 0, "A", height=1)) for who in ("v2", "x"))
    assert node.step(VotesReceived(votes, PEER)) == [Penalize(PEER, Reason.NOT_A_VALIDATOR)]
    assert node.driver.held() == (0, 0)


def test_a_peer_that_passes_on_another_proposers_proposal_is_penalized() -> None:
    node = started()
    wrong = Verified(proposal("v3", 0, "A", -1, height=1))
    effects = node.step(ProposalReceived(wrong, valid=True, peer=PEER))
    assert effects == [Penalize(PEER, Reason.WRONG_PROPOSER)]
    assert node.driver.screen(wrong.value) == Rejected(Reason.WRONG_PROPOSER)


def test_screening_tells_what_is_worth_a_signature_check() -> None:
    node = started()
    heard(node, "prevote v2 0 A")
    new, known = Screening.NEW, Screening.IGNORED
    expected = {
        ("v2", 0, "A", 1): known,
        ("v2", 0, "B", 1): new,  # evidence
        ("v3", 0, "A", 1): new,
        ("v3", 0, "A", 2): new,  # early
        ("v3", EARLY_ROUNDS_MAX, "A", 2): known,
        ("v3", 0, "A", 3): known,
        ("v3", 1_000, "A", 1): new,  # far, and the sender's first
    }
    for (who, round_, text, height), verdict in expected.items():
        assert node.driver.screen(vote("prevote", who, round_, text, height=height)) is verdict
    heard(node, "prevote v2 0 B")
    assert node.driver.screen(vote("prevote", "v2", 0, "C", height=1)) is known
    first = proposal("v2", 0, "A", -1, height=1)
    assert node.driver.screen(first) is new
    node.step(ProposalReceived(Verified(first), valid=True))
    assert node.driver.screen(first) is known
    far = proposal("v2", ROUNDS_AHEAD_MAX + 4, "A", -1, height=1)
    assert node.driver.screen(far) is known


def test_votes_of_the_next_height_wait_for_it() -> None:
    node = started()
    early = "prevote v2 0 -, prevote v2 0 -, prevote v3 0 -, prevote v4 0 -, prevote x 0 -"
    assert heard(node, early, height=2) == []
    assert node.driver.held() == (3, 0)
    node.start(Height(2))
    assert node.driver.held() == (3, 0)
    effects = node.step(TimerFired("consensus/propose"))
    kinds = [effect.vote.kind.name for effect in effects if isinstance(effect, BroadcastVote)]
    assert kinds == ["PREVOTE", "PRECOMMIT"]


def test_early_votes_of_a_height_that_is_passed_over_are_dropped() -> None:
    node = started()
    heard(node, "prevote v2 0 -", height=2)
    node.start(Height(3))
    assert node.driver.held() == (0, 0)


def test_a_follower_decides_and_says_nothing() -> None:
    driver = ConsensusDriver(None, None, CHAIN, Parameters())
    proposers = RotatingProposers(list(FOUR))
    start = HeightStarted(FIRST, validator_set(FOUR), proposers)
    assert driver.step(start, Millis(0)) == [SetTimer("consensus/propose", Millis(3_000))]
    heard_proposal = ProposalReceived(Verified(proposal("v2", 0, "A", -1, height=1)), valid=True)
    assert not any(isinstance(e, BroadcastVote) for e in driver.step(heard_proposal, Millis(0)))
    effects: list[ConsensusEffect] = []
    for kind in ("prevote", "precommit"):
        for who in ("v2", "v3", "v4"):
            one = vote(kind, who, 0, "A", height=1)
            effects += driver.step(VoteReceived(Verified(one)), Millis(0))
    decided = [effect for effect in effects if isinstance(effect, Decided)]
    assert [decision.header_digest for decision in decided] == [some_value("A")]
    assert all(isinstance(e, SetTimer | CancelTimer | Decided) for e in effects)
    assert driver.own_messages() == ()


def test_a_validator_outside_the_set_follows() -> None:
    node = Shell("v9", FOUR)
    node.start(FIRST)
    node.step(TimerFired("consensus/propose"))
    heard(node, "prevote v2 0 -, prevote v3 0 -, prevote v4 0 -")
    assert node.sent == []
    assert node.disk == {}


def test_a_certificate_decides_with_a_valid_proposal_of_any_round() -> None:
    node = started()
    proof = certificate("v2", "v3", "v4", round_=3)
    node.step(ProposalReceived(Verified(proposal("v2", 0, "A", -1, height=1)), valid=True))
    effects = node.step(CertificateReceived(Verified(proof), PEER))
    assert Decided(FIRST, Round(3), some_value("A"), proof) in effects
    assert node.step(CertificateReceived(Verified(proof), PEER)) == []
    assert node.driver.decided == Decided(FIRST, Round(3), some_value("A"), proof)


def test_a_certificate_counts_its_votes_and_waits_for_the_proposal() -> None:
    node = started()
    proof = certificate("v2", "v3", "v4")
    node.step(CertificateReceived(Verified(proof)))
    assert node.driver.decided is None
    heard_proposal = ProposalReceived(Verified(proposal("v2", 0, "A", -1, height=1)), valid=True)
    effects = node.step(heard_proposal)
    assert Decided(FIRST, Round(0), some_value("A"), proof) in effects


def test_a_certificate_after_the_quorum_it_proves_still_decides() -> None:
    node = started()
    heard(node, "precommit v2 3 A, precommit v3 3 A, precommit v4 3 A")
    node.step(ProposalReceived(Verified(proposal("v2", 0, "A", -1, height=1)), valid=True))
    assert node.driver.decided is None  # round 3 has no proposal here, L49 waits
    proof = certificate("v2", "v3", "v4", round_=3)
    assert Decided(FIRST, Round(3), some_value("A"), proof) in node.step(
        CertificateReceived(Verified(proof))
    )


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("v2", "v3"), Reason.BAD_CERTIFICATE),
        (("v2", "v2", "v3"), Reason.BAD_CERTIFICATE),
        (("v3", "v2", "v4"), Reason.BAD_CERTIFICATE),
        (("v2", "v3", "v4", "x"), Reason.NOT_A_VALIDATOR),
    ],
)
def test_a_certificate_that_proves_nothing_is_blamed(
    names: tuple[str, ...], reason: Reason
) -> None:
    node = started()
    effects = node.step(CertificateReceived(Verified(certificate(*names)), PEER))
    assert effects == [Penalize(PEER, reason)]
    assert node.driver.held() == (0, 0)


def test_a_certificate_of_another_height_is_not_for_consensus() -> None:
    proof = certificate("v2", "v3", "v4", height=2)
    assert started().step(CertificateReceived(Verified(proof), PEER)) == []


def test_votes_together_without_a_quorum_count_one_by_one() -> None:
    node = started()
    told = [vote("prevote", "v2", 0, "A", height=1), vote("prevote", "v3", 0, "B", height=1)]
    old = vote("prevote", "v4", 0, "B", height=9)
    node.step(VotesReceived(tuple(Verified(one) for one in [*told, old])))
    assert node.driver.held() == (2, 0)


def test_a_known_quorum_is_not_written_down_again() -> None:
    node = started()
    quorum = VotesReceived(
        tuple(Verified(vote("prevote", who, 0, "A", height=1)) for who in ("v2", "v3", "v4"))
    )
    for _ in range(3):
        node.step(quorum)
    node.step(TimerFired("consensus/propose"))
    assert len(node.restored().entries) == 4  # the height, the quorum, the timer, our prevote


def test_a_quorum_of_a_far_round_leads_there() -> None:
    node = started()
    votes = tuple(Verified(vote("prevote", who, 500, "A", height=1)) for who in ("v2", "v3", "v4"))
    node.step(VotesReceived(votes))
    assert node.round == 500


def test_a_parked_vote_that_a_jump_leaves_behind_is_dropped() -> None:
    node = started()
    heard(node, "prevote v2 100 -")
    heard(node, "prevote v3 500 -, prevote v4 500 -")
    assert node.round == 500
    assert node.driver.held() == (2, 0)


def test_a_proposer_that_equivocates_without_end_is_held_to_a_few() -> None:
    node = started()
    for number in range(20):
        told = proposal("v2", 0, f"value {number}", -1, height=1)
        node.step(ProposalReceived(Verified(told), valid=True))
    assert node.driver.held()[1] == VALUES_PER_ROUND_MAX
    for number in range(40):
        told = proposal("v2", 0, "value 0", number, height=1)
        node.step(ProposalReceived(Verified(told), valid=True))
    assert node.driver.held()[1] == PROPOSALS_PER_ROUND_MAX
    assert len(node.evidence) == 1


def test_a_further_value_is_taken_once_a_quorum_is_behind_it() -> None:
    node = started()
    for number in range(VALUES_PER_ROUND_MAX + 1):
        told = proposal("v2", 0, f"value {number}", -1, height=1)
        node.step(ProposalReceived(Verified(told), valid=True))
    last = proposal("v2", 0, f"value {VALUES_PER_ROUND_MAX}", -1, height=1)
    votes = [vote("precommit", who, 0, f"value {VALUES_PER_ROUND_MAX}", height=1) for who in FOUR]
    for one in votes[1:]:
        node.step(VoteReceived(Verified(one)))
    node.step(ProposalReceived(Verified(last), valid=True))
    assert [decision.header_digest for decision in node.decisions] == [last.header_digest]


def test_a_value_is_owed_once_a_round_and_only_while_it_is_of_use() -> None:
    node = started("v2")
    value = some_value("A")
    assert node.step(ValueBuilt(Height(2), Round(0), value)) == []
    assert node.step(ValueBuilt(FIRST, Round(1), value)) == []
    node.step(TimerFired("consensus/propose"))
    assert node.step(ValueBuilt(FIRST, Round(0), value)) == []
    assert BuildValue(FIRST, Round(0)) not in node.crash()


def test_timers_of_others_and_timers_not_set_are_ignored() -> None:
    node = started()
    assert node.step(TimerFired("gossip/heartbeat")) == []
    assert node.step(TimerFired("consensus/prevote")) == []


def test_timeouts_grow_by_the_round_and_are_small_again_at_the_next_height() -> None:
    node = started()
    base, delta = Parameters().propose_timeout_ms, Parameters().timeout_delta_ms
    spans = [node.timers["consensus/propose"]]
    for round_ in (1, 2):
        heard(node, f"prevote v2 {round_} -, prevote v4 {round_} -")
        spans.append(node.timers["consensus/propose"])
    assert spans == [base, base + delta, base + 2 * delta]
    node.now_ms = Millis(50_000)
    heard(node, "precommit v2 5 A, precommit v3 5 A, precommit v4 5 A")
    assert node.timers["consensus/precommit"] > 50_000 + Parameters().precommit_timeout_ms
    node.step(ProposalReceived(Verified(proposal("v3", 5, "A", -1, height=1)), valid=True))
    assert [decided.round for decided in node.decisions] == [5]
    assert node.timers == {}
    node.start(Height(2))
    assert node.timers == {"consensus/propose": 50_000 + base}
    heard(node, "prevote v2 0 -, prevote v3 0 A, precommit v2 0 -, precommit v3 0 -", height=2)
    node.step(TimerFired("consensus/propose"))
    assert node.timers["consensus/prevote"] == 50_000 + Parameters().prevote_timeout_ms


def test_after_the_decision_votes_are_still_gathered_for_neighbours() -> None:
    node = started()
    node.step(ProposalReceived(Verified(proposal("v2", 0, "A", -1, height=1)), valid=True))
    heard(node, "precommit v2 0 A, precommit v3 0 A, precommit v4 0 A")
    assert node.driver.decided is not None
    before = node.driver.held()[0]
    assert heard(node, "prevote v3 0 A") == []
    assert heard(node, "prevote v3 900 A") == []
    assert node.driver.held()[0] == before + 1
    quorum = tuple(Verified(vote("prevote", who, 7, "B", height=1)) for who in ("v2", "v3", "v4"))
    assert node.step(VotesReceived(quorum)) == []


def test_old_rounds_are_dropped_but_not_the_lock() -> None:
    node = started()
    node.step(ProposalReceived(Verified(proposal("v2", 0, "A", -1, height=1)), valid=True))
    heard(node, "prevote v2 0 A, prevote v3 0 A")
    heard(node, "prevote v2 1 -, precommit v2 1 -")
    node.step(ProposalReceived(Verified(proposal("v3", 1, "A", -1, height=1)), valid=True))
    heard(node, "prevote v2 300 -, prevote v3 300 -")
    assert node.round == 300
    assert node.driver.screen(vote("prevote", "v4", 0, "A", height=1)) is Screening.NEW
    assert node.driver.screen(vote("prevote", "v4", 1, "A", height=1)) is Screening.IGNORED
    assert node.driver.held() == (6, 1)


def test_four_nodes_decide_one_value_a_height() -> None:
    cluster = Cluster(FOUR)
    for height in (Height(1), Height(2), Height(3)):
        cluster.start(height)
        while any(cluster.inboxes.values()):
            for name in FOUR:
                if cluster.inboxes[name]:
                    cluster.deliver(name)
        decisions = [node.decisions[-1] for node in cluster.nodes.values()]
        assert {decision.height for decision in decisions} == {height}
        assert len({decision.header_digest for decision in decisions}) == 1
