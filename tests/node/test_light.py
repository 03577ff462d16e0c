"""The live light client over nodes in memory: whom it believes, leaves out, and tells apart."""

from collections.abc import Sequence

import pytest

from p2p.model.light import LightBlock, LightBlockRequest, LightRequest, LightResponse
from p2p.model.transaction import Transfer
from p2p.node.light import Forked, LightClient, LightError
from p2p.primitives.units import Amount, Digest, Height
from p2p.protocol.light import LightParameters, TrustedBlock, trusted_genesis
from sim_harness.made_chain import MadeChain
from tests.protocol.light.servers import Server, made
from tests.protocol.light.test_witness import forged


class Node:
    """A source that answers with light blocks of a server."""

    def __init__(self, name: str, server: Server) -> None:
        self.name = name
        self._server = server
        self.asked = 0

    async def ask(self, request: LightRequest) -> LightResponse | None:
        self.asked += 1
        return self._server(request) if isinstance(request, LightBlockRequest) else None


def silent(_: LightBlockRequest) -> LightBlock | None:
    return None


def forked() -> Server:
    """Another chain of the same genesis, made with all validators' keys."""
    chain, server = made()
    chain.commit([chain.order("a0", Transfer(chain.account("a1"), Amount(5)))])
    chain.grow(4)
    return server


def client(
    chain: MadeChain,
    nodes: Sequence[Node],
    *,
    witnesses: int = 3,
    period_ms: int = 14 * 24 * 3_600_000,
    later_ms: int = 0,
) -> LightClient:
    return LightClient(
        nodes,
        chain_id=chain.chain_id,
        parameters=LightParameters(period_ms),
        now_ms=chain.now_ms + later_ms,
        witnesses_max=witnesses,
    )


def genesis(chain: MadeChain) -> tuple[TrustedBlock, ...]:
    return (trusted_genesis(chain.genesis),)


async def test_the_newest_header_is_proven_and_confirmed_by_others() -> None:
    chain, server = made(heights=5)
    asking = client(chain, [Node("one", server), Node("two", server), Node("three", silent)])
    proven = await asking.prove(genesis(chain), 0)
    assert proven.block.header == chain.blocks[-1].block.header
    assert (proven.primary, proven.agreed) == ("one", ("two",))
    assert (proven.silent, proven.lied) == (("three",), ())
    assert proven.requests == 3


async def test_no_more_witnesses_are_asked_than_wanted() -> None:
    chain, server = made(heights=5)
    nodes = [Node(str(number), server) for number in range(5)]
    proven = await client(chain, nodes, witnesses=2).prove(genesis(chain), 0)
    assert proven.agreed == ("1", "2")
    assert [node.asked for node in nodes] == [1, 1, 1, 0, 0]


async def test_a_primary_that_forges_is_left_out_and_the_next_one_proves() -> None:
    chain, server = made(heights=5)
    asking = client(chain, [Node("liar", forged(server)), Node("true", server)])
    proven = await asking.prove(genesis(chain), 0)
    assert (proven.primary, proven.agreed) == ("true", ())
    assert [source.name for source in asking.sources] == ["true"]


async def test_a_witness_that_cannot_prove_what_it_shows_is_left_out() -> None:
    chain, server = made(heights=5)
    asking = client(chain, [Node("true", server), Node("liar", forged(server))])
    proven = await asking.prove(genesis(chain), 0)
    assert proven.lied == ("liar: height 5: its certificate is of another header",)
    assert [source.name for source in asking.sources] == ["true"]


async def test_a_fork_names_both_nodes_and_trusts_neither() -> None:
    chain, server = made(heights=5)
    asking = client(chain, [Node("west", server), Node("east", forked())])
    with pytest.raises(Forked) as caught:
        await asking.prove(genesis(chain), 0)
    assert str(caught.value) == (
        "the chain was forked: west and east prove two different headers of height 5; trust neither"
    )
    first, second = caught.value.attack.first, caught.value.attack.second
    assert (first.header.height, second.header.height) == (5, 5)
    assert first.header.digest() != second.header.digest()


async def test_an_expired_trust_is_nobodys_lie() -> None:
    chain, server = made(heights=5)
    asking = client(chain, [Node("one", server)], period_ms=60_000, later_ms=120_000)
    with pytest.raises(LightError) as caught:
        await asking.prove(genesis(chain), 0)
    assert str(caught.value) == ("one: height 5: the trusted header is older than the trust period")
    assert len(asking.sources) == 1


async def test_who_knows_nothing_is_named() -> None:
    chain, _ = made(heights=5)
    asking = client(chain, [Node("one", silent), Node("two", silent)])
    with pytest.raises(LightError) as caught:
        await asking.prove(genesis(chain), 4)
    assert str(caught.value) == (
        "one: it has no header at or about height 4; two: it has no header at or about height 4"
    )


