"""Blocks proposed for the open height, each executed once on the state before it."""

from collections.abc import Iterator
from typing import Final

import msgspec

from p2p.model.block import Block
from p2p.model.ledger import Executed, Rules, State
from p2p.model.rejection import Rejected
from p2p.primitives.units import Digest
from p2p.protocol.consensus.round_machine import RoundState
from p2p.protocol.replica.bookkeeping import Bookkeeper

CANDIDATES_MAX: Final = 16
"""Blocks proposed for the open height that are kept: 8 MiB, and more rounds than a height sees."""


class Candidate(msgspec.Struct, frozen=True):
    """A block proposed for the open height; `executed` is None when it is not valid."""

    block: Block
    executed: Executed | None


class Candidates:
    """The blocks of one height, by the digest of their header; the oldest go first."""

    def __init__(self, books: Bookkeeper, rules: Rules, state: State) -> None:
        self._books = books
        self._rules = rules
        self._state = state
        self._kept: dict[Digest, Candidate] = {}

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, header_digest: Digest) -> Candidate | None:
        """A block that is kept."""
        return self._kept.get(header_digest)

    def execute(
        self, header_digest: Digest, block: Block, consensus: RoundState | None
    ) -> Candidate:
        """The block with what follows from it, worked out unless it is known."""
        known = self._kept.get(header_digest)
        if known is not None:
            return known
        outcome = self._books.execute(self._state, self._rules, block)
        candidate = Candidate(block, None if isinstance(outcome, Rejected) else outcome)
        self.keep(header_digest, candidate, consensus)
        return candidate

    def keep(
        self, header_digest: Digest, candidate: Candidate, consensus: RoundState | None
    ) -> None:
        """Keep a block; where there are too many, one that consensus is not locked on goes."""
        if len(self._kept) >= CANDIDATES_MAX:
            precious = () if consensus is None else (consensus.locked_value, consensus.valid_value)
            del self._kept[next(key for key in self._kept if key not in precious)]
        self._kept[header_digest] = candidate

    def forget(self) -> None:
        """Keep nothing."""
        self._kept.clear()
