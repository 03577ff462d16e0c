"""The consensus driver: messages and timers in, signed messages and the decision out.

One height at a time. Every input is screened, journalled and stored; then the rules run to a fixed
point: `rules.enabled` names the next "upon" clause that has its messages, the round machine does
what it says, and its outputs may enable the next. Our own votes count the moment they are signed.

    HeightStarted -> round 0 -> (inputs, timers) -> round 1 -> ... -> Decided -> HeightStarted

Persist before send: what we sign in a step, the journal up to it and the sign state are one
Persist, which comes before anything else of that step. See journal.py and sign_state.py.

After a crash: `JournalRestored`, then `HeightStarted` of the open height. The journal is replayed
with the outputs held back; what the machine wants to say is looked up among what was signed, never
signed again. Then our messages of the last round go out once more, byte for byte, and the timers
start anew. If the journal is lost, the sign state alone restores round, lock and guard: the node is
silent where it could contradict itself, and takes part again from the next round.

A decided height keeps its votes for neighbours until the next height starts. A node without a
signer, or outside the set, follows and says nothing; it keeps no journal.

Blame: a message that no correct peer would have passed on yields Penalize, when its peer is told.
What is merely late, early, known or too much is ignored. `screen` tells the two from the useful,
before any signature is verified.
"""

from typing import Final, assert_never

from p2p.model.accusation import POLKAS_MAX, Polka, polka_of
from p2p.model.block import certificate_fault
from p2p.model.effects import Penalize
from p2p.model.inputs import TimerFired
from p2p.model.parameters import Parameters
from p2p.model.rejection import Reason, Rejected
from p2p.model.vote import Proposal, Stand, Vote, VoteKind, certificate_votes
from p2p.model.vote_summary import VoteSummary
from p2p.primitives.signing import Signer
from p2p.primitives.units import NO_ROUND, AccountId, Digest, Height, Millis, PeerId, Round
from p2p.protocol.consensus import gaps
from p2p.protocol.consensus.early import EarlyVotes
from p2p.protocol.consensus.gaps import Offer
from p2p.protocol.consensus.interface import (
    BlockRestored,
    BroadcastProposal,
    BroadcastVote,
    CertificateReceived,
    ConsensusEffect,
    ConsensusInput,
    Decided,
    HeightStarted,
    JournalRestored,
    ProposalReceived,
    ValueBuilt,
    VoteReceived,
    VotesReceived,
)
from p2p.protocol.consensus.journal import (
    BuiltEntry,
    JournalEntry,
    ProposalEntry,
    SignedEntry,
    StartedEntry,
    TimerEntry,
    VotesEntry,
    read_journal,
)
from p2p.protocol.consensus.open_height import TIMER_KEYS, OpenHeight
from p2p.protocol.consensus.round_machine import RoundState, Step
from p2p.protocol.consensus.screening import Screening, screen_proposal, screen_vote
from p2p.protocol.consensus.sign_state import Message, SignGuard, SignState
from p2p.protocol.consensus.voice import Voice

_STEPS: Final = {key: step for step, key in TIMER_KEYS.items()}


