"""What a node process does as the harness orders: be hurt, buy, pay, measure itself."""

import hashlib
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never

import msgspec
import trio

from p2p.model.rejection import Rejected
from p2p.model.transaction import Transfer
from p2p.node.errors import UserError
from p2p.primitives.units import BASIS_POINTS, AccountId, Amount, BlobId
from p2p.protocol.interface import ChangeOffer, SubmitTransaction
from sim_harness.live.held_descriptors import HeldDescriptors
from sim_harness.live.injected import HurtStore, InjectedClock
from sim_harness.live.messages import (
    Buy,
    ClockSet,
    ConnectionsForgotten,
    DescriptorsHeld,
    DiskHurt,
    Done,
    Fetch,
    LinksHurt,
    Measure,
    Measured,
    NodeOrder,
    Pay,
    Reprice,
)
from sim_harness.live.rough_wires import Links, RoughWires
from sim_harness.live.task import Reporter

if TYPE_CHECKING:
    from p2p.node.node import Node

WORK_MAX: Final = 16
"""Orders to buy, fetch and pay that are carried out at one time; more are refused at once."""


class Hurts:
    """What of a node's surroundings can be hurt."""

    def __init__(self, links: Links | None = None) -> None:
        self.clock = InjectedClock()
        self.links = links
        self.wires: RoughWires | None = None
        self.store: HurtStore | None = None
        self.descriptors = HeldDescriptors()
        self.tears = False
        self.add_us = 0
        self.woken: list[Node] = []
        """Whose timers look at the clock again when it is set; one, once it runs."""


