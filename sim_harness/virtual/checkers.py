"""What must hold in a world whatever goes wrong: small checkers over all disks and signed words.

A checker yields one sentence for everything that it finds wrong. Nodes that are down count: what
is on their disks was promised to somebody. Nodes that an adversary runs do not.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from p2p.model.block import CommittedBlock, check_certificate
from p2p.model.evidence import offence_id, offender
from p2p.model.ledger import STATE_BYTES_MAX, State, rules_of
from p2p.model.parameters import COMMITTED_BYTES_MAX, Genesis
from p2p.model.persistence import STATE_KEY, Table, number_key
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Rejected
from p2p.model.requests import Blocks
from p2p.node.verifier import Verifier
from p2p.primitives.codec import decode, encode
from p2p.primitives.digests import digest
from p2p.primitives.signing import SignatureScheme
from p2p.primitives.units import Digest
from p2p.protocol.invariants import (
    check_agreement,
    check_block,
    check_payments,
    check_rewards,
)
from p2p.protocol.ledger import execute_block, genesis_state
from p2p.protocol.receipts.book import decode_record

if TYPE_CHECKING:
    from sim_harness.virtual.node import VirtualNode
    from sim_harness.virtual.world import World

Checker = Callable[["World"], Iterable[str]]

SETTLES_WITHIN: Final = 3
"""Blocks after the last one that may settle a receipt, in which its renewal has to be settled."""
MISSES_MAX: Final = 5
"""Receipts of a channel that may come too late, one after the other, before one settles."""


class Audit:
    """Executes every block of a world once, from genesis, and remembers what followed."""

    def __init__(self, genesis: Genesis, scheme: SignatureScheme) -> None:
        self._rules = rules_of(genesis)
        self._verifier = Verifier(genesis.chain_id, scheme)
        first = genesis_state(genesis)
        self._states: dict[Digest, State] = {first.header_digest: first}
        self._rows: dict[Digest, bytes] = {}
        self._faults: dict[Digest, list[str]] = {}
        self._proofs: dict[Digest, list[str]] = {}

    def state_after(self, header_digest: Digest) -> State | None:
        """The ledger after a block that was executed, or at genesis (the chain id)."""
        return self._states.get(header_digest)

    def rows_of(self, header_digest: Digest) -> bytes | None:
        """The reward rows of a block, as they are stored."""
        return self._rows.get(header_digest)

    def faults_of(self, committed: CommittedBlock) -> list[str]:
        """Everything wrong with a block, its certificate and what follows from it."""
        key = committed.block.header.digest()
        if key not in self._faults:
            self._faults[key] = list(self._execute(key, committed))
        return self._faults[key] + self._certificate_faults(committed)

    def _execute(self, key: Digest, committed: CommittedBlock) -> Iterator[str]:
        block = committed.block
        before = self._states.get(block.header.previous)
        if before is None:
            yield f"block {block.header.height} does not extend a chain from genesis"
            return
        executed = execute_block(before, self._rules, block)
        if isinstance(executed, Rejected):
            yield f"block {block.header.height}: {executed.reason.value} {executed.detail}"
            return
        self._states[key], self._rows[key] = executed.state, encode(executed.rows)
        violations = (
            *check_block(before, block, executed.state),
            *check_rewards(block, executed.rows),
            *check_payments(before, block, executed.rows, self._rules.parameters),
        )
        for violation in violations:
            yield f"{violation.name}: {violation.detail}"

    def _certificate_faults(self, committed: CommittedBlock) -> list[str]:
        certificate, header = committed.certificate, committed.block.header
        before = self._states.get(header.previous)
        if before is None:
            return []
        key = digest(encode(certificate))
        if key not in self._proofs:
            verified = self._verifier.response(Blocks((committed,)))
            fault = (
                verified.reason
                if isinstance(verified, Rejected)
                else check_certificate(certificate, header, before.validators)
            )
            where = f"certificate of block {header.height}"
            self._proofs[key] = [] if fault is None else [f"{where}: {fault.value}"]
        return self._proofs[key]


def stored_chain(node: "VirtualNode") -> Iterator[CommittedBlock]:
    """Every block on a node's disk, by height."""
    for _, data in node.store.scan(Table.BLOCKS):
        yield decode(data, CommittedBlock, bytes_max=COMMITTED_BYTES_MAX)


def stored_state(node: "VirtualNode") -> State | None:
    """The ledger on a node's disk."""
    data = node.store.get(Table.STATE, STATE_KEY)
    return None if data is None else decode(data, State, bytes_max=STATE_BYTES_MAX)


