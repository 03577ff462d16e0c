"""Delayed wires keep what TCP promises, and are as late as they were asked to be.

All but the last tests run on a clock of their own, over streams in memory.
"""

from collections.abc import Awaitable, Callable, Sequence

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from p2p.primitives.units import KIB, MIB, PeerId
from sim_harness.live.delayed_wires import (
    IN_FLIGHT_BYTES_MAX,
    DelayedStream,
    Distance,
    open_delayed_wires,
)

PEER = PeerId(b"somebody")
HOST = "127.0.0.1"


class MemoryWires:
    """Wires whose every dial is answered at once; `far` is the other end of the last one."""

    def __init__(self) -> None:
        self.far: trio.abc.Stream | None = None

    async def dial(self, peer: PeerId, host: str, port: int) -> trio.abc.Stream:
        near, self.far = memory_stream_pair()
        return near

    async def listen(self, host: str, port: int) -> Sequence[trio.abc.Listener[trio.abc.Stream]]:
        raise OSError("nobody listens in memory")


class Line:
    """A delayed end, the bare other end, and the time that passed."""

    def __init__(self, near: DelayedStream, far: trio.abc.Stream) -> None:
        self.near, self.far = near, far
        self._start_s = trio.current_time()

    @property
    def ms(self) -> float:
        return round((trio.current_time() - self._start_s) * 1000, 6)


def on_a_line(
    body: Callable[[Line], Awaitable[None]],
    *,
    delay_ms: float = 20,
    jitter_ms: float = 0,
) -> None:
    """Run over 20 ms that take no time."""

    async def run() -> None:
        bare, far = memory_stream_pair()
        async with trio.open_nursery() as nursery:
            distance = Distance(delay_ms=delay_ms, jitter_ms=jitter_ms, seed=7)
            near = DelayedStream(bare, distance)
            nursery.start_soon(near.pump)
            await body(Line(near, far))
            nursery.cancel_scope.cancel()

    trio.run(run, clock=MockClock(autojump_threshold=0))


def test_bytes_arrive_after_the_delay_while_their_sender_goes_on() -> None:
    async def body(line: Line) -> None:
        await line.near.send_all(b"one")
        assert line.ms == 0
        await trio.sleep(0.005)
        await line.near.send_all(b"two")
        assert (await line.far.receive_some(), line.ms) == (b"one", 20)
        assert (await line.far.receive_some(), line.ms) == (b"two", 25)

    on_a_line(body)


def test_what_the_other_end_sends_is_not_delayed_here() -> None:
    async def body(line: Line) -> None:
        await line.far.send_all(b"theirs")
        assert (await line.near.receive_some(), line.ms) == (b"theirs", 0)

    on_a_line(body)


def test_jitter_never_lets_bytes_overtake_and_stays_within_its_bounds() -> None:
    async def body(line: Line) -> None:
        sent_ms = []
        for number in range(100):
            sent_ms.append(line.ms)
            await line.near.send_all(bytes([number]))
            await trio.sleep(0.001)
        taken: list[tuple[int, float]] = []
        await line.near.aclose()
        while data := await line.far.receive_some():
            taken += [(one, line.ms) for one in data]
        assert [one for one, _ in taken] == list(range(100))

    on_a_line(body, jitter_ms=10)


def test_equal_seeds_draw_equal_jitter_within_its_bounds() -> None:
    one, other = (Distance(delay_ms=20, jitter_ms=10, seed=3) for _ in range(2))
    drawn = [one.draw_s() for _ in range(100)]
    assert drawn == [other.draw_s() for _ in range(100)]
    assert 0.020 <= min(drawn) < 0.022
    assert 0.028 < max(drawn) <= 0.030


def test_a_negative_delay_is_refused() -> None:
    with pytest.raises(ValueError, match="a delay cannot be negative"):
        Distance(delay_ms=-1)


def test_a_closed_stream_delivers_first_and_then_ends() -> None:
    async def body(line: Line) -> None:
        await line.near.send_all(b"last words")
        await line.near.aclose()
        assert line.ms == 0
        assert (await line.far.receive_some(), line.ms) == (b"last words", 20)
        assert (await line.far.receive_some(), line.ms) == (b"", 20)
        await line.near.aclose()

    on_a_line(body)


def test_forced_closing_under_cancellation_still_ends_the_connection() -> None:
    async def body(line: Line) -> None:
        await trio.aclose_forcefully(line.near)
        assert (await line.far.receive_some(), line.ms) == (b"", 20)

    on_a_line(body)


def test_a_closed_stream_is_of_no_more_use_to_its_owner() -> None:
    async def body(line: Line) -> None:
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await line.near.receive_some()
                assert line.ms == 0, "at once, not when the last bytes have arrived"

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            await line.near.aclose()
        for use in (line.near.send_all(b"x"), line.near.receive_some()):
            with pytest.raises(trio.ClosedResourceError):
                await use
        with pytest.raises(trio.ClosedResourceError):
            await line.near.wait_send_all_might_not_block()

    on_a_line(body)


