"""The round machine: Tendermint's algorithm 1 over abstract inputs.

It knows no messages, powers or signatures. The driver watches those, and tells this machine which
"upon" clause has its messages ("proposal and polka", "precommits for anything"); the machine
checks the clause's condition on its own variables (step, locks) and answers with the next state
and what to do. An input whose condition does not hold is ignored: `transition` returns None.

    NEW -> NewRound(r) -> PROPOSE -> PREVOTE -> PRECOMMIT -> COMMIT
                             ^__________|___________|  RoundSkipped, TimeoutPrecommit: UNSTARTED,
                                                       until the driver starts that round

Inputs that carry a proposal trust the driver that its sender is the round's proposer and that its
value is (in)valid as the name says. Values are opaque; -1 is "no round", None is nil.

Source: Buchman, Kwon, Milosevic, "The latest gossip on BFT consensus", arXiv 1807.04938,
algorithm 1 (lines L11 to L67). COMMIT and UNSTARTED are not in the paper: there, deciding enters
the next height and a skip starts its round at once, which here the driver does.
"""

from enum import Enum
from typing import assert_never

import msgspec

from p2p.model.vote import VoteKind
from p2p.primitives.units import NO_ROUND, Digest, Height, Round


class Step(Enum):
    """Where in its round the machine stands."""

    NEW = "new"
    """Before the first round of the height."""
    UNSTARTED = "unstarted"
    """The next round is chosen and not yet started."""
    PROPOSE = "propose"
    PREVOTE = "prevote"
    PRECOMMIT = "precommit"
    COMMIT = "commit"


class RoundState(msgspec.Struct, frozen=True):
    """The variables of algorithm 1 (L1 to L9) for one height."""

    height: Height
    round: Round = NO_ROUND
    step: Step = Step.NEW
    locked_round: Round = NO_ROUND
    locked_value: Digest | None = None
    valid_round: Round = NO_ROUND
    valid_value: Digest | None = None
    other_round: Round = NO_ROUND
    """The last round in which another value than `locked_value` was locked. Not in the paper: it
    decides which valid round a prevote may state without the looks of amnesia."""


# ------------------------------------------------------------------------------------- inputs


class NewRound(msgspec.Struct, frozen=True):
    """Start this round (L11); `proposer` says whether it is ours to propose."""

    round: Round
    proposer: bool


class ValueProposed(msgspec.Struct, frozen=True):
    """The application's answer to `GetValue` (L18)."""

    value: Digest


class ProposalArrived(msgspec.Struct, frozen=True):
    """A proposal of the current round, without proof of lock (L22)."""

    value: Digest
    valid: bool


class ProposalWithPolka(msgspec.Struct, frozen=True):
    """A proposal of the current round, and the polka of its earlier `valid_round` (L28)."""

    value: Digest
    valid_round: Round
    valid: bool


class PolkaAny(msgspec.Struct, frozen=True):
    """2f+1 prevotes of the current round, for anything (L34)."""


class PolkaNil(msgspec.Struct, frozen=True):
    """2f+1 prevotes of the current round for nil (L44)."""


class PolkaCurrent(msgspec.Struct, frozen=True):
    """A valid proposal of the current round and 2f+1 prevotes for it (L36)."""

    value: Digest


class PrecommitAny(msgspec.Struct, frozen=True):
    """2f+1 precommits of the current round, for anything (L47)."""


class CommitReached(msgspec.Struct, frozen=True):
    """A valid proposal of any round and 2f+1 precommits of that round for it (L49)."""

    round: Round
    value: Digest


class RoundSkipped(msgspec.Struct, frozen=True):
    """f+1 are seen in a later round (L55)."""

    round: Round


class TimeoutPropose(msgspec.Struct, frozen=True):
    """L57."""

    height: Height
    round: Round


class TimeoutPrevote(msgspec.Struct, frozen=True):
    """L61."""

    height: Height
    round: Round


class TimeoutPrecommit(msgspec.Struct, frozen=True):
    """L65."""

    height: Height
    round: Round


RoundInput = (
    NewRound
    | ValueProposed
    | ProposalArrived
    | ProposalWithPolka
    | PolkaAny
    | PolkaNil
    | PolkaCurrent
    | PrecommitAny
    | CommitReached
    | RoundSkipped
    | TimeoutPropose
    | TimeoutPrevote
    | TimeoutPrecommit
)


# ------------------------------------------------------------------------------------ outputs


class CastVote(msgspec.Struct, frozen=True):
    """Broadcast a vote of the current round; None is nil."""

    kind: VoteKind
    round: Round
    value: Digest | None
    valid_round: Round = NO_ROUND
    """The polka that allows a prevote for a value; -1 is none, as for nil and precommits."""


class Propose(msgspec.Struct, frozen=True):
    """Broadcast a proposal of the current round (L19)."""

    round: Round
    value: Digest
    valid_round: Round


class GetValue(msgspec.Struct, frozen=True):
    """Ask the application for a value (L18)."""

    round: Round


class ScheduleTimeout(msgspec.Struct, frozen=True):
    """Schedule the timeout of a step of the current round (L21, L35, L48)."""

    step: Step
    round: Round


class StartRound(msgspec.Struct, frozen=True):
    """Start that round: the driver answers with `NewRound` (L56, L67)."""

    round: Round


class Decide(msgspec.Struct, frozen=True):
    """The height is decided (L51)."""

    round: Round
    value: Digest


RoundOutput = CastVote | Propose | GetValue | ScheduleTimeout | StartRound | Decide


class Transition(msgspec.Struct, frozen=True):
    """The next state, and what to do, if anything."""

    state: RoundState
    output: RoundOutput | None = None


