"""The replica: carries what happens to the machine that decides on it, and their orders outward.

    gossip --Validate--> Verify (world) --> MessageVerified --> registry | chain | mempool
                                                                    | verdict back to gossip
    chain --BlockCommitted--> mempool, channels, sync, membership, topics
    sync --ApplyBlocks--> chain        channels --PublishReceipt--> mempool, gossip

Machines know nothing of one another; what one tells another passes through here. `step` collects
the effects of everything that one input sets off, in the order in which it was set off.
"""

from typing import Final, assert_never

import msgspec

from p2p.model.block import CommittedBlock
from p2p.model.commands import Reply
from p2p.model.effects import CancelTimer, Dial, HangUp, Penalize, Persist, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed, TimerFired
from p2p.model.ledger import STATE_BYTES_MAX, State, rules_of
from p2p.model.parameters import Genesis
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.model.requests import (
    Ads,
    AdsRequest,
    Blocks,
    BlocksRequest,
    PeerRecord,
    Peers,
    PeersRequest,
    Request,
    RoundMessages,
    RoundRequest,
    Status,
    StatusRequest,
)
from p2p.model.rpc import MessageId, RpcReceived, RpcSent, SendRpc
from p2p.model.topic import GossipValue, Topic, topic_name
from p2p.model.transaction import Transaction, sign_transaction
from p2p.model.vote import ProposedBlock, Vote
from p2p.primitives.codec import decode, encode
from p2p.primitives.draws import Draws
from p2p.primitives.keys import peer_id_of
from p2p.primitives.signing import Signer, Verified
from p2p.primitives.units import AccountId, Height, Millis, PeerId
from p2p.protocol import gossip, mempool, receipts
from p2p.protocol.interface import (
    AdLearned,
    ChangeOffer,
    DialFailed,
    MessageRefused,
    MessageVerified,
    Notify,
    PeerMisbehaved,
    PeerPenalized,
    ReplicaEffect,
    ReplicaInput,
    RequestArrived,
    Respond,
    RespondBlocks,
    ResponseArrived,
    Saved,
    SendRequest,
    SpaceMeasured,
    Started,
    SubmitTransaction,
    Verify,
)
from p2p.protocol.ledger import genesis_state
from p2p.protocol.membership import Membership
from p2p.protocol.membership import interface as membership
from p2p.protocol.registry import Registry
from p2p.protocol.registry import interface as registry
from p2p.protocol.replica import context
from p2p.protocol.replica.chain import BlockCommitted, Chain, ChainEffect, Publish
from p2p.protocol.replica.parameters import NodeParameters
from p2p.protocol.sync import Sync
from p2p.protocol.sync import interface as sync

GAPS_TIMER: Final = "replica/gaps"

_TOPICS_OF_VALIDATORS: Final = (Topic.RECEIPTS, Topic.TRANSACTIONS, Topic.VOTES)
_PRIORITIES: Final = {
    Topic.VOTES: gossip.Priority.VOTES,
    Topic.BLOCKS: gossip.Priority.BLOCKS,
    Topic.RECEIPTS: gossip.Priority.RECEIPTS,
    Topic.TRANSACTIONS: gossip.Priority.RECEIPTS,
    Topic.ADS: gossip.Priority.ADS,
}


