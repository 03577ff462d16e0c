"""Every checker of a world speaks up when the history of that world is really broken."""

from collections.abc import Callable

import msgspec
import pytest

from p2p.model.ballot import Vote, VoteKind
from p2p.model.block import Block, CommittedBlock
from p2p.model.evidence import DoubleVote, Evidence
from p2p.model.ledger import Channel, Executed, Rules, State
from p2p.model.parameters import COMMITTED_BYTES_MAX
from p2p.model.persistence import Put, Table, number_key
from p2p.model.rejection import Rejected
from p2p.primitives.codec import decode, encode
from p2p.primitives.digests import digest
from p2p.primitives.units import Amount, ChannelId, Digest, Height, Round
from p2p.protocol.ledger import execute_block
from sim_harness.virtual import checkers
from sim_harness.virtual.checkers import (
    SAFETY,
    Audit,
    no_equivocation,
    nobody_banned,
    nobody_punished_falsely,
    stored_chain,
    validity,
)
from sim_harness.virtual.conditions import height_at_least
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.workload import Trade
from sim_harness.virtual.world import SafetyViolated, World
from tests.scenarios.worlds import fast_world

RED, BLUE = digest(b"red"), digest(b"blue")


@pytest.fixture(scope="module")
def world() -> World:
    """Four validators and a pair that trades, fourteen heights on; nobody changes it."""
    made = fast_world(seed=1, nodes=6, validators=4)
    Trade(made, *made.others)
    made.start()
    made.run_until(height_at_least(14))
    made.check(*SAFETY, nobody_banned)
    return made


@pytest.fixture
def small() -> World:
    """A world to be broken."""
    made = fast_world(seed=2, nodes=4)
    made.start()
    made.run_until(height_at_least(2))
    return made


# ---- what a wrong ledger does: I1 to I8 --------------------------------------------------------


def settling(world: World) -> CommittedBlock:
    """A block that settles a receipt of a channel that settled before."""
    blocks = [one for one in stored_chain(world.nodes[0]) if one.block.receipts]
    return blocks[1]


def channel_of(executed: Executed, block: Block) -> tuple[ChannelId, Channel]:
    key = block.receipts[0].channel
    return key, executed.state.channels[key]


def with_channel(executed: Executed, block: Block, **changes: object) -> Executed:
    key, channel = channel_of(executed, block)
    channels = {**executed.state.channels, key: msgspec.structs.replace(channel, **changes)}
    state = msgspec.structs.replace(executed.state, channels=channels)
    return msgspec.structs.replace(executed, state=state)


def with_row(executed: Executed, **changes: int) -> Executed:
    (row,) = executed.rows
    parts = {name: Amount(getattr(row, name) + by) for name, by in changes.items()}
    return msgspec.structs.replace(executed, rows=(msgspec.structs.replace(row, **parts),))


def pay_without_debt(executed: Executed, block: Block) -> Executed:
    account = block.receipts[0].provider
    owner = executed.state.accounts[account]
    richer = msgspec.structs.replace(owner, balance=Amount(owner.balance + 1))
    accounts = {**executed.state.accounts, account: richer}
    state = msgspec.structs.replace(executed.state, accounts=accounts)
    return msgspec.structs.replace(executed, state=state)


def settle_beyond_the_receipt(executed: Executed, block: Block) -> Executed:
    """The channel pays a micro-token more, which the provider gets: the sums agree."""
    _, channel = channel_of(executed, block)
    more = Amount(channel.settled + 1)
    return with_channel(pay_without_debt(executed, block), block, settled=more)


def forget_the_epoch(executed: Executed, block: Block) -> Executed:
    _, channel = channel_of(executed, block)
    return with_channel(executed, block, last_settled_epoch=Height(channel.last_settled_epoch - 1))


def count_backwards(executed: Executed, block: Block) -> Executed:
    return with_channel(executed, block, bytes_put=0)


