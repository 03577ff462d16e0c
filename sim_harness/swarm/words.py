"""Faults drawn at random: one small function a word of scenarios."""

from collections.abc import Callable
from random import Random
from typing import Final, TypedDict

from p2p.primitives.units import Millis
from sim_harness.scenario import schema
from sim_harness.scenario.schema import Fault, Load, Network
from sim_harness.virtual.cuts import Direction
from sim_harness.virtual.spans import millis, seconds

START: Final = 1_500
"""Milliseconds until nodes have started; some faults do not wait for it."""
SPANS: Final = (200, 500, 1_000, 2_000, 4_000, 8_000, 15_000)
ROUGH: Final = 100
"""Moments are drawn in steps of so many milliseconds, so that files are readable and ties occur."""

Word = Callable[[Random, Network, Load, Millis, int], Fault]


class When(TypedDict):
    """The fields that every fault has."""

    at: Millis
    lasts: Millis | None
    every: Millis | None


def kill(draws: Random, network: Network, load: Load, duration: Millis, liars: int) -> Fault:
    """Some processes end for a while."""
    return schema.Kill(**when(draws, duration), nodes=some(draws, network, load))


def restart(draws: Random, network: Network, load: Load, duration: Millis, liars: int) -> Fault:
    """Some processes end, and start again."""
    return schema.Restart(**when(draws, duration), nodes=some(draws, network, load))


def pause(draws: Random, network: Network, load: Load, duration: Millis, liars: int) -> Fault:
    """Some processes freeze."""
    return schema.Pause(**when(draws, duration), nodes=some(draws, network, load))


def disconnect(draws: Random, network: Network, load: Load, duration: Millis, liars: int) -> Fault:
    """Some nodes are alone."""
    return schema.Disconnect(**when(draws, duration), nodes=some(draws, network, load))


def partition(draws: Random, network: Network, load: Load, duration: Millis, liars: int) -> Fault:
    """Groups do not hear one another."""
    return schema.Partition(
        **when(draws, duration),
        groups=groups(draws, network, liars),
        direction=direction(draws),
    )


def delay(draws: Random, network: Network, load: Load, duration: Millis, liars: int) -> Fault:
    """Late messages."""
    return schema.Delay(
        **when(draws, duration),
        nodes=some(draws, network, load),
        add=millis(draws.choice((50, 200, 600, 1_500, 3_000))),
        jitter=millis(draws.choice((0, 0, 100, 1_000))),
        direction=direction(draws),
    )


def loss(draws: Random, network: Network, load: Load, duration: Millis, liars: int) -> Fault:
    """Lost packets."""
    return schema.Loss(
        **when(draws, duration),
        nodes=some(draws, network, load),
        share=draws.choice((100, 500, 1_500, 4_000)),
        direction=direction(draws),
    )


def bandwidth(draws: Random, network: Network, load: Load, duration: Millis, liars: int) -> Fault:
    """Narrow uplinks."""
    return schema.Bandwidth(
        **when(draws, duration),
        nodes=some(draws, network, load),
        rate=draws.choice((100_000, 500_000, 2_000_000)),
    )


def slow_disk(draws: Random, network: Network, load: Load, duration: Millis, liars: int) -> Fault:
    """Slow fsyncs."""
    return schema.SlowDisk(
        **when(draws, duration),
        nodes=some(draws, network, load),
        add=millis(draws.choice((10, 50, 200, 1_000))),
    )


def disk_full(draws: Random, network: Network, load: Load, duration: Millis, liars: int) -> Fault:
    """No space."""
    return schema.DiskFull(**when(draws, duration), nodes=some(draws, network, load))


def torn_write(draws: Random, network: Network, load: Load, duration: Millis, liars: int) -> Fault:
    """Power fails within a write."""
    return schema.TornWrite(**when(draws, duration), nodes=some(draws, network, load))


def corrupt_page(
    draws: Random, network: Network, load: Load, duration: Millis, liars: int
) -> Fault:
    """Damaged pages, of few enough that vote: a chain that a third forgot may stand still."""
    spare = (network.validators - 1) // 3 - liars
    choices = [f"validators[0:{spare}]"] * 2 if spare > 0 else []
    if network.nodes > network.validators:
        choices += ["others", "others[0]"]
    if not choices:
        return restart(draws, network, load, duration, liars)
    return schema.CorruptPage(**when(draws, duration), nodes=draws.choice(choices))


