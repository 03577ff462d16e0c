"""Verify one's own reward with the light client's library alone: no node, no network, no trust.

Here an honest chain is made in memory, and what a client would have asked of any node is turned
over to it as bytes: two light blocks, one settlement. The client knows the genesis and the clock.
Then the same bytes with one bit changed.

    python examples/verify_reward.py
"""

import sys

from p2p.model.light import (
    LIGHT_BLOCK_BYTES_MAX,
    LightBlock,
    LightBlockRequest,
    Settlements,
    SettlementsRequest,
)
from p2p.model.parameters import Genesis
from p2p.model.transaction import ChannelOpen, channel_id
from p2p.primitives.codec import Malformed, decode, encode
from p2p.primitives.signing import Ed25519Scheme
from p2p.primitives.units import AccountId, Amount, Height
from p2p.protocol.light import (
    Bisection,
    Verified,
    earned,
    settlement_fault,
    trusted_genesis,
)


def verified_reward(
    genesis: Genesis, account: AccountId, header: bytes, settlements: bytes, now_ms: int
) -> int:
    """Micro-tokens that the account received, or ValueError with what is wrong.

    Args:
        genesis: all that is trusted.
        account: whose reward.
        header: a light block, from any node.
        settlements: its settlements of the account, from any node.
        now_ms: Unix time.
    """
    scheme = Ed25519Scheme()
    session = Bisection(trusted_genesis(genesis), chain_id=genesis.chain_id, scheme=scheme)
    session.begin()
    light = decode(header, LightBlock, bytes_max=LIGHT_BLOCK_BYTES_MAX)
    progress = session.take(light, now_ms=now_ms)
    if not isinstance(progress, Verified):
        raise ValueError(f"the header is not proven: {progress}")
    given = decode(settlements, Settlements, bytes_max=100_000).settlements
    for one in given:
        fault = settlement_fault(one, progress.block.header, genesis.parameters, scheme)
        if fault is not None:
            raise ValueError(f"a settlement is not proven: {fault}")
    return earned(account, given, ()).provided


def from_some_node() -> tuple[Genesis, AccountId, bytes, bytes, int]:
    """A chain, a provider on it, and what a node of it answers."""
    from p2p.storage.light import light_answer
    from p2p.storage.memory import MemoryStore
    from sim_harness.made_chain import MadeChain

    chain, store = MadeChain(validators=4, accounts=2), MemoryStore()
    chain.keep_in(store)
    provider = chain.account("a0")
    channel = channel_id(chain.chain_id, chain.account("a1"), 0)
    chain.commit([chain.order("a1", ChannelOpen(provider, Amount(90_000)))])
    chain.commit(receipts=[chain.receipt(channel, 40_000)])
    ask = LightBlockRequest(Height(0), Height(0), Height(2**53))
    light = light_answer(store, chain.state, ask)
    settled = light_answer(store, chain.state, SettlementsRequest(Height(2), provider))
    return chain.genesis, provider, encode(light), encode(settled), chain.now_ms


def main() -> int:
    genesis, account, header, settlements, now_ms = from_some_node()
    received = verified_reward(genesis, account, header, settlements, now_ms)
    size = len(header) + len(settlements)
    print(f"proven: {received} micro-tokens received, by {size} bytes and the genesis")
    forged = bytearray(settlements)
    forged[len(forged) // 2] ^= 1
    try:
        verified_reward(genesis, account, header, bytes(forged), now_ms)
    except (ValueError, Malformed) as error:
        print(f"one bit changed: {error}")
        return 0
    print("one bit changed, and nobody noticed")
    return 1


if __name__ == "__main__":
    sys.exit(main())
