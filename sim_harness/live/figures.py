"""A live cluster in figures: how far, how much in agreement, at what cost."""

from collections.abc import Sequence
from statistics import median

import msgspec

from sim_harness.live.cluster import LiveCluster, LiveNode, NodeState
from sim_harness.live.process_memory import Usage, usage


class Spread(msgspec.Struct, frozen=True):
    """Smallest, middle and largest of some counts."""

    min: int
    median: float
    max: int


class Figures(msgspec.Struct, frozen=True):
    """All nodes at a moment."""

    nodes: int
    up: int
    frozen: int
    down: int
    height: Spread
    round: int
    """The greatest that a node needed for its last block."""
    agreement: bool
    """No two nodes ever committed different blocks at one height."""
    same_state: bool
    """All nodes that serve are at one height with one state root."""
    peers: Spread
    mesh: Spread
    """Of the topic in which a node has fewest."""
    ads: Spread
    receipts: int
    """The most that any node has seen settled since it started."""
    earned: int
    """Micro-tokens that providers received, as each counted since it started."""
    cpu_s: float
    disagreements: Sequence[str]
    failures: Sequence[str]


class Cost(msgspec.Struct, frozen=True):
    """What the processes take, measured from outside. Memory in bytes, means over the nodes."""

    pss_mean_bytes: int
    pss_max_bytes: int
    private_mean_bytes: int
    private_max_bytes: int
    pss_total_bytes: int
    """Of all nodes and of the parent that they were forked from."""
    cpu_percent_node: float
    """Mean processor use of a node at rest; 100 is one core."""
    cpu_percent_total: float
    measured_s: float


def figures(cluster: LiveCluster) -> Figures:
    """As the nodes told last."""
    told = [node.status for node in cluster.nodes if node.status is not None]
    return Figures(
        nodes=len(cluster.nodes),
        up=len(cluster.up()),
        frozen=sum(node.state is NodeState.PAUSED for node in cluster.nodes),
        down=sum(node.state is NodeState.DOWN for node in cluster.nodes),
        round=max((status.round for status in told), default=0),
        mesh=spread([status.mesh for status in told]),
        height=spread([status.height for status in told]),
        agreement=not cluster.disagreements,
        same_state=cluster.agreed(),
        peers=spread([status.peers for status in told]),
        ads=spread([status.ads for status in told]),
        receipts=max((status.settled for status in told), default=0),
        earned=sum(status.earned for status in told),
        cpu_s=sum(status.cpu_ms for status in told) / 1000,
        disagreements=tuple(cluster.disagreements),
        failures=tuple(cluster.failures),
    )


def is_brought_up(cluster: LiveCluster) -> bool:
    """Whether every node serves, has a first block and knows every node's ad."""
    count = len(cluster.nodes)
    return all(
        node.state is NodeState.UP
        and node.status is not None
        and node.status.height >= 1
        and node.status.ads >= count
        for node in cluster.nodes
    )


def spread(counts: Sequence[int]) -> Spread:
    """Smallest, middle, largest; zeros of nothing."""
    if not counts:
        return Spread(0, 0, 0)
    return Spread(min(counts), median(counts), max(counts))


def usages(nodes: Sequence[LiveNode]) -> dict[int, Usage]:
    """What each node's process takes, by process id; without those that are gone."""
    found = {node.pid: usage(node.pid) for node in nodes if node.pid is not None}
    return {pid: taken for pid, taken in found.items() if taken is not None}


def cost(
    before: dict[int, Usage], after: dict[int, Usage], *, seconds: float, parent: Usage | None
) -> Cost | None:
    """From two measurements of the same processes; None when there is none."""
    both = [(before[pid], taken) for pid, taken in after.items() if pid in before]
    if not both:
        return None
    count = len(both)
    cpu_percent = 100 * sum(late.cpu_s - early.cpu_s for early, late in both) / seconds
    pss = [late.pss_bytes for _, late in both]
    private = [late.private_bytes for _, late in both]
    return Cost(
        pss_mean_bytes=sum(pss) // count,
        pss_max_bytes=max(pss),
        private_mean_bytes=sum(private) // count,
        private_max_bytes=max(private),
        pss_total_bytes=sum(pss) + (parent.pss_bytes if parent else 0),
        cpu_percent_node=round(cpu_percent / count, 2),
        cpu_percent_total=round(cpu_percent, 1),
        measured_s=round(seconds, 1),
    )