@pytest.mark.parametrize(
    ("harm", "names"),
    [
        (pay_without_debt, {"I1"}),
        (settle_beyond_the_receipt, {"I2"}),
        (forget_the_epoch, {"I2"}),
        (count_backwards, {"I3"}),
        (lambda executed, _: with_row(executed, received=1), {"I5", "I6"}),
        (lambda executed, _: with_row(executed, received=1, burned=-1), {"I6"}),
    ],
)
def test_a_ledger_that_works_out_something_else_is_found(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    harm: Callable[[Executed, Block], Executed],
    names: set[str],
) -> None:
    """Given a build whose execution of one block is wrong; when all agree on what it says; then
    each invariant that it breaks is named, beside the chain's own: the state is not the root's.
    """
    target = settling(world).block

    def execute(state: State, rules: Rules, block: Block) -> Executed | Rejected:
        executed = execute_block(state, rules, block)
        assert isinstance(executed, Executed)
        return harm(executed, block) if block == target else executed

    monkeypatch.setattr(checkers, "execute_block", execute)
    audit = Audit(world.genesis, world.scheme)
    faults: list[str] = []
    for committed in stored_chain(world.nodes[0]):
        faults = audit.faults_of(committed)
        if committed.block == target:
            break
        assert faults == []
    found = {fault.partition(" ")[0] for fault in faults}
    assert found - {"blocks"} == names


def test_new_money_in_a_header_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """I4: a build takes a header that mints for true, and pays it to nobody."""
    true = settling(world)
    header = msgspec.structs.replace(true.block.header, minted=Amount(5))
    minting = msgspec.structs.replace(true.block, header=header)

    def execute(state: State, rules: Rules, block: Block) -> Executed | Rejected:
        executed = execute_block(state, rules, true.block if block == minting else block)
        assert isinstance(executed, Executed)
        named = executed.state.named(block.header.digest())
        return msgspec.structs.replace(executed, state=named)

    monkeypatch.setattr(checkers, "execute_block", execute)
    audit = Audit(world.genesis, world.scheme)
    for one in stored_chain(world.nodes[0]):
        if one.block == true.block:
            break
        assert audit.faults_of(one) == []
    faults = audit.faults_of(msgspec.structs.replace(true, block=minting))
    assert {fault.partition(" ")[0] for fault in faults} == {"I1", "I4", "certificate"}


def test_other_reward_rows_on_a_disk_are_found(small: World) -> None:
    small.nodes[2].store.commit([Put(Table.REWARDS, number_key(2), b"\xc0")])
    with pytest.raises(SafetyViolated, match="validity: node 2: other reward rows at 2"):
        small.check(validity)


# ---- what people say ---------------------------------------------------------------------------


def vote(world: World, node: VirtualNode, value: Digest) -> Vote:
    chain_id = world.genesis.chain_id
    return Vote(
        chain_id, VoteKind.PREVOTE, Height(90), Round(0), value, node.key.account, Round(-1)
    )


def test_two_words_in_one_slot_are_found_and_a_liars_are_not(small: World) -> None:
    honest, liar = small.nodes[:2]
    small.liars[liar.key.account] = "equivocator"
    for node in (honest, liar):
        small.book.note(vote(small, node, RED))
    small.check(no_equivocation)
    small.book.note(vote(small, liar, BLUE))
    small.check(no_equivocation)
    assert len(small.book.lies) == 1
    small.book.note(vote(small, honest, BLUE))
    name = honest.key.account.hex()[:8]
    with pytest.raises(SafetyViolated, match=f"{name} signed two prevotes at 90/0"):
        small.check(no_equivocation)


def accuse(world: World, who: VirtualNode, node: VirtualNode) -> None:
    """Put evidence against somebody into the last block on a node's disk."""
    *_, last = stored_chain(node)
    offence = DoubleVote(vote(world, who, RED), vote(world, who, BLUE))
    evidence = Evidence(offence, node.key.account)
    block = msgspec.structs.replace(last.block, evidence=(evidence,))
    data = encode(msgspec.structs.replace(last, block=block))
    assert decode(data, CommittedBlock, bytes_max=COMMITTED_BYTES_MAX).block == block
    node.store.commit([Put(Table.BLOCKS, number_key(block.header.height), data)])


def test_a_block_that_names_an_honest_node_is_found_and_one_against_a_liar_is_not(
    small: World,
) -> None:
    honest, liar, witness = small.nodes[:3]
    small.liars[liar.key.account] = "equivocator"
    accuse(small, liar, witness)
    small.check(nobody_punished_falsely)
    accuse(small, honest, witness)
    with pytest.raises(SafetyViolated, match="nobody_punished_falsely: node 0 was punished for"):
        small.check(nobody_punished_falsely)
