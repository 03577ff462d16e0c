"""A machine of your own: the product's replica with one rule exchanged, on every node.

Here nobody offers the messages that it has (gossipsub's IHAVE), so that a lost message stays lost
until consensus asks for it. Run it with `python examples/machine.py`.
"""

from p2p.model.rpc import Rpc, SendRpc
from p2p.primitives.units import Millis
from p2p.protocol.interface import ReplicaEffect, ReplicaInput
from p2p.protocol.replica import Replica
from sim_harness import World
from sim_harness.virtual.conditions import ads_known


class WithoutOffers(Replica):
    """Publishes, relays and grafts as always, and never says what it has."""

    def step(self, item: ReplicaInput, now_ms: Millis) -> list[ReplicaEffect]:
        return [self._silenced(effect) for effect in super().step(item, now_ms)]

    def _silenced(self, effect: ReplicaEffect) -> ReplicaEffect:
        if not isinstance(effect, SendRpc) or not effect.rpc.ihave:
            return effect
        rpc = effect.rpc
        said = Rpc(rpc.subscriptions, rpc.publish, (), rpc.iwant, rpc.graft, rpc.prune)
        return SendRpc(effect.peer, said)


def run(seed: int, *, offers: bool) -> Millis:
    """How long it takes until thirty nodes know the ads of all."""
    world = World(seed=seed, nodes=30, validators=4)
    if not offers:
        world.makers.update({node.index: WithoutOffers for node in world.nodes})
    world.start()
    took = world.run_until(ads_known(30))
    world.check()
    return took


def main() -> None:
    for seed in range(1, 4):
        took, without = run(seed, offers=True), run(seed, offers=False)
        print(f"seed {seed}: all ads known after {took} ms, without offers after {without} ms")


if __name__ == "__main__":
    main()
