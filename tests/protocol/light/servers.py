"""Servers of light blocks over a made chain: a true one, and those that lie."""

from collections.abc import Callable

from p2p.model.light import LightBlock, LightBlockRequest
from p2p.primitives.codec import decode, encode
from p2p.primitives.signing import Ed25519Scheme
from p2p.protocol.light import (
    Bisection,
    Failed,
    LightParameters,
    TrustedBlock,
    Verified,
    trusted_genesis,
)
from p2p.storage.light import light_answer
from p2p.storage.memory import MemoryStore
from sim_harness.made_chain import MadeChain

Server = Callable[[LightBlockRequest], LightBlock | None]


class Honest:
    """Answers from a store; counts what it was asked and what it sent."""

    def __init__(self, chain: MadeChain, store: MemoryStore) -> None:
        self.chain = chain
        self.store = store
        self.asked: list[LightBlockRequest] = []
        self.sent_bytes = 0

    def __call__(self, request: LightBlockRequest) -> LightBlock | None:
        self.asked.append(request)
        answer = light_answer(self.store, self.chain.state, request)
        if answer is None:
            return None
        self.sent_bytes += len(encode(answer))
        return decode(encode(answer), LightBlock, bytes_max=32 * 1024)


def made(*, validators: int = 4, accounts: int = 4, heights: int = 0) -> tuple[MadeChain, Honest]:
    """A chain of empty blocks and a server of it."""
    chain, store = MadeChain(validators=validators, accounts=accounts), MemoryStore()
    chain.keep_in(store)
    chain.grow(heights)
    return chain, Honest(chain, store)


def bisect(
    chain: MadeChain,
    server: Server,
    *,
    target: int = 0,
    trusted: TrustedBlock | None = None,
    now_ms: int | None = None,
    parameters: LightParameters | None = None,
) -> tuple[Verified | Failed, Bisection]:
    """Run one session to its end."""
    session = Bisection(
        trusted or trusted_genesis(chain.genesis),
        chain_id=chain.chain_id,
        scheme=Ed25519Scheme(),
        parameters=parameters,
    )
    progress = session.begin(target)
    while isinstance(progress, LightBlockRequest):
        answer = server(progress)
        progress = session.take(answer, now_ms=chain.now_ms if now_ms is None else now_ms)
    return progress, session
