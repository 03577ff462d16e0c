"""Faults that add up to bans."""

from p2p.model.effects import HangUp
from p2p.model.rejection import Reason
from p2p.model.requests import PeerRecord
from p2p.protocol.membership.interface import (
    DialFailed,
    Misbehaved,
    PeersLearned,
)
from tests.protocol.membership.kit import Bench, account, address, dialled, hung_up, peer


def test_faults_add_up_to_a_ban_that_ends() -> None:
    bench = Bench(1)
    bench.connect(1)
    assert bench.tell(Misbehaved(peer(1), Reason.BAD_SIGNATURE)) == []
    assert bench.tell(Misbehaved(peer(1), Reason.BAD_SIGNATURE)) == [
        HangUp(peer(1), "banned: its signature does not verify")
    ]
    assert bench.machine.connected == []
    bench.disconnect(1)
    assert dialled(bench.tick(300_000)) == []
    assert bench.connect(1) == [HangUp(peer(1), "banned")]
    bench.disconnect(1)
    assert dialled(bench.tick(300_000)) == [peer(1)]
    bench.tell(DialFailed(peer(1)))
    assert hung_up(bench.connect(1)) == []


def test_faults_are_forgiven_with_time() -> None:
    bench = Bench()
    bench.connect(1)
    for _ in range(20):
        assert bench.tell(Misbehaved(peer(1), Reason.BAD_ROOT)) == []
        bench.now_ms += 20_000


def test_a_peer_of_another_chain_is_banned_at_once_even_when_it_has_left() -> None:
    bench = Bench()
    assert bench.tell(Misbehaved(peer(1), Reason.WRONG_CHAIN)) == []
    assert bench.connect(1) == [HangUp(peer(1), "banned")]


def test_points_and_bans_are_bounded() -> None:
    bench = Bench(bans_max=3)
    for number in range(1, 6):
        bench.tell(Misbehaved(peer(number), Reason.BAD_SIGNATURE))
    bench.tell(Misbehaved(peer(1), Reason.BAD_SIGNATURE))
    assert hung_up(bench.connect(1)) == []  # Its first points had made room.
    for number in range(1, 6):
        bench.tell(Misbehaved(peer(number), Reason.WRONG_CHAIN))
    assert [bool(hung_up(bench.connect(number))) for number in range(2, 6)] == [
        False,
        True,
        True,
        True,
    ]


def test_a_peer_that_names_impossible_addresses_is_at_fault() -> None:
    bench = Bench()
    bench.connect(9)
    false = PeerRecord(account(1), (address(2),))
    assert hung_up(bench.tell(PeersLearned(peer(9), (false,)))) == []
    assert hung_up(bench.tell(PeersLearned(peer(9), (false,)))) == [peer(9)]
    assert bench.machine.book_size == 0
