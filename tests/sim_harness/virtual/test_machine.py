"""A shared machine: steps take time, in the order of the live driver, and cores are few."""

import pytest

from p2p.model.effects import CancelTimer, Persist, SetTimer
from p2p.model.inputs import TimerFired
from p2p.model.persistence import Put, Table
from p2p.model.rpc import Rpc, RpcReceived, SendRpc
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.interface import ReplicaEffect, ReplicaInput
from sim_harness.virtual.conditions import height_at_least
from sim_harness.virtual.machine import Costs, Machine, SharingNode, in_driver_order, share
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.world import World

PEER = PeerId(b"peer")
COSTS = Costs(input_us=1, rpc_us=10, verify_us=100, persist_us=1_000)


def small_world(machine: Machine | None = None, seed: int = 7) -> World:
    """Four validators, 20 ms apart."""
    world = World(seed=seed, nodes=4, validators=4, latency=lambda one, other: 20_000, jitter_us=0)
    if machine is not None:
        share(world, machine)
    return world


def write(key: bytes) -> Put:
    return Put(Table.META, key, b"")


def test_steps_wait_for_a_free_core_and_are_done_in_the_order_of_asking() -> None:
    machine = Machine(2)
    assert [machine.run(100, now_us=0) for _ in range(3)] == [100, 100, 200]
    assert machine.run(100, now_us=500) == 600
    assert machine.busy_us == 400


def test_a_slow_core_takes_longer_and_does_the_same_work() -> None:
    machine = Machine(1, speed=0.5)
    assert machine.run(100, now_us=0) == 200
    assert machine.busy_us == 100


@pytest.mark.parametrize(("cores", "speed", "wake_us"), [(0, 1.0, 0), (1, 0.0, 0), (1, 1.0, -1)])
def test_no_core_no_speed_and_early_waking_are_refused(
    cores: int, speed: float, wake_us: int
) -> None:
    with pytest.raises(ValueError, match="a core at least"):
        Machine(cores, speed=speed, wake_us=wake_us)


def test_a_batch_costs_its_inputs_rpcs_verdicts_and_one_commit() -> None:
    machine = Machine(1, costs=COSTS)
    effects: list[ReplicaEffect] = [
        Persist((write(b"a"),)),
        SendRpc(PEER, Rpc()),
        Persist((write(b"b"),)),
    ]
    inputs: list[ReplicaInput] = [RpcReceived(PEER, Rpc()), TimerFired("x")]
    assert machine.cost_us(inputs, effects, verified=3) == 2 * 1 + 2 * 10 + 3 * 100 + 1_000


def test_a_batch_is_carried_out_as_by_the_live_driver() -> None:
    timer, cancel = SetTimer("one", Millis(1)), CancelTimer("other")
    first, second = SendRpc(PEER, Rpc()), SendRpc(PeerId(b"another"), Rpc())
    ordered = in_driver_order(
        [first, Persist((write(b"a"),)), timer, second, Persist((write(b"b"),)), cancel]
    )
    assert ordered == [timer, cancel, Persist((write(b"a"), write(b"b"))), first, second]
    assert in_driver_order([first]) == [first]


def commit_ms(world: World) -> int:
    """Virtual time until all have three blocks."""
    world.start()
    spent_ms = world.run_until(height_at_least(3), within=seconds(60))
    world.check()
    return spent_ms


def test_a_network_commits_later_on_a_slower_machine() -> None:
    """Given one seed; when its nodes share a core of less and less speed; then time grows."""
    free = commit_ms(small_world())
    fast = commit_ms(small_world(Machine(2)))
    slow = commit_ms(small_world(Machine(1, speed=0.05)))
    late = commit_ms(small_world(Machine(2, wake_us=20_000)))
    assert free < fast < slow
    assert fast < late


def test_equal_seeds_are_equal_runs_on_equal_machines() -> None:
    worlds = [small_world(Machine(1, wake_us=900)) for _ in range(2)]
    for world in worlds:
        world.start()
        world.run_for(seconds(10))
    assert worlds[0].digest == worlds[1].digest
    assert worlds[0].heap.events > 0


def test_nodes_crash_pause_and_return_on_a_shared_machine() -> None:
    world = small_world(Machine(1, wake_us=900))
    world.start()
    world.run_until(height_at_least(1), within=seconds(60))
    victim, frozen = world.nodes[3], world.nodes[2]
    assert isinstance(victim, SharingNode)
    world.crash(victim)
    world.run_for(seconds(3))
    world.start(victim)
    world.run_until(height_at_least(2), within=seconds(60))
    cuts = world.pause(frozen)
    world.run_for(seconds(3))
    world.resume([frozen], cuts)
    world.run_until(height_at_least(4), within=seconds(120))
    world.check()


def test_a_world_that_has_begun_stays_where_it_is() -> None:
    world = small_world()
    world.start()
    world.run_for(seconds(2))
    with pytest.raises(AssertionError, match="begun"):
        share(world, Machine(1))
