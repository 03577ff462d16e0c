import msgspec
import pytest

from p2p.model.vote import VoteKind
from p2p.primitives.units import Height, Round
from p2p.protocol.consensus.round_machine import (
    CastVote,
    CommitReached,
    Decide,
    GetValue,
    NewRound,
    PolkaAny,
    PolkaCurrent,
    PolkaNil,
    PrecommitAny,
    ProposalArrived,
    ProposalWithPolka,
    Propose,
    RoundInput,
    RoundOutput,
    RoundSkipped,
    RoundState,
    ScheduleTimeout,
    StartRound,
    Step,
    TimeoutPrecommit,
    TimeoutPrevote,
    TimeoutPropose,
    Transition,
    ValueProposed,
    transition,
)
from tests.conformance.words import some_value

H, R = Height(7), Round(3)
A, B = some_value("A"), some_value("B")
NEW = RoundState(H)
SKIPPED = RoundState(H, R, Step.UNSTARTED)
PROPOSE = RoundState(H, R, Step.PROPOSE)
PREVOTE = RoundState(H, R, Step.PREVOTE)
PRECOMMIT = RoundState(H, R, Step.PRECOMMIT)
COMMIT = RoundState(H, R, Step.COMMIT)


def locked(step: Step, *, at: int, on: bytes = A) -> RoundState:
    return RoundState(H, R, step, Round(at), some_value("A"), Round(at), some_value("A"))


def changed(step: Step, *, from_: int, locked_round: int = 3) -> RoundState:
    """Locked on A, after a lock on B in round `from_`."""
    state = RoundState(H, R, step, Round(locked_round), A, other_round=Round(from_))
    if step is not Step.PRECOMMIT:
        return state
    return msgspec.structs.replace(state, valid_round=R, valid_value=A)


def prevote(value: object, valid_round: int = -1) -> RoundOutput:
    assert value in {A, B, None}
    text = A if value == A else B if value == B else None
    return CastVote(VoteKind.PREVOTE, R, text, Round(valid_round))


def precommit(value: object) -> RoundOutput:
    return CastVote(VoteKind.PRECOMMIT, R, A if value == A else None)