class ConsensusDriver:
    """Tendermint for one node.

    Args:
        me: our validator key, or None to follow only.
        signer: signs for `me`; None as well to follow only.
        chain_id: the chain that our messages are for.
        parameters: timeouts.
        own_return: our own messages count when the world returns them as inputs, as they do in
            recorded traces; otherwise they count the moment they are signed.
        accountable: our prevotes state the valid round of the proposal that they answer; not so in
            recorded traces of the plain protocol, where none do.
    """

    def __init__(
        self,
        me: AccountId | None,
        signer: Signer | None,
        chain_id: Digest,
        parameters: Parameters,
        *,
        own_return: bool = False,
        accountable: bool = True,
    ) -> None:
        self._own_return = own_return
        self._chain_id = chain_id
        self._parameters = parameters
        self._voice = Voice(me, signer, chain_id, accountable=accountable)
        self._open: OpenHeight | None = None
        self._early = EarlyVotes(())
        self._restored: tuple[StartedEntry, list[JournalEntry]] | None = None
        self._is_restart = False
        self._effects: list[ConsensusEffect] = []

    # ------------------------------------------------------------------------------------ views

    @property
    def height(self) -> Height | None:
        """The height that is open, or decided and still served; None before the first."""
        return None if self._open is None else self._open.height

    @property
    def state(self) -> RoundState | None:
        """Round, step, lock and valid value of the height."""
        return None if self._open is None else self._open.machine

    @property
    def decided(self) -> Decided | None:
        """The decision of the height, once it is taken."""
        return None if self._open is None else self._open.decided

    @property
    def sign_state(self) -> SignState | None:
        """What this node last signed, and under which lock."""
        return self._voice.guard.state

    @property
    def restored_height(self) -> Height | None:
        """After `JournalRestored`: the height that a crash left open, to start without delay."""
        if self._open is not None:
            return None
        if self._restored is not None:
            return self._restored[0].height
        state = self._voice.guard.state
        return None if state is None else state.height

    def proposer(self, round_: Round) -> AccountId | None:
        """The proposer of a round of the height."""
        return None if self._open is None else self._open.proposers.of(round_)

    def held(self) -> tuple[int, int]:
        """How many votes and proposals are held, for metrics and bounds."""
        if self._open is None:
            return len(self._early), 0
        return len(self._open.votes) + len(self._early), len(self._open.proposals)

    def ballots(self, round_: Round, kind: VoteKind) -> tuple[Vote, ...]:
        """The votes that count in a round of the height, one a validator, by arrival."""
        tally = None if self._open is None else self._open.votes.tally(round_, kind)
        return () if tally is None else tuple(tally.first.values())

    def own_messages(self) -> tuple[Message, ...]:
        """What we signed in the last round of the open height that we signed in."""
        return () if self._open is None else self._voice.spoken(self._open.height)

    def summary(self) -> VoteSummary | None:
        """What we hold, for a neighbour to answer with what we lack."""
        if self._open is None:
            return None
        o = self._open
        return gaps.summarize(o.machine, o.validators, o.votes, o.proposals)

    def missing_from(self, summary: VoteSummary) -> Offer:
        """What a neighbour with this summary lacks; nothing for another height than ours."""
        if self._open is None or summary.height != self._open.height:
            return Offer()
        o = self._open
        return gaps.missing(summary, o.machine, o.validators, o.votes, o.proposals)

    def polkas(self, height: Height) -> tuple[Polka, ...]:
        """The polkas of a height that is open or decided here, by round; of the last rounds."""
        if self._open is None or self._open.height != height:
            return ()
        return tuple(polka_of(votes) for votes in self._open.votes.polkas())[-POLKAS_MAX:]

    # ------------------------------------------------------------------------------- screening

    def screen(self, message: Vote | Proposal) -> Screening | Rejected:
        """Whether a message deserves the cost of its signature; changes nothing."""
        if isinstance(message, Vote):
            return screen_vote(self._open, self._early, message)
        return screen_proposal(self._open, message)

    # ------------------------------------------------------------------------------------ steps

    def step(self, input_: ConsensusInput, now_ms: Millis) -> list[ConsensusEffect]:
        """Take one input; the effects are to be carried out in order.

        Raises:
            ValueError: a height that does not lie above the last one, or a second restart.
        """
        self._effects = []
        if isinstance(input_, JournalRestored):
            self._on_restored(input_)
            return []
        if isinstance(input_, HeightStarted):
            self._on_started(input_, now_ms)
        elif self._open is not None:
            self._open.now_ms = now_ms
            self._on_input(self._open, input_)
        return self._finish()

    def _finish(self) -> list[ConsensusEffect]:
        """The step's effects, the Persist first."""
        if self._open is not None:
            self._open.prune_timers()
            self._effects += self._open.effects
            self._open.effects = []
        persist = self._voice.persist()
        return self._effects if persist is None else [persist, *self._effects]

    def _on_input(
        self,
        here: OpenHeight,
        input_: ValueBuilt
        | ProposalReceived
        | VoteReceived
        | VotesReceived
        | CertificateReceived
        | TimerFired,
    ) -> None:
        match input_:
            case VoteReceived(vote=vote, peer=peer):
                self._on_vote(here, vote.value, peer)
            case VotesReceived(votes=votes, peer=peer):
                self._on_votes(here, [vote.value for vote in votes], peer)
            case ProposalReceived():
                self._on_proposal(here, input_)
            case CertificateReceived():
                self._on_certificate(here, input_)
            case ValueBuilt(height=height, round=round_, header_digest=value, block=block):
                owed = here.asked == round_ and here.machine.step is Step.PROPOSE
                if height == here.height and owed:
                    self._voice.journal.append(BuiltEntry(round_, value, block))
                    here.build(value)
            case TimerFired(key=key):
                step = _STEPS.get(key)
                if step is not None and here.has_timer(step):
                    self._voice.journal.append(TimerEntry(key))
                    here.fire(step)
            case _:
                assert_never(input_)
        self._count_ready(here)

    # --------------------------------------------------------------------------------- messages

    def _on_vote(self, here: OpenHeight, vote: Vote, peer: PeerId | None) -> None:
        verdict = screen_vote(here, self._early, vote)
        if isinstance(verdict, Rejected):
            self._blame(peer, verdict)
        elif verdict is Screening.NEW:
            if vote.height != here.height:
                self._early.add(vote)
            elif here.is_far(vote.round):
                here.votes.park(vote)
            else:
                self._count(here, vote)

    def _count(self, here: OpenHeight, vote: Vote) -> None:
        if here.decided is None:
            self._voice.journal.append(vote)
        here.count(vote)

    def _count_ready(self, here: OpenHeight) -> None:
        """Count parked votes whose round has come near, or has f+1 behind it.

        They are journalled here and not when they come: a sender's far rounds have no bound.
        """
        while here.decided is None and (ready := here.votes.take_ready(here.machine.round)):
            for vote in ready:
                if here.keeps(vote.round):
                    self._count(here, vote)

    def _on_votes(self, here: OpenHeight, votes: list[Vote], peer: PeerId | None) -> None:
        groups: dict[tuple[VoteKind, Round, Stand], list[Vote]] = {}
        for vote in votes:
            if vote.height == here.height and vote.validator not in here.powers:
                self._blame(peer, Rejected(Reason.NOT_A_VALIDATOR))
                return
            if not vote.is_sound:
                self._blame(peer, Rejected(Reason.MALFORMED))
                return
            if vote.height == here.height:
                groups.setdefault((vote.kind, vote.round, vote.stand), []).append(vote)
        for (kind, round_, stand), group in groups.items():
            if self._overrides(here, kind, round_, stand) and here.votes.is_together(group):
                self._count_quorum(here, group)
            else:
                for vote in group:
                    self._on_vote(here, vote, None)

    def _overrides(self, here: OpenHeight, kind: VoteKind, round_: Round, stand: Stand) -> bool:
        """Whether a quorum for this stand would be news; one of any later round may be."""
        tally = here.votes.tally(round_, kind)
        if tally is None:
            return here.decided is None and here.keeps(round_)
        return here.decided is None and tally.admits_extra(stand)

    def _count_quorum(self, here: OpenHeight, votes: list[Vote]) -> None:
        distinct = list({vote.validator: vote for vote in votes}.values())
        self._voice.journal.append(VotesEntry(tuple(distinct)))
        here.count_quorum(distinct)

    def _on_proposal(self, here: OpenHeight, input_: ProposalReceived) -> None:
        proposal = input_.proposal.value
        verdict = screen_proposal(here, proposal)
        if isinstance(verdict, Rejected):
            self._blame(input_.peer, verdict)
        elif verdict is Screening.NEW:
            entry = ProposalEntry(proposal, input_.valid, input_.timely, input_.block)
            self._voice.journal.append(entry)
            here.hear(proposal, valid=input_.valid, timely=input_.timely)

    def _on_certificate(self, here: OpenHeight, input_: CertificateReceived) -> None:
        certificate = input_.certificate.value
        if certificate.height != here.height or here.decided is not None:
            return
        fault = certificate_fault(certificate, here.validators)
        if fault is not None:
            self._blame(input_.peer, Rejected(fault))
            return
        # Journalled as votes: a replay may stop short of the decision, and we signed nothing since.
        round_, value = certificate.round, certificate.header_digest
        if self._overrides(here, VoteKind.PRECOMMIT, round_, (value, NO_ROUND)):
            self._count_quorum(here, list(certificate_votes(certificate)))
        if here.proposals.knows_valid(value):
            here.commit(certificate)

    def _blame(self, peer: PeerId | None, rejected: Rejected) -> None:
        if peer is not None:
            self._effects.append(Penalize(peer, rejected.reason, rejected.detail))

    # ------------------------------------------------------------------------ heights, restarts

    def _on_restored(self, input_: JournalRestored) -> None:
        if self._open is not None or self._is_restart:
            raise ValueError("a journal is restored once, before the first height")
        self._is_restart = True
        self._voice.guard = SignGuard.restored(input_.sign_state)
        self._restored = read_journal(input_.entries, self._voice.guard.state)

    def _on_started(self, input_: HeightStarted, now_ms: Millis) -> None:
        if self._open is not None and input_.height <= self._open.height:
            raise ValueError(f"height {input_.height} after height {self._open.height}")
        early = self._early.take() if self._open is not None else []
        here = OpenHeight(
            input_,
            self._voice,
            self._chain_id,
            self._parameters,
            own_return=self._own_return,
        )
        here.now_ms = now_ms
        restored, self._restored, self._open = self._restored, None, here
        self._early = EarlyVotes([*here.powers, *input_.next_validators.powers()])
        if restored is not None and restored[0].height == here.height:
            self._replay(here, *restored)
        else:
            self._begin(here)
        for message in self._voice.spoken(here.height):
            self._repeat(here, message)
        for vote in early:
            self._on_vote(here, vote, None)
        self._count_ready(here)

    def _begin(self, here: OpenHeight) -> None:
        """Start a height of which there is no journal, but perhaps a sign state."""
        known = self._voice.guard.at(here.height)
        first = StartedEntry(here.height)
        if known is not None:
            first = StartedEntry(here.height, known.round, known.locked_round, known.locked_value)
        self._voice.open(here.powers)
        self._voice.journal.append(first)
        here.start(first)

    def _replay(self, here: OpenHeight, first: StartedEntry, entries: list[JournalEntry]) -> None:
        """Back to where we last spoke."""
        self._voice.open(here.powers, entries=len(entries) + 1)
        self._voice.start_replay([e.message for e in entries if isinstance(e, SignedEntry)])
        here.start(first)
        for entry in entries:
            here.prune_timers()
            self._replay_entry(here, entry)
        here.prune_timers()
        self._voice.end_replay()
        here.resume()

    def _repeat(self, here: OpenHeight, message: Message) -> None:
        """Say again, byte for byte, what we said before a crash."""
        if isinstance(message, Vote):
            self._on_vote(here, message, None)
            here.effects.append(BroadcastVote(message))
        elif here.proposals.has(message):
            here.effects.append(BroadcastProposal(message))

    def _replay_entry(self, here: OpenHeight, entry: JournalEntry) -> None:
        match entry:
            case Vote():
                self._on_vote(here, entry, None)
            case VotesEntry(votes=votes):
                here.count_quorum(votes)
            case ProposalEntry(proposal=proposal, valid=valid, timely=timely, block=block):
                restored = BlockRestored(proposal.header_digest, block, valid)
                here.effects.append(restored)
                here.hear(proposal, valid=valid, timely=timely)
            case BuiltEntry(header_digest=value, block=block):
                if value is not None:
                    here.effects.append(BlockRestored(value, block, valid=True))
                here.build(value)
            case TimerEntry(key=key):
                here.fire(_STEPS[key])
            case SignedEntry() | StartedEntry():
                pass  # looked up by the voice; the first entry alone
            case _:
                assert_never(entry)
        self._count_ready(here)
