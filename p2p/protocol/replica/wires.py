"""The wires between the machines of one node: what one orders, another hears.

    gossip --Validate--> Verify (world)
    chain --BlockCommitted--> mempool, channels, sync, membership, topics
    sync --ApplyBlocks--> chain        channels --PublishReceipt--> mempool, gossip
    registry --AdLearned--> membership

Machines know nothing of one another. `out` collects the effects that are for the world, in the
order in which they were set off.
"""

from typing import Final, assert_never

import msgspec

from p2p.model.commands import Reply
from p2p.model.effects import CancelTimer, Dial, HangUp, Penalize, Persist, SetTimer
from p2p.model.evidence import Evidence, offence_height, offence_kind, offender
from p2p.model.ledger import State, rules_of
from p2p.model.light import LightBlock
from p2p.model.parameters import Genesis
from p2p.model.rejection import Reason, Rejected
from p2p.model.requests import (
    AdsRequest,
    BlocksRequest,
    PeersRequest,
    Request,
    StatusRequest,
)
from p2p.model.rpc import SendRpc
from p2p.model.topic import GossipValue, Topic, topic_name
from p2p.model.vote import Proposal, Vote
from p2p.primitives.codec import encode
from p2p.primitives.draws import Draws
from p2p.primitives.keys import peer_id_of
from p2p.primitives.signing import Signer, Verified
from p2p.primitives.units import AccountId, Height, Millis, PeerId
from p2p.protocol import gossip, mempool, receipts
from p2p.protocol.accountability import witness
from p2p.protocol.accountability.counters import EvidenceCounters
from p2p.protocol.accountability.witness import Witness
from p2p.protocol.interface import (
    AdLearned,
    EvidenceFound,
    Notify,
    PeerPenalized,
    ReplicaEffect,
    Saved,
    SendRequest,
    StakeSlashed,
    Verify,
)
from p2p.protocol.membership import Membership
from p2p.protocol.membership import interface as membership
from p2p.protocol.registry import Registry
from p2p.protocol.registry import interface as registry
from p2p.protocol.replica.bookkeeping import Bookkeeper
from p2p.protocol.replica.catching_up import CatchingUp
from p2p.protocol.replica.chain import Chain
from p2p.protocol.replica.chain_effects import (
    BlockCommitted,
    ChainEffect,
    Contradicted,
    Publish,
    StateInstalled,
)
from p2p.protocol.replica.parameters import NodeParameters
from p2p.protocol.sync import Sync
from p2p.protocol.sync import interface as sync

GAPS_TIMER: Final = "replica/gaps"
FAULT_POINTS: Final = 5.0
"""What a fault outside gossip costs a peer of its gossip score; forgiven by half in a minute."""
_TOPICS_OF_VALIDATORS: Final = (
    Topic.EVIDENCE,
    Topic.RECEIPTS,
    Topic.TRANSACTIONS,
    Topic.VOTES,
)
_PRIORITIES: Final = {
    Topic.VOTES: gossip.Priority.VOTES,
    Topic.BLOCKS: gossip.Priority.BLOCKS,
    Topic.EVIDENCE: gossip.Priority.RECEIPTS,
    Topic.RECEIPTS: gossip.Priority.RECEIPTS,
    Topic.TRANSACTIONS: gossip.Priority.RECEIPTS,
    Topic.ADS: gossip.Priority.ADS,
}


