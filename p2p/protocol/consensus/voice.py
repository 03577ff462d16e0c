"""The node's voice in consensus: it signs, remembers what it signed, and repeats only that.

Everything that leaves passes the sign guard, and is noted in the journal before. During a replay
nothing is signed: what the machine wants to say is looked up among what was signed before the
crash, and where it is not found the node stays silent.
"""

from collections.abc import Iterable

from p2p.model.effects import Persist
from p2p.model.vote import Proposal, Vote, sign_proposal, sign_vote
from p2p.primitives.signing import Signer
from p2p.primitives.units import NO_ROUND, AccountId, Digest, Height
from p2p.protocol.consensus.journal import Journal, SignedEntry
from p2p.protocol.consensus.round_machine import CastVote, Propose, RoundState
from p2p.protocol.consensus.sign_state import Message, SignGuard, same_statement


class Voice:
    """Signs for `me`, or is silent without a signer or outside the validator set."""

    def __init__(
        self,
        me: AccountId | None,
        signer: Signer | None,
        chain_id: Digest,
        *,
        accountable: bool = True,
    ) -> None:
        self._accountable = accountable
        self._me = me
        self._signer = signer
        self._chain_id = chain_id
        self._recorded: list[Message] | None = None
        self._spoke = False
        self.guard = SignGuard()
        self.journal = Journal(enabled=False)
        self.speaks = False
        """Whether this node votes in the open height."""

    def open(self, accounts: Iterable[AccountId], *, entries: int = 0) -> None:
        """Turn to a height with this set; `entries` of its journal are durable already."""
        self.speaks = self._signer is not None and self._me in set(accounts)
        self.journal = Journal(entries_durable=entries, enabled=self.speaks)

    def is_me(self, account: AccountId) -> bool:
        """Whether it is this node's turn, when it is this account's."""
        return self.speaks and account == self._me

    # ------------------------------------------------------------------------------ speaking

    def vote(self, state: RoundState, cast: CastVote) -> Vote | None:
        """The signed vote, or None for silence."""
        if self._me is None:
            return None
        said = self._say(
            Vote(
                chain_id=self._chain_id,
                kind=cast.kind,
                height=state.height,
                round=cast.round,
                header_digest=cast.value,
                validator=self._me,
                valid_round=cast.valid_round if self._accountable else NO_ROUND,
            ),
            state,
        )
        return said if isinstance(said, Vote) else None

    def proposal(self, state: RoundState, propose: Propose) -> Proposal | None:
        """The signed proposal, or None for silence; asked when it is our turn."""
        assert self._me is not None, "nobody's turn"
        said = self._say(
            Proposal(
                chain_id=self._chain_id,
                height=state.height,
                round=propose.round,
                header_digest=propose.value,
                valid_round=propose.valid_round,
                proposer=self._me,
            ),
            state,
        )
        return said if isinstance(said, Proposal) else None

    def _say(self, message: Message, state: RoundState) -> Message | None:
        if self._recorded is not None:
            return next((m for m in self._recorded if same_statement(m, message)), None)
        if self._signer is None or not self.speaks:
            return None
        said = self.guard.sent_before(message)
        if said is None:
            if not self.guard.allows(message):
                return None
            said = _signed(message, self._signer)
            self.guard.record(
                said, locked_round=state.locked_round, locked_value=state.locked_value
            )
        self.journal.append(SignedEntry(said))
        self._spoke = True
        return said

    def persist(self) -> Persist | None:
        """What must be durable before this step's messages leave; None if there are none."""
        if not self._spoke:
            return None
        self._spoke = False
        return Persist(self.journal.writes(self.guard.encoded()))

    # ------------------------------------------------------------------------------ replaying

    @property
    def replaying(self) -> bool:
        """Whether a replay runs."""
        return self._recorded is not None

    def start_replay(self, recorded: list[Message]) -> None:
        """From here on repeat what was signed, and journal nothing."""
        self._recorded = recorded
        self.journal.pause()

    def end_replay(self) -> None:
        """Speak again."""
        self._recorded = None
        self.journal.resume()

    def spoken(self, height: Height) -> tuple[Message, ...]:
        """What we signed in the last round that we signed in, if it was of this height."""
        state = self.guard.at(height)
        return () if state is None else state.messages


def _signed(message: Message, signer: Signer) -> Message:
    if isinstance(message, Vote):
        return sign_vote(message, signer)
    return sign_proposal(message, signer)
