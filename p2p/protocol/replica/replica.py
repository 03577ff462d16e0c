"""The replica: carries what happens to the machine that decides on it, and their orders outward.

    gossip --Validate--> Verify (world) --> MessageVerified --> registry | chain | mempool
                                                                    | verdict back to gossip
    chain --BlockCommitted--> mempool, channels, sync, membership, topics
    sync --ApplyBlocks--> chain        channels --PublishReceipt--> mempool, gossip

Machines know nothing of one another; what one tells another passes through here. `step` collects
the effects of everything that one input sets off, in the order in which it was set off.
"""

from collections.abc import Mapping
from typing import assert_never

from p2p.model.commands import AcceptReceipt, Reply
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed, TimerFired
from p2p.model.ledger import State
from p2p.model.parameters import Genesis
from p2p.model.rejection import Reason, Rejected
from p2p.model.requests import (
    PeerRecord,
)
from p2p.model.rpc import RpcReceived, RpcSent
from p2p.model.topic import GossipValue, Topic
from p2p.model.transaction import Transaction, sign_transaction
from p2p.primitives.signing import Signer, Verified
from p2p.primitives.units import AccountId, Digest, Millis
from p2p.protocol import gossip, mempool, receipts
from p2p.protocol.accountability.witness import ReceiptHeard
from p2p.protocol.interface import (
    ChangeOffer,
    Command,
    DialFailed,
    MessageRefused,
    MessageVerified,
    NeighboursFound,
    PeerMisbehaved,
    ReplicaEffect,
    ReplicaInput,
    RequestArrived,
    ResponseArrived,
    Saved,
    SpaceMeasured,
    Started,
    SubmitTransaction,
)
from p2p.protocol.membership import interface as membership
from p2p.protocol.registry import interface as registry
from p2p.protocol.replica import context
from p2p.protocol.replica.bookkeeping import Bookkeeper
from p2p.protocol.replica.exchange import Exchange
from p2p.protocol.replica.judge import Judge
from p2p.protocol.replica.parameters import NodeParameters
from p2p.protocol.replica.wires import Wires
from p2p.protocol.sync import interface as sync
from p2p.protocol.sync import snapshot


