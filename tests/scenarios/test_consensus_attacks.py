"""What liars and crashes do to votes, in whole networks: each with the outcome that must follow."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import msgspec
import pytest

from p2p.model.block import Certificate, CommitSignature, CommittedBlock
from p2p.model.persistence import Put, Table
from p2p.model.rejection import Reason
from p2p.model.requests import RoundMessages
from p2p.model.rpc import Message, SendRpc
from p2p.model.topic import Topic
from p2p.model.vote import ProposedBlock, Vote, VoteKind
from p2p.primitives.codec import decode
from p2p.primitives.digests import digest
from p2p.primitives.units import Digest, Height, Millis, Round
from p2p.protocol.consensus.journal import ENTRY_BYTES_MAX, JournalEntry, SignedEntry
from p2p.protocol.consensus.proposals import PROPOSALS_PER_ROUND_MAX
from p2p.protocol.consensus.sign_state import Message as Signed
from p2p.protocol.consensus.sign_state import SignStep, step_of
from p2p.protocol.consensus.votes import ROUNDS_AHEAD_MAX
from p2p.protocol.interface import (
    Committed,
    PeerPenalized,
    ReplicaEffect,
    Respond,
    RoundStarted,
)
from sim_harness.adversaries import recruit
from sim_harness.adversaries.adversary import Adversary
from sim_harness.adversaries.forging import fresh_vote, other_block, read_consensus
from sim_harness.adversaries.table import ADVERSARIES
from sim_harness.virtual.checkers import SAFETY, nobody_banned
from sim_harness.virtual.conditions import (
    height_at_least,
    height_max,
    height_min,
    signed_since,
)
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.world import World
from tests.scenarios.worlds import fast_world


def penalties(world: World) -> set[tuple[int, Reason]]:
    """Whom honest nodes punished, and for what."""
    return {
        (world.by_peer[event.peer].index, event.reason)
        for node in world.honest
        for _, event in node.events
        if isinstance(event, PeerPenalized)
    }


# ---- votes for far rounds ------------------------------------------------------------------------


def test_votes_for_far_rounds_move_nobody_and_fill_nothing() -> None:
    """Given 7 validators of whom 2 vote for a million rounds; then every height is decided in its
    first round, nobody is blamed, and each liar costs a node a bounded number of votes.
    """
    world = fast_world(seed=3, nodes=7)
    liars = recruit(world, "flooder", 2, {"what": ["far_votes"], "burst": 16})
    world.start()
    most = 0
    for _ in range(20):
        world.run_for(seconds(1))
        for node in world.honest:
            assert node.replica is not None
            most = max(most, sum(node.replica.chain.driver.held()))
    assert sum(liar.deeds["far_votes"] for liar in liars) > 1_000
    assert height_min(world.honest) >= 8
    events = [event for node in world.honest for _, event in node.events]
    assert not any(isinstance(event, RoundStarted) and event.round > 0 for event in events)
    # Two votes of every validator for the window, and one parked round of each liar.
    assert most <= 7 * 2 * (ROUNDS_AHEAD_MAX + 2) + PROPOSALS_PER_ROUND_MAX
    assert not penalties(world)
    world.check(*SAFETY, nobody_banned)


# ---- certificates from elsewhere -----------------------------------------------------------------

ELSEWHERE = Digest(digest(b"another chain, of the same validators"))


@dataclass
class ForeignCertifier(Adversary):
    """Spreads the open height's block with a certificate that everybody signed, but of elsewhere.

    All validators' keys sign on another chain, or sign what is said to be another height: such as
    keys that serve two chains would really make.
    """

    kind: ClassVar[str] = "foreign_certifier"
    tick_ms: ClassVar[int] = 500
    lie: str = "chain"

    def tick(self, now_ms: Millis) -> Iterable[ReplicaEffect]:
        newest = self.core.chain.last_certificate
        if newest is None:
            return
        state = self.core.state
        height = Height(state.height + 1)
        forged = self._forged(height, state.header_digest, newest)
        self.deeds[self.lie] += 1
        yield from self.spread(self.message(Topic.BLOCKS, forged))

    def _forged(self, height: Height, tip: Digest, newest: Certificate) -> CommittedBlock:
        block = other_block(
            self.world.genesis,
            self.core.state,
            proposer=self.account,
            time_ms=self.core.state.time_ms + 1,
        )
        of_chain, of_height = self.world.genesis.chain_id, height
        if self.lie == "chain":
            of_chain = ELSEWHERE
        elif self.lie == "height":
            of_height = Height(height + 1)
        elif self.lie == "last":
            return CommittedBlock(block, newest)  # True, and of the height before.
        signatures = []
        for node in self.world.validators:
            signer = self.world.signer_of(node)
            value = block.header.digest()
            vote = fresh_vote(of_chain, VoteKind.PRECOMMIT, of_height, 0, value, signer)
            signatures.append(CommitSignature(signer.account, vote.signature))
        certificate = Certificate(
            of_chain,
            of_height,
            Round(0),
            block.header.digest(),
            tuple(sorted(signatures, key=lambda one: one.validator)),
        )
        return CommittedBlock(block, certificate)


@pytest.mark.parametrize("lie", ["chain", "height", "last"])
@pytest.mark.parametrize("passed_off", [False, True], ids=["as it is", "passed off"])
def test_a_certificate_from_another_chain_or_height_decides_nothing(
    lie: str, passed_off: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given blocks that all validators signed elsewhere; then nobody commits one, and whoever
    brings them is punished, nobody else.
    """
    monkeypatch.setitem(ADVERSARIES, ForeignCertifier.kind, ForeignCertifier)
    if passed_off:
        true = ForeignCertifier._forged

        def renamed(
            self: ForeignCertifier, height: Height, tip: Digest, newest: Certificate
        ) -> CommittedBlock:
            found = true(self, height, tip, newest)
            here = msgspec.structs.replace(
                found.certificate,
                chain_id=self.world.genesis.chain_id,
                height=height,
                header_digest=found.block.header.digest(),
            )
            return CommittedBlock(found.block, here)

        monkeypatch.setattr(ForeignCertifier, "_forged", renamed)
    world = fast_world(seed=5, nodes=5, validators=4)
    [liar] = recruit(world, ForeignCertifier.kind, 1, {"lie": lie})
    world.start()
    world.run_for(seconds(12))
    assert liar.deeds[lie] > 0
    assert height_min(world.honest) >= 5
    assert {index for index, _ in penalties(world)} == {liar.node.index}
    world.check(*SAFETY, nobody_banned)


