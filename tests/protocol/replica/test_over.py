"""A height whose block came from outside is over, although this node never decided it."""

from p2p.model.effects import Persist
from p2p.model.topic import Topic
from p2p.model.vote import VoteKind
from p2p.primitives.codec import encode
from p2p.primitives.keys import Key
from p2p.protocol.interface import ReplicaEffect
from tests.protocol.replica.bench import VALIDATORS, Bench, certify, published, vote


def proposer_of_round_1() -> Key:
    return Bench().start().proposer(1)


def overtaken(me: Key) -> tuple[Bench, list[Key]]:
    """A validator whose height 1 was open when block 1 came by gossip, and the others."""
    others = [key for key in VALIDATORS if key != me]
    bench = Bench(me).start()
    bench.connect(*others)
    bench.graft()
    bench.open_height()
    bench.drain()
    bench.hear(others[0].peer, Topic.BLOCKS, certify(bench.build().block, others))
    bench.drain()
    assert bench.state.height == 1
    return bench, others


def said(effects: list[ReplicaEffect]) -> list[bytes]:
    return published(effects, Topic.VOTES)


def test_late_votes_do_not_make_it_propose_the_next_block_in_the_old_height() -> None:
    """Given f+1 in round 1 of the old height; then its proposer signs nothing there."""
    bench, others = overtaken(proposer_of_round_1())
    late = [vote(key, None, round_=1) for key in others]
    for key, one in zip(others, late, strict=True):
        effects = bench.hear(key.peer, Topic.VOTES, one) + bench.drain()
        assert not [one for one in effects if isinstance(one, Persist)]
        assert set(said(effects)) <= {encode(vote) for vote in late}, "passed on, not answered"
    state = bench.replica.chain.driver.state
    assert state is not None
    assert (state.height, state.round) == (1, 0)


def test_votes_of_the_next_height_still_wait_for_it() -> None:
    bench, others = overtaken(proposer_of_round_1())
    before, _ = bench.replica.chain.driver.held()
    early = vote(others[0], None, kind=VoteKind.PREVOTE, height=2)
    bench.hear(others[0].peer, Topic.VOTES, early)
    assert bench.replica.chain.driver.held()[0] == before + 1
