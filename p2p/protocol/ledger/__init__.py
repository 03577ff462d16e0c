"""The ledger: `State` and `Block` to the next `State`, alike on every node.

Executing block h from the state after h - 1:

1. receipts settle, each alone on its channel, against the state before the block (`settlement`);
2. transactions apply in block order (`transactions`);
3. the epoch ends: stake and closed channels whose time has come are paid out (`draft`);
4. the validators of h + 2 are chosen from the bonds (`validators`);
5. the header states the result, and must state it exactly (`execution`).

Everything here is a pure function; what is inside a block was verified before it came here.
"""

from p2p.model.rewards import Split, split
from p2p.protocol.ledger.execution import build_block, execute_block
from p2p.protocol.ledger.genesis import genesis_state

__all__ = ["Split", "build_block", "execute_block", "genesis_state", "split"]
