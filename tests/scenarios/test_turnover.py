"""Every genesis validator leaves, others take over; who comes later still finds the way."""

from p2p.model.light import LightBlock, LightBlockRequest
from p2p.model.transaction import Bond, Unbond
from p2p.protocol.light import Bisection, Verified, trusted_genesis
from p2p.storage.light import light_answer
from sim_harness.virtual.checkers import SAFETY, nobody_banned, stored_state
from sim_harness.virtual.conditions import height_at_least
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.world import BOND, World
from tests.scenarios.test_stake import nonce_is, submit
from tests.scenarios.worlds import fast_world


def voters(world: World, node: VirtualNode) -> set[bytes]:
    state = stored_state(node)
    assert state is not None
    return set(state.validators.powers())


def follow(world: World, server: VirtualNode) -> tuple[Verified, int]:
    """A light client that trusts the genesis alone asks one node; the answer, and the questions."""
    state = stored_state(server)
    assert state is not None
    session = Bisection(
        trusted_genesis(world.genesis), chain_id=world.genesis.chain_id, scheme=world.scheme
    )
    progress, asked = session.begin(), 0
    while isinstance(progress, LightBlockRequest):
        answer = light_answer(server.store, state, progress)
        assert answer is None or isinstance(answer, LightBlock)
        asked += 1
        progress = session.take(answer, now_ms=world.now_ms)
    assert isinstance(progress, Verified), progress
    return progress, asked


def test_every_genesis_validator_leaves_and_the_chain_goes_on_with_others() -> None:
    """Given 4 validators; when 4 others bond and they unbond; then none of them is needed."""
    world = fast_world(seed=5, nodes=10, validators=4)
    old, new = world.validators, world.others[:4]
    late = world.others[-1]
    world.start(*[node for node in world.nodes if node is not late])
    world.run_until(height_at_least(2, old))
    for node in new:
        submit(node, Bond(BOND))
    world.run_until(lambda world: all(nonce_is(node, 1, world) for node in new), within=seconds(20))
    for node in old:
        submit(node, Unbond(BOND))
    world.run_until(lambda world: all(nonce_is(node, 1, world) for node in old), within=seconds(20))
    bonded = max(node.height for node in new)
    world.run_until(height_at_least(bonded + 3, [*old, *new]), within=seconds(20))
    assert voters(world, old[0]) == {node.key.account for node in new}
    heights = {node.key.account: world.book.last_height(node.key.account) for node in old}
    world.run_until(height_at_least(bonded + 6, [*old, *new]), within=seconds(20))
    for account, last in heights.items():
        assert world.book.last_height(account) == last, "who left says nothing more"
    # Nobody of the genesis votes, and a newcomer that knows no more than it catches up.
    world.start(late)
    world.run_until(height_at_least(bonded + 9, [*new, late]), within=seconds(60))
    proven, asked = follow(world, new[1])
    assert proven.block.header.height >= bonded + 8
    assert asked <= 8
    assert follow(world, late)[0].block.header.height >= bonded + 9
    for node in old:
        world.crash(node)
    world.run_until(height_at_least(bonded + 14, [*new, late]), within=seconds(60))
    world.check(*SAFETY, nobody_banned)
