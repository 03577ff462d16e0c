"""A peer that comes and goes while the driver is busy: real sockets, a commit that takes long."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from p2p.model.effects import HangUp, Persist
from p2p.model.inputs import PeerConnected
from p2p.model.persistence import Put, Table
from p2p.model.rpc import Rpc, RpcSent, SendRpc, Subscription, encode_rpc
from p2p.network import TransportLimits, open_transport
from p2p.network.port import Direction
from p2p.node.driver import Driver
from p2p.node.verifier import Verifier
from p2p.primitives.signing import Ed25519Scheme
from p2p.primitives.units import PeerId
from p2p.protocol.interface import ReplicaEffect, ReplicaInput, Started
from tests.network.attackers import attacking
from tests.network.nodes import LOOPBACK, key_of, running, wait_until
from tests.node.scripted import Shell
from tests.protocol.replica.bench import CHAIN

pytestmark = [pytest.mark.anyio, pytest.mark.live]

RECONNECTS = TransportLimits().rpc_queue_max + 2


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


class Greeter(Shell):
    """A driver over a real transport, whose replica greets whoever connects."""

    def __init__(self) -> None:
        super().__init__()
        self.key = key_of("greeter")
        self.real = open_transport(self.key, LOOPBACK)
        self.driver = Driver(
            replica=self.driver._replica,
            store=self.store,
            transport=self.real,
            verifier=Verifier(CHAIN, Ed25519Scheme()),
            clock=self.clock,
        )
        self.replica.answers = self._answer

    @property
    def peer(self) -> PeerId:
        return self.key.peer

    @property
    def port(self) -> int:
        return int(self.real.listen_addresses()[0].split("/")[4])

    def _answer(self, item: ReplicaInput) -> list[ReplicaEffect]:
        if isinstance(item, PeerConnected):
            return [SendRpc(item.peer, greeting(len(self.replica.inputs)))]
        return [Persist((Put(Table.PEERS, b"k", b"v"),))] if isinstance(item, Started) else []


def greeting(number: int) -> Rpc:
    return Rpc(subscriptions=(Subscription(True, f"topic {number}"),))


@asynccontextmanager
async def committing() -> AsyncIterator[Greeter]:
    """A greeter in the midst of a commit, which lasts until the block lets it end."""
    greeter = Greeter()
    greeter.store.may_go.clear()
    async with trio.open_nursery() as nursery:
        await nursery.start(greeter.real.run, greeter.driver)
        nursery.start_soon(greeter.driver.run, Started(()))
        await wait_until(lambda: greeter.replica.inputs)
        try:
            yield greeter
        finally:
            greeter.store.may_go.set()
        nursery.cancel_scope.cancel()


async def flap(greeter: Greeter, times: int) -> None:
    """Connect and leave, again and again, unseen by the replica."""
    inbox = greeter.driver._inbox
    for _ in range(times):
        known = len(inbox)
        async with attacking(greeter, "ann"):
            await wait_until(lambda: len(inbox) == known + 1)  # noqa: B023 - waits in this turn
        await wait_until(lambda: len(inbox) == known + 2)  # noqa: B023


async def test_a_peer_that_reconnects_during_a_commit_does_not_end_the_node() -> None:
    """Each greeting once went to the last connection; more than four ended the node."""
    async with committing() as greeter:
        await flap(greeter, RECONNECTS)
        async with attacking(greeter, "ann") as ann:
            await wait_until(lambda: len(greeter.driver._inbox) == 2 * RECONNECTS + 1)
            greeter.store.may_go.set()
            await wait_until(lambda: len(greeter.replica.inputs) == 2 * RECONNECTS + 2)
            found = greeter.real._find(ann.peer)  # type: ignore[attr-defined]
            assert list(found.rpcs) == [encode_rpc(greeting(2 * RECONNECTS + 2))]
        await wait_until(lambda: len(greeter.replica.inputs) == 2 * RECONNECTS + 3)


async def test_what_was_meant_for_a_lost_connection_is_not_sent_on_the_next() -> None:
    """Else two RPCs are in flight from then on: each that left would ask for another."""
    async with committing() as greeter, running("ann") as (ann,):
        await flap(greeter, 2)
        await ann.transport.dial(greeter.peer, greeter.real.listen_addresses())
        await wait_until(lambda: len(greeter.driver._inbox) == 5)
        greeter.store.may_go.set()
        await wait_until(lambda: RpcSent(ann.peer) in greeter.replica.inputs)
        await wait_until(lambda: ann.heard.rpcs)
        assert ann.heard.rpcs == [(greeter.peer, encode_rpc(greeting(6)))]
        assert greeter.replica.inputs.count(RpcSent(ann.peer)) == 1


async def test_an_order_to_hang_up_does_not_close_the_next_connection() -> None:
    """Given a peer unwanted, that left and came again during a commit; then the new one stays."""
    async with committing() as greeter:
        refused: list[ReplicaInput] = []

        def refuse_first(item: ReplicaInput) -> list[ReplicaEffect]:
            if isinstance(item, PeerConnected) and not refused:
                refused.append(item)
                return [HangUp(item.peer, "another comes")]
            return []

        greeter.replica.answers = refuse_first
        await flap(greeter, 1)
        async with attacking(greeter, "ann") as ann:
            await wait_until(lambda: len(greeter.driver._inbox) == 3)
            greeter.store.may_go.set()
            await wait_until(lambda: len(greeter.replica.inputs) == 4)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert refused
            assert greeter.real._find(ann.peer) is not None  # type: ignore[attr-defined]
            assert len(greeter.replica.inputs) == 4, "nobody was hung up on"


class Unwanted(Shell):
    """A driver whose replica hangs up on whoever connects, after a commit that lasts."""

    def __init__(self) -> None:
        super().__init__()
        self.replica.answers = lambda item: (
            [Persist((Put(Table.PEERS, b"k", b"v"),)), HangUp(item.peer, "another comes")]
            if isinstance(item, PeerConnected)
            else []
        )


@pytest.mark.parametrize("is_lost", [False, True])
async def test_an_order_behind_a_commit_is_void_once_its_connection_is_gone(is_lost: bool) -> None:
    shell, peer = Unwanted(), PeerId(b"peer")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.driver.run, Started(()))
        await wait_until(lambda: shell.replica.inputs)
        shell.store.may_go.clear()
        shell.driver.peer_connected(peer, Direction.INBOUND, "")
        await wait_until(lambda: len(shell.replica.inputs) == 2)
        if is_lost:
            shell.driver.peer_disconnected(peer, "gone")
        shell.store.may_go.set()
        await wait_until(lambda: len(shell.replica.inputs) == 2 + is_lost)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert ("hang up peer" in shell.log) is not is_lost
        nursery.cancel_scope.cancel()
