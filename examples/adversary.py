"""An adversary of your own: a gossip that tells every peer only half of what it hears.

Run it with `python examples/adversary.py`; docs/adversaries.md explains the hooks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from p2p.model.rpc import Message
from p2p.primitives.units import Millis, PeerId
from sim_harness.adversaries import Adversary, recruit, register
from sim_harness.virtual.conditions import height_at_least
from sim_harness.virtual.world import World


@register
@dataclass
class HalfDeaf(Adversary):
    """Passes on each message with a chance of `percent`, drawn for every peer."""

    kind: ClassVar[str] = "half_deaf"
    percent: int = 50

    def say(self, peer: PeerId, message: Message, now_ms: Millis) -> Iterable[Message]:
        if self.draws.randrange(100) < self.percent:
            return (message,)
        self.deeds["messages swallowed"] += 1
        return ()


def run(seed: int) -> tuple[Millis, int]:
    """Two of seven validators are half deaf: how long five heights take, and what was swallowed."""
    world = World(seed=seed, nodes=10, validators=7)
    liars = recruit(world, "half_deaf", 2, {"percent": 30})
    world.start()
    took = world.run_until(height_at_least(5, world.honest))
    world.check()
    return took, sum(liar.deeds["messages swallowed"] for liar in liars)


def main() -> None:
    for seed in range(3):
        took, swallowed = run(seed)
        print(f"seed {seed}: 5 heights in {took} ms, {swallowed} messages swallowed, no fork")


if __name__ == "__main__":
    main()
