"""Load on real nodes, open loop: blobs added and fetched, transfers, offers that change.

Every piece of work begins at its own moment, whether the ones before it are done or not, so that a
slow network meets the same demand as a fast one. What is asked is drawn from the seed.
"""

from collections.abc import Callable
from typing import Final

import msgspec
import trio

from p2p.primitives.units import BASIS_POINTS, KIB
from sim_harness.live.cluster import LiveCluster
from sim_harness.live.messages import Buy, Done, Fetch, Pay, Reprice
from sim_harness.live.node_watch import machine_ms
from sim_harness.live.records import Worked
from sim_harness.live.watched import WatchedWorld
from sim_harness.scenario.schema import Load
from sim_harness.scenario.selectors import Population

SIZE_MIN: Final = 16 * KIB
SIZE_MAX: Final = 256 * KIB
REPLICAS: Final = 2
EPOCHS: Final = 100
GETS_SHARE: Final = 0.4
TRANSFER_MAX: Final = 1_000
REPRICE_EVERY_S: Final = 20.0
REPRICE_BP: Final = (9_000, 11_000)
OPEN_MAX: Final = 4_096
"""Pieces of work under way; more are dropped and told as failed."""
PATIENCE_S: Final = 60.0
"""For one piece of work."""
MINUTE_S: Final = 60.0

Note = Callable[[Worked], None]


class Stored(msgspec.Struct, frozen=True):
    """A blob that somebody holds."""

    blob: bytes
    size_bytes: int
    seed: int


class LiveLoad:
    """Drives the load of a scenario until it is closed."""

    def __init__(
        self, cluster: LiveCluster, world: WatchedWorld, population: Population, note: Note
    ) -> None:
        self._cluster = cluster
        self._world = world
        self._buyers = [
            index
            for index in population.members("consumers")
            if world.is_honest(world.nodes[index])
        ]
        self._note = note
        self._draws = world.stream("market")
        self._tickets = 0
        self._open: dict[int, tuple[str, int, int, Stored | None]] = {}
        """Kind, node, moment, and the blob, by ticket."""
        self.stored: list[Stored] = []
        self.is_closed = False

    async def run(self, load: Load) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            if load.receipts_per_minute and len(self._world.honest) > len(self._buyers):
                for index in self._buyers:
                    nursery.start_soon(self._trade, index, load.receipts_per_minute)
                if self._buyers:
                    nursery.start_soon(self._reprice)
            if load.transfers_per_minute:
                nursery.start_soon(self._pay, load.transfers_per_minute)
            nursery.start_soon(self._forget)

    @property
    def under_way(self) -> int:
        """Pieces of work that nobody answered yet."""
        return len(self._open)

    def close(self) -> None:
        """No new work."""
        self.is_closed = True

    def heard(self, index: int, done: Done) -> None:
        """A node told what came of an order."""
        known = self._open.pop(done.ticket, None)
        if known is None:
            return
        kind, node, at_ms, blob = known
        assert node == index, "tickets are this load's own"
        if kind == "add" and done.blob and blob is not None:
            self.stored.append(msgspec.structs.replace(blob, blob=done.blob))
        self._note(
            Worked(
                at_ms,
                kind,
                node,
                done.ok,
                done.took_ms,
                done.size_bytes,
                done.paid,
                done.text,
            )
        )

    # ---- kinds of work -------------------------------------------------------------------------

    async def _trade(self, index: int, per_minute: int) -> None:
        every_s = MINUTE_S / per_minute
        await trio.sleep(self._draws.random() * every_s)
        while not self.is_closed:
            if self.stored and self._draws.random() < GETS_SHARE:
                blob = self._draws.choice(self.stored)
                ticket = self._begin("get", index, blob)
                await self._order(index, Fetch(ticket, blob.blob, blob.size_bytes, blob.seed))
            else:
                size = self._draws.randint(SIZE_MIN, SIZE_MAX)
                blob = Stored(b"", size, self._draws.getrandbits(64))
                ticket = self._begin("add", index, blob)
                replicas = min(REPLICAS, len(self._world.honest) - 1)
                await self._order(index, Buy(ticket, size, replicas, EPOCHS, blob.seed))
            await trio.sleep(every_s)

    async def _pay(self, per_minute: int) -> None:
        while not self.is_closed:
            await trio.sleep(self._draws.expovariate(per_minute / MINUTE_S))
            source, target = self._draws.sample(self._world.nodes, 2)
            ticket = self._begin("transfer", source.index, None)
            amount = self._draws.randint(1, TRANSFER_MAX)
            await self._order(source.index, Pay(ticket, target.key.account, amount))

    async def _reprice(self) -> None:
        sellers = [one.index for one in self._world.honest if one.index not in self._buyers]
        while not self.is_closed and sellers:
            await trio.sleep(REPRICE_EVERY_S)
            index = self._draws.choice(sellers)
            ticket = self._begin("offer", index, None)
            price_bp = self._draws.randint(*REPRICE_BP)
            assert 0 < price_bp < 2 * BASIS_POINTS, "a price moves a little"
            await self._order(index, Reprice(ticket, price_bp))

    async def _forget(self) -> None:
        """Give up what nobody answered: its node died, say."""
        while True:
            await trio.sleep(1)
            late_ms = machine_ms() - int(PATIENCE_S * 1000)
            for ticket, (kind, node, at_ms, _) in list(self._open.items()):
                down = self._cluster.nodes[node].child is None
                if at_ms < late_ms or down:
                    why = "the node went down" if down else "no answer in time"
                    self.heard(node, Done(ticket, False, f"{kind}: {why}"))

    def _begin(self, kind: str, index: int, blob: Stored | None) -> int:
        self._tickets += 1
        if len(self._open) < OPEN_MAX:
            self._open[self._tickets] = (kind, index, machine_ms(), blob)
        else:
            self._note(Worked(machine_ms(), kind, index, False, 0, why="too much is under way"))
        return self._tickets

    async def _order(self, index: int, order: Buy | Fetch | Pay | Reprice) -> None:
        if not await self._cluster.order(index, order):
            self.heard(index, Done(order.ticket, False, "the node is down"))
