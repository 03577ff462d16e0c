"""One machine that all nodes of a world share: processors that take time, as live nodes do.

A world as it is takes no time for steps: each node is a machine of its own, and a fast one. Here
all nodes share cores: a batch of inputs waits for a free one, costs what its kinds cost, and its
effects follow when it is done. As in the live driver all writes of a batch are one commit.

    inbox -> batch, at most `BATCH_MAX` -> core: wait, then cost -> timers, one `Persist`, the rest
"""

import heapq
from collections.abc import Callable
from math import prod
from typing import Final

import msgspec

from p2p.model.effects import CancelTimer, Persist, SetTimer
from p2p.model.persistence import Write
from p2p.model.rpc import RpcReceived, SendRpc
from p2p.node.verifier import Verifier
from p2p.protocol.interface import (
    MessageRefused,
    MessageVerified,
    ReplicaEffect,
    ReplicaInput,
    Verify,
)
from sim_harness.virtual.heap import What
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.shared import SharedVerifier
from sim_harness.virtual.world import World

BATCH_MAX: Final = 64
"""As the live driver's."""


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """Microseconds of one core at full speed, all that a node process does for it included."""

    input_us: int = 80
    """Any input at all: a look at the clock, the step, its timers."""
    rpc_us: int = 320
    """An RPC received or sent: system call, Noise, Yamux, protobuf."""
    verify_us: int = 250
    """A message that is decoded and whose signature is checked."""
    persist_us: int = 800
    """A commit of the store, beside the disk's own time: SQLite and two changes of thread."""


COSTS: Final = Costs()
"""Of CPython 3.11 on a 2020s x86 core; from the processor time of live nodes (docs/fidelity.md)."""


class Machine:
    """Cores of one speed.

    Args:
        cores: how many steps can be under way at once.
        speed: of a core, against one that has nothing else to do.
        wake_us: how late a process wakes that waited for a timer or for bytes.
        costs: of the steps.
    """

    def __init__(
        self, cores: int, *, speed: float = 1.0, wake_us: int = 0, costs: Costs = COSTS
    ) -> None:
        if cores < 1 or speed <= 0 or wake_us < 0:
            raise ValueError("a machine has a core at least, and some speed")
        self.wake_us = wake_us
        self.busy_us = 0
        """Processor time used so far, at full speed."""
        self._costs = costs
        self._speed = speed
        self._hindrances: list[float] = []
        self._free_us = [0] * cores
        """When each core is free again, as a heap."""

    @property
    def speed(self) -> float:
        """Of a core now, against one that has nothing else to do."""
        return self._speed * prod(self._hindrances)

    def slow_down(self, share: float) -> None:
        """From now on a core has this share of the speed that it had."""
        self._hindrances.append(share)

    def speed_up(self, share: float) -> None:
        """One such hindrance less. Raises ValueError when there is none."""
        self._hindrances.remove(share)

    def cost_us(
        self, inputs: list[ReplicaInput], effects: list[ReplicaEffect], *, verified: int
    ) -> int:
        """Of a batch at full speed, with all that its effects take."""
        costs = self._costs
        rpcs = sum(isinstance(one, RpcReceived) for one in inputs)
        rpcs += sum(isinstance(one, SendRpc) for one in effects)
        commits = any(isinstance(one, Persist) for one in effects)
        return (
            len(inputs) * costs.input_us
            + rpcs * costs.rpc_us
            + verified * costs.verify_us
            + commits * costs.persist_us
        )

    def run(self, cost_us: int, now_us: int) -> int:
        """Take the next free core; when it is done."""
        start_us = max(now_us, self._free_us[0])
        done_us = start_us + round(cost_us / self.speed)
        heapq.heapreplace(self._free_us, done_us)
        self.busy_us += cost_us
        return done_us


class SharingNode(VirtualNode):
    """A virtual node whose steps take time on a shared machine."""

    machine: Machine
    _is_computing = False
    _is_waking = False
    _verified_count = 0

    def start(self) -> None:
        self._is_computing = self._is_waking = False
        super().start()

    def feed(self, item: ReplicaInput) -> None:
        if self.replica is None or not self.machine.wake_us:
            super().feed(item)
            return
        sleeps = not (self._inbox or self.disk.is_busy or self._is_computing or self._is_draining)
        self._inbox.append(item)
        if sleeps:
            self._wake()

    def _wake(self) -> None:
        incarnation = self.incarnation
        self._is_waking = True

        def woken() -> What:
            if self.incarnation == incarnation:
                self._is_waking = False
                self._drain()
            return (self.index,)

        self.world.heap.after(self.machine.wake_us, "woken", woken)

    def _verified(self, effect: Verify) -> MessageVerified | MessageRefused:
        self._verified_count += 1
        return super()._verified(effect)

    def _drain(self, rest: list[ReplicaEffect] | None = None) -> None:
        """Carry out what is left of a batch, then begin the next, unless disk or core is busy."""
        if self.is_paused:
            self._held = rest if rest is not None else self._held
            return
        if self._is_draining:
            return
        self._is_draining = True
        try:
            if rest:
                self._carry_out(rest)
            if self._inbox and not (self.disk.is_busy or self._is_computing or self._is_waking):
                self._compute()
        finally:
            self._is_draining = False

    def _compute(self) -> None:
        self._verified_count = 0
        inputs: list[ReplicaInput] = []
        effects: list[ReplicaEffect] = []
        while self._inbox and len(inputs) < BATCH_MAX:
            item = self._inbox.popleft()
            decided = self._step(item)
            effects += decided if self.behaviour is None else self.behaviour(self, item, decided)
            inputs.append(item)
        ordered = in_driver_order(effects)
        cost_us = self.machine.cost_us(inputs, ordered, verified=self._verified_count)
        incarnation = self.incarnation
        self._is_computing = True

        def computed() -> What:
            if self.incarnation == incarnation:
                self._is_computing = False
                self._drain(ordered)
            return self.index, len(inputs)

        heap = self.world.heap
        heap.at(self.machine.run(cost_us, heap.now_us), "computed", computed)


def in_driver_order(effects: list[ReplicaEffect]) -> list[ReplicaEffect]:
    """A batch's effects as the live driver orders them: timers, one commit of all, the rest."""
    timers: list[ReplicaEffect] = []
    writes: list[Write] = []
    others: list[ReplicaEffect] = []
    for effect in effects:
        match effect:
            case SetTimer() | CancelTimer():
                timers.append(effect)
            case Persist():
                writes += effect.writes
            case _:
                others.append(effect)
    commit: list[ReplicaEffect] = [Persist(tuple(writes))] if writes else []
    return [*timers, *commit, *others]


def share(world: World, machine: Machine) -> None:
    """Put all nodes of a world that has not begun on one machine."""
    _settle(world, lambda: machine)


def own_cores(world: World, speed: float = 1.0) -> None:
    """Give each node of a world that has not begun a core of its own."""
    _settle(world, lambda: Machine(1, speed=speed))


def _settle(world: World, machine: Callable[[], Machine]) -> None:
    assert not any(node.lives for node in world.nodes), "it has begun"
    nodes: list[VirtualNode] = []
    verifier = Verifier(world.genesis.chain_id, world.scheme)
    if world.shares_work:
        verifier = SharedVerifier(world.genesis.chain_id, world.scheme)
    for old in world.nodes:
        node = SharingNode(world, old.index, old.key, verifier)
        node.machine = machine()
        nodes.append(node)
    count = len(world.validators)
    world.nodes, world.validators, world.others = nodes, nodes[:count], nodes[count:]
    world.by_peer = {node.key.peer: node for node in nodes}
