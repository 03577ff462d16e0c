"""Real drivers among liars: nobody correct is ever accused, and whoever forks a height is named.

Two of four validators lie, more than the third that consensus bears. They say whatever helps:
votes for any value, round and valid round, proposals with any proof of lock, to whom they like.
The correct two hear it in any order, crash, and lose their journals.
"""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.model.accusation import CommitProof
from p2p.model.ballot import Proposal, Vote
from p2p.model.block import Header
from p2p.model.evidence import Amnesia, Offence, offender
from p2p.primitives.digests import ZERO_DIGEST
from p2p.primitives.signing import Verified
from p2p.primitives.units import AccountId, Amount, Height, Millis, Round
from p2p.protocol.accountability.analysis import Finding, analyze
from p2p.protocol.accountability.witness import ProposalsDiffer, VoteHeard, Witness
from p2p.protocol.consensus.sign_state import Message
from tests.conformance import words
from tests.protocol.consensus.shell import FIRST, Cluster, Shell

WEIGHTS = {"v1": 1, "v2": 1, "v3": 1, "v4": 1}
HONEST, LIARS = ("v1", "v2"), ("v3", "v4")
VALUES = ("v1 1 3", "v2 1 0", "x", "y")
"""Two that the correct build when it is their turn, and two of the liars'."""
BUILT = "v2 1 0"
ROUNDS = 6


def ballot(who: str, kind: str, round_: int, text: str | None, valid_round: int = -1) -> Vote:
    vote = words.vote(kind, who, round_, text, height=1)
    return msgspec.structs.replace(vote, valid_round=Round(valid_round))


class Scene(Cluster):
    """Two correct nodes, and all that anybody said."""

    def __init__(self) -> None:
        super().__init__(WEIGHTS)
        for name in LIARS:
            del self.nodes[name]
        self.said: list[Message] = []
        self.start()

    def tell(self, name: str, *messages: Message) -> None:
        for message in messages:
            self.said.append(message)
            self.hear(name, message)

    def shell(self, name: str) -> Shell:
        return self.nodes[name]

    def offences(self) -> list[Offence]:
        """What a witness of everything makes of it."""
        judge, found = Witness(), []
        everything = [*self.said, *(one for node in self.nodes.values() for one in node.sent)]
        proposals: dict[tuple[AccountId, int], Proposal] = {}
        for message in everything:
            if isinstance(message, Vote):
                found += judge.step(VoteHeard(Verified(message)))
                continue
            slot = (message.proposer, message.round)
            first = proposals.setdefault(slot, message)
            if msgspec.structs.replace(first, signature=b"") != msgspec.structs.replace(
                message, signature=b""
            ):
                found += judge.step(ProposalsDiffer(first, message))
        return found

    def finding(self) -> Finding:
        """What the files of those who decided say together."""
        proofs = []
        for node in self.nodes.values():
            for decided in node.decisions:
                head = _header(node)
                # The words of the traces are no header's digests: only the claims matter here.
                polkas = node.driver.polkas(FIRST)
                proofs.append(CommitProof(head, node.validators, decided.certificate, polkas))
        return analyze(proofs)


def _header(node: Shell) -> Header:
    zero = ZERO_DIGEST
    root = node.validators.root()
    return Header(
        chain_id=words.CHAIN,
        height=Height(1),
        time_ms=Millis(1),
        proposer=AccountId(zero),
        previous=zero,
        transactions_root=zero,
        receipts_root=zero,
        evidence_root=zero,
        rewards_root=zero,
        state_root=zero,
        validators_root=root,
        next_validators_root=root,
        minted=Amount(0),
        burned=Amount(0),
        supply=Amount(0),
        parameters_digest=zero,
    )


def names_of(accounts: set[AccountId]) -> set[str]:
    return {words.name_of(account) for account in accounts}


def test_liars_who_forget_a_lock_fork_a_height_and_are_named() -> None:
    """Given a commit of round 0 that v2 missed; when the liars decide otherwise with it."""
    scene = Scene()
    first, second = scene.shell("v1"), scene.shell("v2")
    scene.deliver("v1")
    play(scene, ("lead", "v1", BUILT, -1))
    play(scene, ("seal", "v1", BUILT))
    for step in (
        ("hurry", "v2", "x", 2),
        ("offer", "v2", "x", -1),
        ("lead", "v2", "x", -1),
    ):
        play(scene, step)
    assert [words.text_of(one.header_digest) for one in first.decisions] == [BUILT]
    assert [words.text_of(one.header_digest) for one in second.decisions] == ["x"]
    found = scene.offences()
    assert names_of({offender(offence) for offence in found}) == set(LIARS)
    assert {type(offence) for offence in found} == {Amnesia}
    finding = scene.finding()
    assert finding.names_enough
    guilt = [(words.name_of(entry.account), entry.kind) for entry in finding.guilt]
    assert guilt == [("v3", "amnesia"), ("v4", "amnesia")]


