"""Questions between neighbours: answering theirs, taking the answers to ours, filling gaps."""

from typing import assert_never

from p2p.model.inputs import RequestFailed
from p2p.model.light import (
    AccountRequest,
    ChannelRequest,
    LightBlock,
    LightBlockRequest,
    RowsRequest,
    SettlementsRequest,
)
from p2p.model.rejection import Reason
from p2p.model.requests import (
    Ads,
    AdsRequest,
    Blocks,
    BlocksRequest,
    Peers,
    PeersRequest,
    Request,
    RoundMessages,
    RoundRequest,
    Status,
    StatusRequest,
)
from p2p.model.snapshot import PartEntries, PartRequest, SnapshotOffer, SnapshotRequest
from p2p.primitives.keys import peer_id_of
from p2p.primitives.signing import Verified
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.accountability.witness import VoteHeard
from p2p.protocol.interface import (
    RequestArrived,
    Respond,
    RespondBlocks,
    ResponseArrived,
)
from p2p.protocol.membership import interface as membership
from p2p.protocol.registry import interface as registry
from p2p.protocol.replica.wires import Wires
from p2p.protocol.sync import interface as sync
from p2p.protocol.sync import snapshot


class Exchange:
    """Requests and responses of one node."""

    def __init__(self, wires: Wires) -> None:
        self._wires = wires

    def answer(self, asked: RequestArrived, now_ms: Millis) -> None:
        """A neighbour asks."""
        request = asked.request
        match request:
            case StatusRequest():
                state = self._wires.state
                lowest = self._wires.chain.lowest_height
                status = Status(self._wires.chain_id, state.height, state.header_digest, lowest)
                mine = status if request.chain_id == self._wires.chain_id else None
                self._wires.out.append(Respond(asked.request_id, mine))
                if mine is not None and request.height > state.height:
                    self._wires.to_sync(sync.HeightSeen(asked.peer, request.height), now_ms)
            case BlocksRequest():
                order = RespondBlocks(asked.request_id, request.from_height, request.count)
                self._wires.out.append(order)
            case SnapshotRequest():
                offer = self._wires.catching_up.offer(request)
                self._wires.out.append(Respond(asked.request_id, offer))
            case PartRequest():
                part = self._wires.catching_up.part(request)
                self._wires.out.append(Respond(asked.request_id, part))
            case RoundRequest():
                found = self._wires.chain.answer_round(request)
                self._wires.out.append(Respond(asked.request_id, found))
            case (
                LightBlockRequest()
                | AccountRequest()
                | ChannelRequest()
                | SettlementsRequest()
                | RowsRequest()
            ):
                # Worlds answer these from what is stored, and ask nobody.
                self._wires.out.append(Respond(asked.request_id, None))
            case PeersRequest():
                peers = self._wires.membership.peers_for(request, asked.peer)
                self._wires.out.append(Respond(asked.request_id, peers))
            case AdsRequest():
                page = self._wires.registry.page(
                    request.after, request.count, request.until, request.known
                )
                self._wires.out.append(Respond(asked.request_id, Ads(page)))
            case _:
                assert_never(request)

    def take_response(self, arrived: ResponseArrived, now_ms: Millis) -> None:
        """An answer to a question of ours, verified."""
        asked = self._wires.take_question(arrived.request_id)
        if asked is None:
            return
        request, request_id = asked
        peer, response = arrived.peer, arrived.response.value
        match request, response:
            case StatusRequest(), Status():
                if response.chain_id == self._wires.chain_id:
                    self._wires.to_sync(sync.StatusReceived(peer, response), now_ms)
                else:
                    self._wires.penalize(peer, Reason.WRONG_CHAIN, "in its status", now_ms)
            case BlocksRequest(), Blocks():
                received = sync.BlocksReceived(request_id, peer, response.blocks)
                self._wires.to_sync(received, now_ms)
            case SnapshotRequest(), SnapshotOffer():
                offered = snapshot.OfferReceived(request_id, peer, response)
                self._wires.catching_up.step(offered, now_ms)
            case PartRequest(), PartEntries():
                given = snapshot.PartReceived(request_id, peer, response)
                self._wires.catching_up.step(given, now_ms)
            case LightBlockRequest(), LightBlock():
                self._wires.catching_up.take_light(peer, response, now_ms)
            case RoundRequest(), RoundMessages():
                self._take_round(peer, response, now_ms)
            case PeersRequest(), Peers():
                self._wires.to_membership(membership.PeersLearned(peer, response.records), now_ms)
            case AdsRequest(), Ads():
                ads = tuple(Verified(ad) for ad in response.ads)
                self._wires.to_registry(registry.AdsReceived(peer, ads), now_ms)
            case _:
                self._wires.penalize(peer, Reason.MALFORMED, "answers something else", now_ms)
                self._fail_request(request, RequestFailed(request_id, peer), now_ms)

    def _take_round(self, peer: PeerId, messages: RoundMessages, now_ms: Millis) -> None:
        if messages.proposal is not None:
            proposed = Verified(messages.proposal)
            self._wires.from_chain(self._wires.chain.proposal(proposed, peer, now_ms), now_ms)
        # Known ones and an equivocator's, too: a quorum counts as a whole or not at all.
        votes = tuple(Verified(vote) for vote in messages.votes)
        for vote in votes:
            self._wires.to_witness(VoteHeard(vote), now_ms)
        if votes:
            self._wires.from_chain(self._wires.chain.votes(votes, peer, now_ms), now_ms)

    def take_failure(self, failed: RequestFailed, now_ms: Millis) -> None:
        """A question of ours found no answer."""
        asked = self._wires.take_question(failed.request_id)
        if asked is not None:
            request, request_id = asked
            self._fail_request(request, RequestFailed(request_id, failed.peer), now_ms)

    def _fail_request(self, request: Request, failed: RequestFailed, now_ms: Millis) -> None:
        match request:
            case BlocksRequest():
                self._wires.to_sync(failed, now_ms)
            case SnapshotRequest() | PartRequest():
                self._wires.catching_up.step(failed, now_ms)
            case LightBlockRequest():
                self._wires.catching_up.take_light(failed.peer, None, now_ms)
            case AccountRequest() | ChannelRequest() | SettlementsRequest() | RowsRequest():
                pass  # no machine asks these
            case PeersRequest():
                self._wires.to_membership(failed, now_ms)
            case AdsRequest():
                self._wires.to_registry(registry.AskFailed(failed.peer), now_ms)
            case StatusRequest() | RoundRequest():
                pass  # asked again of another neighbour in due time
            case _:
                assert_never(request)

    def ask_for_gaps(self, now_ms: Millis) -> None:
        """Ask one validator for what we lack of the open height: gossip may lose anything."""
        if not self._wires.chain.is_validator:
            return  # Nobody asks without a vote; the timer is set again with the next one.
        self._wires.watch_gaps(now_ms)
        since_ms = now_ms - self._wires.chain.opened_ms
        if not self._wires.chain.is_open or self._wires.account not in self._wires.chain.powers:
            return
        if since_ms < self._wires.parameters.gap_ms:
            return
        voters = {peer_id_of(account) for account in self._wires.chain.powers}
        connected = [peer for peer in self._wires.membership.connected if peer in voters]
        request = self._wires.chain.round_request()
        if connected and request is not None:
            self._wires.ask(self._wires.draws.choice(connected), request)
