"""One open height: what it has heard, its round machine, and the rules run to a fixed point.

The driver screens and journals; this class stores, lets the rules run, and collects the effects.
"""

from collections.abc import Sequence
from typing import Final, assert_never

import msgspec

from p2p.model.block import Certificate, CommitSignature
from p2p.model.effects import CancelTimer, SetTimer
from p2p.model.parameters import Parameters, timeout_ms
from p2p.model.vote import Proposal, Vote, VoteKind
from p2p.primitives.units import Digest, Millis, Round
from p2p.protocol.consensus.interface import (
    BroadcastProposal,
    BroadcastVote,
    BuildValue,
    ConsensusEffect,
    Decided,
    EquivocationFound,
    HeightStarted,
)
from p2p.protocol.consensus.journal import StartedEntry
from p2p.protocol.consensus.proposals import ProposalBook
from p2p.protocol.consensus.round_machine import (
    CastVote,
    CommitReached,
    Decide,
    GetValue,
    NewRound,
    Propose,
    RoundInput,
    RoundOutput,
    RoundState,
    ScheduleTimeout,
    StartRound,
    Step,
    TimeoutPrecommit,
    TimeoutPrevote,
    TimeoutPropose,
    ValueProposed,
    transition,
)
from p2p.protocol.consensus.rules import enabled
from p2p.protocol.consensus.voice import Voice
from p2p.protocol.consensus.votes import ROUNDS_AHEAD_MAX, ROUNDS_BEHIND_MAX, VoteKeeper

TIMER_KEYS: Final = {
    Step.PROPOSE: "consensus/propose",
    Step.PREVOTE: "consensus/prevote",
    Step.PRECOMMIT: "consensus/precommit",
}
_Timeout = type[TimeoutPropose] | type[TimeoutPrevote] | type[TimeoutPrecommit]
_TIMEOUTS: Final[dict[Step, _Timeout]] = {
    Step.PROPOSE: TimeoutPropose,
    Step.PREVOTE: TimeoutPrevote,
    Step.PRECOMMIT: TimeoutPrecommit,
}


