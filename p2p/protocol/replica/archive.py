"""What the disk keeps of past heights, and what it lets go.

    a commit ----> polkas of the height, for evidence      blocks below `retain_blocks` go
    a snapshot --> the state, its header and validators    all blocks below it go

Headers at which the validators change stay for ever: they lead light clients to the present.
"""

from typing import Final

from p2p.model.accusation import Polka
from p2p.model.ledger import State
from p2p.model.light import LightBlock, SignedHeader
from p2p.model.persistence import STATE_KEY, DeleteRange, Put, Table, Write, number_key
from p2p.primitives.codec import encode
from p2p.primitives.units import Height

KEYS_END: Final = b"\xff" * 16
SNAPSHOT_DONE: Final = DeleteRange(Table.SNAPSHOT, b"", KEYS_END)
"""A snapshot under way is not needed any more."""


class Archive:
    """The lowest block of one node, and writes that go with its commits."""

    def __init__(
        self, lowest_height: Height, *, retain_blocks: int, evidence_age_epochs: int
    ) -> None:
        self.lowest_height = lowest_height
        """Of the lowest block that is kept."""
        self._retain_blocks = retain_blocks
        self._evidence_age_epochs = evidence_age_epochs

    def commit_writes(self, height: Height, polkas: tuple[Polka, ...]) -> tuple[Write, ...]:
        """Writes beside a block: the polkas of its height, and what is let go."""
        return (*self._polka_writes(height, polkas), *self._prune(height))

    def _polka_writes(self, height: Height, polkas: tuple[Polka, ...]) -> tuple[Write, ...]:
        """Keep the polkas of a height that we took part in, as long as evidence of it counts."""
        if not polkas:
            return ()
        put = Put(Table.POLKAS, number_key(height), encode(polkas))
        oldest = height - self._evidence_age_epochs
        if oldest <= 0:
            return (put,)
        return (put, DeleteRange(Table.POLKAS, number_key(0), number_key(oldest)))

    def _prune(self, height: Height) -> tuple[Write, ...]:
        """Delete the blocks below those that are kept."""
        lowest = Height(height - self._retain_blocks + 1)
        if not self._retain_blocks or lowest <= self.lowest_height:
            return ()
        self.lowest_height = lowest
        return _without_blocks(lowest)

    def install_writes(self, state: State, light: LightBlock) -> tuple[Write, ...]:
        """A state that was proven takes the place of all blocks below it."""
        assert light.validators is not None, "it was proven"
        assert light.next_validators is not None, "it was proven"
        header = light.header
        signed = SignedHeader(header, light.certificate)
        self.lowest_height = Height(state.height + 1)
        return (
            *_without_blocks(self.lowest_height),
            Put(Table.STATE, STATE_KEY, encode(state)),
            Put(Table.HEADERS, number_key(header.height), encode(signed)),
            Put(Table.VALIDATORS, header.validators_root, encode(light.validators)),
            Put(Table.VALIDATORS, header.next_validators_root, encode(light.next_validators)),
            SNAPSHOT_DONE,
        )


def _without_blocks(lowest: Height) -> tuple[Write, ...]:
    tables = (Table.BLOCKS, Table.REWARDS, Table.SLASHES)
    return tuple(DeleteRange(table, number_key(0), number_key(lowest)) for table in tables)
