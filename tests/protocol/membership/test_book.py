"""The book of addresses: what it keeps, and what the disk gets of it."""

from hypothesis import given
from hypothesis import strategies as st

from p2p.model.effects import Persist
from p2p.model.inputs import PeerConnected
from p2p.model.persistence import Delete, Put, Table
from p2p.model.requests import PeerRecord, PeersRequest
from p2p.primitives.codec import encode
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.membership.book import BookRow
from p2p.protocol.membership.interface import (
    AdLearned,
    DialFailed,
    MembershipEffect,
    PeersLearned,
    Restored,
    Started,
    WantedChanged,
)
from tests.protocol.membership.kit import (
    ME,
    Bench,
    account,
    address,
    dialled,
    peer,
    record,
    records,
)


def test_the_address_that_was_reached_comes_first_and_hearsay_last() -> None:
    bench = Bench()
    bench.tell(AdLearned(account(1), (address(1, 1), address(1, 2))))
    bench.tell(PeersLearned(peer(9), (record(1, 3),)))
    bench.tell(PeerConnected(peer(1), outbound=True, address=address(1, 2)))
    assert bench.machine.addresses_of(account(1)) == (
        address(1, 2),
        address(1, 1),
        address(1, 3),
    )
    bench.tell(AdLearned(account(1), (address(1, 2),)))
    assert len(bench.machine.addresses_of(account(1))) == 3
    bench.tell(AdLearned(account(1), (address(1, 4),)))
    assert bench.machine.addresses_of(account(1)) == (address(1, 4), address(1, 2))
    assert bench.machine.addresses_of(account(2)) == ()


def test_a_connection_outside_the_book_or_at_an_odd_address_does_no_harm() -> None:
    bench = Bench(1)
    bench.tell(PeerConnected(peer(1), outbound=True, address="/ip4/127.0.0.1/tcp/7"))
    bench.connect(2, outbound=True)
    bench.tick(10_000)
    assert bench.machine.addresses_of(account(1)) == (address(1),)
    assert bench.machine.book_size == 1


def test_a_seed_that_is_in_the_book_already_stays_with_all_its_addresses() -> None:
    bench = Bench(start=False)
    bench.tell(Restored(((account(1), row(1)),)), Started((record(1, 5),)))
    assert bench.machine.addresses_of(account(1)) == (address(1, 5), address(1, 1))


def test_a_row_that_was_written_lately_is_not_written_again() -> None:
    bench = Bench(1)
    bench.connect(1, outbound=True)
    bench.tick(6_000)
    bench.disconnect(1)
    bench.connect(1, outbound=True)
    assert persisted(bench.tick(6_000)) == []


def test_an_ad_replaces_hearsay_and_an_ad_without_addresses_says_nothing() -> None:
    bench = Bench()
    bench.tell(PeersLearned(peer(9), (record(1, 3),)))
    bench.tell(AdLearned(account(1), ()), AdLearned(account(2), (address(3),)))
    assert bench.machine.addresses_of(account(1)) == (address(1, 3),)
    assert bench.machine.peers_for(PeersRequest(), peer(8)).records == ()
    bench.tell(AdLearned(account(1), (address(1, 1),)))
    assert bench.machine.addresses_of(account(1)) == (address(1, 1),)


def test_hearsay_that_failed_gives_way_to_other_hearsay() -> None:
    bench = Bench()
    ports = tuple(address(1, port) for port in range(8))
    bench.tell(PeersLearned(peer(9), (PeerRecord(account(1), ports),)))
    bench.tell(PeersLearned(peer(8), (record(1, 99),)))
    assert address(1, 99) not in bench.machine.addresses_of(account(1))
    for _ in range(3):
        bench.tick(10_000)
        bench.tell(DialFailed(peer(1)))
    bench.tell(PeersLearned(peer(8), (record(1, 99),)))
    assert bench.machine.addresses_of(account(1))[0] == address(1, 99)


def test_one_talker_fills_a_small_part_of_the_book() -> None:
    bench = Bench()
    for number in range(20):
        bench.tell(PeersLearned(peer(9), records(100 + 32 * number, 32)))
    assert bench.machine.book_size == 64
    bench.tell(PeersLearned(peer(8), records(5_000, 32)))
    assert bench.machine.book_size == 96
    bench.tell(WantedChanged((account(9_000),)))
    bench.tell(PeersLearned(peer(9), (record(9_000),)))
    assert bench.machine.book_size == 97