class OpenHeight:
    """The state of consensus for one height; `effects` gathers what a step orders."""

    def __init__(
        self,
        started: HeightStarted,
        voice: Voice,
        chain_id: Digest,
        parameters: Parameters,
        *,
        own_return: bool = False,
    ) -> None:
        self._voice = voice
        self._own_return = own_return
        self._chain_id = chain_id
        self._parameters = parameters
        self._fired: set[type] = set()
        self._timers: dict[Step, Round] = {}
        self._proof: Certificate | None = None
        self.validators = started.validators
        self.proposers = started.proposers
        self.powers = started.validators.powers()
        self.height = started.height
        self.machine = RoundState(started.height)
        self.votes = VoteKeeper(started.validators)
        self.proposals = ProposalBook()
        self.asked: Round | None = None
        """The round for which the application still owes a value."""
        self.decided: Decided | None = None
        self.effects: list[ConsensusEffect] = []
        self.now_ms = Millis(0)

    # ---------------------------------------------------------------------------- what is heard

    def start(self, first: StartedEntry) -> None:
        """Start the first round (L10), or after a crash the last one, with its lock."""
        self.machine = msgspec.structs.replace(
            self.machine,
            locked_round=first.locked_round,
            locked_value=first.locked_value,
            # Nobody knows any more what else was locked before: suppose the worst.
            other_round=first.locked_round,
        )
        self._start_round(first.round)
        self.run()

    def count(self, vote: Vote) -> None:
        """Count a vote that passed the screen."""
        counted = self.votes.add(vote, current=self.machine.round)
        if counted.conflicts_with is not None:
            self.effects.append(EquivocationFound(counted.conflicts_with, vote))
        if counted.crossed is not None:
            self.run()

    def count_quorum(self, votes: Sequence[Vote]) -> None:
        """Count votes of one kind, round and value that together are a quorum."""
        for first, second in self.votes.add_quorum(votes):
            self.effects.append(EquivocationFound(first, second))
        self.run()

    def hear(self, proposal: Proposal, *, valid: bool, timely: bool) -> None:
        """Keep a proposal that passed the screen."""
        first = self.proposals.add(proposal, valid=valid, timely=timely)
        if first is not None:
            self.effects.append(EquivocationFound(first, proposal))
        self.run()

    def build(self, value: Digest | None) -> None:
        """Take the application's answer for the current round; None leaves it to the timeout."""
        self.asked = None
        if value is not None:
            self._apply(ValueProposed(value))
            self.run()

    def commit(self, certificate: Certificate) -> None:
        """Decide what a certificate proves, when a valid proposal of any round carries it."""
        if self.decided is None:
            self._proof = certificate
            self._apply(CommitReached(certificate.round, certificate.header_digest))

    def fire(self, step: Step) -> None:
        """Let a timer fire that `has_timer`."""
        self._apply(_TIMEOUTS[step](self.height, self._timers.pop(step)))
        self.run()

    def has_timer(self, step: Step) -> bool:
        return step in self._timers

    def prune_timers(self) -> None:
        """Cancel the timers whose step or round is over."""
        for step, round_ in list(self._timers.items()):
            moot = step is not Step.PRECOMMIT and step is not self.machine.step
            if moot or round_ != self.machine.round or self.machine.step is Step.COMMIT:
                del self._timers[step]
                self._order(CancelTimer(TIMER_KEYS[step]))

    def resume(self) -> None:
        """After a replay: start the running timers anew, and ask again for an owed value."""
        for step, round_ in list(self._timers.items()):
            self._set_timer(step, round_)
        if self.asked is not None and self.machine.step is Step.PROPOSE:
            self._order(BuildValue(self.height, self.asked))

    # -------------------------------------------------------------------------------- the rules

    def run(self) -> None:
        """Run the rules to their fixed point.

        It ends: every rule but L55 moves the step on or fires once a round, and L55 needs f+1
        voters in a later round.
        """
        while (input_ := self._enabled()) is not None:
            self._fired.add(type(input_))
            self._apply(input_)

    def _enabled(self) -> RoundInput | None:
        return enabled(self.machine, self.votes, self.proposals, self._fired)

    def _apply(self, input_: RoundInput) -> None:
        done = transition(self.machine, input_)
        assert done is not None, f"{input_} does not apply to {self.machine}"
        self.machine = done.state
        if done.output is not None:
            self._carry_out(done.output)

    def _carry_out(self, output: RoundOutput) -> None:
        match output:
            case CastVote():
                vote = self._voice.vote(self.machine, output)
                if vote is not None:
                    if not self._own_return:
                        self.votes.add(vote, current=self.machine.round)
                    self._order(BroadcastVote(vote))
            case Propose():
                proposal = self._voice.proposal(self.machine, output)
                if proposal is not None:
                    if not self._own_return:
                        self.proposals.add(proposal, valid=True)
                    self._order(BroadcastProposal(proposal))
            case GetValue(round=round_):
                self.asked = round_
                self._order(BuildValue(self.height, round_))
            case ScheduleTimeout(step=step, round=round_):
                self._set_timer(step, round_)
            case StartRound(round=round_):
                self._start_round(round_)
            case Decide(round=round_, value=value):
                self._decide(round_, value)
            case _:
                assert_never(output)

    def _start_round(self, round_: Round) -> None:
        self._fired.clear()
        self.asked = None
        proposer = self._voice.is_me(self.proposers.of(round_))
        if proposer:
            # The paper trusts its proposer to have a value; an application may fail to build one.
            self._set_timer(Step.PROPOSE, round_)
        self._apply(NewRound(round_, proposer))
        below = self.oldest_round
        self.votes.forget(below=below, pinned=self.pinned_rounds())
        self.proposals.forget(below=below, pinned=self.pinned_rounds())

    def _decide(self, round_: Round, value: Digest) -> None:
        proof = self._proof or self._certificate(round_, value)
        self.decided = Decided(self.height, round_, value, proof)
        self.effects.append(self.decided)

    def _certificate(self, round_: Round, value: Digest) -> Certificate:
        """The precommits of a commit, as their certificate."""
        tally = self.votes.tally(round_, VoteKind.PRECOMMIT)
        precommits = tally.votes_for(value) if tally else []
        signatures = sorted((vote.validator, vote.signature) for vote in precommits)
        return Certificate(
            chain_id=self._chain_id,
            height=self.height,
            round=round_,
            header_digest=value,
            signatures=tuple(CommitSignature(*signature) for signature in signatures),
        )

    def _set_timer(self, step: Step, round_: Round) -> None:
        self._timers[step] = round_
        bases = {
            Step.PROPOSE: self._parameters.propose_timeout_ms,
            Step.PREVOTE: self._parameters.prevote_timeout_ms,
            Step.PRECOMMIT: self._parameters.precommit_timeout_ms,
        }
        span_ms = timeout_ms(bases[step], round_, self._parameters)
        self._order(SetTimer(TIMER_KEYS[step], Millis(self.now_ms + span_ms)))

    def _order(self, effect: ConsensusEffect) -> None:
        """An effect that a replay holds back, having had it before the crash."""
        if not self._voice.replaying:
            self.effects.append(effect)

    # ------------------------------------------------------------------------------- the window

    @property
    def oldest_round(self) -> Round:
        """The lowest round that is kept without being pinned."""
        return Round(max(0, self.machine.round - ROUNDS_BEHIND_MAX))

    def pinned_rounds(self) -> list[Round]:
        """Older rounds that a rule may still need: lock, valid value, proofs of lock, commits."""
        pinned = [self.machine.locked_round, self.machine.valid_round]
        pinned += [held.proposal.valid_round for held in self.proposals.of(self.machine.round)]
        pinned += [round_ for round_, _ in self.votes.committed()]
        return pinned

    def keeps(self, round_: Round) -> bool:
        """Whether a round is not too old to keep messages of."""
        return round_ >= self.oldest_round or round_ in self.pinned_rounds()

    def is_far(self, round_: Round) -> bool:
        """Whether a round is too far ahead to keep more than one vote a sender of."""
        return round_ > self.machine.round + ROUNDS_AHEAD_MAX