@pytest.mark.parametrize(
    ("state", "input_", "expected"),
    [
        # L11-L21
        (
            NEW,
            NewRound(Round(0), proposer=False),
            Transition(
                RoundState(H, Round(0), Step.PROPOSE), ScheduleTimeout(Step.PROPOSE, Round(0))
            ),
        ),
        (
            SKIPPED,
            NewRound(Round(4), proposer=True),
            Transition(RoundState(H, Round(4), Step.PROPOSE), GetValue(Round(4))),
        ),
        (
            locked(Step.UNSTARTED, at=1),
            NewRound(Round(4), proposer=True),
            Transition(
                RoundState(H, Round(4), Step.PROPOSE, Round(1), A, Round(1), A),
                Propose(Round(4), A, Round(1)),
            ),
        ),
        (SKIPPED, NewRound(R, proposer=True), None),
        (SKIPPED, NewRound(Round(2), proposer=True), None),
        (PRECOMMIT, NewRound(Round(4), proposer=True), None),
        (PROPOSE, ValueProposed(A), Transition(PROPOSE, Propose(R, A, Round(-1)))),
        # L22-L27
        (PROPOSE, ProposalArrived(A, valid=True), Transition(PREVOTE, prevote(A))),
        (PROPOSE, ProposalArrived(A, valid=False), Transition(PREVOTE, prevote(None))),
        (
            locked(Step.PROPOSE, at=1),
            ProposalArrived(A, valid=True),
            Transition(locked(Step.PREVOTE, at=1), prevote(A)),
        ),
        (
            locked(Step.PROPOSE, at=1),
            ProposalArrived(B, valid=True),
            Transition(locked(Step.PREVOTE, at=1), prevote(None)),
        ),
        (PREVOTE, ProposalArrived(A, valid=True), None),
        # L28-L33
        (
            locked(Step.PROPOSE, at=1),
            ProposalWithPolka(B, Round(1), valid=True),
            Transition(locked(Step.PREVOTE, at=1), prevote(B, 1)),
        ),
        (
            locked(Step.PROPOSE, at=1),
            ProposalWithPolka(B, Round(0), valid=True),
            Transition(locked(Step.PREVOTE, at=1), prevote(None)),
        ),
        (
            locked(Step.PROPOSE, at=1),
            ProposalWithPolka(A, Round(0), valid=True),
            Transition(locked(Step.PREVOTE, at=1), prevote(A, 0)),
        ),
        (
            PROPOSE,
            ProposalWithPolka(A, Round(1), valid=False),
            Transition(PREVOTE, prevote(None)),
        ),
        (PROPOSE, ProposalWithPolka(A, R, valid=True), None),
        (PROPOSE, ProposalWithPolka(A, Round(4), valid=True), None),
        (PROPOSE, ProposalWithPolka(A, Round(-1), valid=True), None),
        (PREVOTE, ProposalWithPolka(A, Round(1), valid=True), None),
        # L34-L35
        (PREVOTE, PolkaAny(), Transition(PREVOTE, ScheduleTimeout(Step.PREVOTE, R))),
        (PROPOSE, PolkaAny(), None),
        (PRECOMMIT, PolkaAny(), None),
        # L36-L43
        (
            PREVOTE,
            PolkaCurrent(A),
            Transition(locked(Step.PRECOMMIT, at=3), precommit(A)),
        ),
        (
            PRECOMMIT,
            PolkaCurrent(A),
            Transition(RoundState(H, R, Step.PRECOMMIT, valid_round=R, valid_value=A)),
        ),
        (PROPOSE, PolkaCurrent(A), None),
        # What was locked before is remembered: prevotes must not look as if it were forgotten.
        (
            msgspec.structs.replace(PREVOTE, locked_round=Round(1), locked_value=B),
            PolkaCurrent(A),
            Transition(changed(Step.PRECOMMIT, from_=1), precommit(A)),
        ),
        (
            changed(Step.PREVOTE, from_=0, locked_round=2),
            PolkaCurrent(A),
            Transition(changed(Step.PRECOMMIT, from_=0), precommit(A)),
        ),
        (
            changed(Step.PROPOSE, from_=1, locked_round=2),
            ProposalWithPolka(A, Round(0), valid=True),
            Transition(changed(Step.PREVOTE, from_=1, locked_round=2), prevote(A, 2)),
        ),
        (
            changed(Step.PROPOSE, from_=1, locked_round=2),
            ProposalWithPolka(A, Round(1), valid=True),
            Transition(changed(Step.PREVOTE, from_=1, locked_round=2), prevote(A, 1)),
        ),
        (
            changed(Step.PROPOSE, from_=1, locked_round=2),
            ProposalArrived(A, valid=True),
            Transition(changed(Step.PREVOTE, from_=1, locked_round=2), prevote(A, 2)),
        ),
        # L44-L46
        (PREVOTE, PolkaNil(), Transition(PRECOMMIT, precommit(None))),
        (
            locked(Step.PREVOTE, at=1),
            PolkaNil(),
            Transition(locked(Step.PRECOMMIT, at=1), precommit(None)),
        ),
        (PRECOMMIT, PolkaNil(), None),
        # L47-L48
        (PROPOSE, PrecommitAny(), Transition(PROPOSE, ScheduleTimeout(Step.PRECOMMIT, R))),
        # L49-L54
        (PROPOSE, CommitReached(Round(1), A), Transition(COMMIT, Decide(Round(1), A))),
        (COMMIT, CommitReached(Round(1), A), None),
        # L55-L56
        (PREVOTE, RoundSkipped(Round(9)), Transition(SKIPPED, StartRound(Round(9)))),
        (PREVOTE, RoundSkipped(R), None),
        (PREVOTE, RoundSkipped(Round(2)), None),
        # L57-L60
        (PROPOSE, TimeoutPropose(H, R), Transition(PREVOTE, prevote(None))),
        (PREVOTE, TimeoutPropose(H, R), None),
        (PROPOSE, TimeoutPropose(H, Round(2)), None),
        (PROPOSE, TimeoutPropose(H, Round(4)), None),
        (PROPOSE, TimeoutPropose(Height(6), R), None),
        # L61-L64
        (PREVOTE, TimeoutPrevote(H, R), Transition(PRECOMMIT, precommit(None))),
        (PREVOTE, TimeoutPrevote(H, Round(2)), None),
        (PREVOTE, TimeoutPrevote(H, Round(4)), None),
        (PRECOMMIT, TimeoutPrevote(H, R), None),
        # L65-L67
        (PROPOSE, TimeoutPrecommit(H, R), Transition(SKIPPED, StartRound(Round(4)))),
        (PRECOMMIT, TimeoutPrecommit(H, Round(2)), None),
        (PRECOMMIT, TimeoutPrecommit(H, Round(4)), None),
        (PRECOMMIT, TimeoutPrecommit(Height(8), R), None),
    ],
)
def test_each_rule_runs_when_its_condition_holds_and_only_then(
    state: RoundState, input_: RoundInput, expected: Transition | None
) -> None:
    assert transition(state, input_) == expected