class Replica:
    """One node's machines. Read its parts; change them by `step` alone.

    Args:
        genesis: the chain to take part in.
        signer: the node's key.
        parameters: local choices.
        seeds: peers to begin with.
        saved: what the store holds of an earlier run.
        seed: of all draws; another one each node and start.
        books: who works out what follows from blocks; None: this replica for itself.

    Raises:
        ValueError: the saved state or journal is not what this node wrote.
    """

    def __init__(
        self,
        *,
        genesis: Genesis,
        signer: Signer,
        parameters: NodeParameters,
        seeds: tuple[PeerRecord, ...],
        saved: Saved,
        seed: bytes,
        books: Bookkeeper | None = None,
    ) -> None:
        self._wires = Wires(
            genesis=genesis,
            signer=signer,
            parameters=parameters,
            saved=saved,
            seed=seed,
            books=books,
        )
        self._judge = Judge(self._wires)
        self._exchange = Exchange(self._wires)
        self._signer = signer
        self._seeds = seeds
        self._saved = saved
        self.account = signer.account
        self.peer = self._wires.peer
        self.genesis = genesis
        self.chain_id = genesis.chain_id
        self.gossip = self._wires.gossip
        self.registry = self._wires.registry
        self.membership = self._wires.membership
        self.sync = self._wires.sync
        self.mempool = self._wires.mempool
        self.channels = self._wires.channels
        self.chain = self._wires.chain
        self.evidence = self._wires.evidence

    @property
    def state(self) -> State:
        """The ledger after the last committed block."""
        return self.chain.state

    @property
    def is_taking_snapshot(self) -> bool:
        """Whether a state is fetched from neighbours."""
        return self._wires.catching_up.machine.is_active

    def admits(self, value: GossipValue) -> Reason | None:
        """Why the signatures of a gossip message need not be checked, or None; for the verifier."""
        return context.refusal(value, self.chain, self._wires.witness)

    def voters(self, root: Digest) -> Mapping[AccountId, int] | None:
        """Powers of a validator set that decides one of the next heights; for the verifier."""
        return self.chain.voters.get(root)

    # ---- step --------------------------------------------------------------------------------

    def step(self, item: ReplicaInput, now_ms: Millis) -> list[ReplicaEffect]:
        """Let one thing happen; what the world has to do about it, in order."""
        self._route(item, now_ms)
        effects, self._wires.out = self._wires.out, []
        return effects

    def _route(self, item: ReplicaInput, now_ms: Millis) -> None:
        match item:
            case RpcReceived() | RpcSent():
                self._wires.to_gossip(item, now_ms)
            case MessageVerified():
                self._judge.judge(item, now_ms)
            case MessageRefused():
                self._judge.refuse(item, now_ms)
            case TimerFired():
                self._timer(item, now_ms)
            case PeerConnected() | PeerDisconnected():
                self._wires.to_gossip(item, now_ms)
                self._wires.to_membership(item, now_ms)
                self._wires.to_sync(item, now_ms)
                self._wires.to_registry(item, now_ms)
                self._wires.catching_up.step(item, now_ms)
            case RequestArrived():
                self._exchange.answer(item, now_ms)
            case ResponseArrived():
                self._exchange.take_response(item, now_ms)
            case RequestFailed():
                self._exchange.take_failure(item, now_ms)
            case DialFailed():
                self._wires.to_membership(membership.DialFailed(item.peer), now_ms)
            case NeighboursFound():
                # We vouch for nothing: under our own name it stays hearsay.
                heard = membership.PeersLearned(self.peer, item.records)
                self._wires.to_membership(heard, now_ms)
            case PeerMisbehaved():
                self._wires.penalize(item.peer, item.reason, item.detail, now_ms)
            case Started():
                self._start(item, now_ms)
            case SpaceMeasured():
                self._wires.to_registry(registry.SpaceMeasured(item.free_bytes), now_ms)
            case _:
                self._command(item, now_ms)

    def _command(self, command: Command, now_ms: Millis) -> None:
        match command:
            case SubmitTransaction():
                self._submit(command, now_ms)
            case ChangeOffer():
                self._change_offer(command, now_ms)
            case AcceptReceipt(receipt=receipt):
                # A consumer that signs twice shows it to its provider alone.
                self._wires.to_witness(ReceiptHeard(receipt), now_ms)
                self._wires.to_channels(command, now_ms)
            case _:
                self._wires.to_channels(command, now_ms)

    def _start(self, started: Started, now_ms: Millis) -> None:
        saved, self._saved = self._saved, Saved()
        state = self.state
        restored = receipts.Restored(
            state.height, state.channels, saved.receipts, saved.obligations
        )
        self._wires.to_channels(restored, now_ms)
        self._wires.to_registry(registry.Restored(saved.offer), now_ms)
        self._wires.to_membership(membership.Restored(saved.peers), now_ms)
        self._wires.to_gossip(gossip.Started(), now_ms)
        for topic in (Topic.ADS, Topic.BLOCKS):
            self._wires.to_gossip(gossip.Subscribed(self._wires.names[topic]), now_ms)
        self._wires.to_registry(registry.AddressesKnown(started.addresses), now_ms)
        self._wires.to_membership(membership.Started(self._seeds), now_ms)
        self._wires.to_sync(sync.HeightCommitted(self.state.height), now_ms)
        if saved.snapshot:
            self._wires.catching_up.step(snapshot.SnapshotRestored(saved.snapshot), now_ms)
        self._wires.follow_validators(now_ms)
        self._wires.from_chain(self.chain.start(now_ms), now_ms)

    def _timer(self, timer: TimerFired, now_ms: Millis) -> None:
        machine, _, _ = timer.key.partition("/")
        match machine:
            case "gossip":
                self._wires.to_gossip(timer, now_ms)
            case "consensus" | "chain":
                self._wires.from_chain(self.chain.timer(timer, now_ms), now_ms)
            case "membership":
                self._wires.to_membership(timer, now_ms)
            case "sync":
                self._wires.to_sync(timer, now_ms)
                self._wires.catching_up.look(now_ms)
            case "registry":
                self._wires.to_registry(timer, now_ms)
            case "replica":
                self._exchange.ask_for_gaps(now_ms)
            case _:
                raise ValueError(f"nobody set the timer {timer.key!r}")

    # ---- commands of the owner ---------------------------------------------------------------

    def _submit(self, command: SubmitTransaction, now_ms: Millis) -> None:
        minimum = self._wires.genesis.parameters.transaction_fee_min
        fee = minimum if command.fee is None else command.fee
        nonce = self._wires.mempool.next_nonce(self._wires.account)
        draft = Transaction(self._wires.chain_id, self._wires.account, nonce, fee, command.action)
        transaction = sign_transaction(draft, self._signer)
        (verdict,) = self._wires.mempool.step(mempool.TransactionReceived(Verified(transaction)))
        match verdict:
            case mempool.Accepted():
                self._wires.publish(Topic.TRANSACTIONS, transaction, now_ms)
                self._wires.out.append(Reply(command.ticket, transaction))
            case mempool.Ignored(reason=reason, detail=detail):
                self._wires.out.append(Reply(command.ticket, Rejected(reason, detail)))
            case Rejected():
                self._wires.out.append(Reply(command.ticket, verdict))
            case _:
                assert_never(verdict)

    def _change_offer(self, command: ChangeOffer, now_ms: Millis) -> None:
        effects = self._wires.registry.step(registry.OfferChanged(command.offer), now_ms)
        self._wires.from_registry(effects, now_ms)
        refused = next((effect for effect in effects if isinstance(effect, Rejected)), None)
        self._wires.out.append(Reply(command.ticket, refused or self._wires.registry.offer))
