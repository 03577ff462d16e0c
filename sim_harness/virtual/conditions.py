"""What a scenario waits for: small predicates over a world, to be given to `World.run_until`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from p2p.primitives.units import Millis

if TYPE_CHECKING:
    from sim_harness.virtual.node import VirtualNode
    from sim_harness.virtual.world import World

Condition = Callable[["World"], bool]
Group = Sequence["VirtualNode"]


def split(nodes: Group, *sizes: int) -> "list[list[VirtualNode]]":
    """Consecutive groups of these sizes. Raises ValueError unless they add up to all nodes."""
    if sum(sizes) != len(nodes):
        raise ValueError(f"groups of {sizes} do not make {len(nodes)} nodes")
    rest = list(nodes)
    return [[rest.pop(0) for _ in range(size)] for size in sizes]


def height_max(nodes: Group) -> int:
    """The greatest height that one of the nodes has committed."""
    return max(node.height for node in nodes)


def height_min(nodes: Group) -> int:
    """The height that all of the nodes have committed; 0 when one is down."""
    return min(node.height for node in nodes)


def height_at_least(height: int, nodes: Group | None = None) -> Condition:
    """These nodes, or all, run and have committed a height."""
    return lambda world: all(
        node.height >= height for node in (world.nodes if nodes is None else nodes)
    )


def caught_up(*groups: Group) -> Condition:
    """These nodes, or all that run, are at one height, and it is the greatest of the world.

    An instant of it is enough: nodes that take part commit a height at different moments.
    """

    def together(world: "World") -> bool:
        watched = [node for group in groups for node in group]
        watched = watched or [node for node in world.nodes if node.is_up]
        return bool(watched) and height_min(watched) == height_max(world.nodes)

    return together


def has_crashed(node: "VirtualNode") -> Condition:
    """A process of this node died."""
    return lambda world: node.crashes > 0


def signed_since(height: int, node: "VirtualNode") -> Condition:
    """A vote or proposal of this node for this height, or one above, has left some node."""
    return lambda world: world.book.last_height(node.key.account) >= height


def ads_known(count: int, nodes: Group | None = None) -> Condition:
    """These nodes, or all, run and know the ads of so many providers."""
    behind = 0

    def known(world: "World") -> bool:
        nonlocal behind
        watched = world.nodes if nodes is None else nodes
        # Whoever lacked one at the last look is asked first: it mostly still does.
        for place in range(behind, behind + len(watched)):
            replica = watched[place % len(watched)].replica
            if replica is None or len(replica.registry.ads()) < count:
                behind = place % len(watched)
                return False
        return True

    return known


def all_of(*conditions: Condition) -> Condition:
    """Every one of them, at one moment."""
    return lambda world: all(condition(world) for condition in conditions)


def after(moment_ms: Millis) -> Condition:
    """A moment of virtual time has come."""
    return lambda world: world.now_ms >= moment_ms