# -------------------------------------------------------------------------------- transitions


def transition(state: RoundState, input_: RoundInput) -> Transition | None:
    """What an input does, or None where the rule's condition does not hold."""
    match input_:
        case NewRound() | ValueProposed() | RoundSkipped() | TimeoutPrecommit():
            return _on_round(state, input_)
        case ProposalArrived() | ProposalWithPolka() | TimeoutPropose():
            return _on_proposal(state, input_)
        case PolkaAny() | PolkaNil() | PolkaCurrent() | TimeoutPrevote():
            return _on_polka(state, input_)
        case PrecommitAny():
            # L47-48: in any step.
            return Transition(state, ScheduleTimeout(Step.PRECOMMIT, state.round))
        case CommitReached(round=round_, value=value):
            if state.step is Step.COMMIT:
                return None
            # L49-54: a proposal and its precommits, of any round.
            return Transition(_at(state, Step.COMMIT), Decide(round_, value))
        case _:
            assert_never(input_)


def _on_round(
    state: RoundState, input_: NewRound | ValueProposed | RoundSkipped | TimeoutPrecommit
) -> Transition | None:
    match input_:
        case NewRound(round=round_, proposer=proposer):
            if state.step not in {Step.NEW, Step.UNSTARTED} or round_ <= state.round:
                return None
            # L11-13
            started = msgspec.structs.replace(state, round=round_, step=Step.PROPOSE)
            if not proposer:
                return Transition(started, ScheduleTimeout(Step.PROPOSE, round_))  # L21
            if state.valid_value is None:
                return Transition(started, GetValue(round_))  # L18
            # L16, L19
            return Transition(started, Propose(round_, state.valid_value, state.valid_round))
        case ValueProposed(value=value):
            # L19: the driver asks once a round and drops an answer that comes too late.
            return Transition(state, Propose(state.round, value, state.valid_round))
        case RoundSkipped(round=round_):
            if round_ <= state.round:
                return None
            # L55-56
            return Transition(_at(state, Step.UNSTARTED), StartRound(round_))
        case TimeoutPrecommit():
            if (input_.height, input_.round) != (state.height, state.round):
                return None
            # L65-67: in any step.
            return Transition(_at(state, Step.UNSTARTED), StartRound(Round(state.round + 1)))
        case _:
            assert_never(input_)


def _on_proposal(
    state: RoundState, input_: ProposalArrived | ProposalWithPolka | TimeoutPropose
) -> Transition | None:
    match input_:
        case ProposalArrived(value=value, valid=valid):
            if state.step is not Step.PROPOSE:
                return None
            # L22-27
            unlocked = state.locked_round == NO_ROUND or state.locked_value == value
            return _prevote(state, value if valid and unlocked else None, NO_ROUND)
        case ProposalWithPolka(valid=False):
            # L28, L32. As in Malachite's specification the step is the driver's to check here.
            return _prevote(state, None, NO_ROUND)
        case ProposalWithPolka(value=value, valid_round=valid_round):
            if state.step is not Step.PROPOSE or not 0 <= valid_round < state.round:
                return None
            # L28-33: a polka not older than the lock, or for the locked value, releases it.
            released = state.locked_round <= valid_round or state.locked_value == value
            return _prevote(state, value if released else None, valid_round)
        case TimeoutPropose():
            if state.step is not Step.PROPOSE:
                return None
            if (input_.height, input_.round) != (state.height, state.round):
                return None
            return _prevote(state, None, NO_ROUND)  # L57-60
        case _:
            assert_never(input_)


def _on_polka(
    state: RoundState, input_: PolkaAny | PolkaNil | PolkaCurrent | TimeoutPrevote
) -> Transition | None:
    match input_:
        case PolkaCurrent(value=value):
            return _polka_current(state, value)
        case _ if state.step is not Step.PREVOTE:
            return None
        case PolkaAny():
            return Transition(state, ScheduleTimeout(Step.PREVOTE, state.round))  # L34-35
        case PolkaNil():
            return _precommit(state, None)  # L44-46: the lock stays
        case TimeoutPrevote():
            if (input_.height, input_.round) != (state.height, state.round):
                return None
            return _precommit(state, None)  # L61-64
        case _:
            assert_never(input_)


def _polka_current(state: RoundState, value: Digest) -> Transition | None:
    if state.step not in {Step.PREVOTE, Step.PRECOMMIT}:
        return None
    # L42-43: in either step.
    known = msgspec.structs.replace(state, valid_round=state.round, valid_value=value)
    if state.step is Step.PRECOMMIT:
        return Transition(known)
    # L36-41
    changed = state.locked_value not in {None, value}
    locked = msgspec.structs.replace(
        known,
        locked_round=state.round,
        locked_value=value,
        other_round=state.locked_round if changed else state.other_round,
    )
    return _precommit(locked, value)


def _prevote(state: RoundState, value: Digest | None, valid_round: Round) -> Transition:
    """A prevote, with the valid round of the proposal (Accountable Tendermint, L24 and L30).

    Who precommitted another value since that round names the polka that changed its mind instead:
    that of its lock. Or it would look as if it had forgotten what it precommitted.
    """
    if value is None:
        valid_round = NO_ROUND
    elif valid_round < state.other_round:
        valid_round = state.locked_round
    cast = CastVote(VoteKind.PREVOTE, state.round, value, valid_round)
    return Transition(_at(state, Step.PREVOTE), cast)


def _precommit(state: RoundState, value: Digest | None) -> Transition:
    return Transition(_at(state, Step.PRECOMMIT), CastVote(VoteKind.PRECOMMIT, state.round, value))


def _at(state: RoundState, step: Step) -> RoundState:
    return msgspec.structs.replace(state, step=step)
