"""Recruiting by name, and what a scenario is told when it asks for what is not there."""

import re

import pytest

from sim_harness.adversaries import ADVERSARIES, Adversary, corrupt, recruit, register
from sim_harness.adversaries.silent import Silent
from sim_harness.virtual.world import World


@pytest.fixture
def world() -> World:
    return World(seed=1, nodes=6, validators=4)


def test_the_table_has_every_liar_by_name() -> None:
    assert sorted(ADVERSARIES) == [
        "amnesiac",
        "eclipser",
        "equivocator",
        "flooder",
        "forger",
        "graft_flooder",
        "ihave_spammer",
        "invalid_spammer",
        "iwant_flooder",
        "lying_syncer",
        "mute",
        "replayer",
        "silent",
        "stale_advertiser",
        "twin",
        "wash_trader",
        "withholder",
    ]
    assert all(adversary.__doc__ for adversary in ADVERSARIES.values())


def test_voters_come_from_the_last_validators_and_others_from_the_last_nodes(world: World) -> None:
    voters = recruit(world, "equivocator", 1, {"proposals": False})
    others = recruit(world, "wash_trader", 2, {"volume": 5})
    assert [liar.node.index for liar in voters] == [3]
    assert [liar.node.index for liar in others] == [4, 5]
    assert [node.index for node in world.honest] == [0, 1, 2]
    assert all(one.ring == others for one in others)


@pytest.mark.parametrize(
    ("kind", "count", "options", "complaint"),
    [
        ("liar", 1, {}, "unknown adversary 'liar'; known: amnesiac, eclipser"),
        ("silent", 1, {"loud": True}, "a silent has no option 'loud'; known: none"),
        ("flooder", 1, {"brst": 1}, "no option 'brst'; known: burst, what"),
        ("flooder", 1, {"burst": "many"}, "option 'burst' of a flooder: Expected `int`"),
        ("equivocator", 5, {}, "5 nodes cannot be equivocators: 4 are left"),
        ("flooder", 0, {}, "0 nodes cannot be flooders"),
    ],
)
def test_a_mistake_is_named(
    world: World, kind: str, count: int, options: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        recruit(world, kind, count, options)
    assert not world.liars


def test_nobody_is_recruited_twice_or_while_running(world: World) -> None:
    recruit(world, "silent", 1)
    with pytest.raises(ValueError, match="node 3 runs already, or lies already"):
        corrupt(world, "twin", [world.nodes[3]])
    world.nodes[0].start()
    with pytest.raises(ValueError, match="node 0 runs already"):
        corrupt(world, "twin", [world.nodes[0]])


def test_a_kind_is_registered_once() -> None:
    assert register(Silent) is Silent

    class Impostor(Adversary):
        """Takes a name that is taken."""

        kind = "silent"

    with pytest.raises(ValueError, match="there is an adversary 'silent' already"):
        register(Impostor)
