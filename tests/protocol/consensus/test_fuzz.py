"""The driver under adversarial orders: three honest nodes of four, a liar, crashes, old words.

Hypothesis draws who hears what when, again and again, what the fourth validator says to whom, who
crashes and what its disk keeps, and when timers fire. Whatever it draws: nobody signs twice, one
value a height is decided, evidence names the liar alone, memory is bounded, and what is not
welcome is rejected or ignored: nothing raises.

`GIGMESH_FUZZ=2000 pytest tests/protocol/consensus/test_fuzz.py` draws so many runs, of more steps.
"""

import os

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from p2p.model.block import Certificate
from p2p.model.effects import Penalize, Persist
from p2p.model.inputs import TimerFired
from p2p.model.vote import Proposal, Vote
from p2p.primitives.signing import Verified
from p2p.primitives.units import Digest, Height, Millis, PeerId, Round
from p2p.protocol.consensus.early import EARLY_ROUNDS_MAX
from p2p.protocol.consensus.interface import (
    BuildValue,
    CertificateReceived,
    ConsensusEffect,
    ConsensusInput,
    ProposalReceived,
    ValueBuilt,
    VoteReceived,
    VotesReceived,
)
from p2p.protocol.consensus.open_height import TIMER_KEYS
from p2p.protocol.consensus.proposals import PROPOSALS_PER_ROUND_MAX
from p2p.protocol.consensus.sign_state import Message, step_of
from p2p.protocol.consensus.votes import QUORUM_VALUES_MAX, ROUNDS_AHEAD_MAX, ROUNDS_BEHIND_MAX
from tests.conformance import words
from tests.protocol.consensus.shell import FIRST, Shell

RUNS = int(os.environ.get("GIGMESH_FUZZ", "0"))
"""0: the few that run with all tests."""
FOUR = {"v1": 1, "v2": 1, "v3": 1, "v4": 1}
HONEST = ["v1", "v3", "v4"]
LIAR = "v2"
"""It proposes rounds 0, 4, 8."""
PEER = PeerId(b"peer")
HISTORY_MAX = 400
PINNED_MAX = 6
"""Rounds out of the window that a rule may still need."""
SLOTS = 2 * (ROUNDS_BEHIND_MAX + ROUNDS_AHEAD_MAX + 2 + PINNED_MAX)
VOTES_MAX = len(FOUR) * (SLOTS * (1 + QUORUM_VALUES_MAX) + 2 + 2 * EARLY_ROUNDS_MAX)
PROPOSALS_MAX = PROPOSALS_PER_ROUND_MAX * SLOTS // 2

names = st.sampled_from(HONEST)
kinds = st.sampled_from(["prevote", "precommit"])
offsets = st.sampled_from([-2, -1, 0, 0, 0, 0, 1, 1, 2, 17, 80, 2**20])
valid_rounds = st.sampled_from([-1, -1, -1, 0, 1, 2, 30])
picks = st.integers(0, 2**16)