class Replica:
    """One node's machines. Read its parts; change them by `step` alone.

    Args:
        genesis: the chain to take part in.
        signer: the node's key.
        parameters: local choices.
        seeds: peers to begin with.
        saved: what the store holds of an earlier run.
        seed: of all draws; another one each node and start.

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
    ) -> None:
        self.account = signer.account
        self.peer = peer_id_of(signer.account)
        self.genesis = genesis
        self.chain_id = genesis.chain_id
        self._parameters = parameters
        self._signer = signer
        self._seeds = seeds
        self._saved = saved
        self._draws = Draws(b"replica", seed)
        self._names = {topic: topic_name(topic, self.chain_id) for topic in Topic}
        self._topics = {name: topic for topic, name in self._names.items()}
        self._build(genesis, parameters, saved, seed)
        self._out: list[ReplicaEffect] = []
        self._asked: dict[int, tuple[Request, int]] = {}
        self._next_request = 1
        self._subscribed_as_validator = False

    def _build(
        self, genesis: Genesis, parameters: NodeParameters, saved: Saved, seed: bytes
    ) -> None:
        rules = rules_of(genesis)
        if saved.state is None:
            state = genesis_state(genesis)
        else:
            state = decode(saved.state, State, bytes_max=STATE_BYTES_MAX)
        priorities = {self._names[topic]: priority for topic, priority in _PRIORITIES.items()}
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
        self.channels = receipts.Channels(
            self.account, self._signer, self.chain_id, genesis.parameters
        )
        self.chain = Chain(genesis, self._signer, state, self.mempool, saved)

    @property
    def state(self) -> State:
        """The ledger after the last committed block."""
        return self.chain.state

    def admits(self, value: GossipValue) -> Reason | None:
        """Why the signatures of a gossip message need not be checked, or None; for the verifier."""
        return context.refusal(value, self.chain)

    # ---- step --------------------------------------------------------------------------------

    def step(self, item: ReplicaInput, now_ms: Millis) -> list[ReplicaEffect]:
        """Let one thing happen; what the world has to do about it, in order."""
        self._route(item, now_ms)
        effects, self._out = self._out, []
        return effects

    def _route(self, item: ReplicaInput, now_ms: Millis) -> None:
        match item:
            case RpcReceived() | RpcSent():
                self._gossip(item, now_ms)
            case MessageVerified():
                self._judge(item, now_ms)
            case MessageRefused():
                self._refuse(item, now_ms)
            case TimerFired():
                self._timer(item, now_ms)
            case PeerConnected() | PeerDisconnected():
                self._gossip(item, now_ms)
                self._membership(item, now_ms)
                self._sync(item, now_ms)
                self._registry(item, now_ms)
            case RequestArrived():
                self._answer(item, now_ms)
            case ResponseArrived():
                self._take_response(item, now_ms)
            case RequestFailed():
                self._take_failure(item, now_ms)
            case DialFailed():
                self._membership(membership.DialFailed(item.peer), now_ms)
            case PeerMisbehaved():
                self._penalize(item.peer, item.reason, item.detail, now_ms)
            case Started():
                self._start(item, now_ms)
            case SpaceMeasured():
                self._registry(registry.SpaceMeasured(item.free_bytes), now_ms)
            case SubmitTransaction():
                self._submit(item, now_ms)
            case ChangeOffer():
                self._change_offer(item, now_ms)
            case _:
                self._channels(item, now_ms)

    def _start(self, started: Started, now_ms: Millis) -> None:
        saved, self._saved = self._saved, Saved()
        state = self.state
        restored = receipts.Restored(
            state.height, state.channels, saved.receipts, saved.obligations
        )
        self._channels(restored, now_ms)
        self._registry(registry.Restored(saved.offer), now_ms)
        self._membership(membership.Restored(saved.peers), now_ms)
        self._gossip(gossip.Started(), now_ms)
        for topic in (Topic.ADS, Topic.BLOCKS):
            self._gossip(gossip.Subscribed(self._names[topic]), now_ms)
        self._registry(registry.AddressesKnown(started.addresses), now_ms)
        self._membership(membership.Started(self._seeds), now_ms)
        self._sync(sync.HeightCommitted(self.state.height), now_ms)
        self._follow_validators(now_ms)
        self._chain(self.chain.start(now_ms), now_ms)
        self._out.append(SetTimer(GAPS_TIMER, Millis(now_ms + self._parameters.gap_ms)))

    def _timer(self, timer: TimerFired, now_ms: Millis) -> None:
        machine, _, _ = timer.key.partition("/")
        match machine:
            case "gossip":
                self._gossip(timer, now_ms)
            case "consensus" | "chain":
                self._chain(self.chain.timer(timer, now_ms), now_ms)
            case "membership":
                self._membership(timer, now_ms)
            case "sync":
                self._sync(timer, now_ms)
            case "registry":
                self._registry(timer, now_ms)
            case "replica":
                self._ask_for_gaps(now_ms)
            case _:
                raise ValueError(f"nobody set the timer {timer.key!r}")

    # ---- gossip ------------------------------------------------------------------------------

    def _gossip(self, item: gossip.GossipInput, now_ms: Millis) -> None:
        for effect in self.gossip.step(item, now_ms):
            match effect:
                case SendRpc() | SetTimer():
                    self._out.append(effect)
                case gossip.Validate():
                    topic = self._topics[effect.topic]
                    self._out.append(Verify(effect.message_id, topic, effect.data, effect.peer))
                case Penalize():
                    self._penalize(effect.peer, effect.reason, effect.detail, now_ms)
                case gossip.SuggestPeers():
                    pass  # peers of a peer: the membership asks for them with addresses
                case _:
                    assert_never(effect)

    def _publish(self, topic: Topic, value: GossipValue, now_ms: Millis) -> None:
        self._gossip(gossip.Published(self._names[topic], encode(value)), now_ms)

    def _verdict(
        self, message_id: bytes, reason: Reason | None, now_ms: Millis, *, blame: bool = False
    ) -> None:
        verdict = gossip.Verdict.ACCEPT
        if reason is not None:
            verdict = gossip.Verdict.REJECT if blame else gossip.Verdict.IGNORE
        validated = gossip.MessageValidated(
            MessageId(message_id), verdict, reason or Reason.MALFORMED
        )
        self._gossip(validated, now_ms)

    def _refuse(self, refused: MessageRefused, now_ms: Millis) -> None:
        blame = refused.reason not in context.BLAMELESS
        self._verdict(refused.message_id, refused.reason, now_ms, blame=blame)

    def _judge(self, message: MessageVerified, now_ms: Millis) -> None:
        """Forward first, then act: what we do about a message need not delay its spreading."""
        value = message.value.value
        match value:
            case Vote():
                self._verdict(message.message_id, None, now_ms)
                vote = Verified(value)
                self._chain(self.chain.vote(vote, message.peer, now_ms), now_ms)
            case ProposedBlock():
                self._verdict(message.message_id, None, now_ms)
                proposed = Verified(value)
                self._chain(self.chain.proposal(proposed, message.peer, now_ms), now_ms)
            case CommittedBlock():
                self._judge_committed(message, value, now_ms)
            case ServiceReceipt():
                received = mempool.ReceiptReceived(Verified(value))
                self._judge_by_mempool(message, received, now_ms)
            case Transaction():
                arrived = mempool.TransactionReceived(Verified(value))
                self._judge_by_mempool(message, arrived, now_ms)
            case _:
                self._judge_ad(message, registry.AdReceived(Verified(value)), now_ms)

    def _judge_by_mempool(
        self, message: MessageVerified, item: mempool.MempoolInput, now_ms: Millis
    ) -> None:
        (verdict,) = self.mempool.step(item)
        match verdict:
            case mempool.Accepted():
                self._verdict(message.message_id, None, now_ms)
            case mempool.Ignored(reason=reason):
                self._verdict(message.message_id, reason, now_ms)
            case Rejected(reason=reason):
                self._verdict(message.message_id, reason, now_ms, blame=True)
            case _:
                assert_never(verdict)

    def _judge_ad(
        self, message: MessageVerified, item: registry.AdReceived, now_ms: Millis
    ) -> None:
        effects = self.registry.step(item, now_ms)
        judge = effects[0]
        assert isinstance(judge, registry.Judge)
        accepted = judge.verdict is registry.Verdict.ACCEPT
        reason = None if accepted else judge.reason or Reason.OUTDATED
        blame = judge.verdict is registry.Verdict.REJECT
        self._verdict(message.message_id, reason, now_ms, blame=blame)
        self._carry_registry(effects[1:], now_ms)

    def _judge_committed(
        self, message: MessageVerified, committed: CommittedBlock, now_ms: Millis
    ) -> None:
        height = committed.block.header.height
        if height > self.chain.height:
            self._verdict(message.message_id, Reason.WRONG_HEIGHT, now_ms)
            self._sync(sync.HeightSeen(message.peer, height), now_ms)
            return
        effects, reason = self.chain.committed(committed, now_ms)
        blame = reason is not None and reason not in context.BLAMELESS
        self._verdict(message.message_id, reason, now_ms, blame=blame)
        self._chain(effects, now_ms)

    # ---- chain, sync -------------------------------------------------------------------------

    def _chain(self, effects: list[ChainEffect], now_ms: Millis) -> None:
        for effect in effects:
            match effect:
                case Publish():
                    self._publish(effect.topic, effect.value, now_ms)
                case BlockCommitted():
                    self._follow_block(effect, now_ms)
                case Penalize():
                    self._penalize(effect.peer, effect.reason, effect.detail, now_ms)
                case Persist() | SetTimer() | CancelTimer() | Notify():
                    self._out.append(effect)
                case _:
                    assert_never(effect)

    def _follow_block(self, committed: BlockCommitted, now_ms: Millis) -> None:
        state = committed.state
        self.mempool.step(mempool.BlockCommitted(state))
        self._channels(receipts.BlockCommitted(state.height, state.channels), now_ms)
        self._sync(sync.HeightCommitted(state.height), now_ms)
        self._follow_validators(now_ms)
        if state.height % self._parameters.republish_blocks == 0:
            for transaction in self.mempool.waiting_of(self.account):
                self._publish(Topic.TRANSACTIONS, transaction, now_ms)

    def _sync(self, item: sync.SyncInput, now_ms: Millis) -> None:
        for effect in self.sync.step(item, now_ms):
            match effect:
                case sync.AskStatus():
                    status = StatusRequest(self.chain_id, self.state.height)
                    self._request(effect.peer, status)
                case sync.AskBlocks():
                    blocks = BlocksRequest(effect.from_height, effect.count)
                    self._request(effect.peer, blocks, as_id=effect.request_id)
                case sync.ApplyBlocks():
                    self._apply(effect, now_ms)
                case Penalize():
                    self._penalize(effect.peer, effect.reason, effect.detail, now_ms)
                case SetTimer():
                    self._out.append(effect)
                case _:
                    assert_never(effect)

    def _apply(self, order: sync.ApplyBlocks, now_ms: Millis) -> None:
        for committed in order.blocks:
            height = committed.block.header.height
            if height >= self.chain.height:
                effects, reason = self.chain.committed(committed, now_ms)
                self._chain(effects, now_ms)
                if reason is not None:
                    self._sync(sync.BlockRefused(height, order.peer, reason), now_ms)
                    return
            self._sync(sync.BlockApplied(height), now_ms)

    # ---- registry, membership, channels ------------------------------------------------------

    def _registry(self, item: registry.RegistryInput, now_ms: Millis) -> None:
        self._carry_registry(self.registry.step(item, now_ms), now_ms)

    def _carry_registry(self, effects: list[registry.RegistryEffect], now_ms: Millis) -> None:
        for effect in effects:
            match effect:
                case registry.PublishAd():
                    self._publish(Topic.ADS, effect.ad.value, now_ms)
                case registry.AskAds():
                    self._request(effect.peer, AdsRequest(effect.after, effect.count))
                case registry.AdLearned():
                    self._out.append(Notify(AdLearned(effect.provider, effect.seq)))
                    learned = membership.AdLearned(effect.provider, effect.addresses)
                    self._membership(learned, now_ms)
                case Persist() | SetTimer():
                    self._out.append(effect)
                case (
                    registry.Judge()
                    | registry.AdDropped()
                    | registry.AdConflictFound()
                    | Rejected()
                ):
                    pass
                case _:
                    assert_never(effect)

    def _membership(self, item: membership.MembershipInput, now_ms: Millis) -> None:
        for effect in self.membership.step(item, now_ms):
            match effect:
                case membership.AskPeers():
                    self._request(effect.peer, PeersRequest(effect.wanted))
                case Dial() | HangUp() | Persist() | SetTimer():
                    self._out.append(effect)
                case _:
                    assert_never(effect)

    def _channels(self, item: receipts.ReceiptsInput, now_ms: Millis) -> None:
        for effect in self.channels.step(item, now_ms):
            match effect:
                case receipts.PublishReceipt():
                    self.mempool.step(mempool.ReceiptReceived(Verified(effect.receipt)))
                    self._publish(Topic.RECEIPTS, effect.receipt, now_ms)
                case Persist() | Reply():
                    self._out.append(effect)
                case _:
                    assert_never(effect)

    def _penalize(self, peer: PeerId, reason: Reason, detail: str, now_ms: Millis) -> None:
        self._out.append(Notify(PeerPenalized(peer, reason, detail)))
        self._membership(membership.Misbehaved(peer, reason), now_ms)

    # ---- validators --------------------------------------------------------------------------

    def _follow_validators(self, now_ms: Millis) -> None:
        """Subscribe to what validators hear, and know the validators that we need."""
        is_validator = self.chain.is_validator
        if is_validator != self._subscribed_as_validator:
            self._subscribed_as_validator = is_validator
            for topic in _TOPICS_OF_VALIDATORS:
                name = self._names[topic]
                change = gossip.Subscribed(name) if is_validator else gossip.Unsubscribed(name)
                self._gossip(change, now_ms)
        wanted = membership.WantedChanged(self._wanted_validators(is_validator=is_validator))
        self._membership(wanted, now_ms)
        self._registry(registry.AccountsBonded(tuple(self.chain.powers)), now_ms)

    def _wanted_validators(self, *, is_validator: bool) -> tuple[AccountId, ...]:
        others = [account for account in self.chain.powers if account != self.account]
        if is_validator:
            return tuple(others)
        connected = set(self.membership.connected)
        near = [account for account in others if peer_id_of(account) in connected]
        missing = self._parameters.validators_near - len(near)
        far = [account for account in others if account not in near]
        # Drawn anew after every block: one that is down does not stay our choice.
        return (*near[: self._parameters.validators_near], *self._draws.sample(far, missing))

    def _ask_for_gaps(self, now_ms: Millis) -> None:
        """Ask one validator for what we lack of the open height: gossip may lose anything."""
        self._out.append(SetTimer(GAPS_TIMER, Millis(now_ms + self._parameters.gap_ms)))
        since_ms = now_ms - self.chain.opened_ms
        if not self.chain.is_open or self.account not in self.chain.powers:
            return
        if since_ms < self._parameters.gap_ms:
            return
        voters = {peer_id_of(account) for account in self.chain.powers}
        connected = [peer for peer in self.membership.connected if peer in voters]
        request = self.chain.round_request()
        if connected and request is not None:
            self._request(self._draws.choice(connected), request)

    # ---- requests ----------------------------------------------------------------------------

    def _request(self, peer: PeerId, request: Request, *, as_id: int | None = None) -> None:
        request_id = self._next_request
        self._next_request += 1
        self._asked[request_id] = (request, as_id if as_id is not None else request_id)
        deadline_ms = self._parameters.request_deadline_ms
        self._out.append(SendRequest(request_id, peer, request, deadline_ms))

    def _answer(self, asked: RequestArrived, now_ms: Millis) -> None:
        request = asked.request
        match request:
            case StatusRequest():
                state = self.state
                status = Status(self.chain_id, state.height, state.header_digest, Height(1))
                mine = status if request.chain_id == self.chain_id else None
                self._out.append(Respond(asked.request_id, mine))
                if mine is not None and request.height > state.height:
                    self._sync(sync.HeightSeen(asked.peer, request.height), now_ms)
            case BlocksRequest():
                order = RespondBlocks(asked.request_id, request.from_height, request.count)
                self._out.append(order)
            case RoundRequest():
                found = self.chain.answer_round(request)
                self._out.append(Respond(asked.request_id, found))
            case PeersRequest():
                peers = self.membership.peers_for(request, asked.peer)
                self._out.append(Respond(asked.request_id, peers))
            case AdsRequest():
                page = self.registry.page(request.after, request.count)
                self._out.append(Respond(asked.request_id, Ads(page)))
            case _:
                assert_never(request)

    def _take_response(self, arrived: ResponseArrived, now_ms: Millis) -> None:
        asked = self._asked.pop(arrived.request_id, None)
        if asked is None:
            return
        request, request_id = asked
        peer, response = arrived.peer, arrived.response.value
        match request, response:
            case StatusRequest(), Status():
                if response.chain_id == self.chain_id:
                    self._sync(sync.StatusReceived(peer, response), now_ms)
                else:
                    self._penalize(peer, Reason.WRONG_CHAIN, "in its status", now_ms)
            case BlocksRequest(), Blocks():
                received = sync.BlocksReceived(request_id, peer, response.blocks)
                self._sync(received, now_ms)
            case RoundRequest(), RoundMessages():
                self._take_round(peer, response, now_ms)
            case PeersRequest(), Peers():
                self._membership(membership.PeersLearned(peer, response.records), now_ms)
            case AdsRequest(), Ads():
                ads = tuple(Verified(ad) for ad in response.ads)
                self._registry(registry.AdsReceived(peer, ads), now_ms)
            case _:
                self._penalize(peer, Reason.MALFORMED, "an answer to another question", now_ms)
                self._fail_request(request, RequestFailed(request_id, peer), now_ms)

    def _take_round(self, peer: PeerId, messages: RoundMessages, now_ms: Millis) -> None:
        if messages.proposal is not None:
            proposed = Verified(messages.proposal)
            self._chain(self.chain.proposal(proposed, peer, now_ms), now_ms)
        votes = tuple(Verified(vote) for vote in messages.votes if self.admits(vote) is None)
        if votes:
            self._chain(self.chain.votes(votes, peer, now_ms), now_ms)

    def _take_failure(self, failed: RequestFailed, now_ms: Millis) -> None:
        asked = self._asked.pop(failed.request_id, None)
        if asked is not None:
            request, request_id = asked
            self._fail_request(request, RequestFailed(request_id, failed.peer), now_ms)

    def _fail_request(self, request: Request, failed: RequestFailed, now_ms: Millis) -> None:
        match request:
            case BlocksRequest():
                self._sync(failed, now_ms)
            case PeersRequest():
                self._membership(failed, now_ms)
            case StatusRequest() | RoundRequest() | AdsRequest():
                pass  # asked again of another neighbour in due time
            case _:
                assert_never(request)

    # ---- commands of the owner ---------------------------------------------------------------

    def _submit(self, command: SubmitTransaction, now_ms: Millis) -> None:
        minimum = self.genesis.parameters.transaction_fee_min
        fee = minimum if command.fee is None else command.fee
        nonce = self.mempool.next_nonce(self.account)
        draft = Transaction(self.chain_id, self.account, nonce, fee, command.action)
        transaction = sign_transaction(draft, self._signer)
        (verdict,) = self.mempool.step(mempool.TransactionReceived(Verified(transaction)))
        match verdict:
            case mempool.Accepted():
                self._publish(Topic.TRANSACTIONS, transaction, now_ms)
                self._out.append(Reply(command.ticket, transaction))
            case mempool.Ignored(reason=reason, detail=detail):
                self._out.append(Reply(command.ticket, Rejected(reason, detail)))
            case Rejected():
                self._out.append(Reply(command.ticket, verdict))
            case _:
                assert_never(verdict)

    def _change_offer(self, command: ChangeOffer, now_ms: Millis) -> None:
        effects = self.registry.step(registry.OfferChanged(command.offer), now_ms)
        self._carry_registry(effects, now_ms)
        refused = next((effect for effect in effects if isinstance(effect, Rejected)), None)
        self._out.append(Reply(command.ticket, refused or self.registry.offer))
