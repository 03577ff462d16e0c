"""Whom to kill, so that it hurts and the network must bear it all the same."""

from collections.abc import Sequence

from p2p.node.errors import UserError


def choose_victims(
    holders: Sequence[Sequence[int]], *, validators: int, spared: Sequence[int]
) -> list[int]:
    """A provider of every file, and one validator, in the order of their numbers.

    No file loses all of its holders, and no more than a third of the validators less one go.

    Args:
        holders: for each file, the nodes that hold it.
        validators: nodes 0 to this are validators of equal power.
        spared: nodes that must live.

    Raises:
        UserError: no choice is possible.
    """
    faults = (validators - 1) // 3
    chosen: list[int] = []
    for held in holders:
        if any(node in chosen for node in held):
            continue
        # One that holds many files and does not vote comes first.
        able = [
            node
            for node in dict.fromkeys(held)
            if node not in spared
            and _is_bearable([*chosen, node], holders, validators=validators, faults=faults)
        ]
        if not able:
            raise UserError(f"none of the nodes {list(held)} can be killed: use more nodes")
        chosen.append(min(able, key=lambda node: (-_files(node, holders), node < validators, node)))
    if not any(node < validators for node in chosen):
        able = [
            node
            for node in range(validators)
            if node not in spared
            and _is_bearable([*chosen, node], holders, validators=validators, faults=faults)
        ]
        if not able:
            raise UserError(f"of {validators} validators none can be spared: use 4 or more")
        chosen.append(min(able, key=lambda node: (_files(node, holders), node)))
    return sorted(chosen)


def _files(node: int, holders: Sequence[Sequence[int]]) -> int:
    return sum(node in held for held in holders)


def _is_bearable(
    chosen: Sequence[int], holders: Sequence[Sequence[int]], *, validators: int, faults: int
) -> bool:
    alive = all(any(node not in chosen for node in held) for held in holders)
    return alive and sum(node < validators for node in chosen) <= faults