def test_the_end_of_the_other_side_reads_as_an_end() -> None:
    async def body(line: Line) -> None:
        await line.far.aclose()
        assert await line.near.receive_some() == b""

    on_a_line(body)


def test_a_sender_hears_of_a_reset_once_bytes_met_it() -> None:
    async def body(line: Line) -> None:
        await line.far.aclose()
        await line.near.send_all(b"into the void")
        await trio.sleep(0.021)
        with pytest.raises(trio.BrokenResourceError):
            await line.near.send_all(b"more")
        await line.near.aclose()

    on_a_line(body)


def test_a_full_line_makes_its_sender_wait_until_bytes_arrived() -> None:
    async def body(line: Line) -> None:
        await line.near.send_all(bytes(IN_FLIGHT_BYTES_MAX))
        assert line.ms == 0
        await line.near.send_all(b"one more")
        assert line.ms == 20
        await line.near.wait_send_all_might_not_block()

    on_a_line(body)


def test_a_waiting_sender_hears_of_the_reset() -> None:
    async def body(line: Line) -> None:
        await line.far.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await line.near.send_all(bytes(2 * IN_FLIGHT_BYTES_MAX))
        assert line.ms == 20

    on_a_line(body)


def test_a_cancelled_sender_leaves_a_line_that_works() -> None:
    async def body(line: Line) -> None:
        with trio.move_on_after(0.010) as scope:
            await line.near.send_all(bytes(2 * IN_FLIGHT_BYTES_MAX))
        assert scope.cancelled_caught
        await trio.sleep(0.020)
        await line.near.send_all(b"!")
        await line.near.aclose()
        taken = bytearray()
        while data := await line.far.receive_some():
            taken += data
        assert taken == bytes(IN_FLIGHT_BYTES_MAX) + b"!"

    on_a_line(body)


def test_two_senders_or_two_receivers_are_a_mistake_of_ours() -> None:
    async def body(line: Line) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.near.send_all, bytes(2 * IN_FLIGHT_BYTES_MAX))
            nursery.start_soon(line.near.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await line.near.send_all(b"x")
            with pytest.raises(trio.BusyResourceError):
                await line.near.receive_some()
            nursery.cancel_scope.cancel()

    on_a_line(body)


def test_a_dial_costs_a_round_trip() -> None:
    async def run() -> None:
        async with open_delayed_wires(Distance(delay_ms=20), MemoryWires()) as wires:
            start_s = trio.current_time()
            await wires.dial(PEER, HOST, 1)
            assert trio.current_time() - start_s == pytest.approx(0.040)

    trio.run(run, clock=MockClock(autojump_threshold=0))


def test_the_end_of_the_wires_cuts_their_connections() -> None:
    async def run() -> None:
        inner = MemoryWires()
        async with open_delayed_wires(Distance(delay_ms=20), inner) as wires:
            stream = await wires.dial(PEER, HOST, 1)
            await stream.send_all(b"never arrives")
        assert inner.far is not None
        assert await inner.far.receive_some() == b""

    trio.run(run, clock=MockClock(autojump_threshold=0))


async def test_real_sockets_carry_a_mebibyte_in_order_and_late() -> None:
    """Over TCP and the machine's clock: at least the delay, and not much more."""
    distance = Distance(delay_ms=20)
    data = bytes(number % 251 for number in range(MIB + 3 * KIB))
    with trio.fail_after(4):
        async with open_delayed_wires(distance) as wires:
            (listener,) = await wires.listen(HOST, 0)
            port = listener.socket.getsockname()[1]  # type: ignore[attr-defined]
            dialled = await wires.dial(PEER, HOST, port)
            accepted = await listener.accept()
            start_s = trio.current_time()
            await dialled.send_all(b"?")
            assert await accepted.receive_some() == b"?"
            await accepted.send_all(b"!")
            assert await dialled.receive_some() == b"!"
            assert 0.040 <= trio.current_time() - start_s < 1
            async with trio.open_nursery() as nursery:
                nursery.start_soon(dialled.send_all, data)
                taken = bytearray()
                while len(taken) < len(data):
                    taken += await accepted.receive_some()
            assert taken == data
            await listener.aclose()


async def test_a_refused_dial_is_told_as_by_tcp() -> None:
    async with open_delayed_wires(Distance(delay_ms=1)) as wires:
        (listener,) = await wires.listen(HOST, 0)
        port = listener.socket.getsockname()[1]  # type: ignore[attr-defined]
        await listener.aclose()
        with pytest.raises(OSError, match=r"refused|connect"):
            await wires.dial(PEER, HOST, port)
