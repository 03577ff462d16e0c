"""Whom to kill, so that it hurts and the network must bear it all the same."""

from collections.abc import Sequence

from p2p.node.errors import UserError


def choose_victims(
    holders: Sequence[Sequence[int]], *, validators: int, spared: Sequence[int]
) -> list[int]:
    """A provider that holds a replica, and one validator, in the order of their numbers.

    They are two nodes, unless every holder that can go is a validator: then that one is both. No
    file loses all of its holders.

    Args:
        holders: for each file, the nodes that hold it.
        validators: nodes 0 to this are validators of equal power.
        spared: nodes that must live.

    Raises:
        UserError: no choice is possible.
    """
    if (validators - 1) // 3 < 1:
        raise UserError(f"of {validators} validators none can be spared: use 4 or more")
    known = sorted({node for held in holders for node in held} - set(spared))
    able = [node for node in known if _leaves_replicas([node], holders)]
    if not able:
        raise UserError(f"none of the nodes {known} can be killed: use more nodes")
    # One that does not vote comes first, then one that holds many files.
    provider = min(able, key=lambda node: (node < validators, -_files(node, holders), node))
    if provider < validators:
        return [provider]
    voters = [
        node
        for node in range(validators)
        if node not in spared and _leaves_replicas([provider, node], holders)
    ]
    if not voters:
        raise UserError(f"no validator can be killed besides node {provider}: use more nodes")
    return [min(voters, key=lambda node: (_files(node, holders), node)), provider]


def _files(node: int, holders: Sequence[Sequence[int]]) -> int:
    return sum(node in held for held in holders)


def _leaves_replicas(killed: Sequence[int], holders: Sequence[Sequence[int]]) -> bool:
    return all(set(held) - set(killed) for held in holders)
