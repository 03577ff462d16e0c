"""The table of adversaries, and how one takes the seat of a node."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from sim_harness.adversaries.adversary import Adversary
from sim_harness.adversaries.amnesiac import Amnesiac
from sim_harness.adversaries.corrupt import CorruptReplica
from sim_harness.adversaries.eclipser import Eclipser
from sim_harness.adversaries.equivocator import Equivocator
from sim_harness.adversaries.flooder import Flooder
from sim_harness.adversaries.forger import Forger
from sim_harness.adversaries.graft_flooder import GraftFlooder
from sim_harness.adversaries.ihave_spammer import IhaveSpammer
from sim_harness.adversaries.invalid_spammer import InvalidSpammer
from sim_harness.adversaries.iwant_flooder import IwantFlooder
from sim_harness.adversaries.lying_syncer import LyingSyncer
from sim_harness.adversaries.mute import Mute
from sim_harness.adversaries.replayer import Replayer
from sim_harness.adversaries.silent import Silent
from sim_harness.adversaries.stale_advertiser import StaleAdvertiser
from sim_harness.adversaries.twin import Twin
from sim_harness.adversaries.wash_trader import WashTrader
from sim_harness.adversaries.withholder import Withholder

if TYPE_CHECKING:
    from sim_harness.virtual.node import VirtualNode
    from sim_harness.virtual.world import World

Options = Mapping[str, object]

ADVERSARIES: Final[dict[str, type[Adversary]]] = {
    adversary.kind: adversary
    for adversary in (
        Amnesiac,
        Eclipser,
        Equivocator,
        Flooder,
        Forger,
        GraftFlooder,
        IhaveSpammer,
        InvalidSpammer,
        IwantFlooder,
        LyingSyncer,
        Mute,
        Replayer,
        Silent,
        StaleAdvertiser,
        Twin,
        WashTrader,
        Withholder,
    )
}
"""By kind, as scenarios say it."""


def register(adversary: type[Adversary]) -> type[Adversary]:
    """Add a kind of one's own to the table; a class decorator. Raises ValueError if it is taken."""
    if ADVERSARIES.setdefault(adversary.kind, adversary) is not adversary:
        raise ValueError(f"there is an adversary {adversary.kind!r} already")
    return adversary


def recruit(
    world: "World", kind: str, count: int = 1, options: Options | None = None
) -> list[Adversary]:
    """Let nodes of a world that has not started become liars; the last honest ones do.

    Kinds that do their worst as validators take validators; the others take other nodes first.
    Raises ValueError for an unknown kind or option, or when there are not enough honest nodes.
    """
    validators = [node for node in world.validators if world.is_honest(node)]
    others = [node for node in world.others if world.is_honest(node)]
    able = validators if kind_of(kind).wants_vote else [*validators, *others]
    if not 1 <= count <= len(able):
        raise ValueError(f"{count} nodes cannot be {kind}s: {len(able)} are left")
    return corrupt(world, kind, able[-count:], options)


def corrupt(
    world: "World", kind: str, nodes: "Sequence[VirtualNode]", options: Options | None = None
) -> list[Adversary]:
    """Let these nodes, in league, become liars. Raises ValueError."""
    chosen = kind_of(kind)
    given = options_of(chosen, options or {})
    for node in nodes:
        if node.is_up or not world.is_honest(node):
            raise ValueError(f"node {node.index} runs already, or lies already")
    ring = [chosen(**given) for _ in nodes]
    for adversary, node in zip(ring, nodes, strict=True):
        world.liars[node.key.account] = kind
        world.makers[node.index] = partial(CorruptReplica, adversary)
        node.tells_light = adversary.answer
        adversary.join(world, node, ring)
    return ring


def kind_of(kind: str) -> type[Adversary]:
    """The class of a kind. Raises ValueError."""
    if kind not in ADVERSARIES:
        known = ", ".join(sorted(ADVERSARIES))
        raise ValueError(f"unknown adversary {kind!r}; known: {known}")
    return ADVERSARIES[kind]


def options_of(adversary: type[Adversary], options: Options) -> dict[str, object]:
    """Options, checked against the fields of the class. Raises ValueError naming the bad one."""
    known = {one.name: one.type for one in fields(adversary) if one.init}  # type: ignore[arg-type]
    given: dict[str, object] = {}
    for name, value in options.items():
        if name not in known:
            offers = ", ".join(known) or "none"
            raise ValueError(f"a {adversary.kind} has no option {name!r}; known: {offers}")
        try:
            given[name] = msgspec.convert(value, known[name])
        except msgspec.ValidationError as error:
            raise ValueError(f"option {name!r} of a {adversary.kind}: {error}") from None
    return given