def agreement(world: "World") -> Iterator[str]:
    """No two disks hold different blocks of one height, whether their nodes run or not."""
    headers = [block.block.header for node in world.honest for block in stored_chain(node)]
    for violation in check_agreement(headers):
        yield violation.detail
    for node in world.honest:
        if node.replica is not None and node.replica.chain.halted is not None:
            yield f"node {node.index} halted: {node.replica.chain.halted}"


def validity(world: "World") -> Iterator[str]:
    """Every disk holds one proven chain from genesis, which executes to the state beside it."""
    for node in world.honest:
        tip, height = world.genesis.chain_id, 0
        for committed in stored_chain(node):
            header = committed.block.header
            for fault in world.audit.faults_of(committed):
                yield f"node {node.index}: {fault}"
            if header.height != height + 1 or header.previous != tip:
                yield f"node {node.index}: block {header.height} after {height}"
            tip, height = header.digest(), header.height
            rows = node.store.get(Table.REWARDS, number_key(height))
            if rows != world.audit.rows_of(tip):
                yield f"node {node.index}: other reward rows at {height}"
        state = stored_state(node)
        if state is not None and state != world.audit.state_after(tip):
            yield f"node {node.index}: another state after {height}"


def supply_conserved(world: "World") -> Iterator[str]:
    """What all own is what there was at genesis, but for what blocks burned."""
    for node in world.honest:
        state = stored_state(node)
        if state is None:
            continue
        owned = sum(account.balance + account.bonded for account in state.accounts.values())
        owned += sum(entry.amount for entry in state.unbonding)
        owned += sum(channel.held for channel in state.channels.values())
        burned = sum(block.block.header.burned for block in stored_chain(node))
        first = sum(entry.balance + entry.bonded for entry in world.genesis.accounts)
        if not owned == state.supply == first - burned:
            left = f"{first} - {burned} left"
            yield f"node {node.index}: {owned} owned, supply {state.supply}, {left}"


def no_equivocation(world: "World") -> Iterator[str]:
    """Nobody signed two different votes or proposals for one slot that left any node."""
    for node in world.honest:
        for committed in stored_chain(node):
            world.book.note_certificate(committed.certificate)
    yield from world.book.conflicts


def nobody_punished_falsely(world: "World") -> Iterator[str]:
    """No block on any disk names an honest node as a liar."""
    honest = {node.key.account: node.index for node in world.honest}
    named: dict[tuple[int, Digest], None] = {}
    for node in world.honest:
        for committed in stored_chain(node):
            for evidence in committed.block.evidence:
                index = honest.get(offender(evidence.offence))
                if index is not None:
                    named[index, offence_id(evidence.offence)] = None
    for index, offence in named:
        yield f"node {index} was punished for {offence.hex()[:8]}"


def receipts_settled(world: "World") -> Iterator[str]:
    """No provider keeps a signed receipt that the ledger should have settled long ago.

    Nor one that was dated anew again and again: its date is fresh, and it was never paid for. To be
    asked once a network is whole: a receipt may wait while its validators cannot be reached.
    """
    ledger = max((found for node in world.honest if (found := stored_state(node))), key=_height)
    late = world.genesis.parameters.receipt_late_epochs
    for node in world.honest:
        for receipt in held_receipts(node):
            channel = ledger.channels.get(receipt.channel)
            if receipt.provider != node.key.account or channel is None:
                continue
            unpaid = receipt.amount - channel.settled
            if unpaid <= 0:
                continue
            replica = node.replica
            misses = 0 if replica is None else replica.channels.misses(receipt.channel)
            if misses > MISSES_MAX:
                yield f"node {node.index}: {unpaid} unpaid after {misses} receipts came too late"
            elif ledger.height > receipt.epoch + late + SETTLES_WITHIN:
                yield f"node {node.index}: {unpaid} of epoch {receipt.epoch} at {ledger.height}"


def held_receipts(node: "VirtualNode") -> Iterator[ServiceReceipt]:
    """The newest receipts signed by both parties, on a node's disk."""
    for _, data in node.store.scan(Table.RECEIPTS):
        receipt = decode_record(data).receipt
        if receipt is not None:
            yield receipt


def nobody_banned(world: "World") -> Iterator[str]:
    """No honest node punished another."""
    yield from world.bans


def _height(state: State) -> int:
    return state.height


SAFETY: Final[tuple[Checker, ...]] = (
    agreement,
    validity,
    supply_conserved,
    no_equivocation,
    nobody_punished_falsely,
)
"""What holds at every moment, faults or none."""
