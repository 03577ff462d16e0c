"""The chain of one node: which block is next, and what follows from it.

    BuildValue --> ledger.build_block --> ValueBuilt            (our turn to propose)
    proposed block --> ledger.execute_block --> ProposalReceived (somebody else's)
    Decided, or a committed block from a neighbour --> commit:
        invariants, Persist block + state + rewards, mempool, Committed, timer of the next height

The ledger is a pure function, the consensus driver decides on digests alone; the chain keeps the
blocks that the digests stand for. A height opens `epoch_ms` after the last commit. The block of an
open height may also come from outside, by gossip or sync: then its certificate decides.
"""

from collections.abc import Iterator
from typing import Final, assert_never

from p2p.model.block import Block, Certificate, CommittedBlock, ValidatorSet, check_certificate
from p2p.model.effects import CancelTimer, Penalize, Persist, SetTimer
from p2p.model.inputs import TimerFired
from p2p.model.ledger import Executed, State, rules_of
from p2p.model.light import LightBlock
from p2p.model.parameters import BLOCK_BYTES_MAX, Genesis, is_timely
from p2p.model.rejection import Reason, Rejected
from p2p.model.requests import RoundMessages, RoundRequest
from p2p.model.topic import Topic
from p2p.model.vote import Proposal, ProposedBlock, Vote
from p2p.primitives.codec import decode, encode
from p2p.primitives.signing import Signer, Verified
from p2p.primitives.units import NO_ROUND, AccountId, Digest, Height, Millis, PeerId, Round
from p2p.protocol.consensus import interface as consensus
from p2p.protocol.consensus.driver import ConsensusDriver
from p2p.protocol.consensus.proposer import WeightedProposers
from p2p.protocol.consensus.screening import Screening
from p2p.protocol.interface import (
    InvariantViolated,
    Notify,
    RoundStarted,
    Saved,
)
from p2p.protocol.ledger import build_block
from p2p.protocol.mempool import Mempool
from p2p.protocol.replica.archive import SNAPSHOT_DONE, Archive
from p2p.protocol.replica.bookkeeping import Bookkeeper
from p2p.protocol.replica.candidates import Candidate, Candidates
from p2p.protocol.replica.chain_effects import (
    BlockCommitted,
    ChainEffect,
    Contradicted,
    Publish,
    StateInstalled,
    committed_event,
    equivocation_event,
)
from p2p.protocol.replica.early import EarlyProposal, EarlyProposals
from p2p.protocol.replica.progress import ChainProgress

HEIGHT_TIMER: Final = "chain/height"


