"""Cuts block what passes between groups, in one or both directions."""

import pytest

from sim_harness.virtual.cuts import Cut, Direction

PAIRS = [(0, 2), (2, 0), (0, 1), (0, 9), (9, 0)]


@pytest.mark.parametrize(
    ("direction", "blocked"),
    [
        (Direction.BOTH, [(0, 2), (2, 0)]),
        (Direction.OUT, [(0, 2)]),
        (Direction.IN, [(2, 0)]),
    ],
)
def test_a_cut_blocks_between_groups_as_the_first_sees_it(
    direction: Direction, blocked: list[tuple[int, int]]
) -> None:
    cut = Cut([[0, 1], [2, 3]], direction)
    assert [pair for pair in PAIRS if cut.blocks(*pair)] == blocked


def test_everybody_not_named_may_be_a_group() -> None:
    cut = Cut([[0]], elsewhere=1)
    assert [pair for pair in [*PAIRS, (1, 9)] if cut.blocks(*pair)] == PAIRS


def test_nobody_is_on_two_sides() -> None:
    with pytest.raises(ValueError, match="node 1 is on two sides"):
        Cut([[0, 1], [1]])
