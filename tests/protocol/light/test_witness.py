"""Forks: two true-looking chains from one genesis, made with the validators' own keys."""

import msgspec

from p2p.model.light import LightBlock, LightBlockRequest
from p2p.model.transaction import Transfer
from p2p.primitives.codec import decode, encode
from p2p.primitives.signing import Ed25519Scheme, Ed25519Signer
from p2p.primitives.units import Amount, Height
from p2p.protocol.light import (
    Agrees,
    AskPrimary,
    Diverged,
    Lied,
    LightAttack,
    PrimaryLied,
    Silent,
    Unclear,
    Verified,
    Witness,
    trusted_genesis,
)
from p2p.protocol.light.witness import Testimony
from p2p.storage.memory import MemoryStore
from sim_harness.made_chain import MadeChain
from tests.protocol.light.servers import Honest, Server, bisect, made


def ask(
    chain: MadeChain, verified: Verified, server: Server, primary: Server | None = None
) -> Testimony:
    """What a witness, and a primary where it is asked, make of a header."""
    witness = Witness(
        trusted_genesis(chain.genesis),
        verified.block,
        chain_id=chain.chain_id,
        scheme=Ed25519Scheme(),
    )
    said = witness.begin()
    while isinstance(said, LightBlockRequest | AskPrimary):
        if isinstance(said, AskPrimary):
            assert primary is not None
            answer = primary(said.request)
        else:
            answer = server(said)
        said = witness.take(answer, now_ms=chain.now_ms)
    return said


def verified(chain: MadeChain, server: Server) -> Verified:
    result, _ = bisect(chain, server)
    assert isinstance(result, Verified)
    return result


def forged(server: Server) -> Server:
    """Another supply in every header."""

    def answer(request: LightBlockRequest) -> LightBlock | None:
        light = server(request)
        if light is None:
            return None
        header = msgspec.structs.replace(light.header, supply=Amount(1))
        return msgspec.structs.replace(light, header=header)

    return answer


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
    assert ask(chain, result, forged(server)) == Lied(
        "height 5: its certificate is of another header"
    )


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


# ---- witnesses that have not come so far -------------------------------------------------------


def test_a_witness_that_is_behind_agrees_where_the_primary_has_the_same() -> None:
    chain, server = made(heights=5)
    behind, few = made(heights=3)
    assert behind.chain_id == chain.chain_id
    assert ask(chain, verified(chain, server), few, server) == Agrees()


def test_a_longer_chain_that_was_forged_diverges_at_the_height_of_the_witness() -> None:
    past, liar = fork()
    past.grow(20)
    _, true = made(heights=4)
    found = ask(past, verified(past, liar), true, liar)
    assert isinstance(found, Diverged)
    first, second = found.attack.first.header, found.attack.second.header
    assert (first.height, second.height) == (4, 4)
    assert first.digest() == past.blocks[3].block.header.digest()
    assert second.digest() == true.chain.blocks[3].block.header.digest()


def test_a_primary_that_does_not_show_the_height_of_the_witness_is_not_cleared() -> None:
    past, liar = fork()
    past.grow(20)
    _, true = made(heights=4)
    assert ask(past, verified(past, liar), true, lambda _: None) == Unclear(Height(4))
    tip = verified(past, liar)
    assert ask(past, tip, true, lambda _: tip.block) == Unclear(Height(4))


def test_a_primary_that_shows_a_false_header_beside_the_witness_lied() -> None:
    past, liar = fork()
    past.grow(20)
    _, true = made(heights=4)
    found = ask(past, verified(past, liar), true, forged(liar))
    assert found == PrimaryLied("height 4: its certificate is of another header")


def test_a_witness_that_forges_an_earlier_header_lied() -> None:
    chain, server = made(heights=5)
    earlier = LightBlockRequest(Height(3), Height(2), Height(4))
    said = ask(chain, verified(chain, server), lambda _: forged(server)(earlier), server)
    assert said == Lied("height 3: its certificate is of another header")


def test_an_earlier_height_at_a_later_time_contradicts_by_itself() -> None:
    """A forged past may be long, but it is dated before what honest nodes decided since."""
    honest, true = made(heights=10)
    signers = [Ed25519Signer(honest.keys[f"v{number}"]) for number in range(4)]
    past = MadeChain.forged(honest.genesis, signers, step_ms=10)
    store = MemoryStore()
    past.keep_in(store)
    past.grow(50)
    result, _ = bisect(honest, Honest(past, store))
    assert isinstance(result, Verified)
    assert result.block.header.height == 50
    found = ask(honest, result, true, lambda _: None)
    assert isinstance(found, Diverged)
    assert (found.attack.first.header.height, found.attack.second.header.height) == (50, 10)
    assert found.attack.what == "headers of heights 50 and 10 that contradict"
