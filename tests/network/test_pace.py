"""What one peer and one address may ask of us: token buckets and places."""

from hypothesis import given
from hypothesis import strategies as st

from p2p.network import TransportLimits
from p2p.network.pace import AddressPlaces, Pace


def test_a_burst_passes_and_the_rest_comes_at_the_rate() -> None:
    pace = Pace(per_s=10, burst=3)
    assert [round(pace.wait_s(100.0), 3) for _ in range(6)] == [0, 0, 0, 0.1, 0.2, 0.3]
    assert pace.wait_s(102.0) == 0


@given(st.lists(st.floats(0, 2), min_size=1, max_size=60))
def test_no_second_sees_more_than_the_burst_and_the_rate(gaps_s: list[float]) -> None:
    pace, now_s, served = Pace(per_s=5, burst=4), 1_000.0, []
    for gap_s in gaps_s:
        now_s += gap_s
        served.append(now_s + pace.wait_s(now_s))
    for start_s in served:
        assert sum(start_s <= at_s < start_s + 1 for at_s in served) <= 4 + 5 + 1


def test_each_address_has_its_places_and_gets_them_back() -> None:
    places = AddressPlaces(TransportLimits(connections_per_ip_max=2, connections_loopback_max=3))
    first = places.take("10.0.0.1")
    assert first is not None
    assert places.take("10.0.0.1")
    assert places.take("10.0.0.1") is None
    assert places.take("::ffff:10.0.0.1") is None
    assert places.take("10.0.0.2")
    places.give_back(first)
    assert places.take("10.0.0.1")


def test_an_ipv6_network_of_64_bits_is_one_address() -> None:
    places = AddressPlaces(TransportLimits(connections_per_ip_max=1))
    assert places.take("2001:db8:1:2::1")
    assert places.take("2001:db8:1:2:ffff::9") is None
    assert places.take("2001:db8:1:3::1")


def test_loopback_has_a_bound_of_its_own() -> None:
    free = AddressPlaces(TransportLimits(connections_per_ip_max=1))
    assert all(free.take(host) for host in ["127.0.0.1", "::1", "127.0.0.9"] * 9)
    bound = AddressPlaces(TransportLimits(connections_loopback_max=2))
    assert [bound.take(host) for host in ("127.0.0.1", "::1", "127.0.0.9")][2] is None
