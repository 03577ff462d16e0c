"""Questions between neighbours: answered, taken, mistrusted, asked again."""

import msgspec

from p2p.model.ad import CapacityAd, sign_ad
from p2p.model.effects import HangUp
from p2p.model.inputs import PeerConnected, RequestFailed, TimerFired
from p2p.model.rejection import Reason
from p2p.model.requests import (
    Ads,
    AdsRequest,
    Blocks,
    BlocksRequest,
    Peers,
    PeersRequest,
    RoundMessages,
    RoundRequest,
    Status,
    StatusRequest,
)
from p2p.model.topic import Topic
from p2p.model.vote import VoteKind
from p2p.primitives.keys import Key
from p2p.primitives.signing import Ed25519Signer, Verified
from p2p.primitives.units import Digest, Height, Millis
from p2p.protocol.interface import (
    Committed,
    InvariantViolated,
    PeerPenalized,
    RequestArrived,
    RespondBlocks,
    ResponseArrived,
    SendRequest,
)
from tests.protocol.replica.bench import (
    ADDRESS,
    CHAIN,
    STRANGER,
    VALIDATORS,
    Bench,
    certify,
    events,
    propose,
    requests,
    vote,
    votes_of,
)

PEER, OTHER = VALIDATORS[1], VALIDATORS[2]


def fresh_ad(bench: Bench, key: Key) -> CapacityAd:
    own = bench.replica.registry.get(bench.key.account)
    assert own is not None
    return sign_ad(msgspec.structs.replace(own.value, provider=key.account), Ed25519Signer(key))


def meet(bench: Bench, key: Key = PEER) -> dict[type, SendRequest]:
    """A peer connects; the questions it is asked, by their kind."""
    effects = bench.step(PeerConnected(key.peer, outbound=True, address=ADDRESS))
    asked = {type(one.request): one for one in requests(effects)}
    assert all(one.peer == key.peer for one in asked.values())
    return asked


def penalties(effects: list) -> list[Reason]:  # type: ignore[type-arg]
    return [event.reason for event in events(effects) if isinstance(event, PeerPenalized)]


# ---- theirs


def test_a_status_tells_where_we_are_and_refuses_another_chain() -> None:
    bench = Bench().start()
    mine = Status(CHAIN, Height(0), bench.state.header_digest, Height(1))
    assert bench.ask(PEER.peer, StatusRequest(CHAIN, Height(0))) == mine
    assert bench.ask(PEER.peer, StatusRequest(Digest(bytes(32)), Height(0))) is None


def test_who_asks_from_ahead_is_asked_for_blocks_in_turn() -> None:
    bench = Bench().start()
    meet(bench)
    bench.step(RequestArrived(1, PEER.peer, StatusRequest(CHAIN, Height(40))))
    assert bench.replica.sync.target_height == 40


def test_blocks_are_answered_by_the_store() -> None:
    bench = Bench().start()
    asked = RequestArrived(8, PEER.peer, BlocksRequest(Height(3), 20))
    assert bench.step(asked) == [RespondBlocks(8, Height(3), 20)]


def test_peers_and_ads_are_answered_from_the_books() -> None:
    bench = Bench().start()
    peers = bench.ask(STRANGER.peer, PeersRequest())
    assert isinstance(peers, Peers)
    ads = bench.ask(STRANGER.peer, AdsRequest(b"", 10))
    assert isinstance(ads, Ads)
    assert [ad.provider for ad in ads.ads] == [bench.key.account]


def test_a_gap_is_filled_at_the_open_height_alone() -> None:
    bench = Bench(VALIDATORS[0]).start()
    bench.connect(PEER, OTHER)
    closed = Bench(PEER).start()
    assert closed.replica.chain.round_request() is None, "nothing is open yet"
    bench.open_height()
    block = bench.build(bench.proposer()).block
    bench.hear(PEER.peer, Topic.VOTES, propose(bench.proposer(), block))
    bench.hear(PEER.peer, Topic.VOTES, vote(OTHER, None))

    asker = Bench(VALIDATORS[3]).start()
    asker.open_height()
    request = asker.replica.chain.round_request()
    assert request is not None
    answer = bench.ask(VALIDATORS[3].peer, request)
    assert isinstance(answer, RoundMessages)
    assert vote(OTHER, None) in answer.votes
    assert answer.proposal is not None
    assert answer.proposal.block.header.height == 1
    later = msgspec.structs.replace(request.summary, height=Height(5))
    assert bench.ask(VALIDATORS[3].peer, RoundRequest(later)) is None
    assert closed.ask(VALIDATORS[3].peer, request) is None


