"""One replay for each level of traces: raises AssertionError where we differ."""

from collections.abc import Callable
from typing import Any

import msgspec

from p2p.model.block import is_quorum
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
from p2p.protocol.consensus.votes import Threshold, VoteKeeper
from tests.conformance import words
from tests.conformance.node import Node, check_safety

Trace = dict[str, Any]


# -------------------------------------------------------------------------------------- driver


class Moment(msgspec.Struct):
    """An input with what must follow: outputs, and the state after."""

    input: Trace
    outputs: list[Trace]
    post: Trace


def replay_driver(trace: Trace) -> None:
    """One node event by event, our own messages coming back as inputs; then counting at once."""
    single = [Moment(event["in"], event["out"], event["post"]) for event in trace["events"]]
    _replay_moments(trace, single, own_return=True)
    if "own_vote_not_looped" not in trace.get("tags", ()):
        together = merged(trace["events"], trace["me"], trace["weights"])
        if together is not None:
            _replay_moments(trace, together, own_return=False)


def _replay_moments(trace: Trace, moments: list[Moment], *, own_return: bool) -> None:
    node = Node(trace["me"], trace["weights"], own_return=own_return)
    strict = trace.get("strict", True)
    sent: list[Trace] = []
    allowed = {("propose", moment.post["round"]) for moment in moments}
    for number, moment in enumerate(moments):
        got = node.take(moment.input)
        sent += got
        expected = [output for output in moment.outputs if output["t"] != "timeout"]
        allowed |= {(o["kind"], o["round"]) for o in moment.outputs if o["t"] == "timeout"}
        if strict:
            where = f"event {number} {moment.input}"
            assert got == expected, f"{where}: {got}, not {expected}"
            assert node.state() == moment.post, f"{where}: {node.state()}, not {moment.post}"
            assert node.scheduled <= allowed, f"{where}: timeouts {node.scheduled - allowed}"
    check_safety(node, sent)


def merged(events: list[Trace], me: str, weights: dict[str, int]) -> list[Moment] | None:
    """Events with those that only loop our own message back merged into the one that sent it.

    None where a message of ours does not come back at once, in the order of sending: who counts it
    when it is sent then sees another history. So it is also where we sign at one of several votes
    that come together without a quorum: they count one by one, and ours before the rest of them.
    """
    moments: list[Moment] = []
    looping: list[Trace] = []
    for event in events:
        if looping:
            if event["in"] != {**looping.pop(0), "src": me}:
                return None
            moments[-1].outputs += event["out"]
            moments[-1].post = event["post"]
        else:
            moments.append(Moment(event["in"], list(event["out"]), event["post"]))
        said = [output for output in event["out"] if output["t"] in {"vote", "proposal"}]
        if said and _counts_one_by_one(event["in"], weights):
            return None
        looping += said
    if looping and moments:
        # The trace ends before all came back.
        moments.pop()
    return moments


def _counts_one_by_one(event: Trace, weights: dict[str, int]) -> bool:
    if event["t"] != "certificate":
        return False
    senders = {vote["src"] for vote in event["votes"]}
    return not is_quorum(sum(weights[source] for source in senders), sum(weights.values()))


# --------------------------------------------------------------------------------- whole networks


def replay_system_node(trace: Trace) -> None:
    """One node's part in a network run: what it sends in order, and its state at rest.

    What came before the node started its height comes right after, as the driver keeps early votes.
    A run that ends before the node is at rest (`final` is null) shows a beginning of what we send.
    """
    node = Node(trace["me"], trace["weights"], height=trace.get("height", 0), own_return=True)
    # Stable: all else keeps its order.
    ordered = sorted(trace["in"], key=lambda event: event["t"] != "start")
    got = [output for event in ordered for output in node.take(event)]
    sent = [output for output in got if output["t"] != "get_value"]
    check_safety(node, sent)
    if not trace.get("strict", True):
        return
    if trace["final"] is None:
        assert sent[: len(trace["sent"])] == trace["sent"], f"{sent}, not {trace['sent']}"
    else:
        assert sent == trace["sent"], f"{sent}, not {trace['sent']}"
        assert node.state() == trace["final"], f"{node.state()}, not {trace['final']}"


# -------------------------------------------------------------------------------- round machine

