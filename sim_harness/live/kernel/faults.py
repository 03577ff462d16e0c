"""Carries out cuts and rules in the kernel, and reads there what became of them.

    partition, disconnect, loss, black hole: an nft table each, which goes with the fault
    bandwidth: one htb on lo, a class for each narrow uplink
    delay: an NFQUEUE, and a process that keeps packets (`delayer_process`), from the first one on

What the kernel does not offer is left to the transport, as `backend` says. One change at a time.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import trio

from sim_harness.live.kernel import rules
from sim_harness.live.kernel.counters import Counter, class_bytes, class_drops, counters
from sim_harness.live.kernel.delayer_process import Delayed, Late
from sim_harness.live.kernel.namespace import KernelError, Namespace
from sim_harness.live.kernel.offer import HTB, NFQUEUE, NFTABLES, Offer
from sim_harness.live.messages import PACKET_BYTES_MAX, CutSpec, RuleSpec

ANSWER_S: Final = 60.0
"""For the delaying process to start, and to answer, on a busy machine."""
KBIT: Final = 1_000
SHOW_CLASSES: Final = ("tc", "-s", "class", "show", "dev", "lo")

Hindrance = tuple[CutSpec, ...] | RuleSpec
"""What one fault lays on links."""


class _Standing(msgspec.Struct):
    """A fault, and what was counted when it began."""

    hindrance: Hindrance
    backend: str
    began_s: float
    sent: dict[str, int] = {}
    drops: dict[str, int] = {}
    delayed: Delayed = Delayed()


class KernelFaults:
    """Faults of the network of one run; made by `open_kernel_faults`.

    Args:
        namespace: of the nodes.
        offer: what the kernel has.
        nodes: how many there are.
        seed: of the delays that are drawn.
    """

    def __init__(self, namespace: Namespace, offer: Offer, nodes: int, *, seed: int) -> None:
        self.namespace = namespace
        self._offer = offer
        self._nodes = nodes
        self._seed = seed
        self._lock = trio.Lock()
        self._numbers = 0
        self._standing: dict[int, _Standing] = {}
        self._has_root = False
        self._uplinks: dict[int, int] = {}
        self._delayer: _Delayer | None = None

    @property
    def standing(self) -> list[Hindrance]:
        """What lies on links now."""
        return [one.hindrance for one in self._standing.values()]

    def backend(self, word: str) -> str:
        """What does a fault of this word."""
        return self._offer.backend(word)

    async def begin(self, word: str, hindrance: Hindrance) -> int:
        """Do what is not the transport's; the number that `end` takes. Raises KernelError."""
        backend = self.backend(word)
        async with self._lock:
            number, self._numbers = self._numbers, self._numbers + 1
            one = _Standing(hindrance, backend, time.monotonic())
            self._standing[number] = one
            try:
                await self._do(number, one)
            except BaseException:
                del self._standing[number]
                raise
        return number

    async def _do(self, number: int, one: _Standing) -> None:
        name, run = rules.table_of(number), self.namespace.run
        match one.hindrance:
            case tuple() as cuts:
                await run(("nft", "-f", "-"), rules.cut_table(name, cuts, self._nodes))
            case RuleSpec() as rule if one.backend == NFTABLES:
                table = rules.hole_table if rule.swallows else rules.loss_table
                await run(("nft", "-f", "-"), table(name, rule))
            case _ if one.backend == HTB:
                await self._narrow()
                one.sent, one.drops = await self._classes()
            case _:
                one.delayed = await self._delay()

    async def end(self, number: int) -> str:
        """Undo it; what was measured of it. Raises KernelError."""
        async with self._lock:
            one = self._standing.pop(number)
            if one.backend == NFTABLES:
                name = rules.table_of(number)
                run = self.namespace.run
                found = counters(await run(("nft", "-j", "list", "counters", "table", "ip", name)))
                lasted_s = time.monotonic() - one.began_s
                await run(("nft", "delete", "table", "ip", name))
                return _dropped_text(one.hindrance, found, lasted_s)
            if one.backend == HTB:
                sent, drops = await self._classes()
                lasted_s = time.monotonic() - one.began_s
                await self._narrow()
                return _sent_text(one, sent, drops, lasted_s)
            return _delayed_text(one.delayed, await self._delay())

    # ---- uplinks -----------------------------------------------------------------------------

    async def _narrow(self) -> None:
        """Let the uplinks be as the standing faults have them."""
        before, run = self._uplinks, self.namespace.run
        after = rules.uplinks_of(
            one.hindrance
            for one in self._standing.values()
            if one.backend == HTB and isinstance(one.hindrance, RuleSpec)
        )
        if not self._has_root:
            await run(rules.ROOT)
            self._has_root = True
        await run(("tc", "-batch", "-"), rules.classes_set(before, after))
        await run(("nft", "-f", "-"), rules.uplinks_table(after))
        await run(("tc", "-batch", "-"), rules.classes_gone(before, after))
        self._uplinks = after

    async def _classes(self) -> tuple[dict[str, int], dict[str, int]]:
        text = await self.namespace.run(SHOW_CLASSES)
        return class_bytes(text), class_drops(text)

    # ---- delays ------------------------------------------------------------------------------

    async def _delay(self) -> Delayed:
        """Let the delays be as the standing faults have them; what was delayed so far."""
        late = tuple(
            one.hindrance
            for one in self._standing.values()
            if one.backend == NFQUEUE and isinstance(one.hindrance, RuleSpec)
        )
        if self._delayer is None:
            self._delayer = await _Delayer.start(self.namespace, self._seed)
        told = await self._delayer.tell(Late(late))
        await self.namespace.run(("iptables-nft-restore",), rules.queue_rules(late))
        return told

    def close(self) -> None:
        """End the delaying process; the rest goes with the namespace."""
        if self._delayer is not None:
            self._delayer.close()