async def test_what_is_trusted_already_is_proven_again_without_a_later_block() -> None:
    """Given trust in the tip; when the newest header or that of its height is asked; then it is."""
    chain, server = made(heights=5)
    nodes = [Node("one", server), Node("two", server)]
    tip = (await client(chain, nodes).prove(genesis(chain), 0)).path[-1]
    for target in (0, 5):
        proven = await client(chain, nodes).prove([tip], target)
        assert proven.block.header.digest() == tip.header_digest
        assert (proven.primary, proven.agreed, proven.path) == ("one", ("two",), (tip,))


async def test_another_header_at_a_trusted_height_is_a_lie_or_a_fork() -> None:
    chain, server = made(heights=5)
    tip = (await client(chain, [Node("one", server)]).prove(genesis(chain), 0)).path[-1]
    asking = client(chain, [Node("liar", forged(server)), Node("true", server)])
    proven = await asking.prove([tip], 5)
    assert (proven.primary, [one.name for one in asking.sources]) == ("true", ["true"])
    nodes = [Node("west", server), Node("east", forked())]
    with pytest.raises(Forked):
        await client(chain, nodes).prove([*genesis(chain), tip], 5)


async def test_a_height_below_all_trust_is_refused_with_advice() -> None:
    chain, server = made(heights=5)
    tip = (await client(chain, [Node("one", server)]).prove(genesis(chain), 0)).path[-1]
    with pytest.raises(LightError) as caught:
        await client(chain, [Node("one", server)]).prove([tip], 3)
    assert str(caught.value) == (
        "height 3 is not above the trusted height 5: trust an earlier one, or the genesis"
    )


async def test_trust_in_a_hash_finds_its_header_or_says_so() -> None:
    chain, server = made(heights=5)
    name = chain.blocks[2].block.header.digest()
    asking = client(chain, [Node("none", silent), Node("one", server)])
    assert (await asking.first(3, name)).header.digest() == name
    with pytest.raises(LightError) as caught:
        await asking.first(3, Digest(bytes(32)))
    assert str(caught.value) == "no node has a header of height 3 with the trusted hash"


# ---- nodes that are behind, and a node that claims to be ahead ---------------------------------


def at_most(server: Server, height: int) -> Server:
    """A node that has not got further."""

    def answer(request: LightBlockRequest) -> LightBlock | None:
        below = min(request.below, height + 1)
        wanted = min(request.height or height, height)
        if request.above + 1 >= below:
            return None
        return server(
            LightBlockRequest(Height(wanted), request.above, Height(below), request.known)
        )

    return answer


async def test_a_witness_that_is_a_block_behind_agrees_as_far_as_it_goes() -> None:
    chain, server = made(heights=5)
    nodes = [Node("one", server), Node("two", at_most(server, 4)), Node("new", at_most(server, 0))]
    proven = await client(chain, nodes).prove(genesis(chain), 0)
    assert (proven.primary, proven.agreed) == ("one", ("two",))
    assert (proven.silent, proven.lied) == (("new",), ())


async def test_a_past_that_was_made_longer_than_the_present_is_a_fork() -> None:
    """Given a forger of more heights than there are; when an honest node has fewer; then both."""
    chain, server = made(heights=5)
    past, liar = made()
    past.commit([past.order("a0", Transfer(past.account("a1"), Amount(5)))])
    past.grow(20)
    now = past.now_ms - chain.now_ms
    nodes = [Node("liar", liar), Node("true", server)]
    with pytest.raises(Forked) as caught:
        await client(chain, nodes, later_ms=now).prove(genesis(chain), 0)
    assert "liar and true prove two different headers of height 5" in str(caught.value)


async def test_who_hides_the_height_that_others_have_is_not_believed() -> None:
    chain, server = made(heights=5)
    past, liar = made()
    past.commit([past.order("a0", Transfer(past.account("a1"), Amount(5)))])
    past.grow(20)

    def hiding(request: LightBlockRequest) -> LightBlock | None:
        return None if 0 < request.height <= 5 else liar(request)

    nodes = [Node("liar", hiding), Node("true", server)]
    asking = client(chain, nodes, later_ms=past.now_ms - chain.now_ms)
    proven = await asking.prove(genesis(chain), 0)
    assert (proven.primary, proven.block.header.height) == ("true", 5)
    nodes = [Node("liar", hiding), Node("true", at_most(server, 4))]
    with pytest.raises(LightError, match="liar: it does not show its header of height 4"):
        await client(chain, nodes, later_ms=past.now_ms - chain.now_ms).prove(genesis(chain), 21)
