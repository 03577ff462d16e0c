"""Who has stake votes; who has none does not."""

from p2p.model.rejection import Rejected
from p2p.model.transaction import Action, Bond, Transaction, Unbond
from p2p.primitives.units import Amount
from p2p.protocol.interface import SubmitTransaction
from sim_harness.virtual.checkers import SAFETY, nobody_banned, stored_chain
from sim_harness.virtual.conditions import height_at_least, signed_since
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.world import BOND, World
from tests.scenarios.worlds import fast_world


def submit(node: VirtualNode, action: Action) -> list[object]:
    """Give a transaction to a node; the list gets its answer."""
    answers: list[object] = []
    node.ask(lambda ticket: SubmitTransaction(ticket, action), answers.append)
    return answers


def committed_at(world: World, node: VirtualNode) -> int:
    """The height of the block that holds a node's only transaction."""
    return next(
        committed.block.header.height
        for committed in stored_chain(world.validators[0])
        for transaction in committed.block.transactions
        if transaction.sender == node.key.account
    )


def nonce_is(node: VirtualNode, nonce: int, world: World) -> bool:
    replica = world.validators[0].replica
    return replica is not None and replica.state.accounts[node.key.account].nonce == nonce


def test_a_bond_makes_a_node_a_validator_two_heights_later() -> None:
    """Given 4 validators and a fifth node; when it bonds; then it signs from two heights on."""
    world = fast_world(seed=1, nodes=6, validators=4)
    newcomer = world.others[0]
    world.start()
    world.run_until(height_at_least(3))
    answers = submit(newcomer, Bond(BOND))
    world.run_until(lambda world: nonce_is(newcomer, 1, world), within=seconds(15))
    assert isinstance(answers[0], Transaction)
    bonded = committed_at(world, newcomer)
    world.run_until(height_at_least(bonded + 4))
    world.run_until(signed_since(bonded + 3, newcomer), within=seconds(15))
    first = min(height for who, height, _, _ in world.book.slots() if who == newcomer.key.account)
    assert bonded + 2 <= first <= bonded + 3
    # Five equal votes: four are a quorum, so the newcomer's now counts.
    world.crash(world.validators[0])
    rest = [*world.validators[1:], newcomer]
    world.run_until(height_at_least(bonded + 8, rest), within=seconds(60))
    world.check(*SAFETY, nobody_banned)


def test_an_unbond_takes_the_vote_two_heights_later() -> None:
    """Given 5 validators; when one takes its stake back; then it is silent, and not missed."""
    world = fast_world(seed=2, nodes=5)
    leaver = world.validators[4]
    world.start()
    world.run_until(height_at_least(3))
    submit(leaver, Unbond(BOND))
    world.run_until(lambda world: nonce_is(leaver, 1, world), within=seconds(15))
    unbonded = committed_at(world, leaver)
    world.run_until(height_at_least(unbonded + 8))
    assert world.book.last_height(leaver.key.account) == unbonded + 1
    world.crash(leaver)
    world.run_until(height_at_least(unbonded + 12, world.validators[:4]))
    world.check(*SAFETY, nobody_banned)


def test_an_order_that_cannot_be_paid_is_refused_at_once() -> None:
    """Given a running node; when it orders what it cannot pay; then the answer says so."""
    world = fast_world(seed=3, nodes=4)
    world.start()
    world.run_until(height_at_least(1))
    answers = submit(world.nodes[3], Bond(Amount(10**15)))
    world.run_for(seconds(0.1))
    assert isinstance(answers[0], Rejected)
