"""Worlds that several scenarios begin with."""

from p2p.model.parameters import Parameters
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.world import World

FAST = Parameters(
    epoch_ms=seconds(1),
    propose_timeout_ms=seconds(1),
    prevote_timeout_ms=seconds(0.5),
    precommit_timeout_ms=seconds(0.5),
)
"""Heights in a second of virtual time: most scenarios are about what happens between them."""


def fast_world(*, seed: int, nodes: int, validators: int | None = None) -> World:
    """A world of short epochs; all nodes are validators unless said."""
    count = nodes if validators is None else validators
    return World(seed=seed, nodes=nodes, validators=count, parameters=FAST)
