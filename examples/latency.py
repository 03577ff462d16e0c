"""A latency model of your own: some nodes are behind a satellite, the others share a city.

Run it with `python examples/latency.py`; docs/virtual-world.md says what else can be exchanged.
"""

from dataclasses import dataclass

from p2p.primitives.units import Millis
from sim_harness import World
from sim_harness.virtual.conditions import height_at_least


@dataclass(frozen=True)
class Satellite:
    """Microseconds one way, between node indices: every hop to the sky and back costs the same."""

    dishes: frozenset[int]
    """Nodes behind a satellite."""
    hop_us: int = 270_000
    """To a geostationary satellite and down again."""
    city_us: int = 2_000

    def __call__(self, source: int, target: int) -> int:
        hops = (source in self.dishes) + (target in self.dishes)
        return self.city_us + hops * self.hop_us


def run(seed: int, dishes: int) -> Millis:
    """How long five heights take with so many of seven validators behind a satellite."""
    latency = Satellite(frozenset(range(7 - dishes, 7)))
    world = World(seed=seed, nodes=7, validators=7, latency=latency)
    world.start()
    took = world.run_until(height_at_least(5))
    world.check()
    return took


def main() -> None:
    for dishes in (0, 2, 4, 7):
        print(f"{dishes} of 7 behind a satellite: 5 heights in {run(1, dishes)} ms")


if __name__ == "__main__":
    main()