# ---- ours


def test_a_new_neighbour_is_asked_for_its_status_its_peers_and_its_ads() -> None:
    bench = Bench().start()
    bench.fire("membership/tick")
    assert set(meet(bench)) == {StatusRequest, PeersRequest, AdsRequest}


def test_blocks_that_we_lack_are_asked_for_and_committed() -> None:
    ahead, bench = Bench().start(), Bench().start()
    chain = []
    for _ in range(5):
        ahead.now_ms = Millis(ahead.now_ms + 1_000)
        chain.append(certify(ahead.build(VALIDATORS[2]).block))
        ahead.connect(PEER)
        ahead.hear(PEER.peer, Topic.BLOCKS, chain[-1])
    asked = meet(bench)[StatusRequest]
    (wanted,) = requests(
        bench.respond(asked, Status(CHAIN, Height(5), ahead.state.header_digest, Height(1)))
    )
    assert wanted.request == BlocksRequest(Height(1), 5)
    effects = bench.respond(wanted, Blocks(tuple(chain)))
    committed = [event.height for event in events(effects) if isinstance(event, Committed)]
    assert committed == [1, 2, 3, 4, 5]
    assert bench.state == ahead.state
    assert bench.respond(wanted, Blocks(tuple(chain))) == [], "an answer counts once"


def test_a_false_block_is_held_against_who_gave_it() -> None:
    bench = Bench().start()
    asked = meet(bench)[StatusRequest]
    (wanted,) = requests(bench.respond(asked, Status(CHAIN, Height(5), CHAIN, Height(1))))
    false = certify(bench.build(PEER).block, VALIDATORS[:2])
    effects = bench.respond(wanted, Blocks((false,)))
    assert penalties(effects) == [Reason.BAD_CERTIFICATE]
    assert bench.state.height == 0


def test_a_synced_block_that_our_rules_refuse_halts_the_node() -> None:
    bench = Bench().start()
    asked = meet(bench)[StatusRequest]
    (wanted,) = requests(
        bench.respond(asked, Status(CHAIN, Height(1), CHAIN, Height(1))) or [wanted_later(bench)]
    )
    block = bench.build(PEER).block
    header = msgspec.structs.replace(block.header, state_root=Digest(bytes(32)))
    effects = bench.respond(
        wanted, Blocks((certify(msgspec.structs.replace(block, header=header)),))
    )
    assert isinstance(events(effects)[0], InvariantViolated)
    assert penalties(effects) == [], "a quorum signed it: its giver is not to blame"


def test_a_node_that_stopped_blames_nobody_for_blocks_that_it_no_longer_takes() -> None:
    bench = Bench().start()
    asked = meet(bench)[StatusRequest]
    (wanted,) = requests(bench.respond(asked, Status(CHAIN, Height(5), CHAIN, Height(1))))
    bench.replica.chain.refuse_fork("two chains")
    assert bench.replica.chain.halted == "agreement: two chains"
    effects = bench.respond(wanted, Blocks((certify(bench.build(PEER).block),)))
    assert penalties(effects) == []
    assert bench.state.height == 0


def wanted_later(bench: Bench) -> SendRequest:
    """One block may still come by gossip: it is asked for after a grace."""
    while True:
        bench.now_ms = Millis(bench.now_ms + 1_000)
        found = requests(bench.fire("sync/poll"))
        blocks = [one for one in found if isinstance(one.request, BlocksRequest)]
        if blocks:
            return blocks[0]


def test_the_status_of_another_chain_ends_the_acquaintance() -> None:
    bench = Bench().start()
    asked = meet(bench)[StatusRequest]
    foreign = Status(Digest(bytes(32)), Height(5), CHAIN, Height(1))
    effects = bench.respond(asked, foreign)
    assert penalties(effects) == [Reason.WRONG_CHAIN]
    assert HangUp(PEER.peer, f"banned: {Reason.WRONG_CHAIN.value}") in effects


