"""The sign guard: what this node has signed, so that no crash makes it sign against itself.

Positions (height, round, step) only rise: a message above the last position may be signed, one
that repeats a message of the last round word for word may be sent again, anything else is refused.
Silence is always safe; so a refusal stops one message and never the machine.

The state is one value, persisted together with the journal before the message leaves, and useful
alone: it also holds the lock, so that a node whose journal is lost still keeps its promises.
"""

from enum import IntEnum
from typing import Final

import msgspec

from p2p.model.fields import DigestField, HeightField, RoundField, ValidRoundField
from p2p.model.vote import Proposal, Vote, VoteKind
from p2p.primitives.codec import Value, decode, encode
from p2p.primitives.units import KIB, NO_ROUND, Digest, Height, Round

SIGN_STATE_KEY: Final = b"sign_state"
"""Its name in `Table.META`."""
_BYTES_MAX: Final = 4 * KIB

Message = Vote | Proposal


class SignStep(IntEnum):
    """The order of a validator's messages in a round."""

    PROPOSAL = 0
    PREVOTE = 1
    PRECOMMIT = 2


class SignState(Value, frozen=True, tag="sign-state"):
    """The last round that this node signed in, what it signed there, and its lock."""

    height: HeightField
    round: RoundField
    proposal: Proposal | None = None
    prevote: Vote | None = None
    precommit: Vote | None = None
    locked_round: ValidRoundField = NO_ROUND
    locked_value: DigestField | None = None

    @property
    def messages(self) -> tuple[Message, ...]:
        """What was signed in the round, in order."""
        slots = (self.proposal, self.prevote, self.precommit)
        return tuple(message for message in slots if message is not None)


def step_of(message: Message) -> SignStep:
    """The place of a message in its round."""
    if isinstance(message, Proposal):
        return SignStep.PROPOSAL
    return SignStep.PREVOTE if message.kind is VoteKind.PREVOTE else SignStep.PRECOMMIT


def same_statement(first: Message, second: Message) -> bool:
    """Whether two messages say the same, whatever their signatures."""
    unsigned = msgspec.structs.replace
    return unsigned(first, signature=b"") == unsigned(second, signature=b"")


class SignGuard:
    """The guard over one key; `state` is what must be durable."""

    def __init__(self, state: SignState | None = None) -> None:
        self.state = state

    @classmethod
    def restored(cls, data: bytes | None) -> "SignGuard":
        """The guard that a restart found. Raises Malformed: signing without it is not safe."""
        return cls(None if data is None else decode(data, SignState, bytes_max=_BYTES_MAX))

    def encoded(self) -> bytes:
        """The bytes of the state; only after something was signed."""
        return encode(self.state)

    def sent_before(self, message: Message) -> Message | None:
        """The signed twin of a message, if it may be sent again."""
        for known in self.state.messages if self.state else ():
            if same_statement(known, message):
                return known
        return None

    def allows(self, message: Message) -> bool:
        """Whether a message lies above everything that was signed."""
        if self.state is None:
            return True
        last = (self.state.height, self.state.round)
        here = (message.height, message.round)
        if here != last:
            return here > last
        return step_of(message) > max(step_of(known) for known in self.state.messages)

    def record(self, message: Message, *, locked_round: Round, locked_value: Digest | None) -> None:
        """Take note of a signed message, and of the lock under which it was signed."""
        held = self.state
        if held is None or (held.height, held.round) != (message.height, message.round):
            held = SignState(message.height, message.round)
        held = msgspec.structs.replace(held, locked_round=locked_round, locked_value=locked_value)
        if isinstance(message, Proposal):
            self.state = msgspec.structs.replace(held, proposal=message)
        elif message.kind is VoteKind.PREVOTE:
            self.state = msgspec.structs.replace(held, prevote=message)
        else:
            self.state = msgspec.structs.replace(held, precommit=message)

    def at(self, height: Height) -> SignState | None:
        """The state, if it is of this height."""
        if self.state is None or self.state.height != height:
            return None
        return self.state