# ---- crashes between signing, persisting and sending ---------------------------------------------


def signed_in_batch(node: VirtualNode) -> list[Signed]:
    """What the batch under way signs."""
    found: list[Signed] = []
    for write in node.disk._writing:
        if isinstance(write, Put) and write.table is Table.JOURNAL:
            entry: JournalEntry = decode(write.value, JournalEntry, bytes_max=ENTRY_BYTES_MAX)  # type: ignore[arg-type]
            if isinstance(entry, SignedEntry):
                found.append(entry.message)
    return found


@pytest.mark.parametrize("step", list(SignStep), ids=lambda step: step.name.lower())
@pytest.mark.parametrize("durable", [False, True], ids=["signed", "persisted"])
def test_a_validator_may_die_between_signing_persisting_and_sending(
    step: SignStep, durable: bool
) -> None:
    """Given 4 validators; when one dies three times with a message of this kind signed and not yet
    durable, or durable and not yet sent; then it never says another thing in that slot, what was
    durable leaves after the restart, and the chain goes on with it.
    """
    world = fast_world(seed=11, nodes=4)
    victim = world.validators[2]
    others = [node for node in world.validators if node is not victim]
    caught: list[Signed] = []

    def dies(batch: int, is_durable: bool) -> bool:
        if is_durable is not durable or caught:
            return False
        caught.extend(one for one in signed_in_batch(victim) if step_of(one) is step)
        return bool(caught)

    world.start()
    world.run_until(height_at_least(2))
    for _ in range(3):
        caught.clear()
        victim.disk.crash_point = dies
        ends = victim.crashes + 1
        world.run_until(lambda world: victim.crashes == ends, within=seconds(60))  # noqa: B023
        victim.disk.crash_point = None
        [message] = caught
        who = victim.key.account
        slot = (who, message.height, message.round, step.name.lower())
        assert slot not in set(world.book.slots()), "nothing of it left"
        world.start(victim)
        goal = height_max(others) + 2
        world.run_until(height_at_least(goal), within=seconds(30))
        world.run_until(signed_since(goal, victim), within=seconds(15))
        if durable:
            assert slot in set(world.book.slots()), "said after the restart"
    world.check(*SAFETY, nobody_banned)


