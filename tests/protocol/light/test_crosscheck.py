"""A header by one peer and its witnesses: who is asked, believed, blamed, named."""

from p2p.model.light import LightBlock, LightBlockRequest
from p2p.model.transaction import Transfer
from p2p.primitives.signing import Ed25519Scheme
from p2p.primitives.units import Amount, PeerId
from p2p.protocol.light import CrossCheck, LightParameters, trusted_genesis
from p2p.protocol.light.crosscheck import (
    AskPeer,
    Confirmed,
    CrossCheckStep,
    Forked,
    Refused,
    WitnessLied,
)
from sim_harness.made_chain import MadeChain
from tests.protocol.light.servers import Honest, Server, made
from tests.protocol.light.test_witness import forged

A, B, C, D = (PeerId(name) for name in (b"a", b"b", b"c", b"d"))


def check(
    chain: MadeChain, servers: dict[PeerId, Server], *, height: int, wanted: int = 3
) -> tuple[list[CrossCheckStep], list[PeerId]]:
    """Run it to its end with the first as the primary: what came of it, and who was asked."""
    primary, *witnesses = servers
    session = CrossCheck(
        trusted_genesis(chain.genesis),
        chain_id=chain.chain_id,
        scheme=Ed25519Scheme(),
        parameters=LightParameters(),
        primary=primary,
        witnesses=witnesses,
        wanted=wanted,
    )
    steps = session.begin(height)
    asked: list[PeerId] = []
    outcome: list[CrossCheckStep] = []
    while steps:
        step = steps.pop(0)
        if isinstance(step, AskPeer):
            asked.append(step.peer)
            assert session.take(PeerId(b"nobody"), None, chain.now_ms) == []
            steps += session.take(step.peer, servers[step.peer](step.request), chain.now_ms)
        else:
            outcome.append(step)
    return outcome, asked


def silent(_: LightBlockRequest) -> LightBlock | None:
    return None


def light(chain: MadeChain, server: Honest, height: int) -> LightBlock:
    outcome, _ = check(chain, {A: server}, height=height)
    (confirmed,) = outcome
    assert isinstance(confirmed, Confirmed)
    return confirmed.light


def past(heights: int) -> tuple[MadeChain, Honest]:
    """Another chain of the same genesis and keys."""
    chain, server = made()
    chain.commit([chain.order("a0", Transfer(chain.account("a1"), Amount(5)))])
    chain.grow(heights - 1)
    return chain, server


def test_witnesses_are_asked_until_enough_agree() -> None:
    chain, server = made(heights=5)
    servers: dict[PeerId, Server] = {A: server, B: silent, C: server, D: server}
    outcome, asked = check(chain, servers, height=5, wanted=1)
    assert outcome == [Confirmed(light(chain, server, 5), (C,))]
    assert asked == [A, B, C]


def test_silent_witnesses_keep_nobody_out() -> None:
    chain, server = made(heights=5)
    outcome, _ = check(chain, {A: server, B: silent, C: silent}, height=5)
    assert outcome == [Confirmed(light(chain, server, 5), ())]


def test_a_primary_that_proves_nothing_is_refused_and_blamed_where_it_lied() -> None:
    chain, server = made(heights=5)
    outcome, asked = check(chain, {A: silent, B: server}, height=5)
    assert outcome == [Refused("it has no header at or about height 5", lied=False)]
    assert asked == [A]
    outcome, _ = check(chain, {A: forged(server), B: server}, height=5)
    assert outcome == [Refused("height 5: its certificate is of another header", lied=True)]


def test_a_witness_that_lies_is_named_and_the_others_go_on() -> None:
    chain, server = made(heights=5)
    outcome, _ = check(chain, {A: server, B: forged(server), C: server}, height=5)
    assert outcome == [
        WitnessLied(B, "height 5: its certificate is of another header"),
        Confirmed(light(chain, server, 5), (C,)),
    ]


def test_a_fork_names_both_peers_whoever_offered() -> None:
    chain, true = made(heights=5)
    _, other = past(5)
    for servers in ({A: true, B: other}, {A: other, B: true}):
        (found,), _ = check(chain, {**servers, C: true}, height=5)
        assert isinstance(found, Forked)
        assert (found.first, found.second) == (A, B)


def test_a_longer_past_does_not_make_liars_of_witnesses_that_have_fewer_heights() -> None:
    chain, liar = past(40)
    _, true = made(heights=5)
    (found,), asked = check(chain, {A: liar, B: silent, C: true}, height=40)
    assert isinstance(found, Forked)
    assert (found.first, found.second) == (A, C)
    assert asked == [A, B, C, A]


def test_a_primary_that_hides_the_height_of_its_witnesses_is_passed_over() -> None:
    chain, liar = past(40)
    _, true = made(heights=5)

    def hiding(request: LightBlockRequest) -> LightBlock | None:
        return liar(request) if request.height == 40 else None

    outcome, _ = check(chain, {A: hiding, B: true, C: true}, height=40)
    assert outcome == [Refused("it does not show its header of height 5", lied=False)]


def test_a_primary_that_forges_the_height_of_a_witness_is_blamed() -> None:
    chain, liar = past(40)
    _, true = made(heights=5)

    def forging(request: LightBlockRequest) -> LightBlock | None:
        return liar(request) if request.height == 40 else forged(liar)(request)

    outcome, _ = check(chain, {A: forging, B: true}, height=40)
    assert outcome == [Refused("height 5: its certificate is of another header", lied=True)]
