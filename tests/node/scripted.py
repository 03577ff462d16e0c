"""What a driver stands between: a scripted replica and transport, a store that stalls or fails."""

import threading
from collections.abc import Callable, Coroutine, Sequence
from functools import partial, wraps
from typing import Any, cast

import trio
import trio.testing

from p2p.model.persistence import Write
from p2p.network.port import (
    DialFailed,
    Direction,
    MessageStream,
    RequestFailed,
    TransportHandler,
)
from p2p.node.clock import SteadyClock
from p2p.node.driver import Driver
from p2p.node.verifier import Verifier
from p2p.primitives.signing import Ed25519Scheme
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.interface import ReplicaEffect, ReplicaInput
from p2p.protocol.replica import Replica
from p2p.storage.memory import MemoryStore
from p2p.storage.port import StoreError
from tests.protocol.replica.bench import CHAIN


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on a clock that stands still until the test says otherwise."""

    @wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        clock = trio.testing.MockClock()
        trio.run(partial(test, *args, clock=clock, **kwargs), clock=clock)

    del run.__wrapped__  # pytest would look for a fixture "clock"
    return run


class ScriptedReplica:
    """Answers each input as told, and remembers them."""

    def __init__(self, log: list[str]) -> None:
        self.inputs: list[ReplicaInput] = []
        self.answers: Callable[[ReplicaInput], list[ReplicaEffect]] = lambda item: []
        self.moments_ms: list[Millis] = []
        self._log = log

    def step(self, item: ReplicaInput, now_ms: Millis) -> list[ReplicaEffect]:
        self.inputs.append(item)
        self.moments_ms.append(now_ms)
        self._log.append(f"step {type(item).__name__}")
        return self.answers(item)

    def voters(self, root: bytes) -> None:
        """It knows no validators: every signature is checked."""

    def admits(self, value: object) -> None:
        return None


class ScriptedTransport:
    """Writes down what leaves; answers requests and dials as told."""

    peer_id = PeerId(b"me")

    def __init__(self, log: list[str]) -> None:
        self.sent: list[tuple[PeerId, bytes]] = []
        self.requests: list[tuple[PeerId, str, bytes]] = []
        self.answer: Callable[[bytes], bytes] | None = None
        self.can_dial = True
        self.rpc_overflows = 0
        self._log = log

    def listen_addresses(self) -> Sequence[str]:
        return ()

    async def run(
        self,
        handler: TransportHandler,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        task_status.started()
        await trio.sleep_forever()

    async def dial(self, peer: PeerId, addresses: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()
        self._log.append(f"dial {peer.decode()}")
        if not self.can_dial:
            raise DialFailed("nobody there")

    async def hang_up(self, peer: PeerId) -> None:
        await trio.lowlevel.checkpoint()
        self._log.append(f"hang up {peer.decode()}")

    def send_rpc(self, peer: PeerId, data: bytes) -> None:
        self._log.append(f"send {peer.decode()}")
        self.sent.append((peer, data))

    async def request(
        self, peer: PeerId, protocol: str, data: bytes, *, bytes_max: int, deadline_s: float
    ) -> bytes:
        await trio.lowlevel.checkpoint()
        self.requests.append((peer, protocol, data))
        if self.answer is None:
            with trio.move_on_after(deadline_s):
                await trio.sleep_forever()
            raise RequestFailed("no answer in time")
        return self.answer(data)

    async def open_stream(self, peer: PeerId, protocol: str, *, deadline_s: float) -> MessageStream:
        raise NotImplementedError


class StallingStore(MemoryStore):
    """Commits when let, or fails."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.may_go = threading.Event()
        self.may_go.set()
        self.fails = False
        self.batches: list[Sequence[Write]] = []
        self._log = log

    def commit(self, writes: Sequence[Write]) -> None:
        assert self.may_go.wait(timeout=10)
        if self.fails:
            raise StoreError("the disk is on fire")
        super().commit(writes)
        self.batches.append(writes)
        self._log.append("commit")


class Shell:
    """A driver among scripted neighbours."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.replica = ScriptedReplica(self.log)
        self.transport = ScriptedTransport(self.log)
        self.store = StallingStore(self.log)
        self.clock = SteadyClock(wall=trio.current_time, monotonic=trio.current_time)
        self.driver = Driver(
            replica=cast("Replica", self.replica),
            store=self.store,
            transport=self.transport,
            verifier=Verifier(CHAIN, Ed25519Scheme()),
            clock=self.clock,
        )

    def orders(self, **effects: list[ReplicaEffect]) -> None:
        """By the name of an input's type: what the replica orders about it."""
        self.replica.answers = lambda item: effects.get(type(item).__name__, [])


async def settled() -> None:
    """Everything that can happen now has; threads get a moment of real time."""
    for _ in range(3):
        await trio.testing.wait_all_tasks_blocked(0.002)


INBOUND = Direction.INBOUND
