"""Forks: two true-looking chains from one genesis, made with the validators' own keys."""

import msgspec

from p2p.model.light import LightBlock, LightBlockRequest
from p2p.model.transaction import Transfer
from p2p.primitives.codec import decode, encode
from p2p.primitives.signing import Ed25519Scheme
from p2p.primitives.units import Amount
from p2p.protocol.light import (
    Agrees,
    Diverged,
    Lied,
    LightAttack,
    Silent,
    Verified,
    Witness,
    trusted_genesis,
)
from p2p.protocol.light.witness import Testimony
from sim_harness.made_chain import MadeChain
from tests.protocol.light.servers import Honest, Server, bisect, made


def ask(chain: MadeChain, verified: Verified, server: Server) -> Testimony:
    witness = Witness(
        trusted_genesis(chain.genesis),
        verified.block,
        chain_id=chain.chain_id,
        scheme=Ed25519Scheme(),
    )
    said = witness.begin()
    while isinstance(said, LightBlockRequest):
        said = witness.take(server(said), now_ms=chain.now_ms)
    return said


def verified(chain: MadeChain, server: Server) -> Verified:
    result, _ = bisect(chain, server)
    assert isinstance(result, Verified)
    return result


def fork() -> tuple[MadeChain, Honest]:
    """The same genesis and keys, but another first block."""
    chain, server = made()
    chain.commit([chain.order("a0", Transfer(chain.account("a1"), Amount(5)))])
    chain.grow(4)
    return chain, server


def test_witnesses_of_one_chain_agree() -> None:
    chain, server = made(heights=5)
    assert ask(chain, verified(chain, server), server) == Agrees()


def test_a_fork_is_found_with_both_headers_as_evidence() -> None:
    chain, server = made(heights=5)
    _, other = fork()
    result = verified(chain, server)
    found = ask(chain, result, other)
    assert isinstance(found, Diverged)
    attack = found.attack
    assert attack.first == result.block
    assert attack.second.header == other.chain.blocks[-1].block.header
    assert attack.first.header.digest() != attack.second.header.digest()
    assert decode(encode(attack), LightAttack, bytes_max=64 * 1024) == attack


def test_a_witness_that_cannot_prove_its_header_lied() -> None:
    chain, server = made(heights=5)
    result = verified(chain, server)

    def liar(request: LightBlockRequest) -> LightBlock | None:
        light = server(request)
        assert light is not None
        header = msgspec.structs.replace(light.header, supply=Amount(1))
        return msgspec.structs.replace(light, header=header)

    assert ask(chain, result, liar) == Lied("height 5: its certificate is of another header")


def test_a_witness_without_the_header_says_nothing() -> None:
    chain, server = made(heights=5)
    assert ask(chain, verified(chain, server), lambda _: None) == Silent()


def test_a_witness_that_falls_silent_on_the_way_proved_nothing() -> None:
    chain, server = made()
    for number in range(4):
        chain.replace_voter(f"v{number}", f"a{number}")
    chain.grow(20)
    result = verified(chain, server)
    other_chain, other = made()
    for number in range(4):
        other_chain.replace_voter(f"v{number}", f"a{number}")
    other_chain.commit([other_chain.order("v0", Transfer(chain.account("a1"), Amount(5)))])
    other_chain.grow(19)

    def once(request: LightBlockRequest) -> LightBlock | None:
        return other(request) if request.height == result.block.header.height else None

    assert isinstance(ask(chain, result, once), Lied)
    assert isinstance(ask(chain, result, other), Diverged)