class Obedience:
    """Reads orders and carries them out."""

    def __init__(self, reporter: Reporter, hurts: Hurts, scratch: Path) -> None:
        self._reporter = reporter
        self._hurts = hurts
        self._scratch = scratch
        self._node: Node | None = None
        self._working = 0
        self._kept = trio.Event()
        """A word waits to be flushed."""

    def serve(self, node: "Node") -> None:
        """The node serves: it can work from now on."""
        self._node = node
        self._hurts.woken.append(node)

    async def run(self) -> None:
        """Until the harness is gone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._flush)
            nursery.start_soon(self._hurts.descriptors.run)
            while True:
                await trio.lowlevel.wait_readable(self._reporter.fileno())
                order = self._reporter.order()
                if order is None:
                    nursery.cancel_scope.cancel()
                    return
                self._obey(order, nursery)

    async def _flush(self) -> None:
        """Send what waits as soon as there is room; a node that is quiet is not woken for it."""
        token = trio.lowlevel.current_trio_token()

        def kept() -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self._hurry)

        self._reporter.kept = kept
        while True:
            self._kept = trio.Event()
            while self._reporter.has_backlog:
                await trio.lowlevel.wait_writable(self._reporter.fileno())
                self._reporter.flush()
            await self._kept.wait()

    def _hurry(self) -> None:
        self._kept.set()

    def _obey(self, order: NodeOrder, nursery: trio.Nursery) -> None:
        hurts = self._hurts
        match order:
            case LinksHurt():
                if hurts.links is not None:
                    hurts.links.hurt(order)
            case ConnectionsForgotten():
                if hurts.wires is not None:
                    hurts.wires.forget_connections()
            case ClockSet(offset_us=offset_us, drift_ppm=drift_ppm):
                hurts.clock.set_apart(offset_us=offset_us, drift_ppm=drift_ppm)
                for node in hurts.woken:
                    node.driver.look_again()
            case DiskHurt(add_us=add_us, tears=tears):
                hurts.add_us, hurts.tears = add_us, tears
                if hurts.store is not None:
                    hurts.store.add_us, hurts.store.tears = add_us, tears
            case DescriptorsHeld(held=True):
                hurts.descriptors.hold()
            case DescriptorsHeld():
                hurts.descriptors.let_go()
            case Measure():
                self._reporter.tell(self._measured())
            case Buy() | Fetch() | Pay() | Reprice():
                self._begin(order, nursery)
            case _:
                assert_never(order)

    def _measured(self) -> Measured:
        links, store = self._hurts.links, self._hurts.store
        found = Measured(
            at_s=time.monotonic(),
            clock_ms=round(self._hurts.clock.error_ms(), 1),
            commits=0 if store is None else store.commits,
            commits_s=0.0 if store is None else store.commits_s,
        )
        if links is None:
            return found
        tally = msgspec.structs.asdict(links.tally)
        return msgspec.structs.replace(
            found, **tally, retransmissions=links.weather.retransmissions
        )

    # ---- work --------------------------------------------------------------------------------

    def _begin(self, order: Buy | Fetch | Pay | Reprice, nursery: trio.Nursery) -> None:
        if self._node is None or self._working >= WORK_MAX:
            why = "it does not serve yet" if self._node is None else "it has enough to do"
            self._reporter.tell(Done(order.ticket, False, why))
            return
        self._working += 1
        nursery.start_soon(self._work, self._node, order)

    async def _work(self, node: "Node", order: Buy | Fetch | Pay | Reprice) -> None:
        began_s = time.monotonic()
        try:
            done = await self._do(node, order)
        except UserError as error:
            done = Done(order.ticket, False, str(error)[:500])
        finally:
            self._working -= 1
        took_ms = int(1000 * (time.monotonic() - began_s))
        self._reporter.tell(msgspec.structs.replace(done, took_ms=took_ms))

    async def _do(self, node: "Node", order: Buy | Fetch | Pay | Reprice) -> Done:
        match order:
            case Buy():
                return await self._buy(node, order)
            case Fetch():
                return await self._fetch(node, order)
            case Pay():
                action = Transfer(AccountId(order.account), Amount(order.amount))
                result = await node.ask(lambda ticket: SubmitTransaction(ticket, action))
                return _outcome(order.ticket, result)
            case Reprice():
                return await _reprice(node, order)
            case _:
                assert_never(order)

    async def _buy(self, node: "Node", order: Buy) -> Done:
        path = self._scratch / f"buy-{order.ticket}"
        path.write_bytes(drawn_bytes(order.seed, order.size_bytes))
        try:
            result = await node.blobs.add(path, replicas=order.replicas, epochs=order.epochs)
        finally:
            path.unlink(missing_ok=True)
        why = "; ".join(failure.why for failure in result.failures)
        return Done(
            order.ticket,
            result.is_complete,
            why[:500],
            blob=result.blob,
            size_bytes=result.size_bytes * len(result.placements),
            paid=sum(one.paid for one in result.placements),
        )

    async def _fetch(self, node: "Node", order: Fetch) -> Done:
        path = self._scratch / f"fetch-{order.ticket}"
        try:
            result = await node.blobs.get(BlobId(order.blob), path)
            same = path.read_bytes() == drawn_bytes(order.seed, order.size_bytes)
        finally:
            path.unlink(missing_ok=True)
        why = "" if same else "OTHER BYTES than were stored"
        return Done(
            order.ticket, same, why, order.blob, size_bytes=result.size_bytes, paid=result.paid
        )


async def _reprice(node: "Node", order: Reprice) -> Done:
    offer = node.replica.registry.offer
    price = msgspec.structs.replace(
        offer.price,
        **{
            name: max(1, value * order.price_bp // BASIS_POINTS)
            for name, value in msgspec.structs.asdict(offer.price).items()
            if isinstance(value, int)
        },
    )
    changed = msgspec.structs.replace(offer, price=price)
    return _outcome(order.ticket, await node.ask(lambda ticket: ChangeOffer(ticket, changed)))


def _outcome(ticket: int, result: object) -> Done:
    if isinstance(result, Rejected):
        return Done(ticket, False, f"{result.reason.value} {result.detail}".strip()[:500])
    return Done(ticket, True)


def drawn_bytes(seed: int, size: int) -> bytes:
    """Bytes that follow from a seed, and are no others' by chance."""
    tag = hashlib.sha256(seed.to_bytes(16)).digest()
    return (tag + random.Random(seed).randbytes(max(0, size - len(tag))))[:size]