class Network(RuleBasedStateMachine):
    """Messages go where and when the rules take them; every message may come again later."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = {name: Shell(name, FOUR) for name in HONEST}
        self.heard = dict.fromkeys(HONEST, 0)
        self.history: list[Message] = []
        """Every message ever sent, by anybody, the newest last."""
        self.certificates: list[Certificate] = []
        self.decided: dict[Height, Digest] = {}
        self.slots: dict[tuple[str, Height, Round, int], Message] = {}

    # ---- what happens ---------------------------------------------------------------------------

    @initialize()
    def start(self) -> None:
        for name, node in self.nodes.items():
            self.after(name, node.start(FIRST))

    @rule(name=names, back=st.integers(0, 40))
    def hear_something(self, name: str, back: int) -> None:
        """Mostly what was said lately, in any order; often a second time."""
        if self.history:
            self.hear(name, self.history[-1 - back % len(self.history)])

    @rule(name=names, count=st.integers(2, 12))
    def hear_the_latest_in_order(self, name: str, count: int) -> None:
        for message in self.history[-count:]:
            self.hear(name, message)

    @rule(name=names, pick=picks)
    def hear_something_old(self, name: str, pick: int) -> None:
        """A proof of lock that comes late, a vote of a height that is over."""
        if self.history:
            self.hear(name, self.history[pick % len(self.history)])

    @rule(name=names, other=names)
    def exchange(self, name: str, other: str) -> None:
        summary = self.nodes[name].driver.summary()
        assert summary is not None
        offer = self.nodes[other].driver.missing_from(summary)
        for proposal in offer.proposals:
            self.hear(name, proposal)
        if offer.votes:
            self.step(name, VotesReceived(tuple(Verified(vote) for vote in offer.votes), PEER))

    @rule(name=names, key=st.sampled_from(sorted(TIMER_KEYS.values())))
    def fire(self, name: str, key: str) -> None:
        """Any timer that runs, whichever is due; and one that does not run."""
        node = self.nodes[name]
        node.now_ms = max(node.now_ms, node.timers.get(key, node.now_ms))
        self.step(name, TimerFired(key))

    @rule(name=names, has_value=st.booleans(), text=st.sampled_from(["A", "B"]))
    def build(self, name: str, has_value: bool, text: str) -> None:
        """An answer that was asked for, one that nobody asked for, or none."""
        node = self.nodes[name]
        value = words.some_value(f"{text} of {name} at {node.state.height}")
        built = words.text_bytes(value) if has_value else b""
        asked = ValueBuilt(node.state.height, node.round, value if has_value else None, built)
        self.step(name, asked)

    @rule(name=names, kept=st.sampled_from(["all", "all", "no journal"]))
    def crash(self, name: str, kept: str) -> None:
        node = self.nodes[name]
        self.after(name, node.crash(node.state.height, keep_journal=kept == "all"))

    @rule(name=names, back=st.integers(0, 10), persists=st.booleans())
    def crash_within_a_step(self, name: str, back: int, persists: bool) -> None:
        """It hears something, and dies before or after what it signed is durable."""
        if not self.history:
            return
        node = self.nodes[name]
        effects = node.driver.step(
            self.told(self.history[-1 - back % len(self.history)]), Millis(0)
        )
        if persists:
            node.carry_out([effect for effect in effects if isinstance(effect, Persist)])
        self.after(name, node.crash(node.state.height))

    @rule(name=names)
    def next_height(self, name: str) -> None:
        node = self.nodes[name]
        if node.driver.decided is not None:
            self.after(name, node.start(Height(node.state.height + 1)))

    @rule(deaf=st.sampled_from([None, *HONEST]))
    def time_passes(self, deaf: str | None) -> None:
        """All but one hear what was said; the decided go on, the others' first timers fire."""
        for name, node in self.nodes.items():
            for message in self.history[-16:] if name != deaf else ():
                self.hear(name, message)
            if node.driver.decided is not None:
                self.next_height(name)
            elif node.timers:
                self.fire(name, min(node.timers, key=lambda key: (node.timers[key], key)))

    # ---- what the liar says ---------------------------------------------------------------------

    @rule(name=names, kind=kinds, offset=offsets, pick=picks, valid_round=valid_rounds)
    def lie_by_vote(self, name: str, kind: str, offset: int, pick: int, valid_round: int) -> None:
        vote = self.false_vote(name, kind, offset, pick, valid_round)
        self.history.append(vote)
        self.hear(name, vote)

    @rule(name=names, offset=offsets, pick=picks, valid_round=valid_rounds, who=st.booleans())
    def lie_by_proposal(
        self, name: str, offset: int, pick: int, valid_round: int, who: bool
    ) -> None:
        """In its turn or out of it; good, bad and late blocks, with any proof of lock."""
        state = self.nodes[name].state
        round_ = max(0, state.round + offset)
        if who:  # the next round that is the liar's
            round_ += -round_ % 4
        text = ["A", "B", "bad", "late"][pick % 4] + f" of {LIAR} at {state.height}"
        told = words.proposal(LIAR, round_, text, valid_round, height=state.height)
        self.history.append(told)
        self.hear(name, told)

    @rule(texts=st.permutations(["A", "A", "B"]), kinds=st.sampled_from([1, 2]))
    def tell_each_another_thing(self, texts: list[str], kinds: int) -> None:
        """Its proposal, where it is its turn, and its votes for it, or for what each heard."""
        for name, text in zip(HONEST, texts, strict=True):
            state = self.nodes[name].state
            value = f"{text} of {LIAR} at {state.height}"
            if state.round % 4 == 0:
                self.hear(name, words.proposal(LIAR, state.round, value, -1, height=state.height))
            else:
                value = self.last_proposed(state.height, state.round) or value
            for kind in ("prevote", "precommit")[:kinds]:
                self.hear(name, words.vote(kind, LIAR, state.round, value, height=state.height))

    @rule(name=names, kind=kinds, pick=picks, whole=st.booleans())
    def lie_in_a_bunch(self, name: str, kind: str, pick: int, whole: bool) -> None:
        """The liar's vote among true ones, so that they make a quorum; or strangers among them."""
        true = [
            message
            for message in self.history[-60:]
            if isinstance(message, Vote) and message.validator != words.account(LIAR)
        ]
        if not true:
            return
        like = true[pick % len(true)]
        same = [one for one in true if (one.kind, one.round, one.stand) == self.slot(like)]
        who = LIAR if whole else "x"
        lie = msgspec.structs.replace(like, validator=words.account(who), signature=b"lie")
        bunch = [*dict.fromkeys(same), lie]
        self.step(name, VotesReceived(tuple(Verified(one) for one in bunch), PEER))

    @rule(name=names, pick=picks, lie=st.sampled_from(["", "round", "height", "few", "chain"]))
    def certificate(self, name: str, pick: int, lie: str) -> None:
        """A true certificate, late or again, or one that was tampered with."""
        if not self.certificates:
            return
        true = self.certificates[pick % len(self.certificates)]
        told = true
        if lie == "height":
            told = msgspec.structs.replace(true, height=Height(true.height + 1))
        elif lie == "few":
            told = msgspec.structs.replace(true, signatures=true.signatures[:2])
        elif lie == "chain":
            told = msgspec.structs.replace(true, signatures=())
        # What names another height or round was never signed: no verifier lets it through whole.
        if lie not in {"round", "height"}:
            self.step(name, CertificateReceived(Verified(told), PEER))

    # ---- how ------------------------------------------------------------------------------------

    def false_vote(self, name: str, kind: str, offset: int, pick: int, valid_round: int) -> Vote:
        state = self.nodes[name].state
        round_ = max(0, state.round + offset)
        height = Height(state.height + (pick % 7 == 0))
        known = [m.header_digest for m in self.history[-40:] if m.header_digest is not None]
        value = None if pick % 3 == 0 or not known else known[pick % len(known)]
        lie = words.vote(kind, LIAR, round_, None, height=height)
        return msgspec.structs.replace(lie, header_digest=value, valid_round=Round(valid_round))

    def last_proposed(self, height: Height, round_: Round) -> str | None:
        for message in reversed(self.history):
            if isinstance(message, Proposal) and (message.height, message.round) == (
                height,
                round_,
            ):
                return words.text_of(message.header_digest)
        return None

    def slot(self, vote: Vote) -> tuple[object, ...]:
        return vote.kind, vote.round, vote.stand

    def told(self, message: Message) -> ConsensusInput:
        if isinstance(message, Vote):
            return VoteReceived(Verified(message), PEER)
        text = words.text_of(message.header_digest) or ""
        return ProposalReceived(
            Verified(message),
            valid=not text.startswith("bad"),
            timely=not text.startswith("late"),
            block=text.encode(),
            peer=PEER,
        )

    def hear(self, name: str, message: Message) -> None:
        self.step(name, self.told(message))

    def step(self, name: str, input_: ConsensusInput) -> None:
        self.after(name, self.nodes[name].step(input_))

    def after(self, name: str, effects: list[ConsensusEffect]) -> None:
        """Answer the application's question, and spread what the node sent."""
        node = self.nodes[name]
        for effect in effects:
            if isinstance(effect, BuildValue):
                value = words.some_value(f"of {name} at {effect.height} {effect.round}")
                built = ValueBuilt(effect.height, effect.round, value, words.text_bytes(value))
                self.after(name, node.step(built))
        assert all(effect.peer == PEER for effect in effects if isinstance(effect, Penalize))
        fresh = node.sent[self.heard[name] :]
        self.heard[name] = len(node.sent)
        for message in fresh:
            slot = (name, message.height, message.round, int(step_of(message)))
            assert self.slots.setdefault(slot, message) == message, "signed twice"
        self.history = (self.history + fresh)[-HISTORY_MAX:]
        for one in node.decisions:
            assert self.decided.setdefault(one.height, one.header_digest) == one.header_digest
            if one.certificate not in self.certificates:
                self.certificates.append(one.certificate)
        node.decisions.clear()

    # ---- what must hold -------------------------------------------------------------------------

    @invariant()
    def memory_is_bounded(self) -> None:
        for node in self.nodes.values():
            votes, proposals = node.driver.held()
            assert votes <= VOTES_MAX
            assert proposals <= PROPOSALS_MAX
            assert set(node.timers) <= set(TIMER_KEYS.values())

    @invariant()
    def evidence_names_the_liar(self) -> None:
        for node in self.nodes.values():
            for found in node.evidence:
                who = {
                    one.validator if isinstance(one, Vote) else one.proposer
                    for one in (found.first, found.second)
                }
                assert who == {words.account(LIAR)}

    @invariant()
    def nothing_bad_is_decided(self) -> None:
        texts = [words.text_of(value) or "" for value in self.decided.values()]
        assert not any(text.startswith(("bad", "late")) for text in texts)


Network.TestCase.settings = settings(
    max_examples=RUNS or 20, stateful_step_count=150 if RUNS else 60, deadline=None
)
TestWhateverComes = Network.TestCase