_STEP_NAMES = {Step.NEW: "no"}
_ROUND_INPUTS: dict[str, Callable[[Any], RoundInput]] = {
    "NewRound": lambda a: NewRound(Round(a), proposer=False),
    "NewRoundProposer": lambda a: NewRound(Round(a), proposer=True),
    "ProposeValue": lambda a: ValueProposed(words.some_value(a)),
    "Proposal": lambda a: ProposalArrived(words.some_value(a[1]), valid=True),
    "ProposalInvalid": lambda a: ProposalArrived(words.some_value(""), valid=False),
    "ProposalAndPolkaPreviousAndValid": lambda a: ProposalWithPolka(
        words.some_value(a[0]), Round(a[1]), valid=True
    ),
    "ProposalAndPolkaAndInvalid": lambda a: ProposalWithPolka(
        words.some_value(a), Round(0), valid=False
    ),
    "PolkaAny": lambda _: PolkaAny(),
    "PolkaNil": lambda _: PolkaNil(),
    "ProposalAndPolkaAndValid": lambda a: PolkaCurrent(words.some_value(a)),
    "PrecommitAny": lambda _: PrecommitAny(),
    "ProposalAndCommitAndValid": lambda a: CommitReached(Round(a[0]), words.some_value(a[1])),
    "RoundSkip": lambda a: RoundSkipped(Round(a)),
    "TimeoutPropose": lambda a: TimeoutPropose(Height(a[0]), Round(a[1])),
    "TimeoutPrevote": lambda a: TimeoutPrevote(Height(a[0]), Round(a[1])),
    "TimeoutPrecommit": lambda a: TimeoutPrecommit(Height(a[0]), Round(a[1])),
}


def replay_round_machine(trace: Trace) -> None:
    """The round machine alone, input by input."""
    state = RoundState(Height(trace.get("height", 0)))
    for event in trace["events"]:
        name, argument = event["in"]
        done = transition(state, _ROUND_INPUTS[name](argument))
        got = _round_output(done)
        assert got == event["out"], f"{event['in']}: {got}, not {event['out']}"
        state = state if done is None else done.state
        post = {
            "round": state.round,
            "step": _STEP_NAMES.get(state.step, state.step.value),
            "locked": [state.locked_round, words.text_of(state.locked_value)],
            "valid": [state.valid_round, words.text_of(state.valid_value)],
        }
        assert post == event["post"], f"{event['in']}: {post}, not {event['post']}"


def _round_output(done: Transition | None) -> Trace:
    if done is None:
        return {"t": "ignored"}
    if done.output is None:
        return {"t": "none"}
    return _said(done.output)


def _said(output: RoundOutput) -> Trace:
    match output:
        case CastVote(kind=kind, round=round_, value=value):
            name = words.KIND_NAMES[kind]
            return {"t": "vote", "kind": name, "round": round_, "value": words.text_of(value)}
        case Propose(round=round_, value=value, valid_round=pol):
            text = words.text_of(value)
            return {"t": "proposal", "round": round_, "value": text, "pol": pol}
        case GetValue(round=round_):
            return {"t": "get_value", "round": round_}
        case ScheduleTimeout(step=step, round=round_):
            return {"t": "timeout", "kind": step.value, "round": round_}
        case StartRound(round=round_):
            return {"t": "skip", "round": round_}
        case Decide(round=round_, value=value):
            return {"t": "decide", "round": round_, "value": words.text_of(value)}


# ---------------------------------------------------------------------------------- vote counting

_THRESHOLDS = {
    Threshold.POLKA_ANY: "PolkaAny",
    Threshold.POLKA_NIL: "PolkaNil",
    Threshold.POLKA_VALUE: "PolkaValue",
    Threshold.PRECOMMIT_ANY: "PrecommitAny",
    Threshold.PRECOMMIT_VALUE: "PrecommitValue",
    Threshold.SKIP: "Skip",
}


def replay_vote_keeper(trace: Trace) -> None:
    """Vote by vote: the threshold that it crosses, and all evidence so far."""
    keeper = VoteKeeper(words.validator_set(trace["weights"]))
    evidence: set[tuple[str, str, int]] = set()
    for event in trace["events"]:
        told = event["vote"]
        vote = words.vote(told["kind"], told["src"], told["round"], told["value"])
        counted = keeper.add(vote, current=Round(event["current_round"]))
        if counted.conflicts_with is not None:
            slot = (words.KIND_NAMES[VoteKind(vote.kind)], told["src"], vote.round)
            assert slot not in evidence, f"{slot} reported twice"
            evidence.add(slot)
        crossed: list[Any] = ["No", None]
        if counted.crossed is not None:
            argument: Any = counted.crossed.round
            if counted.crossed.value is not None:
                argument = [argument, words.text_of(counted.crossed.value)]
            crossed = [_THRESHOLDS[counted.crossed.threshold], argument]
        assert crossed == event["out"], f"{told}: {crossed}, not {event['out']}"
        assert evidence == {tuple(e) for e in event["evidence"]}, f"{told}: {evidence}"