def test_an_answer_to_something_else_is_a_fault_and_counts_as_none() -> None:
    for kind in (StatusRequest, PeersRequest, AdsRequest):
        bench = Bench().start()
        bench.fire("membership/tick")
        asked = meet(bench)[kind]
        wrong = Peers(()) if kind is AdsRequest else Ads(())
        assert penalties(bench.respond(asked, wrong)) == [Reason.MALFORMED]
        assert bench.respond(asked, wrong) == []
    bench = Bench().start()
    other = meet(bench)[StatusRequest]
    (wanted,) = requests(bench.respond(other, Status(CHAIN, Height(9), CHAIN, Height(1))))
    assert penalties(bench.respond(wanted, Peers(()))) == [Reason.MALFORMED]


def test_peers_and_ads_that_are_answered_reach_their_books() -> None:
    bench = Bench().start()
    bench.fire("membership/tick")
    asked = meet(bench)
    effects = bench.respond(asked[AdsRequest], Ads((fresh_ad(bench, STRANGER),)))
    assert penalties(effects) == []
    assert bench.replica.registry.get(STRANGER.account) is not None
    known = Bench().start().ask(PEER.peer, PeersRequest())
    assert isinstance(known, Peers)
    bench.respond(asked[PeersRequest], Peers(known.records))


def test_an_answer_with_an_id_that_we_never_gave_is_no_news() -> None:
    bench = Bench().start()
    status = Status(CHAIN, Height(9), CHAIN, Height(1))
    assert bench.step(ResponseArrived(12_345, PEER.peer, Verified(status))) == []
    assert bench.replica.sync.target_height == 0


def test_a_failed_question_is_asked_of_somebody_else_or_later() -> None:
    bench = Bench().start()
    bench.fire("membership/tick")
    for asked in meet(bench).values():
        assert bench.step(RequestFailed(asked.request_id, PEER.peer)) == []
        assert bench.step(RequestFailed(asked.request_id, PEER.peer)) == [], "it fails once"
    status = meet(bench, OTHER)[StatusRequest]
    (wanted,) = requests(bench.respond(status, Status(CHAIN, Height(9), CHAIN, Height(1))))
    bench.step(RequestFailed(wanted.request_id, OTHER.peer))
    assert bench.replica.sync.target_height == 9


# ---- gaps


def test_a_validator_asks_another_for_what_it_lacks_while_a_height_is_open() -> None:
    bench = Bench(VALIDATORS[0]).start()
    bench.connect(STRANGER, PEER)
    assert bench.fire("replica/gaps") == [], "nothing is open yet"
    bench.open_height()
    assert requests(bench.fire("replica/gaps")) == [], "gossip has its chance first"
    (asked,) = requests(bench.fire("replica/gaps"))
    assert asked.peer == PEER.peer, "strangers hold no votes"
    request = asked.request
    assert isinstance(request, RoundRequest)
    assert request.summary.height == 1


def test_an_observer_asks_nobody_for_votes() -> None:
    bench = Bench().start()
    bench.connect(PEER)
    bench.open_height()
    assert "replica/gaps" not in bench.timers
    assert bench.step(TimerFired("replica/gaps")) == [], "set while it was a validator"
    assert "replica/gaps" not in bench.timers


def test_what_fills_a_gap_can_decide_the_height() -> None:
    bench = Bench(VALIDATORS[0]).start()
    bench.connect(PEER)
    bench.open_height()
    bench.fire("replica/gaps")
    (asked,) = requests(bench.fire("replica/gaps"))
    block = bench.build(bench.proposer()).block
    name = block.header.digest()
    precommits = tuple(vote(key, name, kind=VoteKind.PRECOMMIT) for key in VALIDATORS[1:])
    too_old = vote(PEER, None, height=9)
    proposed = propose(bench.proposer(), block)
    effects = bench.respond(asked, RoundMessages((*precommits, too_old), proposed))
    assert [event.height for event in events(effects) if isinstance(event, Committed)] == [1]
    assert penalties(effects) == []
    assert all(one.validator == bench.key.account for one in votes_of(effects))


def test_an_empty_answer_fills_nothing() -> None:
    bench = Bench(VALIDATORS[0]).start()
    bench.connect(PEER)
    bench.open_height()
    bench.fire("replica/gaps")
    (asked,) = requests(bench.fire("replica/gaps"))
    assert bench.respond(asked, RoundMessages((), None)) == []
