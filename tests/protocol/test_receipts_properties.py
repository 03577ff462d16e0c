"""Receipts under any order of losses, crashes and blocks.

One channel, windows of 1 MiB. The wire may lose a pay or its answer, either party may crash before
or after its write, blocks come whenever they like and settle what was published, or do not.
"""

import itertools
from collections.abc import Callable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.model.admission import receipt_refusal
from p2p.model.commands import AcceptReceipt, SignReceipt, StoreReceipt, Work
from p2p.model.effects import Persist
from p2p.model.persistence import Table
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.primitives.signing import Verified
from p2p.primitives.units import MIB
from p2p.protocol.receipts import ReceiptsInput, decode_record
from tests.protocol.parties import AD, CHANNEL, NOW_MS, RULES, Pair, Party

WINDOW = Work(bytes_put=MIB)
PRICE = 100
LOST = object()
"""What comes of a command whose party crashed."""


class Course:
    """A pair, the wire between them, and what must hold after every event."""

    def __init__(self) -> None:
        self.pair = Pair()
        self.is_open = False
        self.is_unpaid = False
        """A window moved that the provider has no pay for."""
        self.moved = 0
        self.pay: ServiceReceipt | None = None
        self.paid: ServiceReceipt | None = None
        self.bodies: dict[int, bytes] = {}
        self.settled: list[ServiceReceipt] = []

    def run(self, party: Party, item: ReceiptsInput, crash: int | None) -> object:
        """Step; with `crash`, only so many effects happen, and the party restarts."""
        if crash is None:
            result = party.ask(item)
            if isinstance(result, ServiceReceipt):
                self._note(result)
            return result
        for effect in party.machine.step(item, NOW_MS)[:crash]:
            if isinstance(effect, Persist):
                party.write(effect)
        party.restart()
        self._read_disk(party)
        self.is_open = False
        self.pay = self.paid = None
        return LOST

    def _note(self, receipt: ServiceReceipt) -> None:
        body = self.bodies.setdefault(receipt.seq, receipt.consumer_body())
        assert body == receipt.consumer_body(), "one seq, two bodies"

    def _read_disk(self, party: Party) -> None:
        for data in party.disk[Table.RECEIPTS].values():
            record = decode_record(data)
            for receipt in (record.receipt, record.promise):
                if receipt is not None:
                    self._note(receipt)

    # ---- events ----------------------------------------------------------------------------------

    def open(self, crash: int | None) -> None:
        """The provider shows its newest receipt, and says what is unpaid."""
        newest = self.pair.provider.machine.newest(CHANNEL)
        self.pay = self.paid = None
        self.is_open = True
        if newest is None or newest == self.pair.consumer.machine.newest(CHANNEL):
            return
        result = self.run(self.pair.consumer, StoreReceipt(1, Verified(newest)), crash)
        assert result is LOST or result == newest

    def move(self, _: int | None) -> None:
        if self.is_open and not self.is_unpaid:
            self.moved += 1
            self.is_unpaid = True

    def sign(self, crash: int | None) -> None:
        if not self.is_open or not self.is_unpaid or self.pay is not None:
            return
        epoch = self.pair.provider.machine.epoch_wanted(CHANNEL)
        command = SignReceipt(1, CHANNEL, Verified(AD), WINDOW, None, epoch)
        result = self.run(self.pair.consumer, command, crash)
        if isinstance(result, ServiceReceipt):
            self.pay = result

    def accept(self, crash: int | None) -> None:
        if self.pay is None or not self.is_unpaid:
            return
        provider, before = self.pair.provider, self.pair.provider.machine.newest(CHANNEL)
        command = AcceptReceipt(1, Verified(self.pay), AD, WINDOW)
        result = self.run(provider, command, crash)
        self.pay = None
        self.is_unpaid = provider.machine.newest(CHANNEL) == before
        if isinstance(result, ServiceReceipt):
            self.paid = result
        elif result is not LOST:
            assert isinstance(result, Rejected)
            assert result.reason is Reason.WRONG_EPOCH, result

    def keep(self, crash: int | None) -> None:
        if self.paid is not None:
            receipt, self.paid = self.paid, None
            result = self.run(self.pair.consumer, StoreReceipt(1, Verified(receipt)), crash)
            assert result is LOST or result == receipt

    def lose(self, _: int | None) -> None:
        self.pay = self.paid = None
        self.is_open = False

    def commit(self, crash: int | None) -> None:
        """A block; it settles the last published receipt, unless `crash` says it was lost."""
        pair, published = self.pair, self.pair.provider.published
        receipt = published[-1] if published and crash is None else None
        if receipt is not None:
            refusal = receipt_refusal(receipt, pair.channel, RULES, height=pair.height)
            if refusal is None:
                assert receipt.epoch not in [one.epoch for one in self.settled]
                self.settled.append(receipt)
                pair.channel = msgspec.structs.replace(
                    pair.channel,
                    settled=receipt.amount,
                    seq=receipt.seq,
                    bytes_put=receipt.bytes_put,
                    last_settled_epoch=receipt.epoch,
                )
        pair.commit()

    # ---- what holds ------------------------------------------------------------------------------

    def check(self) -> None:
        consumer, provider = self.pair.consumer.machine, self.pair.provider.machine
        newest = provider.newest(CHANNEL)
        earned = newest.amount if newest else 0
        worked = self.moved * PRICE
        assert worked - PRICE <= earned <= worked, "the provider risks a window, and gains none"
        assert earned <= consumer.promised(CHANNEL) <= worked, "the consumer pays for work alone"
        assert self.pair.channel.settled <= earned
        chain = [msgspec.msgpack.decode(self.bodies[seq]) for seq in sorted(self.bodies)]
        for before, after in itertools.pairwise(chain):
            counters = slice(7, 11)
            assert all(a <= b for a, b in zip(before[counters], after[counters], strict=True)), (
                "a counter or the amount fell"
            )

    def finish(self) -> None:
        """After healing, everything that was worked is paid and settled."""
        if self.is_unpaid:
            self.open(None)
            self.sign(None)
            self.accept(None)
            self.keep(None)
        self.open(None)
        if self.pair.provider.machine.stale():
            epoch = self.pair.provider.machine.epoch_wanted(CHANNEL)
            renewal = self.pair.consumer.sign(Work(), epoch=epoch)
            assert isinstance(renewal, ServiceReceipt)
            assert isinstance(self.pair.provider.accept(renewal, Work()), ServiceReceipt)
        for _ in range(4):
            self.commit(None)
        assert self.pair.channel.settled == self.moved * PRICE


Event = tuple[Callable[[Course, int | None], None], int | None]
WINDOW_EVENTS = (Course.open, Course.move, Course.sign, Course.accept, Course.keep)


def window(steps: int, crash: int | None) -> list[Event]:
    """A window up to some step, which loses its party's memory at `crash`, or the stream."""
    done: list[Event] = [(event, None) for event in WINDOW_EVENTS[: steps - 1]]
    broken = (WINDOW_EVENTS[steps - 1], crash)
    return [*done, broken, (Course.lose, None)]


windows = st.builds(window, st.integers(1, 5), st.sampled_from((None, None, 0, 1)))
smooth = st.builds(window, st.just(5), st.none())
blocks = st.sampled_from((None, 0)).map(lambda lost: [(Course.commit, lost)])


@settings(max_examples=200)
@given(st.lists(st.one_of(windows, smooth, blocks), min_size=5, max_size=40))
def test_nobody_loses_more_than_a_window_and_no_seq_has_two_bodies(
    course: list[list[Event]],
) -> None:
    world = Course()
    for part in course:
        for event, crash in part:
            event(world, crash)
            world.check()
    world.finish()
    world.check()
