"""Accounts that a node wants for neighbours: validators, and explicit peers."""

import pytest

from p2p.model.inputs import PeerConnected
from p2p.model.rejection import Reason
from p2p.primitives.units import Millis
from p2p.protocol.membership import Membership, MembershipParameters
from p2p.protocol.membership.interface import (
    AdLearned,
    AskPeers,
    DialFailed,
    Misbehaved,
    PeersLearned,
    Started,
    WantedChanged,
)
from tests.protocol.membership.kit import (
    ME,
    RSA,
    Bench,
    account,
    address,
    asked,
    dialled,
    hung_up,
    peer,
    record,
    waits_after_failures,
)


def test_wanted_accounts_are_dialled_first_and_leave_a_slot_for_own_choices() -> None:
    bench = Bench(*range(1, 40))
    bench.tell(WantedChanged(tuple(account(number) for number in range(1, 11))))
    wanted = {peer(number) for number in range(1, 11)}
    assert [one in wanted for one in dialled(bench.tick())] == [True, True, True, False]


@pytest.mark.parametrize(("sought_max", "peers_max"), [(24, 80), (32, 32)])
def test_wanted_accounts_are_sought_within_the_room_for_them(
    sought_max: int, peers_max: int
) -> None:
    bounds = {"sought_max": sought_max, "peers_max": peers_max, "dials_max": 60}
    bench = Bench(*range(1, 60), outbound_min=0, start=True, **bounds)
    bench.tell(WantedChanged(tuple(account(number) for number in range(ME, 60))))
    assert len(dialled(bench.tick())) == 24 + 1  # and one choice of our own


def test_who_is_sought_already_stays_sought() -> None:
    bench = Bench(*range(1, 60), dials_max=60, outbound_min=0)
    bench.tell(WantedChanged(tuple(account(number) for number in range(1, 60))))
    first = dialled(bench.tick())
    bench.tell(WantedChanged(tuple(account(number) for number in range(59, 0, -1))))
    assert dialled(bench.tick()) == []
    assert len(first) == 32 + 1


def with_direct(*direct: int, known: int) -> Bench:
    """A node whose operator agreed with these on explicit peering."""
    bench = Bench(*range(1, known + 1), start=False)
    explicit = MembershipParameters(direct=tuple(account(number) for number in direct))
    bench.machine = Membership(peer(ME), explicit, seed=b"seed")
    bench.tell(Started(tuple(record(number) for number in range(1, known + 1))))
    return bench


def test_explicit_peers_are_sought_before_all_others_whoever_else_is_wanted() -> None:
    bench = with_direct(38, 39, known=40)
    bench.tell(WantedChanged(tuple(account(number) for number in range(1, 31))))
    assert dialled(bench.tick())[:2] == [peer(38), peer(39)]


def test_explicit_peers_are_neither_banned_nor_shown_out() -> None:
    bench = with_direct(1, known=2)
    for number in (1, 2):
        bench.connect(number, outbound=True)
    assert bench.tell(Misbehaved(peer(1), Reason.WRONG_CHAIN)) == []
    assert hung_up(bench.tell(Misbehaved(peer(2), Reason.WRONG_CHAIN))) == [peer(2)]
    bench.tick(20_000)
    for number in range(100, 200):
        bench.connect(number)
    gone = [one for _ in range(5) for one in hung_up(bench.tick(20_000))]
    assert gone
    assert peer(1) not in gone


def test_more_explicit_peers_than_room_for_sought_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="direct must be at most"):
        MembershipParameters(direct=tuple(account(number) for number in range(33)))


def test_a_wanted_account_is_tried_again_within_seconds() -> None:
    bench = Bench(1)
    bench.tell(PeerConnected(RSA, outbound=False, address=""), DialFailed(peer(1)))
    bench.tell(WantedChanged((account(1),)))
    bench.now_ms += 60_000
    assert max(waits_after_failures(bench, 12)) <= 8_100


def test_addresses_of_wanted_accounts_are_asked_for_until_known() -> None:
    bench = Bench()
    bench.connect(5)
    bench.tell(WantedChanged((account(1),)))
    (question,) = asked(bench.tick(4_000))
    assert question == AskPeers(peer(5), (account(1),))
    assert dialled(bench.tell(PeersLearned(peer(5), (record(1),)))) == [peer(1)]
    assert [one.wanted for one in asked(bench.tick(4_000))] == [()]


def test_the_ad_of_a_wanted_account_hastens_the_next_tick() -> None:
    bench = Bench(peers_target=1, outbound_min=0)
    bench.connect(5)
    bench.tick()
    bench.tell(WantedChanged((account(1),)))
    (effects,) = [bench.tell(AdLearned(account(1), (address(1),)))]
    assert effects == []
    assert dialled(bench.tick()) == [peer(1)]
    bench.connect(1, outbound=True)
    assert bench.machine.step(AdLearned(account(1), (address(1, 2),)), Millis(bench.now_ms)) == []