def slow_cpu(draws: Random, network: Network, load: Load, duration: Millis, liars: int) -> Fault:
    """Slow processors."""
    return schema.SlowCpu(
        **when(draws, duration),
        nodes=some(draws, network, load),
        speed=draws.choice((300, 1_000, 3_000)),
    )


def clock_skew(draws: Random, network: Network, load: Load, duration: Millis, liars: int) -> Fault:
    """Wrong clocks."""
    offset = draws.choice((0, 200, 600, 2_000, 10_000)) * draws.choice((-1, 1))
    drift = draws.choice((0, 0, 200, 5_000)) * draws.choice((-1, 1))
    return schema.ClockSkew(
        **when(draws, duration),
        nodes=some(draws, network, load),
        offset=millis(offset if offset or drift else 1_000),
        drift=drift,
    )


def churn(draws: Random, network: Network, load: Load, duration: Millis, liars: int) -> Fault:
    """Nodes come and go."""
    moment = when(draws, duration)
    return schema.Churn(
        at=moment["at"],
        lasts=moment["lasts"],
        nodes=some(draws, network, load),
        sessions=draws.choice(("exponential", "weibull")),
        mean=seconds(draws.choice((1, 4, 15))),
        down=millis(draws.choice((300, 1_000, 4_000))),
    )


WORDS: Final[tuple[Word, ...]] = (
    kill,
    restart,
    pause,
    disconnect,
    partition,
    partition,
    delay,
    loss,
    bandwidth,
    slow_disk,
    disk_full,
    torn_write,
    corrupt_page,
    slow_cpu,
    clock_skew,
    churn,
)
"""Partitions twice: most mistakes of consensus need one."""


# ---- parts -------------------------------------------------------------------------------------


def when(draws: Random, duration: Millis) -> When:
    """A moment and a span within the scenario; sometimes over and over."""
    first = draws.choice((0, START, START, START))
    at = draws.randrange(first, duration - 500, ROUGH)
    lasts = min(draws.choice(SPANS), duration - at)
    every = None
    if draws.random() < 0.25:
        every = Millis(lasts + draws.randrange(ROUGH, 6_000, ROUGH))
    return {"at": Millis(at), "lasts": Millis(lasts), "every": every}


def direction(draws: Random) -> Direction:
    """Mostly both ways."""
    return draws.choice((Direction.BOTH, Direction.BOTH, Direction.OUT, Direction.IN))


def some(draws: Random, network: Network, load: Load) -> str:
    """A selector that matches somebody."""
    validators, others = network.validators, network.nodes - network.validators
    choices = [
        "all",
        "validators",
        "proposer",
        f"{draws.choice((25, 50, 75))}%",
        f"random({draws.randint(1, validators)}) of validators",
        f"random({draws.randint(1, validators)}) of validators",
        f"validators[{draws.randrange(validators)}]",
        f"validators[{draws.randrange(validators)}:]",
        f"nodes[{draws.randrange(network.nodes)}]",
    ]
    if others:
        choices += ["others", f"others[{draws.randrange(others)}]"]
    if load.consumers:
        choices.append("consumers")
    if load.adds_per_minute:
        choices += ["holders(last)", f"random(1) of holders({draws.randint(1, 4)})"]
    if isinstance(network.distance, schema.Regions):
        names = network.distance.names[: network.nodes]
        choices.append(f"region:{draws.choice(names)}")
    return draws.choice(choices)


def groups(draws: Random, network: Network, liars: int) -> tuple[str, ...]:
    """Two groups or three; sometimes liars, who are the last validators, stand between them."""
    honest = network.validators - liars
    if liars and honest > 1 and draws.random() < 0.6:
        middle = draws.randint(1, honest - 1)
        return f"validators[:{middle}]", f"validators[{middle}:{honest}]"
    if network.nodes > 3 and draws.random() < 0.25:
        first, second = sorted(draws.sample(range(1, network.nodes), 2))
        return f"nodes[:{first}]", f"nodes[{first}:{second}]", "rest"
    if draws.random() < 0.5:
        return f"random({draws.randint(1, network.validators)}) of validators", "rest"
    return f"nodes[:{draws.randrange(1, network.nodes)}]", "rest"
