"""The journal of the open height: its accepted inputs, in order, and what we signed.

Replaying it brings a restarted driver to the state that it had when it last signed. Entries wait
in memory and become durable in the same Persist as the message that they led to; what was heard
after our last message may be lost, since nothing left on its account. Built values and fired timers
are inputs too, so a replay asks the application nothing. Our own signed messages are recorded, so a
replay signs nothing.

Proposals and built values carry their block's bytes, which come back to the replica as
`BlockRestored`. Keys number the entries from 0 in each height. The first Persist of a height drops
what lies behind its own entries, which is the journal of the height before: nobody else deletes.
"""

from typing import Final

from p2p.model.fields import DigestField, HeightField, RoundField, ValidRoundField
from p2p.model.parameters import BLOCK_BYTES_MAX
from p2p.model.persistence import DeleteRange, Put, Table, Write, number_key
from p2p.model.vote import Proposal, Vote
from p2p.primitives.codec import Malformed, Value, decode, encode
from p2p.primitives.units import KIB, NO_ROUND, Round
from p2p.protocol.consensus.sign_state import SIGN_STATE_KEY, Message, SignState

ENTRY_BYTES_MAX: Final = BLOCK_BYTES_MAX + 64 * KIB
"""A block and its proposal, or the votes of one exchange."""
_KEYS_END: Final = b"\xff" * 9
"""Behind every 8-byte key."""


class StartedEntry(Value, frozen=True, tag="started"):
    """The height that the journal is of, always its first entry.

    Round and lock differ from the default where an earlier journal of the height was lost.
    """

    height: HeightField
    round: RoundField = Round(0)
    locked_round: ValidRoundField = NO_ROUND
    locked_value: DigestField | None = None


class ProposalEntry(Value, frozen=True, tag="proposal-entry"):
    """A proposal that was received, what we found of its block and time, and its block."""

    proposal: Proposal
    valid: bool
    timely: bool
    block: bytes


class BuiltEntry(Value, frozen=True, tag="built"):
    """The application's answer to BuildValue."""

    round: RoundField
    header_digest: DigestField | None
    block: bytes


class VotesEntry(Value, frozen=True, tag="votes"):
    """Votes that counted together, as a quorum for one value."""

    votes: tuple[Vote, ...]


class TimerEntry(Value, frozen=True, tag="timer"):
    """A timer that fired."""

    key: str


class SignedEntry(Value, frozen=True, tag="signed"):
    """A message that we signed."""

    message: Message


JournalEntry = (
    StartedEntry | Vote | VotesEntry | ProposalEntry | BuiltEntry | TimerEntry | SignedEntry
)


class Journal:
    """Entries of one height, those not yet durable in memory."""

    def __init__(self, *, entries_durable: int = 0, enabled: bool = True) -> None:
        self._sequence = entries_durable
        self._waiting: list[bytes] = []
        self._enabled = enabled
        self._paused = False
        self._cut = True

    def append(self, entry: JournalEntry) -> None:
        """Take note of an accepted input; durable with the next `writes`."""
        if self._enabled and not self._paused:
            self._waiting.append(encode(entry))

    def pause(self) -> None:
        """Take no note, until `resume`: what is replayed is in the journal."""
        self._paused = True

    def resume(self) -> None:
        """Take note again."""
        self._paused = False

    def writes(self, sign_state: bytes) -> tuple[Write, ...]:
        """The writes that make the waiting entries and the sign state durable; in this order."""
        writes: list[Write] = []
        if self._cut:
            writes.append(DeleteRange(Table.JOURNAL, number_key(self._sequence), _KEYS_END))
            self._cut = False
        for data in self._waiting:
            writes.append(Put(Table.JOURNAL, number_key(self._sequence), data))
            self._sequence += 1
        self._waiting.clear()
        writes.append(Put(Table.META, SIGN_STATE_KEY, sign_state))
        return tuple(writes)


def read_journal(
    entries: tuple[bytes, ...], state: SignState | None = None
) -> tuple[StartedEntry, list[JournalEntry]] | None:
    """The first entry of a journal and the others, or None where there is none to be trusted.

    One unreadable entry makes all of it unreadable: half a replay would be another history. So is
    a journal without the last message of `state`: its end is gone, and perhaps a lock with it.
    """
    read: list[JournalEntry] = []
    for data in entries:
        try:
            # mypy does not see a union of classes as a type; msgspec does.
            read.append(decode(data, JournalEntry, bytes_max=ENTRY_BYTES_MAX))  # type: ignore[arg-type]
        except Malformed:
            return None
    if not read or not isinstance(read[0], StartedEntry):
        return None
    if state is not None:
        # Only its last word: a journal begun anew has what followed alone.
        signed = (entry.message for entry in read if isinstance(entry, SignedEntry))
        if state.height != read[0].height or state.messages[-1] not in signed:
            return None
    return read[0], read[1:]
