"""The ledger's pure work, as the chain of one node asks for it.

What follows from a block depends on nothing but the state before it and the block. So a world with
many replicas may put a `Bookkeeper` in this place that works a result out once and lets all of them
read it; each still decides for itself what to do with it. A live node uses this one.
"""

from p2p.model.block import Block, CommittedBlock
from p2p.model.ledger import STATE_BYTES_MAX, Executed, Rules, State
from p2p.model.light import SignedHeader
from p2p.model.parameters import Genesis
from p2p.model.persistence import STATE_KEY, Put, Table, Write, number_key
from p2p.model.rejection import Rejected
from p2p.primitives.codec import decode, encode
from p2p.protocol.invariants import Violation, check_block
from p2p.protocol.ledger import execute_block, genesis_state


class Bookkeeper:
    """Works everything out each time it is asked."""

    def begin(self, genesis: Genesis, saved: bytes | None) -> State:
        """The state to start from: what the disk holds, or the first one. Raises ValueError."""
        if saved is None:
            return genesis_state(genesis)
        return decode(saved, State, bytes_max=STATE_BYTES_MAX)

    def execute(self, state: State, rules: Rules, block: Block) -> Executed | Rejected:
        """What follows from a block on top of a state, or why nothing does."""
        return execute_block(state, rules, block)

    def violations(self, before: State, block: Block, after: State) -> tuple[Violation, ...]:
        """The invariants that a block broke."""
        return check_block(before, block, after)

    def writes(self, committed: CommittedBlock, executed: Executed) -> tuple[Write, ...]:
        """What the disk gets of a committed block: itself, its reward rows, the state after it.

        Where the validators change it also gets what a light client needs to follow the change.
        """
        header = committed.block.header
        key = number_key(header.height)
        blocks: tuple[Write, ...] = (
            Put(Table.BLOCKS, key, encode(committed)),
            Put(Table.REWARDS, key, encode(executed.rows)),
            Put(Table.STATE, STATE_KEY, encode(executed.state)),
        )
        if executed.slashes:
            blocks = (*blocks, Put(Table.SLASHES, key, encode(executed.slashes)))
        if header.height > 1 and header.validators_root == header.next_validators_root:
            return blocks
        signed = SignedHeader(header, committed.certificate)
        next_root = header.next_validators_root
        return (
            *blocks,
            Put(Table.HEADERS, key, encode(signed)),
            Put(Table.VALIDATORS, next_root, encode(executed.state.validators)),
        )