class Chain:
    """Composes consensus, ledger, mempool and invariants around one state."""

    def __init__(
        self,
        genesis: Genesis,
        signer: Signer,
        state: State,
        mempool: Mempool,
        saved: Saved,
        books: Bookkeeper | None = None,
        *,
        retain_blocks: int = 0,
    ) -> None:
        self.state = state
        self._archive = Archive(
            saved.lowest_height or Height(state.height + 1),
            retain_blocks=retain_blocks,
            evidence_age_epochs=genesis.parameters.evidence_age_epochs,
        )
        self.powers = state.validators.powers()
        """Power by account of those who decide the open height."""
        self.next_powers = state.next_validators.powers()
        self.mempool = mempool
        self.halted: str | None = None
        """Why this node stopped taking part, when a block broke an invariant."""
        self.is_open = False
        """Whether consensus on the next height is under way here."""
        self.opened_ms = Millis(0)
        self.progress = ChainProgress()
        self._genesis = genesis
        self._books = books or Bookkeeper()
        self._parameters = genesis.parameters
        self._rules = rules_of(genesis)
        self._me = signer.account
        self._driver = ConsensusDriver(signer.account, signer, genesis.chain_id, self._parameters)
        self._candidates = Candidates(self._books, self._rules, state)
        self._proposers = WeightedProposers(state.priorities, state.validators)
        self._early = EarlyProposals(state, self._proposers)
        self._round = 0
        self._decided_by = ValidatorSet(())
        """Who decided the last height; nobody until this process saw a commit."""
        self._saved = saved

    # ---- views -------------------------------------------------------------------------------

    @property
    def height(self) -> Height:
        """The height that is open, or opens next."""
        return Height(self.state.height + 1)

    @property
    def lowest_height(self) -> Height:
        """Of the lowest block that is kept."""
        return self._archive.lowest_height

    @property
    def last_certificate(self) -> Certificate | None:
        """Of the newest block, once this process saw one."""
        return self.progress.certificate

    @property
    def is_validator(self) -> bool:
        """Whether this node votes at the open height or the one after."""
        return self._me in self.powers or self._me in self.next_powers

    @property
    def driver(self) -> ConsensusDriver:
        """To read: which votes it holds."""
        return self._driver

    @property
    def voters(self) -> dict[Digest, dict[AccountId, int]]:
        """Powers of the sets that decide the next two heights, by root."""
        state = self.state
        return {
            state.next_validators.root(): self.next_powers,
            state.validators.root(): self.powers,
        }

    def proposer(self, round_: int) -> AccountId:
        """Whose turn it is in a round of the open height, or of the one that opens next."""
        return self._proposers.of(Round(round_))

    def candidate(self, header_digest: Digest) -> Block | None:
        """A block proposed for the open height."""
        known = self._candidates.get(header_digest)
        return None if known is None else known.block

    def round_request(self) -> RoundRequest | None:
        """What we hold of the open height, for a neighbour who may have more."""
        summary = self._driver.summary() if self.is_open else None
        return None if summary is None else RoundRequest(summary)

    def answer_round(self, request: RoundRequest) -> RoundMessages | None:
        """What a neighbour lacks of the height that is open here too."""
        if not self.is_open or request.summary.height != self.height:
            return None
        offer = self._driver.missing_from(request.summary)
        proposed = None
        for proposal in offer.proposals:
            block = self.candidate(proposal.header_digest)
            if block is not None:
                proposed = ProposedBlock(proposal, block)
                break
        return RoundMessages(offer.votes, proposed)

    # ---- inputs ------------------------------------------------------------------------------

    def start(self, now_ms: Millis) -> list[ChainEffect]:
        """Take up the journal and wait for the first height."""
        entries = tuple(value for _, value in self._saved.journal)
        restored = consensus.JournalRestored(entries, self._saved.sign_state)
        effects = list(self._consensus(restored, now_ms))
        self._saved = Saved()
        due_ms = max(now_ms, self.state.time_ms + self._parameters.epoch_ms)
        # A block dated ahead of our clock does not keep us from the next one.
        due_ms = min(due_ms, now_ms + self._parameters.epoch_ms)
        if self._driver.restored_height == self.height:
            due_ms = now_ms
        return [*effects, SetTimer(HEIGHT_TIMER, Millis(due_ms))]

    def timer(self, timer: TimerFired, now_ms: Millis) -> list[ChainEffect]:
        """A timer of the chain or of consensus."""
        if self.halted is not None:
            return []
        if timer.key == HEIGHT_TIMER:
            return list(self._open(now_ms))
        return list(self._consensus(timer, now_ms)) if self.is_open else []

    def vote(self, vote: Verified[Vote], peer: PeerId | None, now_ms: Millis) -> list[ChainEffect]:
        """A vote for the open height or the one after."""
        if self._is_over(vote.value):
            return []
        return list(self._consensus(consensus.VoteReceived(vote, peer), now_ms))

    def votes(
        self, votes: tuple[Verified[Vote], ...], peer: PeerId, now_ms: Millis
    ) -> list[ChainEffect]:
        """Votes that a neighbour found us lacking."""
        due = tuple(vote for vote in votes if not self._is_over(vote.value))
        return list(self._consensus(consensus.VotesReceived(due, peer), now_ms)) if due else []

    def _is_over(self, vote: Vote) -> bool:
        """Whether we say no more on a vote's height: we halted, or its block came from outside.

        The driver, which never decided it, would go on and propose what belongs to the next.
        """
        from_outside = vote.height < self.height and self._driver.decided is None
        return from_outside or self.halted is not None

    def proposal(
        self, proposed: Verified[ProposedBlock], peer: PeerId | None, now_ms: Millis
    ) -> list[ChainEffect]:
        """A proposal for the open height; one for a height that opens soon waits."""
        proposal = proposed.value.proposal
        if self.is_open and proposal.height == self.height:
            return list(self._judge(proposed, peer, now_ms, received_ms=now_ms))
        self._early.keep(EarlyProposal(proposed, now_ms))
        return []

    def screen(self, message: Vote | Proposal) -> Reason | None:
        """Why a message of consensus is not worth the check of its signature, or None."""
        if isinstance(message, Proposal) and not (self.is_open and message.height == self.height):
            return self._early.screen(message)
        verdict = self._driver.screen(message)
        if isinstance(verdict, Rejected):
            return verdict.reason
        return None if verdict is Screening.NEW else Reason.OUTDATED

    def committed(
        self, committed: CommittedBlock, now_ms: Millis
    ) -> tuple[list[ChainEffect], Reason | None]:
        """A block of the next height with its proof; signatures were verified."""
        header = committed.block.header
        if header.height != self.height or self.halted is not None:
            return [], Reason.WRONG_HEIGHT
        reason = check_certificate(committed.certificate, header, self.state.validators)
        if reason is not None:
            return [], reason
        known = self._candidates.get(committed.certificate.header_digest)
        executed = known.executed if known is not None else None
        if executed is None:
            outcome = self._books.execute(self.state, self._rules, committed.block)
            if isinstance(outcome, Rejected):
                # A quorum signed what our rules refuse: not this sender's fault, and not for us to
                # decide alone. Stop before we build on either side of a split.
                return [self._halt("validity", outcome.reason.value)], outcome.reason
            executed = outcome
        return list(self._commit(committed, executed, now_ms)), None

    def conflict(self, committed: CommittedBlock) -> tuple[list[ChainEffect], Reason | None]:
        """Another block of our last height; proven, it means that agreement is broken."""
        if not self.is_rival(committed):
            return [], Reason.OUTDATED
        header = committed.block.header
        reason = check_certificate(committed.certificate, header, self._decided_by)
        if reason is not None:
            return [], reason
        return [self._halt("agreement", f"two proven blocks at height {header.height}")], None

    def refuse_fork(self, detail: str) -> list[ChainEffect]:
        """Two chains were proven to us, and we know neither: stop before we follow one."""
        return [] if self.halted is not None else [self._halt("agreement", detail)]

    def is_rival(self, committed: CommittedBlock) -> bool:
        """Whether it names another block for the height that we committed last."""
        header = committed.block.header
        same_height = header.height == self.state.height
        return same_height and committed.certificate.header_digest != self.state.header_digest

    # ---- the height --------------------------------------------------------------------------

    def _open(self, now_ms: Millis) -> Iterator[ChainEffect]:
        if self.is_open:
            return
        self.is_open = True
        self.opened_ms = now_ms
        self._round = 0
        start = consensus.HeightStarted(
            self.height, self.state.validators, self._proposers, self.state.next_validators
        )
        yield from self._consensus(start, now_ms)
        for early in self._early.take():
            if self.is_open and early.proposed.value.proposal.height == self.height:
                yield from self._judge(early.proposed, None, now_ms, received_ms=early.received_ms)

    def _consensus(self, item: consensus.ConsensusInput, now_ms: Millis) -> Iterator[ChainEffect]:
        for effect in self._driver.step(item, now_ms):
            match effect:
                case consensus.BuildValue():
                    yield from self._build(effect, now_ms)
                case consensus.BroadcastVote():
                    yield Publish(Topic.VOTES, effect.vote)
                case consensus.BroadcastProposal():
                    yield from self._propose(effect.proposal)
                case consensus.BlockRestored():
                    block = decode(effect.block, Block, bytes_max=BLOCK_BYTES_MAX)
                    self._candidates.execute(effect.header_digest, block, self._driver.state)
                case consensus.Decided():
                    yield from self._decided(effect, now_ms)
                case consensus.EquivocationFound():
                    yield equivocation_event(effect)
                    yield Contradicted(effect.first, effect.second)
                case Persist() | SetTimer() | CancelTimer() | Penalize():
                    yield effect
                case _:
                    assert_never(effect)
        state = self._driver.state
        if self.is_open and state is not None and state.round > self._round:
            self._round = state.round
            yield Notify(RoundStarted(self.height, self._round))

    def _build(self, order: consensus.BuildValue, now_ms: Millis) -> Iterator[ChainEffect]:
        waiting = self.mempool.candidates(bytes_max=self._parameters.block_bytes_max)
        executed = build_block(
            self.state,
            self._rules,
            proposer=self._me,
            time_ms=Millis(max(now_ms, self.state.time_ms + 1)),
            transactions=waiting.transactions,
            receipts=waiting.receipts,
            evidence=waiting.evidence,
        )
        self.progress.proposals_made += 1
        header_digest = executed.block.header.digest()
        self._candidates.keep(
            header_digest, Candidate(executed.block, executed), self._driver.state
        )
        built = consensus.ValueBuilt(
            order.height, order.round, header_digest, encode(executed.block)
        )
        yield from self._consensus(built, now_ms)

    def _propose(self, proposal: Proposal) -> Iterator[ChainEffect]:
        if not self.is_open:
            return  # a journal led to the decision, and what we said before the crash comes after
        candidate = self._candidates.get(proposal.header_digest)
        assert candidate is not None, "we propose only blocks that we hold"
        yield Publish(Topic.VOTES, ProposedBlock(proposal, candidate.block))

    def _judge(
        self,
        proposed: Verified[ProposedBlock],
        peer: PeerId | None,
        now_ms: Millis,
        *,
        received_ms: Millis,
    ) -> Iterator[ChainEffect]:
        proposal, block = proposed.value.proposal, proposed.value.block
        if self._driver.screen(proposal) is not Screening.NEW:
            # Not worth executing its block; the driver knows whether anybody is to blame.
            unwanted = consensus.ProposalReceived(Verified(proposal), False, peer=peer)
            yield from self._consensus(unwanted, now_ms)
            return
        candidate = self._candidates.execute(proposal.header_digest, block, self._driver.state)
        # Proposer-based timestamps judge fresh values: a polka vouches for the time of others.
        timely = proposal.valid_round != NO_ROUND or self._is_fresh(proposal, block, received_ms)
        received = consensus.ProposalReceived(
            Verified(proposal), candidate.executed is not None, timely, encode(block), peer
        )
        yield from self._consensus(received, now_ms)

    def _is_fresh(self, proposal: Proposal, block: Block, received_ms: Millis) -> bool:
        """Whether the proposer built the block (Tendermint L15-L18), and just now."""
        return block.header.proposer == proposal.proposer and is_timely(
            block.header.time_ms,
            received_ms=received_ms,
            round_=proposal.round,
            parameters=self._parameters,
        )

    # ---- commit ------------------------------------------------------------------------------

    def _decided(self, decided: consensus.Decided, now_ms: Millis) -> Iterator[ChainEffect]:
        candidate = self._candidates.get(decided.header_digest)
        if candidate is None or candidate.executed is None:
            return  # forgotten among too many: a neighbour has it, with this certificate
        committed = CommittedBlock(candidate.block, decided.certificate)
        is_mine = self._proposers.of(decided.round) == self._me
        yield from self._commit(committed, candidate.executed, now_ms)
        if is_mine:
            # One publisher a block: certificates of others hold other signatures, so their
            # messages would not be duplicates. Who misses this one asks for it (sync).
            yield Publish(Topic.BLOCKS, committed)

    def _commit(
        self, committed: CommittedBlock, executed: Executed, now_ms: Millis
    ) -> Iterator[ChainEffect]:
        before, header = self.state, committed.block.header
        violations = self._books.violations(before, committed.block, executed.state)
        if violations:
            yield self._halt(violations[0].name, violations[0].detail)
            return
        polkas = self._driver.polkas(header.height)
        archived = self._archive.commit_writes(header.height, polkas)
        yield Persist((*self._books.writes(committed, executed), *archived))
        self._move_to(executed.state)
        self._decided_by = before.validators
        self.progress.note_commit(committed, before, self._me)
        yield committed_event(committed)
        yield BlockCommitted(committed.block, before, self.state, executed.slashes)
        yield SetTimer(HEIGHT_TIMER, Millis(now_ms + self._parameters.epoch_ms))

    def install(self, state: State, light: LightBlock, now_ms: Millis) -> list[ChainEffect]:
        """Go on from a state that was proven, instead of executing the blocks below it.

        What is committed meanwhile is not taken back: an older state changes nothing.
        """
        if state.height <= self.state.height or self.halted is not None:
            return [Persist((SNAPSHOT_DONE,))]
        assert light.validators is not None, "it was proven"
        before = self.state
        writes = self._archive.install_writes(state, light)
        self._move_to(state)
        self._decided_by = light.validators
        return [
            Persist(writes),
            StateInstalled(before, state),
            SetTimer(HEIGHT_TIMER, Millis(now_ms + self._parameters.epoch_ms)),
        ]

    def _move_to(self, state: State) -> None:
        """Begin with the height after a state."""
        self.state = state
        self.powers, self.next_powers = (
            state.validators.powers(),
            state.next_validators.powers(),
        )
        self.is_open = False
        self._candidates = Candidates(self._books, self._rules, state)
        self._proposers = WeightedProposers(state.priorities, state.validators)
        self._early = self._early.after(state, self._proposers)

    def _halt(self, name: str, detail: str) -> Notify:
        self.halted = f"{name}: {detail}"
        self.is_open = False
        return Notify(InvariantViolated(name, self.height, detail))