def test_a_full_book_keeps_the_worthier() -> None:
    bench = Bench(1, book_max=3)
    bench.tell(AdLearned(account(2), (address(2),)), PeersLearned(peer(9), (record(3),)))
    bench.tell(PeersLearned(peer(9), (record(4),)))
    assert bench.machine.addresses_of(account(4)) == ()
    bench.tell(AdLearned(account(5), (address(5),)))  # in the place of the hearsay
    bench.tell(AdLearned(account(6), (address(6),)))  # finds nobody worth less
    known = [number for number in range(1, 9) if bench.machine.addresses_of(account(number))]
    assert known == [1, 2, 5]
    bench.tell(WantedChanged((account(7), account(8), account(2))))
    bench.tell(PeersLearned(peer(9), (record(7),)))  # wanted: in the place of 5
    bench.tell(AdLearned(account(8), (address(8),)))  # nobody is left who may go
    known = [number for number in range(1, 9) if bench.machine.addresses_of(account(number))]
    assert known == [1, 2, 7]


def test_a_full_book_lets_go_of_who_has_been_failing_longest() -> None:
    bench = Bench(book_max=3, dials_max=1, backoff_ms_max=1_000)
    for number in (1, 2, 3):
        bench.tell(AdLearned(account(number), (address(number),)))
    failed: list[PeerId] = []
    due = dialled(bench.tick())
    while any(failed.count(peer(number)) < 3 for number in (1, 2, 3)):
        failed += due
        bench.now_ms += 400
        due = [one for each in due for one in dialled(bench.tell(DialFailed(each)))]
        due += dialled(bench.tick())
    bench.tell(PeersLearned(peer(9), (record(4),)))
    gone = [peer(number) for number in (1, 2, 3) if not bench.machine.addresses_of(account(number))]
    assert gone == failed[:1]


@given(
    st.lists(
        st.tuples(st.sampled_from(["ad", "hearsay", "dial", "fail", "row"]), st.integers(1, 40)),
        max_size=80,
    )
)
def test_the_book_is_bounded_and_keeps_its_seeds(news: list[tuple[str, int]]) -> None:
    bench = Bench(1, 2, book_max=6, hearsay_max=4)
    for kind, number in news:
        match kind:
            case "ad":
                bench.tell(AdLearned(account(number), (address(number),)))
            case "hearsay":
                bench.tell(PeersLearned(peer(90 + number % 3), records(number, 3)))
            case "dial":
                bench.tick(3_000)
            case "row":
                bench.tell(Restored(((account(number), row(number)),)))
            case _:
                bench.tell(DialFailed(peer(number)))
        assert bench.machine.book_size <= 6
        assert bench.machine.addresses_of(account(1))
        assert bench.machine.addresses_of(account(2))


# ---- the disk -------------------------------------------------------------------------------


def row(number: int, connected_ms: int = 0) -> bytes:
    return encode(BookRow((address(number),), Millis(connected_ms)))


def persisted(effects: list[MembershipEffect]) -> list[Persist]:
    return [effect for effect in effects if isinstance(effect, Persist)]


def test_what_is_worth_it_is_written_sparsely() -> None:
    bench = Bench()
    bench.tell(AdLearned(account(1), (address(1),)), PeersLearned(peer(9), (record(2),)))
    assert persisted(bench.tick(1_000)) == []
    assert persisted(bench.tick(5_000)) == [
        Persist((Put(Table.PEERS, account(1), row(1)),)),
    ]
    assert persisted(bench.tick(6_000)) == []
    bench.connect(2, outbound=True)
    reached_ms = bench.now_ms
    assert persisted(bench.tick(6_000)) == [
        Persist((Put(Table.PEERS, account(2), row(2, reached_ms)),))
    ]
    bench.connect(2, outbound=True)
    assert persisted(bench.tick(6_000)) == []


def test_writes_are_bounded_and_the_rest_follows() -> None:
    bench = Bench(rows_max=2)
    for number in (1, 2, 3):
        bench.tell(AdLearned(account(number), (address(number),)))
    counts = [len(one.writes) for _ in range(3) for one in persisted(bench.tick(6_000))]
    assert counts == [2, 1]


def test_who_leaves_the_book_leaves_the_disk() -> None:
    bench = Bench(book_max=1)
    bench.tell(AdLearned(account(1), (address(1),)))
    assert persisted(bench.tick(6_000)) == [Persist((Put(Table.PEERS, account(1), row(1)),))]
    bench.tell(WantedChanged((account(2),)), AdLearned(account(2), (address(2),)))
    assert persisted(bench.tick(6_000)) == [
        Persist((Delete(Table.PEERS, account(1)), Put(Table.PEERS, account(2), row(2))))
    ]


def test_a_restart_goes_on_with_the_book_and_forgets_what_it_cannot_read_or_hold() -> None:
    bench = Bench(start=False, book_max=2)
    rows = [(account(n), row(n, connected_ms=n - 1)) for n in (1, 2, 3)]
    rows += [(account(4), b"rubbish"), (account(ME), row(ME))]
    bench.tell(Restored(tuple(rows)), Started(()))
    assert bench.machine.book_size == 2
    assert persisted(bench.tick(6_000)) == [
        Persist(tuple(Delete(Table.PEERS, account(n)) for n in (3, 4, ME)))
    ]
    answer = bench.machine.peers_for(PeersRequest((account(1), account(2))), peer(9))
    assert answer.records == (record(1), record(2))
