"""A crash at each point between signing a message and sending it, for each kind of message.

    sign --(1)--> persist --(2)--> send

At (1) nothing is durable and nobody heard: the node is free to say another thing. At (2) the word
is given: after the restart it leaves byte for byte, and nothing else of its slot ever does.
"""

from collections.abc import Callable

import pytest

from p2p.model.effects import Persist
from p2p.model.inputs import TimerFired
from p2p.model.vote import Proposal, Vote, VoteKind
from p2p.primitives.signing import Verified
from p2p.primitives.units import Height, Round
from p2p.protocol.consensus.interface import (
    BroadcastProposal,
    BroadcastVote,
    ConsensusInput,
    ProposalReceived,
    ValueBuilt,
    VoteReceived,
)
from p2p.protocol.consensus.open_height import TIMER_KEYS
from p2p.protocol.consensus.sign_state import Message
from tests.conformance import words
from tests.protocol.consensus.shell import FIRST, Shell

FOUR = {"v1": 1, "v2": 1, "v3": 1, "v4": 1}


def vote(kind: str, who: str, value: str | None, round_: int = 0) -> VoteReceived:
    return VoteReceived(Verified(words.vote(kind, who, round_, value, height=1)))


def proposal(value: str) -> ProposalReceived:
    told = words.proposal("v2", 0, value, -1, height=1)
    return ProposalReceived(Verified(told), valid=True, block=value.encode())


def build(value: str) -> ValueBuilt:
    return ValueBuilt(FIRST, Round(0), words.some_value(value), value.encode())


def timer(step: str) -> TimerFired:
    return TimerFired(f"consensus/{step}")


POINTS: dict[str, tuple[str, list[ConsensusInput], ConsensusInput, list[ConsensusInput]]] = {
    # who, what comes before, what makes it speak, and what would make it say another thing
    "proposal": ("v2", [], build("A"), [build("B")]),
    "prevote": ("v1", [], proposal("A"), [proposal("B")]),
    "prevote nil": ("v1", [], timer("propose"), [proposal("B")]),
    "precommit": (
        "v1",
        [proposal("A"), vote("prevote", "v2", "A")],
        vote("prevote", "v3", "A"),
        [vote("prevote", "v3", None), vote("prevote", "v4", None), timer("prevote")],
    ),
    "precommit nil": (
        "v1",
        [proposal("A"), vote("prevote", "v2", None), vote("prevote", "v3", "C")],
        timer("prevote"),
        [vote("prevote", "v3", "A"), vote("prevote", "v4", "A")],
    ),
}


def slot(message: Message) -> tuple[Height, int, VoteKind | None]:
    kind = message.kind if isinstance(message, Vote) else None
    return message.height, message.round, kind


def until_it_speaks(name: str) -> tuple[Shell, ConsensusInput, list[ConsensusInput]]:
    who, before, speaks, otherwise = POINTS[name]
    node = Shell(who, FOUR)
    node.start(FIRST)
    for input_ in before:
        node.step(input_)
    return node, speaks, otherwise


def signed_in(
    node: Shell, input_: ConsensusInput, carry_out: Callable[[Persist], None]
) -> list[Message]:
    """What a step signs, while only its Persist is done, or not even that."""
    effects = node.driver.step(input_, node.now_ms)
    assert isinstance(effects[0], Persist), "durable before anything leaves"
    carry_out(effects[0])
    return [
        effect.vote if isinstance(effect, BroadcastVote) else effect.proposal
        for effect in effects
        if isinstance(effect, BroadcastVote | BroadcastProposal)
    ]


@pytest.mark.parametrize("name", POINTS)
def test_what_was_signed_and_not_persisted_binds_nobody(name: str) -> None:
    node, speaks, otherwise = until_it_speaks(name)
    before = list(node.sent)
    signed = signed_in(node, speaks, lambda _: None)
    node.crash(FIRST)
    assert signed
    assert not set(signed) & set(node.sent)
    for input_ in otherwise:
        timely = not isinstance(input_, TimerFired) or input_.key in node.timers
        if timely:
            node.step(input_)
    said = {slot(message): message for message in [*before, *node.sent]}
    assert all(said[slot(message)] == message for message in [*before, *node.sent])
    assert len(node.sent) > len(before), "it goes on"


@pytest.mark.parametrize("name", POINTS)
def test_what_was_persisted_leaves_after_the_restart_and_nothing_against_it(name: str) -> None:
    node, speaks, otherwise = until_it_speaks(name)
    signed = signed_in(node, speaks, lambda persist: node.carry_out([persist]))
    node.crash(FIRST)
    assert [message for message in node.sent if message in signed] == signed
    for input_ in otherwise:
        if not isinstance(input_, TimerFired) or input_.key in node.timers:
            node.step(input_)
    slots = {slot(message): message for message in signed}
    assert all(slots.get(slot(message), message) == message for message in node.sent)
    for key in (*TIMER_KEYS.values(),):
        if key in node.timers:
            node.step(TimerFired(key))
    assert all(slots.get(slot(message), message) == message for message in node.sent)


def test_every_kind_of_message_has_its_points() -> None:
    kinds = set()
    for name in POINTS:
        node, speaks, _ = until_it_speaks(name)
        for message in signed_in(node, speaks, lambda _: None):
            nil = isinstance(message, Vote) and message.header_digest is None
            kinds.add((type(message), slot(message)[2], nil))
    assert kinds == {
        (Proposal, None, False),
        *((Vote, kind, nil) for kind in VoteKind for nil in (False, True)),
    }


@pytest.mark.parametrize("lost", [1, 2, 3, 4])
def test_a_journal_without_its_end_is_no_journal_and_the_lock_stays(lost: int) -> None:
    """Its beginning alone would be a history in which we never locked."""
    node = Shell("v1", FOUR)
    node.start(FIRST)
    for input_ in (proposal("A"), vote("prevote", "v2", "A"), vote("prevote", "v3", "A")):
        node.step(input_)
    locked = node.state.locked_value
    assert locked == words.some_value("A")
    journal = sorted(key for table, key in node.disk if table.value == "journal")
    for key in journal[-lost:]:
        node.disk = {where: data for where, data in node.disk.items() if where[1] != key}
    said = list(node.sent)
    node.crash(FIRST)
    assert (node.state.locked_value, node.state.locked_round) == (locked, 0)
    assert set(node.sent) == set(said)
