"""Files that consumers add: blobs of drawn sizes, placed as the product places them.

A provider is chosen from the consumer's own registry by the product's ranking, spread over regions;
where one is given up the next takes its place. `Line` does the rest for each pair. Whoever sells
makes an offer soon after its first start, and keeps it through restarts.
"""

from collections.abc import Iterable, Sequence
from math import exp, log
from typing import TYPE_CHECKING, Final

import msgspec

from p2p.model.ad import Resources
from p2p.model.blob import Manifest, chunk_bytes_for
from p2p.model.offer import Offer
from p2p.model.rejection import Rejected
from p2p.primitives.digests import digest
from p2p.primitives.units import MIB, AccountId, BlobId, Millis
from p2p.protocol.interface import ChangeOffer
from p2p.protocol.service import Candidate, Wanted, next_provider, rank_providers
from sim_harness.virtual.heap import MICROS_PER_MS
from sim_harness.virtual.putting import Line
from sim_harness.virtual.spans import seconds

if TYPE_CHECKING:
    from sim_harness.virtual.node import VirtualNode
    from sim_harness.virtual.world import World

SPACE: Final = 4_096 * MIB
"""What each provider lends."""
OFFER_AFTER: Final = seconds(1)
"""After its start a provider waits for neighbours, so that its offer is heard."""
AGAIN: Final = seconds(2)
"""A blob that found too few providers looks for more."""
LOOKS_MAX: Final = 60
REPLICAS_MAX: Final = 16


class Blob:
    """One file of one consumer."""

    def __init__(
        self, number: int, consumer: int, manifest: Manifest, *, replicas: int, at_ms: Millis
    ) -> None:
        self.number = number
        """From 1, in the order of adding in the whole world."""
        self.consumer = consumer
        self.manifest = manifest
        self.replicas = replicas
        self.at_ms = at_ms
        self.held: dict[int, Millis] = {}
        """By provider's node index: when its last window was paid."""
        self.asked: list[int] = []
        """Providers that hold it or are to."""
        self.tried: set[AccountId] = set()
        self.looks = 0

    @property
    def is_placed(self) -> bool:
        """Whether as many hold it as were wanted."""
        return len(self.held) >= self.replicas


class AddingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is added, and how."""

    every: Millis
    """Mean time between two files of a consumer."""
    bytes_min: int
    bytes_max: int
    replicas: int
    epochs: int
    window_bytes: int


class Adding:
    """All that the consumers of a world add."""

    def __init__(
        self,
        world: "World",
        plan: AddingPlan,
        consumers: Sequence["VirtualNode"],
        providers: Sequence["VirtualNode"],
        regions: Sequence[str] = (),
    ) -> None:
        """`regions`: of each node; empty when they are in none."""
        self.blobs: list[Blob] = []
        self.lines: dict[tuple[int, int], Line] = {}
        """By consumer and provider."""
        self.is_paused = False
        self.start_ms = world.now_ms
        self._world, self._plan, self._regions = world, plan, regions
        self._sellers = {node.key.account: node for node in providers}
        self._draws = world.stream("adding")
        for node in providers:
            self._offer(node)
        for node in consumers:
            self._next(node)

    def holders(self, number: int | None) -> list[int]:
        """Nodes that hold a blob now, by its number from 1; None: the newest that anybody holds.

        What counts is the disk of a provider, whether it runs or not.
        """
        known = [blob for blob in self.blobs if blob.held]
        if number is not None:
            known = [blob for blob in known if blob.number == number]
        return sorted(known[-1].held) if known else []

    def close(self) -> None:
        """Nothing new is added or moved; what was done is still settled."""
        self.is_paused = True
        for line in self.lines.values():
            line.forget()

    def is_settled(self) -> bool:
        """Whether the ledger paid every receipt that both signed."""
        return all(line.settled >= line.accepted for line in self.lines.values())

    # ---- offers --------------------------------------------------------------------------------

    def _offer(self, node: "VirtualNode") -> None:
        region = self._region_of(node.index)
        room = Resources(storage_bytes_total=SPACE, storage_bytes_free=SPACE)
        offer = Offer(resources=room, region=region, accepting=True)

        def make() -> bytes:
            if node.is_up:
                node.ask(lambda ticket: ChangeOffer(ticket, offer), made)
            else:
                self._world.heap.after(OFFER_AFTER * MICROS_PER_MS, "offer", make)
            return b"%d" % node.index

        def made(result: object) -> None:
            assert not isinstance(result, Rejected), result

        self._world.heap.after(OFFER_AFTER * 2 * MICROS_PER_MS, "offer", make)

    def _region_of(self, index: int) -> str:
        return self._regions[index] if self._regions else ""

    # ---- files ---------------------------------------------------------------------------------

    def _next(self, node: "VirtualNode") -> None:
        def add() -> bytes:
            if self.is_paused:
                return b"closed"
            self._next(node)
            if not node.is_up:
                return b"%d is down" % node.index
            blob = self._new_blob(node)
            self._place(blob, node)
            return b"%d adds %d" % (node.index, blob.number)

        wait_ms = int(self._draws.expovariate(1 / self._plan.every))
        self._world.heap.after(max(1, wait_ms) * MICROS_PER_MS, "add", add)

    def _new_blob(self, node: "VirtualNode") -> Blob:
        """Small files are as usual as large ones: sizes are drawn evenly on a scale of powers."""
        plan, number = self._plan, len(self.blobs) + 1
        low, high = log(max(1, plan.bytes_min)), log(max(1, plan.bytes_max))
        drawn = round(exp(low + (high - low) * self._draws.random()))
        size = min(plan.bytes_max, max(plan.bytes_min, drawn))
        chunk_bytes = chunk_bytes_for(size)
        assert chunk_bytes is not None, "sizes are within a blob's bound"
        root = digest(b"blob", b"%d %d" % (self._world.seed, number))
        manifest = Manifest(root=root, size_bytes=size, chunk_bytes=chunk_bytes)
        blob = Blob(number, node.index, manifest, replicas=plan.replicas, at_ms=self._world.now_ms)
        self.blobs.append(blob)
        return blob

    def _place(self, blob: Blob, node: "VirtualNode") -> None:
        """Ask providers for what is missing; look again later where there are too few."""
        left = [one for one in self._ranked(blob, node) if one.ad.provider not in blob.tried]
        while left and len(blob.asked) < blob.replicas:
            regions = [self._region_of(index) for index in blob.asked]
            candidate = next_provider(left, regions)
            assert candidate is not None, "some are left"
            left.remove(candidate)
            blob.tried.add(candidate.ad.provider)
            provider = self._sellers[candidate.ad.provider]
            if self._line(node, provider).put(blob):
                blob.asked.append(provider.index)
        if len(blob.asked) < blob.replicas and blob.looks < LOOKS_MAX:
            blob.looks += 1
            self._world.heap.after(AGAIN * MICROS_PER_MS, "place", lambda: self._again(blob, node))

    def _again(self, blob: Blob, node: "VirtualNode") -> bytes:
        if not self.is_paused:
            blob.tried = {self._world.nodes[index].key.account for index in blob.asked}
            self._place(blob, node)
        return b"%d" % blob.number

    def _ranked(self, blob: Blob, node: "VirtualNode") -> Iterable[Candidate]:
        if node.replica is None:
            return ()
        wanted = Wanted(
            blob=BlobId(blob.manifest.blob),
            size_bytes=blob.manifest.size_bytes,
            epochs=self._plan.epochs,
            consumer=node.key.account,
            epoch=node.replica.channels.epoch,
            now_ms=self._world.now_ms,
        )
        accounts = node.replica.state.accounts
        known = [
            (ad.value, accounts[ad.value.provider].quality)
            for ad in node.replica.registry.ads()
            if ad.value.provider in self._sellers and ad.value.provider in accounts
        ]
        return rank_providers(known, wanted)

    def _line(self, consumer: "VirtualNode", provider: "VirtualNode") -> Line:
        pair = consumer.index, provider.index
        if pair not in self.lines:
            self.lines[pair] = Line(
                self._world,
                consumer,
                provider,
                window_bytes=self._plan.window_bytes,
                epochs=self._plan.epochs,
                ended=self._ended,
            )
        return self.lines[pair]

    def _ended(self, blob: Blob, line: Line, is_held: bool) -> None:
        if is_held:
            blob.held[line.provider.index] = self._world.now_ms
            return
        blob.asked.remove(line.provider.index)
        if not self.is_paused:
            self._place(blob, line.consumer)
