"""A driver behind the words of the traces, with the timers that a shell would keep."""

from typing import Any

from p2p.model.effects import CancelTimer, Persist, SetTimer
from p2p.model.inputs import TimerFired
from p2p.model.parameters import Parameters
from p2p.model.vote import Vote
from p2p.primitives.signing import Verified
from p2p.primitives.units import Height, Millis, Round
from p2p.protocol.consensus.driver import ConsensusDriver
from p2p.protocol.consensus.interface import (
    BroadcastProposal,
    BroadcastVote,
    BuildValue,
    ConsensusEffect,
    ConsensusInput,
    Decided,
    HeightStarted,
    ProposalReceived,
    ValueBuilt,
    VoteReceived,
    VotesReceived,
)
from tests.conformance import words

Event = dict[str, Any]
STEPS = {"new": "no"}


class Node:
    """One node of a trace; `take` gives a trace's input and returns the outputs in its words."""

    def __init__(
        self, me: str, weights: dict[str, int], *, height: int = 0, own_return: bool = False
    ) -> None:
        self._height = Height(height)
        self._validators = words.validator_set(weights)
        self._proposers = words.RotatingProposers(list(weights))
        signer = words.NameSigner(me)
        # The traces' prevotes state no valid round; ours that count at once must not either.
        self.driver = ConsensusDriver(
            signer.account,
            signer,
            words.CHAIN,
            Parameters(),
            own_return=own_return,
            accountable=own_return,
        )
        self._timers: dict[str, int] = {}
        self.scheduled: set[tuple[str, int]] = set()

    def take(self, event: Event) -> list[Event]:
        """Outputs of one input, timeouts left out."""
        input_ = self._input(event)
        if input_ is None:
            return []
        effects = self.driver.step(input_, Millis(0))
        check_persist_first(effects)
        return [output for effect in effects if (output := self._output(effect)) is not None]

    def state(self) -> Event:
        """Round, step, lock and valid value in the words of the traces."""
        state = self.driver.state
        if state is None:
            return {"round": -1, "step": "no", "locked": [-1, None], "valid": [-1, None]}
        return {
            "round": state.round,
            "step": state.step.value,
            "locked": [state.locked_round, words.text_of(state.locked_value)],
            "valid": [state.valid_round, words.text_of(state.valid_value)],
        }

    def _input(self, event: Event) -> ConsensusInput | None:
        kind = event["t"]
        if kind == "start":
            return HeightStarted(self._height, self._validators, self._proposers)
        if kind == "vote":
            return VoteReceived(Verified(self._vote(event)))
        if kind == "certificate":
            return VotesReceived(tuple(Verified(self._vote(vote)) for vote in event["votes"]))
        if kind == "proposal":
            text, pol = event["value"], event["pol"]
            proposal = words.proposal(event["src"], event["round"], text, pol, height=self._height)
            return ProposalReceived(Verified(proposal), valid=text != "invalid")
        if kind == "propose_value":
            state = self.driver.state
            round_ = Round(0) if state is None else state.round
            return ValueBuilt(self._height, round_, words.value(event["value"]))
        if kind == "timeout":
            key = f"consensus/{event['kind']}"
            if self._timers.get(key) != event["round"]:
                return None
            del self._timers[key]
            return TimerFired(key)
        raise ValueError(f"unknown input {event}")

    def _vote(self, event: Event) -> Vote:
        return words.vote(
            event["kind"], event["src"], event["round"], event["value"], height=self._height
        )

    def _output(self, effect: ConsensusEffect) -> Event | None:
        match effect:
            case BroadcastVote(vote=vote):
                text = words.text_of(vote.header_digest)
                kind = words.KIND_NAMES[vote.kind]
                return {"t": "vote", "kind": kind, "round": vote.round, "value": text}
            case BroadcastProposal(proposal=proposal):
                text = words.text_of(proposal.header_digest)
                pol = proposal.valid_round
                return {"t": "proposal", "round": proposal.round, "value": text, "pol": pol}
            case BuildValue(round=round_):
                return {"t": "get_value", "round": round_}
            case Decided(round=round_, header_digest=digest):
                return {"t": "decide", "round": round_, "value": words.text_of(digest)}
            case SetTimer(key=key):
                state = self.driver.state
                assert state is not None
                self._timers[key] = state.round
                self.scheduled.add((key.removeprefix("consensus/"), state.round))
                return None
            case CancelTimer(key=key):
                del self._timers[key]
                return None
            case _:
                return None


def check_persist_first(effects: list[ConsensusEffect]) -> None:
    """What we sign is durable before it, or anything else of the step, leaves."""
    if any(isinstance(effect, BroadcastVote | BroadcastProposal) for effect in effects):
        assert isinstance(effects[0], Persist), "a signed message leaves before it is durable"


def check_safety(node: Node, sent: list[Event]) -> None:
    """What holds however a choice falls: one message a slot, one decision."""
    slots = [(o["t"], o.get("kind"), o["round"]) for o in sent if o["t"] in {"vote", "proposal"}]
    assert len(slots) == len(set(slots)), "two messages of one slot"
    assert sum(output["t"] == "decide" for output in sent) <= 1, "two decisions"
    state = node.state()
    assert state["locked"][0] <= state["valid"][0] or state["locked"][0] == -1, "lock beyond valid"
