"""Verify one's own reward with the light client's library alone: no network, no trust.

All that is believed is the genesis and the clock. A node is a function here that returns bytes, so
that any wire will do: an honest chain made in memory, or the database of a node that is stopped.
Then the same with one bit of its answer changed.

    python examples/verify_reward.py
    python examples/verify_reward.py --home mynet/node-002 --epoch 12
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from p2p.model.light import (
    LIGHT_BLOCK_BYTES_MAX,
    LIGHT_RESPONSE_BYTES_MAX,
    LightBlock,
    LightBlockRequest,
    LightRequest,
    Settlement,
    Settlements,
    SettlementsRequest,
)
from p2p.model.parameters import Genesis
from p2p.model.transaction import ChannelOpen, channel_id
from p2p.node.errors import UserError
from p2p.node.home import Home
from p2p.primitives.codec import Malformed, decode, encode
from p2p.primitives.signing import Ed25519Scheme
from p2p.primitives.units import AccountId, Amount, Height
from p2p.protocol.ledger import genesis_state
from p2p.protocol.light import (
    Bisection,
    Failed,
    TrustedBlock,
    earned,
    settlement_fault,
    trusted_genesis,
)
from p2p.storage.light import light_answer
from p2p.storage.memory import MemoryStore
from p2p.storage.port import Store, StoreError
from p2p.storage.sqlite import SqliteStore
from sim_harness.made_chain import MadeChain

Node = Callable[[LightRequest], bytes | None]
"""Anybody who answers; nothing of it is believed."""


def verified_reward(
    genesis: Genesis, account: AccountId, epoch: int, node: Node, *, now_ms: int
) -> int:
    """Micro-tokens that a provider received for an epoch. Raises ValueError with what is wrong."""
    trusted = trusted_genesis(genesis)
    taken: list[Settlement] = []
    for height in range(epoch, epoch + genesis.parameters.receipt_late_epochs + 1):
        answer = node(SettlementsRequest(Height(height), account))
        if answer is None:
            break  # no block of this height yet
        light, trusted = proven(genesis, trusted, height, node, now_ms=now_ms)
        given = decode(answer, Settlements, bytes_max=LIGHT_RESPONSE_BYTES_MAX).settlements
        for one in given:
            fault = settlement_fault(one, light.header, genesis.parameters, Ed25519Scheme())
            if fault is not None:
                raise ValueError(f"a settlement of block {height} is not proven: {fault}")
        taken += [one for one in given if one.row.epoch == epoch]
    return earned(account, taken, ()).provided


def proven(
    genesis: Genesis, trusted: TrustedBlock, height: int, node: Node, *, now_ms: int
) -> tuple[LightBlock, TrustedBlock]:
    """The header of a height, proven by bisection from what is trusted. Raises ValueError."""
    session = Bisection(trusted, chain_id=genesis.chain_id, scheme=Ed25519Scheme())
    progress = session.begin(height)
    while isinstance(progress, LightBlockRequest):
        answer = node(progress)
        light = answer and decode(answer, LightBlock, bytes_max=LIGHT_BLOCK_BYTES_MAX)
        progress = session.take(light or None, now_ms=now_ms)
    if isinstance(progress, Failed):
        raise ValueError(f"the header is not proven: {progress.detail}")
    return progress.block, session.trusted


# ---- somebody who answers ----------------------------------------------------------------------


def made() -> tuple[MadeChain, Store]:
    """An honest chain in memory: `a0` is paid in its second block."""
    chain, store = MadeChain(validators=4, accounts=2), MemoryStore()
    chain.keep_in(store)
    channel = channel_id(chain.chain_id, chain.account("a1"), 0)
    chain.commit([chain.order("a1", ChannelOpen(chain.account("a0"), Amount(90_000)))])
    chain.commit(receipts=[chain.receipt(channel, 40_000)])
    return chain, store


def answering(store: Store, genesis: Genesis) -> Node:
    """What a node with this store answers."""
    state = genesis_state(genesis)  # accounts are not asked for

    def node(request: LightRequest) -> bytes | None:
        answer = light_answer(store, state, request)
        return None if answer is None else encode(answer)

    return node


def with_one_bit_changed(node: Node) -> Node:
    """The same node, whose settlements are forged."""

    def forger(request: LightRequest) -> bytes | None:
        answer = node(request)
        if answer is None or not isinstance(request, SettlementsRequest):
            return answer
        forged = bytearray(answer)
        forged[len(forged) // 2] ^= 1
        return bytes(forged)

    return forger


def main() -> int:
    parser = argparse.ArgumentParser(description="Verify a reward, trusting no node.")
    parser.add_argument("--home", type=Path, help="home of a stopped node; else a made chain")
    parser.add_argument("--epoch", type=int, default=2)
    asked = parser.parse_args()
    if asked.home is None:
        chain, store = made()
        genesis, account, now_ms = chain.genesis, chain.account("a0"), chain.now_ms
    else:
        try:
            home = Home(asked.home)
            genesis, account = home.read_genesis(), home.read_key().account
            store = SqliteStore(home.database_path)
        except (UserError, StoreError) as error:
            print(error, file=sys.stderr)
            return 1
        now_ms = time.time_ns() // 1_000_000
    node = answering(store, genesis)
    try:
        received = verified_reward(genesis, account, asked.epoch, node, now_ms=now_ms)
    except (ValueError, Malformed) as error:
        print(f"not proven: {error}", file=sys.stderr)
        return 1
    print(f"proven: {received} micro-tokens received in epoch {asked.epoch}")
    if not received:
        return 0
    forger = with_one_bit_changed(node)
    try:
        verified_reward(genesis, account, asked.epoch, forger, now_ms=now_ms)
    except (ValueError, Malformed) as error:
        print(f"one bit changed: {error}")
        return 0
    print("one bit changed, and nobody noticed")
    return 1


if __name__ == "__main__":
    sys.exit(main())
