"""Links under one-way cuts and under weather."""

from sim_harness.virtual.cuts import Cut, Direction
from sim_harness.virtual.links import SILENCE_US, WINDOW_BYTES_MAX
from sim_harness.virtual.weather import Rule
from tests.sim_harness.virtual.test_links import LATENCY_US, A, B, Bench, C

HALF = WINDOW_BYTES_MAX // 2


def names(bench: Bench) -> list[str]:
    return [name for _, name in bench.arrived]


def test_of_the_open_direction_a_window_arrives_and_the_rest_after_healing() -> None:
    """Given a cut for what A says; when both speak; then B is heard until its window is used up."""
    bench = Bench(bytes_per_second=10**9)
    connection = bench.links.connect(A, B)
    cut = Cut([[A], [B]], Direction.OUT)
    bench.links.cut(cut)
    bench.send(connection, "a")
    for name in ("b1", "b2", "b3"):
        bench.send(connection, name, size=HALF, source=B)
    bench.send(connection, "b4", size=1, source=B)
    bench.run_to(SILENCE_US - 1)
    assert names(bench) == ["b1", "b2"]
    bench.links.heal(cut)
    bench.run_to(SILENCE_US + LATENCY_US + 1_000)
    assert names(bench)[2:] in (["a", "b3", "b4"], ["b3", "b4", "a"], ["a", "b4", "b3"])
    assert bench.broken == []


def test_a_one_way_cut_breaks_a_connection_and_stops_dials_both_ways() -> None:
    bench = Bench()
    connection, spared = bench.links.connect(A, B), bench.links.connect(B, C)
    bench.links.cut(Cut([[A]], Direction.IN, elsewhere=1))
    assert bench.links.is_cut(A, B)
    assert bench.links.is_cut(B, A)
    bench.run_to(SILENCE_US)
    assert bench.broken == [connection]
    assert spared.is_up


def test_after_healing_the_window_is_open_again() -> None:
    bench = Bench(bytes_per_second=10**9)
    connection = bench.links.connect(A, B)
    for _ in range(3):
        cut = Cut([[A], [B]], Direction.OUT)
        bench.links.cut(cut)
        bench.send(connection, "b", size=HALF, source=B)
        bench.run_to(bench.heap.now_us + LATENCY_US + 1_000)
        bench.links.heal(cut)
    assert names(bench) == ["b", "b", "b"]


def test_one_of_two_cuts_is_not_healed_with_the_other() -> None:
    bench = Bench()
    connection = bench.links.connect(A, B)
    first, second = Cut([[A], [B]]), Cut([[A]], elsewhere=1)
    bench.links.cut(first)
    bench.links.cut(second)
    bench.send(connection, "late")
    bench.links.heal(first)
    bench.run_to(1_000_000)
    assert names(bench) == []
    bench.links.heal(second)
    bench.run_to(2_000_000)
    assert names(bench) == ["late"]


def test_a_packet_that_stays_lost_breaks_the_connection() -> None:
    bench = Bench()
    bench.links.weather.add(Rule([A], loss=0.9))
    connection = bench.links.connect(A, B)
    for number in range(40):
        bench.send(connection, f"{number}")
    bench.run_to(SILENCE_US)
    assert bench.broken == [connection]
    arrived = len(bench.arrived)
    bench.run_to(100 * SILENCE_US)
    assert len(bench.arrived) == arrived < 40


def test_lost_packets_do_not_change_the_order() -> None:
    bench = Bench()
    bench.links.weather.add(Rule([A], loss=0.3, delay_us=5_000, jitter_us=9_000))
    connection = bench.links.connect(A, B)
    for number in range(100):
        bench.send(connection, f"{number:03}")
    bench.run_to(SILENCE_US)
    assert bench.broken == []
    assert names(bench) == sorted(names(bench))
    assert len(bench.arrived) == 100
    assert bench.arrived[-1][0] > 200_000
