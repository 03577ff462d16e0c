"""Every deliberately broken build is caught, and the product passes what caught it."""

import pytest

from p2p.model import block
from sim_harness.canaries import CANARIES, canary, hunt, plant, play, provocation, stage
from sim_harness.surgery import exchanged
from sim_harness.virtual.conditions import height_at_least
from sim_harness.virtual.world import World

SEEDS = range(20)
"""All are caught within these; docs/canaries.md has the figures of more."""


@pytest.mark.parametrize("name", CANARIES)
def test_a_checker_sees_the_mistake_and_finds_none_without_it(name: str) -> None:
    caught = hunt(canary(name), SEEDS)
    assert caught is not None
    print(f"{name}: {caught.seeds} seeds, {caught.finding[:100]}")
    assert any(word in caught.finding for word in canary(name).caught_by)
    drawn = provocation(caught.seed)
    play(stage(drawn), drawn)


@pytest.mark.parametrize("name", CANARIES)
def test_a_broken_build_looks_well_as_long_as_nothing_goes_wrong(name: str) -> None:
    """What a canary shows is worth something only if the happy path does not show it."""
    world = World(seed=1, nodes=4, validators=4)
    plant(world, canary(name))
    world.start()
    world.run_until(height_at_least(2))
    world.check()


def test_the_products_parts_are_back_whenever_somebody_else_looks() -> None:
    parts = [part for build in CANARIES.values() for part in build.parts]
    before = [getattr(*part) for part in parts]
    assert len(parts) >= 10
    world = World(seed=1, nodes=4, validators=4)
    plant(world, canary("quorum_half"))
    world.start()
    world.run_until(height_at_least(1))
    assert [getattr(*part) for part in parts] == before
    with pytest.raises(ZeroDivisionError), exchanged({(block, "is_quorum"): None}):
        1 / 0  # noqa: B018 - the body fails
    assert [getattr(*part) for part in parts] == before


def test_a_scenario_is_drawn_from_its_seed_alone() -> None:
    assert [provocation(seed) for seed in range(50)] == [provocation(seed) for seed in range(50)]
    assert provocation(1) != provocation(2)


def test_an_unknown_canary_is_named() -> None:
    with pytest.raises(ValueError, match="unknown canary 'yellow'; known: quorum_half, forget_lo"):
        canary("yellow")


def test_a_build_is_planted_before_anything_runs() -> None:
    world = World(seed=1, nodes=4, validators=4)
    world.nodes[2].start()
    with pytest.raises(ValueError, match="node 2 runs already"):
        plant(world, canary("forget_lock"))