class Wires:
    """The machines of one node, and the carriers of their effects."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        signer: Signer,
        parameters: NodeParameters,
        saved: Saved,
        seed: bytes,
        books: Bookkeeper | None,
    ) -> None:
        self.account = signer.account
        self.peer = peer_id_of(signer.account)
        self.genesis = genesis
        self.chain_id = genesis.chain_id
        self.parameters = parameters
        self.draws = Draws(b"replica", seed)
        self._near_phase = self.draws.below(parameters.near_blocks)
        """So that not all look for more validators at one height."""
        self._wanted: tuple[AccountId, ...] | None = None
        """Validators that we want to be connected to."""
        self._bonded: tuple[AccountId, ...] | None = None
        self.names = {topic: topic_name(topic, self.chain_id) for topic in Topic}
        self.out: list[ReplicaEffect] = []
        self._signer = signer
        self._topics = {name: topic for topic, name in self.names.items()}
        self._asked: dict[int, tuple[Request, int]] = {}
        self._next_request = 1
        self._subscribed_as_validator = False
        self._build(genesis, parameters, saved, seed, books)

    def _build(
        self,
        genesis: Genesis,
        parameters: NodeParameters,
        saved: Saved,
        seed: bytes,
        books: Bookkeeper | None,
    ) -> None:
        rules = rules_of(genesis)
        books = books or Bookkeeper()
        state = books.begin(genesis, saved.state)
        priorities = {self.names[topic]: priority for topic, priority in _PRIORITIES.items()}
        tuned = msgspec.structs.replace(parameters.gossip, priorities=priorities)
        self.gossip = gossip.Gossip(self.peer, tuned, seed)
        self.registry = Registry(
            self.account, self._signer, self.chain_id, parameters.registry, seed=seed
        )
        self.membership = Membership(self.peer, parameters.membership, seed=seed)
        self.sync = Sync(
            sync.SyncParameters(epoch_ms=genesis.parameters.epoch_ms),
            seed=seed,
            height=state.height,
        )
        self.mempool = mempool.Mempool(rules, state)
        self.witness = Witness()
        self.evidence = EvidenceCounters()
        self.channels = receipts.Channels(
            self.account, self._signer, self.chain_id, genesis.parameters
        )
        self.chain = Chain(
            genesis,
            self._signer,
            state,
            self.mempool,
            saved,
            books,
            retain_blocks=parameters.retain_blocks,
        )
        self.catching_up = CatchingUp(
            self,
            self.sync,
            parameters,
            self.chain_id,
            self._pause_sync,
            Draws(b"snapshot", seed),
        )
        self.catching_up.hold(state)

    @property
    def state(self) -> State:
        """The ledger after the last committed block."""
        return self.chain.state

    # ---- gossip ------------------------------------------------------------------------------

    def to_gossip(self, item: gossip.GossipInput, now_ms: Millis) -> None:
        for effect in self.gossip.step(item, now_ms):
            match effect:
                case SendRpc() | SetTimer():
                    self.out.append(effect)
                case gossip.Validate():
                    topic = self._topics[effect.topic]
                    self.out.append(Verify(effect.message_id, topic, effect.data, effect.peer))
                case Penalize():
                    # Its own judgement: the score has it already.
                    self._report(effect.peer, effect.reason, effect.detail, now_ms)
                case gossip.SuggestPeers():
                    pass  # peers of a peer: the membership asks for them with addresses
                case _:
                    assert_never(effect)

    def publish(self, topic: Topic, value: GossipValue, now_ms: Millis) -> None:
        self.to_gossip(gossip.Published(self.names[topic], encode(value)), now_ms)

    # ---- chain, sync -------------------------------------------------------------------------

    def from_chain(self, effects: list[ChainEffect], now_ms: Millis) -> None:
        for effect in effects:
            match effect:
                case Publish():
                    self.publish(effect.topic, effect.value, now_ms)
                case BlockCommitted():
                    self._follow_block(effect, now_ms)
                case StateInstalled(state=state):
                    self._follow_state(state, now_ms)
                case Contradicted(first=first, second=second):
                    self._contradicted(first, second, now_ms)
                case Penalize():
                    self.penalize(effect.peer, effect.reason, effect.detail, now_ms)
                case Persist() | SetTimer() | CancelTimer() | Notify():
                    self.out.append(effect)
                case _:
                    assert_never(effect)

    def persist(self, effect: Persist) -> None:
        self.out.append(effect)

    def install(self, state: State, light: LightBlock, now_ms: Millis) -> None:
        """Go on from a state that the snapshot sync proved."""
        self.from_chain(self.chain.install(state, light, now_ms), now_ms)

    def forked(self, detail: str, now_ms: Millis) -> None:
        """Neighbours prove two chains: take part in neither."""
        self.from_chain(self.chain.refuse_fork(detail), now_ms)

    def _pause_sync(self, paused: bool, now_ms: Millis) -> None:
        self.to_sync(sync.Paused(paused), now_ms)

    def _follow_state(self, state: State, now_ms: Millis) -> None:
        self.mempool.step(mempool.BlockCommitted(state))
        self.to_channels(receipts.BlockCommitted(state.height, state.channels), now_ms)
        self.to_sync(sync.HeightCommitted(state.height), now_ms)
        self.follow_validators(now_ms)

    def _follow_block(self, committed: BlockCommitted, now_ms: Millis) -> None:
        state = committed.state
        self.catching_up.hold(state)
        self.mempool.step(mempool.BlockCommitted(state))
        self.to_channels(receipts.BlockCommitted(state.height, state.channels), now_ms)
        self.to_sync(sync.HeightCommitted(state.height), now_ms)
        self.follow_validators(now_ms)
        self.to_witness(witness.HeightOpened(Height(state.height + 1)), now_ms)
        self.evidence.note_block(committed.slashes)
        self.out += [Notify(StakeSlashed(row)) for row in committed.slashes]
        if state.height % self.parameters.republish_blocks == 0:
            for evidence in self.mempool.evidence_of(self.account):
                self._publish_evidence(evidence, now_ms)
            for transaction in self.mempool.waiting_of(self.account):
                self.publish(Topic.TRANSACTIONS, transaction, now_ms)

    # ---- accountability ----------------------------------------------------------------------

    def to_witness(self, item: witness.WitnessInput, now_ms: Millis) -> None:
        """Let the witness hear something; what it finds waits for a block, here and elsewhere."""
        for offence in self.witness.step(item):
            evidence = Evidence(offence, self.account)
            (verdict,) = self.mempool.step(mempool.EvidenceReceived(Verified(evidence)))
            if isinstance(verdict, mempool.Accepted):
                self._publish_evidence(evidence, now_ms)
            self.evidence.note_found(offence_kind(offence))
            height = offence_height(offence) or self.chain.height
            found = EvidenceFound(offence_kind(offence), offender(offence), height)
            self.out.append(Notify(found))

    def _publish_evidence(self, evidence: Evidence, now_ms: Millis) -> None:
        self.evidence.published += 1
        self.publish(Topic.EVIDENCE, evidence, now_ms)

    def _contradicted(
        self, first: Vote | Proposal, second: Vote | Proposal, now_ms: Millis
    ) -> None:
        for message in (first, second):
            if isinstance(message, Vote):
                self.to_witness(witness.VoteHeard(Verified(message)), now_ms)
        if isinstance(first, Proposal) and isinstance(second, Proposal):
            self.to_witness(witness.ProposalsDiffer(first, second), now_ms)

    # ---- sync --------------------------------------------------------------------------------

    def to_sync(self, item: sync.SyncInput, now_ms: Millis) -> None:
        for effect in self.sync.step(item, now_ms):
            match effect:
                case sync.AskStatus():
                    status = StatusRequest(self.chain_id, self.state.height)
                    self.ask(effect.peer, status)
                case sync.AskBlocks():
                    blocks = BlocksRequest(effect.from_height, effect.count)
                    self.ask(effect.peer, blocks, as_id=effect.request_id)
                case sync.ApplyBlocks():
                    self._apply(effect, now_ms)
                case Penalize():
                    self.penalize(effect.peer, effect.reason, effect.detail, now_ms)
                case SetTimer():
                    self.out.append(effect)
                case _:
                    assert_never(effect)

    def _apply(self, order: sync.ApplyBlocks, now_ms: Millis) -> None:
        for committed in order.blocks:
            height = committed.block.header.height
            if height >= self.chain.height:
                effects, reason = self.chain.committed(committed, now_ms)
                self.from_chain(effects, now_ms)
                if self.chain.halted is not None:
                    return  # the giver is not to blame, and nothing more is applied
                if reason is not None:
                    self.to_sync(sync.BlockRefused(height, order.peer, reason), now_ms)
                    return
            self.to_sync(sync.BlockApplied(height), now_ms)

    # ---- registry, membership, channels ------------------------------------------------------

    def to_registry(self, item: registry.RegistryInput, now_ms: Millis) -> None:
        self.from_registry(self.registry.step(item, now_ms), now_ms)

    def from_registry(self, effects: list[registry.RegistryEffect], now_ms: Millis) -> None:
        for effect in effects:
            match effect:
                case registry.PublishAd():
                    self.publish(Topic.ADS, effect.ad.value, now_ms)
                case registry.AskAds():
                    request = AdsRequest(effect.after, effect.count, effect.until, effect.known)
                    self.ask(effect.peer, request)
                case registry.AdLearned():
                    self.out.append(Notify(AdLearned(effect.provider, effect.seq)))
                    learned = membership.AdLearned(effect.provider, effect.addresses)
                    self.to_membership(learned, now_ms)
                case Persist() | SetTimer():
                    self.out.append(effect)
                case registry.AdConflictFound(first=first, second=second):
                    self.to_witness(witness.AdsDiffer(first, second), now_ms)
                case registry.Judge() | registry.AdDropped() | Rejected():
                    pass
                case _:
                    assert_never(effect)

    def to_membership(self, item: membership.MembershipInput, now_ms: Millis) -> None:
        for effect in self.membership.step(item, now_ms):
            match effect:
                case membership.AskPeers():
                    self.ask(effect.peer, PeersRequest(effect.wanted))
                case Dial() | HangUp() | Persist() | SetTimer():
                    self.out.append(effect)
                case _:
                    assert_never(effect)

    def to_channels(self, item: receipts.ReceiptsInput, now_ms: Millis) -> None:
        for effect in self.channels.step(item, now_ms):
            match effect:
                case receipts.PublishReceipt():
                    self.mempool.step(mempool.ReceiptReceived(Verified(effect.receipt)))
                    self.publish(Topic.RECEIPTS, effect.receipt, now_ms)
                case Persist() | Reply():
                    self.out.append(effect)
                case _:
                    assert_never(effect)

    def penalize(self, peer: PeerId, reason: Reason, detail: str, now_ms: Millis) -> None:
        """A peer was at fault outside gossip: gossip hears of it, too (gossipsub v1.1: P5)."""
        self._report(peer, reason, detail, now_ms)
        points = self.gossip.rating(peer) - FAULT_POINTS
        self.to_gossip(gossip.PeerRated(peer, points), now_ms)

    def _report(self, peer: PeerId, reason: Reason, detail: str, now_ms: Millis) -> None:
        self.out.append(Notify(PeerPenalized(peer, reason, detail)))
        self.to_membership(membership.Misbehaved(peer, reason), now_ms)

    # ---- validators --------------------------------------------------------------------------

    def follow_validators(self, now_ms: Millis) -> None:
        """Subscribe to what validators hear, and know the validators that we need."""
        is_validator = self.chain.is_validator
        if is_validator != self._subscribed_as_validator:
            self._subscribed_as_validator = is_validator
            if is_validator:
                self.watch_gaps(now_ms)
            for topic in _TOPICS_OF_VALIDATORS:
                name = self.names[topic]
                change = gossip.Subscribed(name) if is_validator else gossip.Unsubscribed(name)
                self.to_gossip(change, now_ms)
        wanted = self._wanted_validators(is_validator=is_validator)
        if wanted != self._wanted:
            self._wanted = wanted
            self.to_membership(membership.WantedChanged(wanted), now_ms)
        bonded = tuple(self.chain.powers)
        if bonded != self._bonded:
            self._bonded = bonded
            self.to_registry(registry.AccountsBonded(bonded), now_ms)

    def watch_gaps(self, now_ms: Millis) -> None:
        """Look in a moment at what a validator lacks of the open height."""
        self.out.append(SetTimer(GAPS_TIMER, Millis(now_ms + self.parameters.gap_ms)))

    def _wanted_validators(self, *, is_validator: bool) -> tuple[AccountId, ...]:
        others = [account for account in self.chain.powers if account != self.account]
        if is_validator:
            return tuple(others)
        parameters = self.parameters
        connected = set(self.membership.connected)
        near = [account for account in others if peer_id_of(account) in connected]
        near.sort(key=lambda account: account not in (self._wanted or ()))
        kept = near[: parameters.validators_near]
        if not near or (self.state.height + self._near_phase) % parameters.near_blocks == 0:
            far = [account for account in others if account not in near]
            # Drawn anew: one that is down does not stay our choice.
            kept += self.draws.sample(far, parameters.validators_near - len(kept))
        return tuple(kept)

    # ---- requests ----------------------------------------------------------------------------

    def ask(self, peer: PeerId, request: Request, *, as_id: int | None = None) -> None:
        request_id = self._next_request
        self._next_request += 1
        self._asked[request_id] = (request, as_id if as_id is not None else request_id)
        deadline_ms = self.parameters.request_deadline_ms
        self.out.append(SendRequest(request_id, peer, request, deadline_ms))

    def take_question(self, request_id: int) -> tuple[Request, int] | None:
        """What was asked under a world's id, and the id of the machine that asked; only once."""
        return self._asked.pop(request_id, None)
