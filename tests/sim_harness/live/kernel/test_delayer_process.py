"""Packets wait for as long as was asked, and none overtakes another between two nodes."""

from ipaddress import IPv4Address
from random import Random

import pytest

from sim_harness.live.kernel.addresses import address_of
from sim_harness.live.kernel.delayer_process import Delayed, Delayer, Late
from sim_harness.live.messages import RuleSpec


class Packet:
    """One that tells when it was let go."""

    def __init__(self, source: int, target: int, gone: list["Packet"]) -> None:
        self._ends = source, target
        self._gone = gone
        self.is_retained = False

    def get_payload(self) -> bytes:
        return bytes(12) + b"".join(IPv4Address(address_of(end)).packed for end in self._ends)

    def retain(self) -> None:
        self.is_retained = True

    def accept(self) -> None:
        assert self.is_retained, "it is gone already"
        self._gone.append(self)


def test_a_packet_is_let_go_when_it_is_due() -> None:
    delayer, gone = Delayer(Random(1)), list[Packet]()
    delayer.obey(Late((RuleSpec((0,), delay_us=50_000), RuleSpec((1,), "in", delay_us=20_000))))
    there, back, others = Packet(0, 1, gone), Packet(1, 0, gone), Packet(2, 3, gone)
    for packet in (there, back, others):
        delayer.take(packet, 10.0)
    delayer.release(10.0)
    assert gone == [others]
    assert delayer.wait_s(10.01) == pytest.approx(0.04)
    delayer.release(10.051)
    assert gone == [others, back]
    delayer.release(10.070_001)
    assert gone == [others, back, there]
    assert delayer.wait_s(11.0) is None


def test_what_came_first_leaves_first_whatever_is_drawn() -> None:
    delayer, gone = Delayer(Random(1)), list[Packet]()
    delayer.obey(Late((RuleSpec((0,), delay_us=1_000, jitter_us=90_000),)))
    sent = [Packet(0, 1, gone) for _ in range(50)]
    for number, packet in enumerate(sent):
        delayer.take(packet, number / 1_000)
    delayer.release(1.0)
    assert gone == sent


def test_it_tells_what_it_delayed() -> None:
    delayer, gone = Delayer(Random(1)), list[Packet]()
    assert delayer.obey(Late((RuleSpec((0,), delay_us=50_000),))) == Delayed()
    delayer.take(Packet(0, 1, gone), 1.0)
    delayer.take(Packet(0, 1, gone), 1.5)
    delayer.release(1.125)
    told = delayer.obey(Late())
    assert told == Delayed(packets=1, late_s=0.125, asked_s=0.1, waiting=1)
    # What waits already stays as late as it was to be.
    delayer.release(1.54)
    assert len(gone) == 1
    delayer.take(Packet(2, 1, gone), 1.54)
    delayer.release(1.54)
    assert len(gone) == 2
