"""A run full of ties, in which much happens: what repeats here repeats anywhere."""

from p2p.model.parameters import Parameters
from sim_harness.virtual.conditions import height_at_least, split
from sim_harness.virtual.spans import millis, seconds
from sim_harness.virtual.workload import Trade, Transfers
from sim_harness.virtual.world import World

TIED = Parameters(epoch_ms=seconds(1))


def tied_world(seed: int, *, real_signatures: bool = False, kind: type[World] = World) -> World:
    """A run full of ties: one latency, no jitter, everybody started at the same instant."""
    world = kind(
        seed=seed,
        nodes=9,
        validators=6,
        parameters=TIED,
        latency=lambda source, target: 10_000,
        jitter_us=0,
        real_signatures=real_signatures,
    )
    world.start(within=millis(0))
    return world


def eventful_run(seed: int, kind: type[World] = World) -> str:
    """Work, a partition, crashes, restarts; the digest of all of it."""
    world = tied_world(seed, kind=kind)
    Trade(world, world.others[0], world.others[1])
    Transfers(world, every=seconds(0.3))
    world.run_until(height_at_least(3))
    west, east = split(world.nodes, 4, 5)
    with world.partition(west, east):
        world.run_for(seconds(18))
    world.crash(*world.nodes)
    world.start(within=millis(0))
    world.run_until(height_at_least(max(world.committed) + 3))
    world.check()
    return f"{world.digest} {world.heap.events} {max(world.committed)}"
