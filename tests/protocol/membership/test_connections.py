"""Too many connections: who has to go, who stays."""

from p2p.model.inputs import PeerConnected, PeerDisconnected
from p2p.protocol.membership import MembershipParameters
from p2p.protocol.membership.interface import (
    WantedChanged,
)
from tests.protocol.membership.kit import Bench, account, dialled, hung_up, peer


def test_guests_above_the_maximum_are_hung_up_youngest_first_after_their_grace() -> None:
    bench = Bench(peers_max=32, outbound_min=0)
    for number in range(1, 38):
        bench.connect(number)
        bench.now_ms += 10
    assert hung_up(bench.tick(1_000)) == []
    assert hung_up(bench.tick(10_000)) == [peer(number) for number in (37, 36, 35, 34, 33)]
    assert len(bench.machine.connected) == 32


def test_some_guests_more_than_the_maximum_are_borne() -> None:
    bench = Bench(peers_max=32, outbound_min=0)
    for number in range(1, 37):
        bench.connect(number)
    assert hung_up(bench.tick(60_000)) == []


def test_a_crowd_at_the_door_is_refused_at_once() -> None:
    bench = Bench(peers_max=10, peers_target=2, outbound_min=0)
    refused = [number for number in range(1, 25) if hung_up(bench.connect(number))]
    assert refused == [21, 22, 23, 24]


def test_in_a_crowd_who_could_ask_gives_way_to_a_newcomer_and_old_guests_stay() -> None:
    bench = Bench(peers_max=10, peers_target=2, outbound_min=0)
    for number in range(1, 21):
        bench.connect(number)
    bench.now_ms += MembershipParameters().crowded_grace_ms - 1
    assert hung_up(bench.connect(21)) == [peer(21)], "nobody had the time to ask"
    bench.now_ms += 1
    gone = [hung_up(bench.connect(number)) for number in range(22, 34)]
    assert gone[:10] == [[peer(number)] for number in range(11, 21)]
    assert gone[10:] == [[peer(32)], [peer(33)]], "newcomers, too, have their time"
    assert bench.machine.connected[:10] == [peer(number) for number in range(1, 11)]


def test_wanted_accounts_find_room_among_guests() -> None:
    bench = Bench(peers_max=32, outbound_min=0)
    wanted = tuple(account(number) for number in range(100, 120))
    bench.tell(WantedChanged(wanted))
    for number in [*range(1, 17), *range(100, 120)]:
        bench.connect(number)
    assert hung_up(bench.tick(60_000)) == []
    bench.connect(17)
    assert hung_up(bench.tick(60_000)) == [peer(number) for number in (17, 16, 15, 14, 13)]


def test_a_wanted_account_that_is_not_sought_may_be_an_own_choice() -> None:
    """Given more wanted accounts than there is room for; the only one known is not left out."""
    bench = Bench(1, peers_max=3, peers_target=2)
    bench.tell(WantedChanged(tuple(account(number) for number in range(1, 60))))
    assert dialled(bench.tick()) == [peer(1)]


def test_wanted_guests_that_are_not_sought_make_room_at_last() -> None:
    bench = Bench(peers_max=4, peers_target=2, surplus_max=0, outbound_min=0)
    bench.tell(WantedChanged(tuple(account(number) for number in range(1, 9))))
    for number in range(1, 9):
        bench.connect(number)
    gone = hung_up(bench.tick(60_000))
    assert len(gone) == 4
    sought = [peer(number) for number in range(1, 9) if peer(number) not in gone]
    assert bench.machine.connected == sought


def test_sought_connections_are_never_hung_up_for_others() -> None:
    bench = Bench(peers_target=1, outbound_min=0, outbound_max=1)
    bench.tell(WantedChanged(tuple(account(number) for number in range(1, 6))))
    for number in range(1, 9):
        bench.connect(number, outbound=True)
    gone = hung_up(bench.tick(60_000))
    assert len(gone) == 2
    assert set(gone) < {peer(6), peer(7), peer(8)}


def test_connections_are_never_trimmed_below_the_target() -> None:
    bench = Bench(peers_target=3, outbound_min=0, outbound_max=0)
    for number in range(1, 7):
        bench.connect(number, outbound=True)
    hung = hung_up(bench.tick(60_000))
    assert len(hung) == 3
    assert len(bench.machine.connected) == 3


def test_a_strange_peer_is_explored_now_and_then_and_replaces_an_own_choice() -> None:
    bench = Bench(*range(1, 30), peers_target=4, outbound_min=4, outbound_max=4)
    for one in dialled(bench.tick()):
        bench.tell(PeerConnected(one, outbound=True, address=""))
    assert dialled(bench.tick()) == []
    (stranger,) = dialled(bench.tick(140_000))
    assert stranger not in bench.machine.connected
    bench.tell(PeerConnected(stranger, outbound=True, address=""))
    (gone,) = hung_up(bench.tick(1_000))
    assert gone != stranger
    bench.tell(PeerDisconnected(gone))
    assert len(bench.machine.connected) == 4
    assert dialled(bench.tick(10_000)) == []
