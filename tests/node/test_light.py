"""The live light client over nodes in memory: whom it believes, leaves out, and tells apart."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from p2p.model.light import LightBlock, LightBlockRequest, LightRequest, LightResponse
from p2p.model.transaction import Transfer
from p2p.node.errors import UserError
from p2p.node.light import (
    TRUSTED_MAX,
    Forked,
    LightClient,
    LightError,
    read_trust,
    write_trust,
)
from p2p.primitives.units import Amount, Digest, Height
from p2p.protocol.light import LightParameters, TrustedBlock, trust, trusted_genesis
from p2p.protocol.light.trust import with_known_sets
from sim_harness.made_chain import MadeChain
from tests.protocol.light.servers import Server, made


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


def forger(server: Server) -> Server:
    """Answers with another supply in every header."""

    def forge(request: LightBlockRequest) -> LightBlock | None:
        light = server(request)
        if light is None:
            return None
        header = msgspec.structs.replace(light.header, supply=Amount(1))
        return msgspec.structs.replace(light, header=header)

    return forge


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
    asking = client(chain, [Node("liar", forger(server)), Node("true", server)])
    proven = await asking.prove(genesis(chain), 0)
    assert (proven.primary, proven.agreed) == ("true", ())
    assert [source.name for source in asking.sources] == ["true"]


async def test_a_witness_that_cannot_prove_what_it_shows_is_left_out() -> None:
    chain, server = made(heights=5)
    asking = client(chain, [Node("true", server), Node("liar", forger(server))])
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
    asking = client(chain, [Node("liar", forger(server)), Node("true", server)])
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


# ---- the file of trust -------------------------------------------------------------------------


def blocks(chain: MadeChain, count: int) -> list[TrustedBlock]:
    first = genesis(chain)[0]
    return [msgspec.structs.replace(first, height=Height(number)) for number in range(count)]


def test_trust_is_kept_from_the_first_and_the_highest(tmp_path: Path) -> None:
    chain, server = made(heights=1)
    path = tmp_path / "trust"
    assert read_trust(path, chain.chain_id) == ()
    many = blocks(chain, TRUSTED_MAX + 20)
    write_trust(path, chain.chain_id, [*reversed(many), many[3]])
    kept = read_trust(path, chain.chain_id)
    assert len(kept) == TRUSTED_MAX
    assert [one.height for one in kept[:2]] == [0, 21]
    assert kept[-1] == many[-1]
    assert path.stat().st_mode & 0o777 == 0o600
    light = server(LightBlockRequest(Height(1), Height(0), Height(2)))
    assert light is not None
    write_trust(path, chain.chain_id, [trust(with_known_sets(light, ()))])
    assert [one.height for one in read_trust(path, chain.chain_id)] == [1]


def test_a_file_of_trust_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    chain, _ = made()
    path = tmp_path / "trust"
    write_trust(path, chain.chain_id, genesis(chain))
    with pytest.raises(UserError, match="holds trust in another chain: name another --store"):
        read_trust(path, Digest(bytes(32)))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="is damaged: delete it, and trust begins anew"):
        read_trust(path, chain.chain_id)
    with pytest.raises(UserError, match="cannot read"):
        read_trust(tmp_path, chain.chain_id)
    with pytest.raises(UserError, match="cannot write"):
        write_trust(tmp_path / "none" / "trust", chain.chain_id, genesis(chain))
