"""What tests of membership share: names of peers, and one machine on a clock of its own."""

from functools import cache

import msgspec

from p2p.model.effects import Dial, HangUp, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, TimerFired
from p2p.model.requests import PeerRecord
from p2p.primitives.digests import digest
from p2p.primitives.keys import account_text, peer_id_of
from p2p.primitives.units import AccountId, Millis, PeerId
from p2p.protocol.membership import Membership, MembershipParameters
from p2p.protocol.membership.interface import (
    TICK_TIMER,
    AskPeers,
    DialFailed,
    MembershipEffect,
    MembershipInput,
    Started,
)

NOW = 1_000_000


@cache
def account(number: int) -> AccountId:
    return AccountId(digest(b"account", number.to_bytes(4)))


@cache
def peer(number: int) -> PeerId:
    return peer_id_of(account(number))


@cache
def address(number: int, port: int = 1) -> str:
    return f"/ip4/127.0.0.1/tcp/{port}/p2p/{account_text(account(number))}"


def record(number: int, port: int = 1) -> PeerRecord:
    return PeerRecord(account(number), (address(number, port),))


def records(first: int, count: int) -> tuple[PeerRecord, ...]:
    return tuple(record(number) for number in range(first, first + count))


ME = 0
RSA = PeerId(b"\x12\x20" + digest(b"another kind of key"))


class Bench:
    """One membership with its clock, and hands to feed it."""

    def __init__(self, *seeds: int, start: bool = True, **parameters: int) -> None:
        changed = msgspec.structs.replace(MembershipParameters(), **parameters)
        self.machine = Membership(peer(ME), changed, seed=b"test")
        self.now_ms = NOW
        if start:
            self.tell(Started(tuple(record(number) for number in seeds)))

    def tell(self, *events: MembershipInput) -> list[MembershipEffect]:
        """Effects of these inputs, without the timers."""
        found: list[MembershipEffect] = []
        for event in events:
            effects = self.machine.step(event, Millis(self.now_ms))
            found += [effect for effect in effects if not isinstance(effect, SetTimer)]
        return found

    def tick(self, after_ms: int = 1_000) -> list[MembershipEffect]:
        self.now_ms += after_ms
        return self.tell(TimerFired(TICK_TIMER))

    def connect(self, number: int, *, outbound: bool = False) -> list[MembershipEffect]:
        text = address(number) if outbound else ""
        return self.tell(PeerConnected(peer(number), outbound=outbound, address=text))

    def disconnect(self, number: int) -> list[MembershipEffect]:
        return self.tell(PeerDisconnected(peer(number)))


def dialled(effects: list[MembershipEffect]) -> list[PeerId]:
    return [effect.peer for effect in effects if isinstance(effect, Dial)]


def hung_up(effects: list[MembershipEffect]) -> list[PeerId]:
    return [effect.peer for effect in effects if isinstance(effect, HangUp)]


def asked(effects: list[MembershipEffect]) -> list[AskPeers]:
    return [effect for effect in effects if isinstance(effect, AskPeers)]


def waits_after_failures(bench: Bench, count: int) -> list[int]:
    """How long after each failed dial of peer 1 it is dialled again."""
    waits = []
    assert dialled(bench.tick(0)) == [peer(1)]
    for _ in range(count):
        bench.tell(DialFailed(peer(1)))
        since_ms = bench.now_ms
        while not dialled(bench.tick(100)):
            pass
        waits.append(bench.now_ms - since_ms)
    return waits
