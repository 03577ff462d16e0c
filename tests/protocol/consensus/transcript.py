"""Transcripts: what one node is told, and below it, indented, what it orders.

    # a comment
    node v1 of v1 v2 v3 v4           powers as v2=3; the proposer of round r is number r + 1 by name
    start | build VALUE | proposal WHO ROUND VALUE VALID_ROUND | vote KIND WHO ROUND VALUE
    timer STEP | quorum KIND ROUND VALUE WHO... | crash | crash without journal

`-` is nil or nothing. A prevote that states a valid round says VALUE@ROUND. A value that begins
with `bad` is invalid, one with `late` untimely. After the orders of each input stands the state, if
it changed: `= ROUND STEP locked ROUND VALUE valid ROUND VALUE`.

`python -m tests.protocol.consensus.transcript FILE...` writes the files anew from their inputs, for
review against the paper.
"""

import sys
from pathlib import Path

import msgspec

from p2p.model.effects import CancelTimer, Penalize, Persist, SetTimer
from p2p.model.inputs import TimerFired
from p2p.model.vote import Proposal, Vote
from p2p.primitives.signing import Verified
from p2p.primitives.units import NO_ROUND, Digest, Height, Round
from p2p.protocol.consensus.interface import (
    BlockRestored,
    BroadcastProposal,
    BroadcastVote,
    BuildValue,
    ConsensusEffect,
    ConsensusInput,
    Decided,
    EquivocationFound,
    ProposalReceived,
    ValueBuilt,
    VoteReceived,
    VotesReceived,
)
from tests.conformance import words
from tests.protocol.consensus.shell import Shell

HEIGHT = Height(1)


def replay(text: str) -> str:
    """The transcript with what the node orders now."""
    lines: list[str] = []
    shell: Shell | None = None
    shown = ""
    for line in text.splitlines():
        told = line.split()
        if line.startswith("    "):
            continue
        lines.append(line)
        if not told or told[0] == "#":
            continue
        if told[0] == "node":
            shell, shown = Shell(told[1], _weights(told[3:])), ""
            continue
        assert shell is not None, "a transcript begins with its node"
        lines += [f"    {_order(effect)}" for effect in _take(shell, told)]
        state = _state(shell)
        if state != shown:
            lines.append(f"    = {state}")
        shown = state
    return "\n".join(lines) + "\n"


def _weights(names: list[str]) -> dict[str, int]:
    pairs = [name.partition("=") for name in names]
    return {name: int(power or 1) for name, _, power in pairs}


def _take(shell: Shell, told: list[str]) -> list[ConsensusEffect]:
    if told[0] == "start":
        return shell.start(HEIGHT)
    if told[0] == "crash":
        return shell.crash(HEIGHT, keep_journal=told[1:] != ["without", "journal"])
    return shell.step(_input(shell, told))


def _input(shell: Shell, told: list[str]) -> ConsensusInput:
    match told:
        case ["build", value]:
            return ValueBuilt(HEIGHT, shell.round, _digest(value), b"block of " + value.encode())
        case ["proposal", who, round_, value, valid_round]:
            proposal = words.proposal(who, int(round_), value, int(valid_round), height=HEIGHT)
            return ProposalReceived(
                Verified(proposal),
                valid=not value.startswith("bad"),
                timely=not value.startswith("late"),
                block=b"block of " + value.encode(),
            )
        case ["vote", kind, who, round_, value]:
            return VoteReceived(Verified(_vote(kind, who, round_, value)))
        case ["quorum", kind, round_, value, *names]:
            votes = tuple(Verified(_vote(kind, who, round_, value)) for who in names)
            return VotesReceived(votes)
        case ["timer", step]:
            return TimerFired(f"consensus/{step}")
        case _:
            raise ValueError(f"not a line of a transcript: {told}")


def _vote(kind: str, who: str, round_: str, value: str) -> Vote:
    text, _, valid_round = value.partition("@")
    vote = words.vote(kind, who, int(round_), None if text == "-" else text, height=HEIGHT)
    stated = NO_ROUND if not valid_round else Round(int(valid_round))
    return msgspec.structs.replace(vote, valid_round=stated)


def _digest(value: str) -> Digest | None:
    return None if value == "-" else words.some_value(value)


def _order(effect: ConsensusEffect) -> str:
    match effect:
        case Persist(writes=writes):
            return f"persist {len(writes)} writes"
        case BroadcastVote(vote=vote):
            return f"send {_said(vote)}"
        case BroadcastProposal(proposal=proposal):
            return f"send {_said(proposal)}"
        case BuildValue(round=round_):
            return f"build value for {round_}"
        case SetTimer(key=key, at_ms=at_ms):
            return f"set {key} at {at_ms}"
        case CancelTimer(key=key):
            return f"cancel {key}"
        case Decided(round=round_, header_digest=digest, certificate=certificate):
            signers = [words.name_of(entry.validator) for entry in certificate.signatures]
            return f"decide {round_} {_text(digest)} signed by {' '.join(signers)}"
        case EquivocationFound(first=first, second=second):
            return f"evidence {_said(first)} against {_said(second)}"
        case BlockRestored(block=block, valid=valid):
            return f"restore {block.decode()}{'' if valid else ', invalid'}"
        case Penalize(reason=reason):
            return f"penalize {reason.name}"


def _said(message: Vote | Proposal) -> str:
    if isinstance(message, Proposal):
        value = _text(message.header_digest)
        return f"proposal {message.round} {value} {message.valid_round}"
    who = words.name_of(message.validator)
    stated = "" if message.valid_round == NO_ROUND else f"@{message.valid_round}"
    value = _text(message.header_digest) + stated
    return f"{message.kind.name.lower()} {who} {message.round} {value}"


def _text(digest: Digest | None) -> str:
    return words.text_of(digest) or "-"


def _state(shell: Shell) -> str:
    state = shell.state
    locked = f"locked {_round(state.locked_round)} {_text(state.locked_value)}"
    valid = f"valid {_round(state.valid_round)} {_text(state.valid_value)}"
    return f"{state.round} {state.step.value} {locked} {valid}"


def _round(round_: Round) -> str:
    return "-" if round_ < 0 else str(round_)


def files() -> list[Path]:
    """The transcripts, by name."""
    return sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


if __name__ == "__main__":
    for path in sys.argv[1:]:
        Path(path).write_text(replay(Path(path).read_text()))