def test_who_changed_its_mind_by_a_polka_does_not_look_as_if_it_forgot() -> None:
    """Given v1, locked on a value, then on another; then a proposal without a polka."""
    scene = Scene()
    changed = scene.shell("v1")
    scene.deliver("v1")
    play(scene, ("lead", "v1", BUILT, -1))
    assert changed.state.locked_round == 0
    for name in HONEST:
        play(scene, ("hurry", name, "y", 1))
        play(scene, ("offer", name, "x", -1))
    while scene.inboxes["v1"]:
        scene.deliver("v1")
    play(scene, ("lead", "v1", "x", -1))
    assert (changed.state.locked_round, changed.state.other_round) == (1, 0)
    play(scene, ("hurry", "v1", "y", 1))
    play(scene, ("offer", "v1", "x", -1))
    (last,) = [one for one in changed.sent if isinstance(one, Vote) and one.round == 2]
    assert (words.text_of(last.header_digest), last.valid_round) == ("x", 1)
    assert names_of({offender(offence) for offence in scene.offences()}) <= set(LIARS)


TEXTS = st.sampled_from(VALUES)
LIES = st.tuples(
    st.sampled_from(HONEST),
    st.sampled_from(LIARS),
    st.sampled_from(["prevote", "precommit", "proposal"]),
    st.integers(0, ROUNDS - 1),
    st.sampled_from([None, *VALUES]),
    st.integers(-1, ROUNDS - 2),
)
QUORUMS = st.tuples(
    st.sampled_from(HONEST),
    st.sampled_from(["prevote", "precommit"]),
    st.integers(0, ROUNDS - 1),
    st.sampled_from([None, *VALUES]),
    st.integers(-1, ROUNDS - 2),
)
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), st.sampled_from(HONEST)),
        st.tuples(st.just("fire"), st.sampled_from(HONEST)),
        st.tuples(st.just("lie"), LIES),
        st.tuples(st.just("both"), QUORUMS),
        st.tuples(st.just("offer"), st.sampled_from(HONEST), TEXTS, st.integers(-1, ROUNDS)),
        st.tuples(st.just("lead"), st.sampled_from(HONEST), TEXTS, st.integers(-1, ROUNDS)),
        st.tuples(st.just("seal"), st.sampled_from(HONEST), TEXTS),
        st.tuples(st.just("hurry"), st.sampled_from(HONEST), TEXTS, st.integers(1, 3)),
        st.tuples(st.just("crash"), st.sampled_from(HONEST), st.booleans()),
    ),
    min_size=8,
    max_size=60,
)
"""Besides single lies, whole steps of an attack in a node's own round: both liars at once."""


def play(scene: Scene, act: tuple[object, ...]) -> None:  # noqa: PLR0912
    match act:
        case ("deliver", str(name)) if scene.inboxes[name]:
            scene.deliver(name)
        case ("fire", str(name)):
            scene.fire(name)
        case ("crash", str(name), bool(keep)):
            if not scene.shell(name).decisions:
                scene.after(name, scene.shell(name).crash(keep_journal=keep))
        case ("both", (str(name), str(kind), int(round_), text, int(valid_round))):
            assert text is None or isinstance(text, str)
            stated = valid_round if kind == "prevote" and text and valid_round < round_ else -1
            scene.tell(name, *[ballot(one, kind, round_, text, stated) for one in LIARS])
        case ("offer", str(name), str(text), int(valid_round)):
            here = scene.shell(name).round
            for liar in LIARS:
                if scene.shell(name).proposers.of(here) == words.account(liar):
                    proposal = words.proposal(liar, here, text, valid_round, height=1)
                    scene.tell(name, proposal)
        case ("lead", str(name), str(text), int(valid_round)):
            here = scene.shell(name).round
            stated = valid_round if valid_round < here else -1
            scene.tell(name, *[ballot(one, "prevote", here, text, stated) for one in LIARS])
        case ("seal", str(name), str(text)):
            here = scene.shell(name).round
            scene.tell(name, *[ballot(one, "precommit", here, text) for one in LIARS])
        case ("hurry", str(name), str(text), int(rounds)):
            ahead = scene.shell(name).round + rounds
            scene.tell(name, *[ballot(one, "precommit", ahead, text) for one in LIARS])
        case ("lie", (str(name), str(liar), str(kind), int(round_), text, int(valid_round))):
            assert text is None or isinstance(text, str)
            if kind == "proposal":
                turn = scene.shell(name).proposers.of(Round(round_)) == words.account(liar)
                if text is not None and turn:
                    scene.tell(name, words.proposal(liar, round_, text, valid_round, height=1))
            else:
                stated = valid_round if kind == "prevote" and text and valid_round < round_ else -1
                scene.tell(name, ballot(liar, kind, round_, text, stated))
        case _:
            pass


@settings(max_examples=150, deadline=None)
@given(ACTS)
def test_whatever_two_of_four_liars_do_nobody_correct_is_accused_and_a_fork_names_them(
    acts: list[tuple[object, ...]],
) -> None:
    scene = Scene()
    for act in acts:
        play(scene, act)
    accused = names_of({offender(offence) for offence in scene.offences()})
    assert accused <= set(LIARS)
    if any(node.decisions for node in scene.nodes.values()):
        found = scene.finding()
        named = names_of({entry.account for entry in found.guilt})
        assert named <= set(LIARS)
        # A node that lost its journal lost the polkas in it; the others' may not be enough.
        if found.is_fork and ("crash", False) not in {(act[0], act[-1]) for act in acts}:
            assert found.names_enough