# ---- an old proof of lock that comes late --------------------------------------------------------


class LateProof:
    """Lets one validator alone see the polka of a height's round 0, until it is told to release.

    Of the four prevotes the locked one hears all; of the others each hears the proposer's, its own
    and a nil, which is enough to give up on the round and no polka.
    """

    def __init__(self, world: World, height: int) -> None:
        replica = world.validators[0].replica
        assert replica is not None
        chain = replica.chain
        by_account = {node.key.account: node for node in world.nodes}
        self.proposer, self.locked = (by_account[chain.proposer(Round(r))] for r in (0, 1))
        rest = [node for node in world.nodes if node not in (self.proposer, self.locked)]
        self.blind, self.other = rest
        self.world, self.height, self.is_open = world, height, False
        self.prevotes: list[tuple[int, int, Vote]] = []
        """When who sent which prevote of round 1."""
        for node in world.nodes:
            node.behaviour = self.filter

    def hides(self, value: object, target: VirtualNode) -> bool:
        """Whether the target must not hear this yet."""
        if isinstance(value, ProposedBlock):
            told = value.proposal
            return target is self.blind and (told.height, told.round) == (self.height, 0)
        if not isinstance(value, Vote) or self.is_open or target is self.locked:
            return False
        if (value.height, value.round, value.kind) != (self.height, 0, VoteKind.PREVOTE):
            return False
        hidden = self.locked if target is self.other else self.other
        return value.validator == hidden.key.account

    def filter(
        self, node: VirtualNode, item: object, effects: list[ReplicaEffect]
    ) -> list[ReplicaEffect]:
        kept: list[ReplicaEffect] = []
        for effect in effects:
            if isinstance(effect, SendRpc) and effect.rpc.publish:
                target = self.world.by_peer[effect.peer]
                publish = tuple(
                    one
                    for one in effect.rpc.publish
                    if not self.hides(self.read(node, one.data), target)
                )
                rpc = msgspec.structs.replace(effect.rpc, publish=publish)
                kept.append(msgspec.structs.replace(effect, rpc=rpc))
            elif isinstance(effect, Respond) and isinstance(effect.response, RoundMessages):
                if self.is_open:
                    kept.append(effect)
                else:
                    kept.append(msgspec.structs.replace(effect, response=None))
            else:
                kept.append(effect)
        return kept

    def read(self, node: VirtualNode, data: bytes) -> object:
        value = read_consensus(Message("", data))
        if isinstance(value, Vote) and value.validator == node.key.account:
            slot = (value.height, value.round, value.kind)
            if slot == (self.height, 1, VoteKind.PREVOTE):
                self.prevotes.append((self.world.now_ms, node.index, value))
        return value


def test_a_proof_of_lock_that_comes_late_releases_the_others() -> None:
    """Given one of 4 that alone saw a polka, locked, and proposes its value again in round 1; when
    the old prevotes reach the others late; then nobody prevotes before, and round 1 decides it.
    """
    world = fast_world(seed=8, nodes=4)
    world.start()
    world.run_until(height_at_least(2))
    late = LateProof(world, height_max(world.nodes) + 1)

    def locked_in_round_one() -> bool:
        replica = late.locked.replica
        state = None if replica is None else replica.chain.driver.state
        return state is not None and (state.height, state.round) == (late.height, 1)

    while not locked_in_round_one():
        world.run_for(Millis(10))
        assert world.now_ms < 10**15
    replica = late.locked.replica
    assert replica is not None
    state = replica.chain.driver.state
    assert state is not None
    assert state.locked_round == state.valid_round == 0
    world.run_for(Millis(400))
    assert {index for _, index, _ in late.prevotes} <= {late.locked.index}
    opened_ms, late.is_open = world.now_ms, True
    world.run_until(height_at_least(late.height), within=seconds(20))
    commits = {
        (event.round, event.header_digest)
        for node in world.nodes
        for _, event in node.events
        if isinstance(event, Committed) and event.height == late.height
    }
    assert commits == {(1, state.locked_value)}
    voted = {index for at, index, _ in late.prevotes if at >= opened_ms}
    assert len(voted - {late.locked.index}) >= 2
    assert all(vote.valid_round == 0 for _, _, vote in late.prevotes if vote.header_digest)
    world.check(*SAFETY, nobody_banned)
