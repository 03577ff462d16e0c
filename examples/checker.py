"""A checker of your own: no validator has more than its share of the blocks.

Run it with `python examples/checker.py`; docs/virtual-world.md says what else can be exchanged.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sim_harness import World
from sim_harness.virtual.checkers import stored_chain
from sim_harness.virtual.conditions import height_at_least


@dataclass(frozen=True)
class FairTurns:
    """Between the most and the least frequent proposer lie at most so many blocks."""

    spread_max: int = 1
    __name__ = "fair turns"
    """Of its findings."""

    def __call__(self, world: World) -> Iterator[str]:
        """One sentence for every node whose chain is unfair."""
        for node in world.honest:
            turns = Counter({one.key.account: 0 for one in world.validators})
            turns.update(committed.block.header.proposer for committed in stored_chain(node))
            spread = max(turns.values()) - min(turns.values())
            if spread > self.spread_max:
                yield f"node {node.index}: {sorted(turns.values())} blocks by proposer"


def run(seed: int, *, crash: bool) -> list[str]:
    """What the checker finds after eight heights, with one of four validators dead or not."""
    world = World(seed=seed, nodes=4, validators=4)
    world.start()
    world.run_until(height_at_least(1))
    if crash:
        world.crash(world.validators[3])
    world.run_until(height_at_least(8, world.validators[:3]))
    return list(FairTurns()(world))


def main() -> None:
    print("all run:      ", run(1, crash=False) or "fair")
    print("one is dead:  ", run(1, crash=True) or "fair")


if __name__ == "__main__":
    main()
