"""One mesh of our nodes and those of other implementations, each in a process of its own."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest
import trio

from p2p.model.rejection import Reason
from p2p.model.rpc import Rpc
from p2p.primitives.units import PeerId
from tests.interop.foreign import DEADLINE_S, Foreign, foreign, missing
from tests.interop.ours import FAST, TOPIC, Ours, gossiping
from tests.network.nodes import wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.live]

STACKS = ("py-libp2p", "js-libp2p", "go-libp2p")
LONELY = msgspec.structs.replace(
    FAST,
    degree=0,
    degree_low=0,
    degree_high=0,
    degree_out=0,
    degree_score=0,
    flood_bytes_max=0,
    prune_backoff_ms=60_000,
)
"""Nobody in the mesh: all that is left to us is lazy gossip."""
SETTLED_S = 1.5
"""How long a second copy of a message would have to arrive."""


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest) -> str:
    """Each implementation that can run here."""
    name = str(request.param)
    if reason := missing(name):
        pytest.skip(f"{name}: {reason}")
    return name


@asynccontextmanager
async def ring(
    stacks: Sequence[str], *, lazy_only: bool = False
) -> AsyncIterator[tuple[tuple[Ours, ...], tuple[Foreign, ...]]]:
    """Our nodes and as many others, each connected to two of the other kind, in a ring.

    So what one of our nodes says reaches the next only through somebody else's.
    """
    names = [f"ours {number}" for number in range(len(stacks))]
    async with (
        gossiping(*names, lazy_only=lazy_only) as ours,
        AsyncExitStack() as stack,
    ):
        others = tuple([await stack.enter_async_context(foreign(s, TOPIC)) for s in stacks])
        for number, other in enumerate(others):
            # Half of the connections are ours, half theirs.
            await ours[number].dial(other.peer, other.address)
            await other.dial(ours[(number + 1) % len(ours)].address)
        await wait_meshed(ours, others)
        yield ours, others


async def wait_meshed(ours: Sequence[Ours], others: Sequence[Foreign]) -> None:
    """Everyone has everyone that it is connected to in its mesh, as the other has it."""
    neighbours = min(2, len(ours))
    await wait_until(lambda: all(len(one.mesh()) >= neighbours for one in ours), DEADLINE_S)
    with trio.fail_after(DEADLINE_S):
        for other in others:
            while len(await other.mesh()) < neighbours:  # noqa: ASYNC110 - it is asked
                await trio.sleep(0.05)


async def reach_all_once(ours: Sequence[Ours], others: Sequence[Foreign]) -> None:
    """Everyone publishes; everyone else receives each message exactly once."""
    everyone: list[Ours | Foreign] = [*ours, *others]
    said = [
        f"message {number} of {who}".encode() for who in range(len(everyone)) for number in "12"
    ]
    for who, one in enumerate(everyone):
        for data in said[2 * who : 2 * who + 2]:
            if isinstance(one, Foreign):
                await one.publish(data)
            else:
                one.publish(data)
    expected = [
        sorted(set(said) - set(said[2 * who : 2 * who + 2])) for who in range(len(everyone))
    ]
    await wait_until(
        lambda: all(len(one.received) >= len(said) - 2 for one in everyone), DEADLINE_S
    )
    await trio.sleep(SETTLED_S)
    assert [sorted(one.received) for one in everyone] == expected


async def test_messages_of_each_reach_all_others_exactly_once(stack: str) -> None:
    """Given a ring of ours and theirs; what anyone says passes through both to all, once."""
    async with ring([stack, stack]) as (ours, others):
        await reach_all_once(ours, others)


async def test_all_implementations_here_share_one_mesh() -> None:
    """Given every implementation that can run here in one ring with ours; then as above."""
    stacks = [name for name in STACKS if not missing(name)]
    if len(stacks) == 1:
        pytest.skip("a ring of two nodes is none")
    async with ring(stacks) as (ours, others):
        await reach_all_once(ours, others)


def count(rpcs: Iterable[tuple[PeerId, Rpc]], other: Foreign, part: str) -> int:
    """How many RPCs to or from the other peer had something of a kind."""
    return sum(bool(getattr(rpc, part)) for peer, rpc in rpcs if peer == other.peer)


async def wait_mesh_of(other: Foreign, node: Ours, *, inside: bool) -> None:
    with trio.fail_after(DEADLINE_S):
        while (node.peer in await other.mesh()) is not inside:  # noqa: ASYNC110
            await trio.sleep(0.05)


async def test_graft_and_prune_work_both_ways(stack: str) -> None:
    """Given two peers; each is grafted, leaves, is pruned, and is grafted again."""
    async with gossiping("ours") as (node,), foreign(stack, TOPIC) as other:
        await other.dial(node.address)
        await wait_meshed([node], [other])
        assert count(node.heard, other, "graft") + count(node.said, other, "graft") >= 1
        await other.order("leave")
        await wait_until(lambda: not node.mesh(), DEADLINE_S)
        assert count(node.heard, other, "prune") >= 1
        await other.order("join")
        await wait_until(lambda: node.mesh() == (other.peer,), DEADLINE_S)
        await wait_mesh_of(other, node, inside=True)
        node.node.unsubscribe(TOPIC)
        await wait_mesh_of(other, node, inside=False)
        assert count(node.said, other, "prune") >= 1


async def test_lazy_gossip_alone_delivers_both_ways(stack: str) -> None:
    """Given a node outside every mesh, to and from which eager pushes are lost; then IHAVE and
    IWANT bring each message, once.
    """
    # py-libp2p asks anew each heartbeat to be grafted, and offers nothing to whom it asked; so it
    # has no mesh here. js-libp2p offers nothing while its mesh is empty; so it has an anchor.
    lonely = stack == "py-libp2p"
    options = ("--lonely",) if lonely else ()
    async with (
        gossiping("ours", parameters=LONELY, lazy_only=True) as (node,),
        gossiping("anchor") as (anchor,),
        foreign(stack, TOPIC, *options) as other,
    ):
        if not lonely:
            await anchor.dial(other.peer, other.address)
            await wait_until(anchor.mesh, DEADLINE_S)
        await node.dial(other.peer, other.address)
        await wait_until(lambda: node.node.gossip.peers(TOPIC), DEADLINE_S)
        await trio.sleep(SETTLED_S)
        node.publish(b"of ours")
        await wait_until(lambda: other.received == [b"of ours"], DEADLINE_S)
        assert count(node.said, other, "ihave") >= 1
        assert count(node.heard, other, "iwant") >= 1
        await other.publish(b"of theirs")
        await wait_until(lambda: node.received == [b"of theirs"], DEADLINE_S)
        assert count(node.heard, other, "ihave") >= 1
        assert count(node.said, other, "iwant") >= 1
        await trio.sleep(SETTLED_S)
        assert (node.received, other.received) == ([b"of theirs"], [b"of ours"])


async def test_signed_messages_are_rejected_and_their_sender_stays_connected() -> None:
    """Given py-libp2p with strict_signing; it breaks our policy, we break its; both live on."""
    async with (
        gossiping("ours", "next") as (node, onlooker),
        foreign("py-libp2p signing", TOPIC) as other,
    ):
        await node.dial(other.peer, other.address)
        await onlooker.dial(node.peer, node.address)
        await wait_until(lambda: len(node.mesh()) == 2, DEADLINE_S)
        # What it publishes before it knows that we listen goes nowhere.
        await wait_mesh_of(other, node, inside=True)
        await other.publish(b"signed")
        await wait_until(lambda: node.node.penalties, DEADLINE_S)
        assert {(one.peer, one.reason) for one in node.node.penalties} == {
            (other.peer, Reason.MALFORMED)
        }
        node.publish(b"unsigned")
        await wait_until(lambda: onlooker.received == [b"unsigned"], DEADLINE_S)
        await trio.sleep(SETTLED_S)
        assert (node.received, onlooker.received, other.received) == ([], [b"unsigned"], [])
        await other.ask("ping", "pong", address=node.address)