class _Delayer:
    """The harness's side of `delayer_process`."""

    def __init__(self, process: subprocess.Popen[bytes], channel: trio.socket.SocketType) -> None:
        self._process = process
        self._channel = channel

    @classmethod
    async def start(cls, namespace: Namespace, seed: int) -> "_Delayer":
        """Start it, and wait until it has the queue. Raises KernelError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [sys.executable, "-m", "sim_harness.live.kernel.delayer_process"]
        with theirs:
            # From this very thread, as the zygote is: its death is the one that the kernel tells.
            process = subprocess.Popen(  # noqa: ASYNC220 - it returns within milliseconds
                namespace.inside([*words, str(theirs.fileno()), str(os.getpid()), str(seed)]),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        delayer = cls(process, trio.socket.from_stdlib_socket(ours))
        try:
            await delayer._hear()
        except BaseException:
            delayer.close()
            raise
        return delayer

    async def tell(self, order: Late) -> Delayed:
        """Delay like this from now on; what was delayed so far. Raises KernelError."""
        try:
            await self._channel.send(msgspec.msgpack.encode(order))
        except OSError:
            raise KernelError("the process that delays packets is gone") from None
        return await self._hear()

    async def _hear(self) -> Delayed:
        with trio.move_on_after(ANSWER_S):
            data = await self._channel.recv(PACKET_BYTES_MAX)
            if data:
                return msgspec.msgpack.decode(data, type=Delayed)
            raise KernelError("the process that delays packets ended by itself")
        raise KernelError(f"the process that delays packets said nothing for {ANSWER_S:.0f} s")

    def close(self) -> None:
        self._channel.close()
        self._process.kill()
        self._process.wait()


@asynccontextmanager
async def open_kernel_faults(
    pid: int, offer: Offer, nodes: int, *, seed: int = 0
) -> AsyncIterator[KernelFaults]:
    """Faults in the namespace of a process that runs; its link is up. Raises KernelError."""
    kernel = KernelFaults(Namespace(pid), offer, nodes, seed=seed)
    await kernel.namespace.run(rules.LINK)
    try:
        yield kernel
    finally:
        kernel.close()


def _dropped_text(hindrance: Hindrance, found: dict[str, Counter], lasted_s: float) -> str:
    dropped = found["dropped"]
    if isinstance(hindrance, tuple):
        crossed = found["crossed"].bytes
        return (
            f"{crossed} B crossed, {dropped.packets} packets dropped"
            f" ({dropped.bytes} B), {lasted_s:.1f} s"
        )
    seen = found["seen"].packets
    if hindrance.swallows:
        return f"{dropped.packets} of {seen} packets dropped ({dropped.bytes} B), {lasted_s:.1f} s"
    return f"{dropped.packets / max(1, seen):.1%} of {seen} packets dropped"


def _sent_text(one: _Standing, sent: dict[str, int], drops: dict[str, int], lasted_s: float) -> str:
    assert isinstance(one.hindrance, RuleSpec)
    names = [rules.class_of(node) for node in one.hindrance.nodes]
    rates = [8 * (sent.get(name, 0) - one.sent.get(name, 0)) / lasted_s / KBIT for name in names]
    lost = sum(drops.get(name, 0) - one.drops.get(name, 0) for name in names)
    return f"at most {max(rates, default=0):.0f} kbit/s sent, {lost} packets found no room"


def _delayed_text(before: Delayed, after: Delayed) -> str:
    packets = after.packets - before.packets
    late_ms = 1000 * (after.late_s - before.late_s) / max(1, packets)
    return f"{late_ms:.1f} ms on average, {packets} packets"
