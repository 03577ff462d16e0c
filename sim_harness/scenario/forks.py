"""A fork that a scenario expects: more than a third lied, and honest disks say who it was.

The same analysis as `p2p evidence analyze`, over the commits of the first height that honest disks
hold two blocks of.
"""

from typing import Final

from p2p.primitives.units import Height
from p2p.protocol.accountability.analysis import analyze
from p2p.storage.proofs import stored_proof
from sim_harness.scenario.results import Check
from sim_harness.virtual.checkers import stored_chain
from sim_harness.virtual.world import World

NAME: Final = "forked"
PROMISE: Final = "two blocks of a height; more than a third named as guilty, liars alone"


def forked_height(world: World) -> Height | None:
    """The first height of which honest disks hold two blocks."""
    first: dict[Height, bytes] = {}
    parted: list[Height] = []
    for node in world.honest:
        for committed in stored_chain(node):
            header = committed.block.header
            if first.setdefault(header.height, header.digest()) != header.digest():
                parted.append(header.height)
                break
    return min(parted, default=None)


def check_fork(world: World) -> Check:
    """Whether the chain forked, and the guilty are named by what honest disks hold."""
    height = forked_height(world)
    if height is None:
        return Check(NAME, PROMISE, "one block a height", holds=False)
    proofs = [stored_proof(node.store, height) for node in world.honest]
    found = analyze([proof for proof in proofs if proof is not None])
    guilty = {entry.account for entry in found.guilt}
    nodes = sorted(node.index for node in world.nodes if node.key.account in guilty)
    falsely = [node.index for node in world.honest if node.key.account in guilty]
    text = f"at height {height}; named: nodes {', '.join(map(str, nodes)) or 'none'}"
    if falsely:
        text += f", of whom {', '.join(map(str, falsely))} are honest"
    holds = found.is_fork and found.names_enough and not falsely
    return Check(NAME, PROMISE, text, holds=holds)
