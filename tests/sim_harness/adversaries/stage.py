"""A small network with liars in it, work going on, and what every such network must show."""

from p2p.model.parameters import Parameters
from p2p.primitives.units import AccountId, Millis
from p2p.protocol.interface import EquivocationFound, PeerPenalized
from sim_harness.adversaries import Adversary, recruit
from sim_harness.virtual.bounds import memory_bounded
from sim_harness.virtual.checkers import nobody_banned
from sim_harness.virtual.conditions import height_at_least, height_max
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.workload import Trade
from sim_harness.virtual.world import World

PARAMETERS = Parameters(epoch_ms=Millis(2_000))
LATENCY_US = 40_000
RECOVERY = seconds(60)
"""What two more heights may take, with the liars still at it."""


class Stage:
    """Seven validators and three others, close to one another unless said; the last are liars."""

    def __init__(
        self,
        kind: str,
        count: int = 2,
        *,
        seed: int = 1,
        nodes: int = 10,
        validators: int = 7,
        options: dict[str, object] | None = None,
        is_worldwide: bool = False,
    ) -> None:
        self.world = World(
            seed=seed,
            nodes=nodes,
            validators=validators,
            parameters=None if is_worldwide else PARAMETERS,
            latency=None if is_worldwide else lambda source, target: LATENCY_US,
        )
        self.liars: list[Adversary] = recruit(self.world, kind, count, options)

    @property
    def honest(self) -> list[VirtualNode]:
        return self.world.honest

    def run(self, span: Millis) -> None:
        """Start, trade, and let time pass."""
        self.world.start()
        Trade(self.world, self.honest[0], self.honest[1])
        self.world.run_for(span)

    def deeds(self) -> int:
        return sum(sum(liar.deeds.values()) for liar in self.liars)

    def check(self) -> None:
        """Safety, nobody honest banned, memory bounded; and heights go on rising."""
        self.world.check()
        goal = height_max(self.honest) + 2
        self.world.run_until(height_at_least(goal, self.honest), within=RECOVERY)
        self.world.check()
        self.world.check(nobody_banned, memory_bounded)

    def accused(self) -> set[AccountId]:
        """Whom honest nodes found to equivocate."""
        return {
            AccountId(event.validator)
            for node in self.honest
            for _, event in node.events
            if isinstance(event, EquivocationFound)
        }

    def penalties(self) -> list[tuple[bool, PeerPenalized]]:
        """What honest nodes punished, and whether an honest peer was blamed."""
        return [
            (self.world.is_honest(self.world.by_peer[event.peer]), event)
            for node in self.honest
            for _, event in node.events
            if isinstance(event, PeerPenalized)
        ]
