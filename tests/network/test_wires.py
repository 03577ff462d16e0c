"""Links that freeze: nothing arrives, nothing leaves, and no socket says so."""

import pytest
import trio

from p2p.network import TransportLimits
from p2p.network.port import RequestFailed
from p2p.network.wires import TcpWires
from p2p.primitives.units import PeerId
from tests.network.nodes import SYNC, running

pytestmark = [pytest.mark.anyio, pytest.mark.live]


class FreezableStream(trio.abc.Stream):
    """A stream that waits for ever once its wires are frozen."""

    def __init__(self, inner: trio.abc.Stream, wires: "FreezableWires") -> None:
        self.inner = inner
        self.wires = wires

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.wires.frozen:
            await trio.sleep_forever()
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self.inner.receive_some(max_bytes)
        if self.wires.frozen:
            await trio.sleep_forever()
        return data

    async def aclose(self) -> None:
        await self.inner.aclose()


class FreezableWires(TcpWires):
    """TCP whose outbound connections can be frozen all at once."""

    def __init__(self) -> None:
        self.frozen = False

    async def dial(self, peer: PeerId, host: str, port: int) -> trio.abc.Stream:
        return FreezableStream(await super().dial(peer, host, port), self)


async def test_hanging_up_on_a_frozen_link_takes_no_time() -> None:
    wires = FreezableWires()
    async with running("ann", "bob", wires=wires) as (ann, bob):
        await ann.dial(bob)
        wires.frozen = True
        ann.transport.send_rpc(bob.peer, b"stuck")
        with trio.fail_after(0.5):
            await ann.transport.hang_up(bob.peer)
        assert ann.heard.reasons == ["we hung up"]
        await bob.wait_gone(ann.peer)


async def test_a_frozen_link_is_noticed_at_both_ends_and_dialed_again() -> None:
    wires = FreezableWires()
    limits = TransportLimits(ping_interval_s=0.1, ping_timeout_s=0.1)
    async with running("ann", "bob", limits=limits, wires=wires) as (ann, bob):
        await ann.dial(bob)
        wires.frozen = True
        with pytest.raises(RequestFailed, match=r"the peer is silent|closed the socket"):
            await ann.transport.request(bob.peer, SYNC, b"?", bytes_max=9, deadline_s=5)
        await ann.wait_gone(bob.peer)
        await bob.wait_gone(ann.peer)
        wires.frozen = False
        await ann.dial(bob)
        assert await ann.ask(bob) == b"gnip"


async def test_stopping_does_not_wait_for_a_frozen_link() -> None:
    wires = FreezableWires()
    async with running("ann", "bob", wires=wires) as (ann, bob):
        await ann.dial(bob)
        wires.frozen = True
        ann.transport.send_rpc(bob.peer, b"stuck")
        ann.scope.cancel()
        await bob.wait_gone(ann.peer, deadline_s=0.5)
