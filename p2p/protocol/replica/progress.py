"""What a chain has done since the node started, for people and tests; no decision rests on it."""

import msgspec

from p2p.model.block import Certificate, CommittedBlock
from p2p.model.ledger import State
from p2p.primitives.codec import encode
from p2p.primitives.units import AccountId


class ChainProgress(msgspec.Struct):
    """The newest block, and totals since the start."""

    last: CommittedBlock | None = None
    interval_ms: int = 0
    """Between the times of the last two blocks."""
    transactions: int = 0
    blocks_missed: int = 0
    """Blocks that we could have signed, and whose certificate has no signature of ours."""
    proposals_made: int = 0
    """Blocks built; an old valid value that is proposed again is none."""

    @property
    def certificate(self) -> Certificate | None:
        """Who signed the newest block."""
        return None if self.last is None else self.last.certificate

    @property
    def block_bytes(self) -> int:
        """Size of the newest block; it is encoded for it."""
        return 0 if self.last is None else len(encode(self.last.block))

    def note_commit(self, committed: CommittedBlock, before: State, me: AccountId) -> None:
        """A block was committed on top of a state."""
        self.last = committed
        self.interval_ms = committed.block.header.time_ms - before.time_ms
        self.transactions += len(committed.block.transactions)
        is_voter = any(one.account == me for one in before.validators.validators)
        signed = any(one.validator == me for one in committed.certificate.signatures)
        self.blocks_missed += is_voter and not signed
