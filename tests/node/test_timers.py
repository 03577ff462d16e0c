"""Timers: one moment a key, the newest; ties in the order in which they were set."""

from hypothesis import given
from hypothesis import strategies as st

from p2p.node.timers import Timers
from p2p.primitives.units import Millis


def popped(timers: Timers, now_ms: int) -> list[str]:
    found = []
    while (key := timers.pop_due(Millis(now_ms))) is not None:
        found.append(key)
    return found


def test_a_timer_fires_once_when_it_is_due() -> None:
    timers = Timers()
    timers.set("one", Millis(10))
    assert timers.next_ms() == 10
    assert popped(timers, 9) == []
    assert popped(timers, 10) == ["one"]
    assert popped(timers, 100) == []
    assert timers.next_ms() is None


def test_setting_a_key_again_replaces_its_moment_earlier_or_later() -> None:
    timers = Timers()
    timers.set("key", Millis(10))
    timers.set("key", Millis(30))
    assert popped(timers, 20) == []
    timers.set("key", Millis(5))
    assert popped(timers, 5) == ["key"]
    assert popped(timers, 100) == []


def test_a_timer_set_twice_to_one_moment_fires_once() -> None:
    timers = Timers()
    timers.set("key", Millis(10))
    timers.set("key", Millis(10))
    assert popped(timers, 10) == ["key"]
    assert timers.next_ms() is None


def test_a_cancelled_timer_does_not_fire_and_an_unknown_one_may_be_cancelled() -> None:
    timers = Timers()
    timers.set("key", Millis(10))
    timers.cancel("key")
    timers.cancel("unknown")
    assert timers.next_ms() is None
    assert popped(timers, 100) == []


def test_equal_moments_fire_in_the_order_in_which_they_were_set() -> None:
    timers = Timers()
    for key in ("c", "a", "b"):
        timers.set(key, Millis(7))
    assert popped(timers, 7) == ["c", "a", "b"]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(-1, 50)), max_size=40))
def test_timers_agree_with_a_plain_dictionary(orders: list[tuple[str, int]]) -> None:
    timers, model = Timers(), dict[str, int]()
    for key, at_ms in orders:
        if at_ms < 0:
            timers.cancel(key)
            model.pop(key, None)
        else:
            timers.set(key, Millis(at_ms))
            model[key] = at_ms
        assert timers.next_ms() == min(model.values(), default=None)
    for now_ms in range(51):
        due = {key for key, at_ms in model.items() if at_ms == now_ms}
        assert set(popped(timers, now_ms)) == due
