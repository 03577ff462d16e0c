"""The chain of one node: building, judging, halting, restarting."""

import msgspec
import pytest

from p2p.model.effects import Persist
from p2p.model.inputs import TimerFired
from p2p.model.persistence import SIGN_STATE_KEY, STATE_KEY, Put, Table, number_key
from p2p.model.rejection import Reason
from p2p.model.topic import Topic
from p2p.model.vote import Proposal, VoteKind, sign_proposal
from p2p.primitives.codec import Malformed, encode
from p2p.primitives.keys import Key
from p2p.primitives.signing import Ed25519Signer
from p2p.primitives.units import Digest, Height, Millis, Round
from p2p.protocol.interface import (
    Committed,
    EquivocationFound,
    EvidenceFound,
    InvariantViolated,
    PeerPenalized,
    ReplicaEffect,
    RoundStarted,
)
from p2p.protocol.invariants import Violation
from p2p.protocol.replica import bookkeeping
from p2p.protocol.replica.candidates import CANDIDATES_MAX
from p2p.storage.memory import MemoryStore
from tests.protocol.replica.bench import (
    CHAIN,
    GENESIS_MS,
    VALIDATORS,
    Bench,
    certify,
    events,
    propose,
    published,
    vote,
    votes_of,
)

PEER = VALIDATORS[1]


def proposing() -> Bench:
    """The validator whose turn it is, before its height opens."""
    first = Bench(VALIDATORS[0])
    bench = Bench(first.proposer()).start()
    bench.connect(*[key for key in VALIDATORS if key is not bench.key])
    return bench.graft()


def following() -> Bench:
    """A validator whose turn it is not, at the open height 1."""
    first = Bench(VALIDATORS[0])
    other = next(key for key in VALIDATORS if key is not first.proposer())
    bench = Bench(other).start()
    bench.connect(*[key for key in VALIDATORS if key is not bench.key])
    bench.graft()
    bench.open_height()
    return bench


def others(bench: Bench, count: int = 3) -> list[Key]:
    return [key for key in VALIDATORS if key is not bench.key][:count]


def to_round_one(bench: Bench) -> list[ReplicaEffect]:
    """The others precommit nil, and the round times out."""
    for key in others(bench):
        bench.hear(key.peer, Topic.VOTES, vote(key, None, kind=VoteKind.PRECOMMIT))
    return bench.fire("consensus/precommit")


# ---- a height


def test_a_height_opens_an_epoch_after_the_last_commit_and_at_once_after_a_crash() -> None:
    bench = Bench().start()
    assert bench.timers["chain/height"] == GENESIS_MS + 1_000
    bench.now_ms = Millis(GENESIS_MS + 5_000)
    bench.hear(PEER.peer, Topic.BLOCKS, certify(bench.build(PEER).block))
    late = Bench().start()
    assert late.timers["chain/height"] == GENESIS_MS + 1_000

    following_ = following()
    following_.hear(
        PEER.peer,
        Topic.VOTES,
        propose(following_.proposer(), following_.build(following_.proposer()).block),
    )
    again = following_.restarted().start()
    assert again.timers["chain/height"] == again.now_ms, "a height was open when it died"


def test_a_block_dated_ahead_of_our_clock_does_not_keep_us_from_the_next() -> None:
    bench = Bench()
    bench.now_ms = Millis(GENESIS_MS - 3_600_000)
    bench.start()
    assert bench.timers["chain/height"] == bench.now_ms + 1_000


def test_a_proposer_persists_before_its_proposal_and_vote_leave() -> None:
    bench = proposing()
    effects = [*bench.open_height(), *bench.drain()]
    places = [place for place, effect in enumerate(effects) if isinstance(effect, Persist)]
    assert places[0] == 0
    tables = {write.table for write in effects[0].writes}  # type: ignore[union-attr]
    assert {Table.JOURNAL, Table.META} <= tables
    assert bench.store.get(Table.META, SIGN_STATE_KEY) is not None
    assert len(published(effects, Topic.VOTES)) == 2, "a proposal and a prevote"


def test_a_decided_block_is_durable_before_anybody_hears_of_it() -> None:
    bench = proposing()
    bench.open_height()
    (block,) = [one.block for one in bench.replica.chain._candidates]
    name = block.header.digest()
    effects = []
    for kind in VoteKind:
        for key in others(bench):
            effects += bench.hear(key.peer, Topic.VOTES, vote(key, name, kind=kind))
    commit = next(
        place
        for place, effect in enumerate(effects)
        if isinstance(effect, Persist) and effect.writes[0].table is Table.BLOCKS
    )
    told = next(
        place
        for place, effect in enumerate(effects)
        if events([effect]) and isinstance(events([effect])[0], Committed)
    )
    assert commit < told
    writes = effects[commit].writes  # type: ignore[union-attr]
    assert [(write.table, getattr(write, "key", b"")) for write in writes] == [
        (Table.BLOCKS, number_key(1)),
        (Table.REWARDS, number_key(1)),
        (Table.STATE, STATE_KEY),
        (Table.HEADERS, number_key(1)),
        (Table.VALIDATORS, bench.state.validators.root()),
        (Table.POLKAS, number_key(1)),
    ]
    assert bench.timers["chain/height"] == bench.now_ms + 1_000
    assert bench.replica.chain.last_certificate is not None
    assert bench.state.height == 1


def test_rounds_above_the_first_are_told() -> None:
    bench = following()
    bench.fire("consensus/propose")
    assert events(to_round_one(bench)) == [RoundStarted(Height(1), 1)]


def test_two_votes_of_one_slot_are_told_as_evidence_and_so_are_two_proposals() -> None:
    bench = following()
    liar = bench.proposer()
    block = bench.build(liar).block
    bench.hear(PEER.peer, Topic.VOTES, vote(liar, None))
    effects = bench.hear(PEER.peer, Topic.VOTES, vote(liar, block.header.digest()))
    assert events(effects) == [
        EvidenceFound("double_vote", liar.account, Height(1)),
        EquivocationFound(liar.account, Height(1), 0, "prevote"),
    ]
    bench.hear(PEER.peer, Topic.VOTES, propose(liar, block))
    bench.now_ms = Millis(bench.now_ms + 7)
    other = propose(liar, bench.build(liar).block)
    found = events(bench.hear(PEER.peer, Topic.VOTES, other))
    assert found == [
        EquivocationFound(liar.account, Height(1), 0, "proposal"),
        EvidenceFound("double_proposal", liar.account, Height(1)),
    ]


# ---- judging


@pytest.mark.parametrize(
    ("shift_ms", "votes_for_it"),
    [(0, True), (400, True), (-10_000, True), (600, False), (-16_000, False)],
)
def test_a_fresh_proposal_must_be_timely(shift_ms: int, votes_for_it: bool) -> None:
    """Proposer-based timestamps: within the precision ahead, within the delay behind."""
    bench = following()
    bench.now_ms = Millis(bench.now_ms + 60_000)
    moment = bench.now_ms
    bench.now_ms = Millis(moment + shift_ms)
    proposed = propose(bench.proposer(), bench.build(bench.proposer()).block)
    bench.now_ms = moment
    (cast,) = votes_of(bench.hear(PEER.peer, Topic.VOTES, proposed))
    expected = proposed.proposal.header_digest if votes_for_it else None
    assert cast.header_digest == expected


def test_a_proposal_that_waits_for_its_height_is_as_timely_as_when_it_came() -> None:
    first = Bench(VALIDATORS[0])
    bench = Bench(next(key for key in VALIDATORS if key is not first.proposer())).start()
    bench.connect(*[key for key in VALIDATORS if key is not bench.key])
    bench.graft()
    proposed = propose(bench.proposer(), bench.build(bench.proposer()).block)
    bench.hear(PEER.peer, Topic.VOTES, proposed)
    bench.now_ms = Millis(bench.now_ms + 60_000)
    (cast,) = votes_of(bench.open_height())
    assert cast.header_digest == proposed.proposal.header_digest


def test_an_untimely_block_is_locked_and_decided_where_the_others_found_it_timely() -> None:
    """Timeliness decides our prevote alone: L36 and L49 ask for a valid block."""
    bench = following()
    block = bench.build(bench.proposer()).block
    bench.now_ms = Millis(bench.now_ms + 60_000)
    (cast,) = votes_of(bench.hear(PEER.peer, Topic.VOTES, propose(bench.proposer(), block)))
    assert cast.header_digest is None
    for key in others(bench):
        bench.hear(key.peer, Topic.VOTES, vote(key, block.header.digest()))
    assert bench.replica.chain.driver.state is not None
    assert bench.replica.chain.driver.state.valid_value == block.header.digest()
    for key in others(bench):
        bench.hear(key.peer, Topic.VOTES, vote(key, block.header.digest(), kind=VoteKind.PRECOMMIT))
    assert bench.state.header_digest == block.header.digest()


def test_a_proposal_that_does_not_execute_gets_a_vote_for_nil() -> None:
    bench = following()
    block = bench.build(bench.proposer()).block
    header = msgspec.structs.replace(block.header, state_root=Digest(bytes(32)))
    false = propose(bench.proposer(), msgspec.structs.replace(block, header=header))
    (cast,) = votes_of(bench.hear(PEER.peer, Topic.VOTES, false))
    assert cast.header_digest is None


def test_proposed_blocks_are_kept_up_to_a_bound_and_a_locked_one_stays() -> None:
    bench = following()
    block = bench.build(bench.proposer()).block
    name = block.header.digest()
    bench.hear(PEER.peer, Topic.VOTES, propose(bench.proposer(), block))
    for key in others(bench):
        bench.hear(key.peer, Topic.VOTES, vote(key, name))
    assert bench.replica.chain.driver.state is not None
    assert bench.replica.chain.driver.state.locked_value == name
    for number in range(CANDIDATES_MAX + 5):
        header = msgspec.structs.replace(block.header, time_ms=block.header.time_ms + number + 1)
        later = msgspec.structs.replace(block, header=header)
        chain = bench.replica.chain
        chain._candidates.execute(header.digest(), later, chain.driver.state)
    assert len(bench.replica.chain._candidates) == CANDIDATES_MAX
    assert bench.replica.chain.candidate(name) == block


def test_a_decision_on_a_block_that_was_forgotten_waits_for_a_neighbour_to_give_it() -> None:
    bench = following()
    block = bench.build(bench.proposer()).block
    name = block.header.digest()
    bench.hear(PEER.peer, Topic.VOTES, propose(bench.proposer(), block))
    bench.replica.chain._candidates.forget()
    for key in others(bench):
        bench.hear(key.peer, Topic.VOTES, vote(key, name, kind=VoteKind.PRECOMMIT))
    assert bench.state.height == 0
    bench.hear(PEER.peer, Topic.BLOCKS, certify(block))
    assert bench.state.height == 1


# ---- halting


def test_a_block_that_breaks_an_invariant_is_not_committed_and_stops_the_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = following()
    block = bench.build(bench.proposer()).block
    broken = (Violation("I1 conservation", "a coin too many"),)
    monkeypatch.setattr(bookkeeping, "check_block", lambda *_: broken)
    effects = bench.hear(PEER.peer, Topic.BLOCKS, certify(block))
    told = InvariantViolated("I1 conservation", Height(1), "a coin too many")
    assert told in events(effects)
    assert not [effect for effect in effects if isinstance(effect, Persist)]
    assert bench.replica.chain.halted == "I1 conservation: a coin too many"
    monkeypatch.undo()
    assert bench.step(TimerFired("chain/height")) == []
    assert bench.step(TimerFired("consensus/propose")) == []
    bench.hear(PEER.peer, Topic.BLOCKS, certify(block, VALIDATORS[:3]))
    assert bench.state.height == 0, "whatever it hears, it builds on nothing any more"


def test_another_proven_block_of_a_committed_height_is_a_broken_agreement() -> None:
    bench = following()
    proposer = bench.proposer()
    block, rival = bench.build(proposer).block, bench.build(proposer, later_ms=1).block
    bench.hear(PEER.peer, Topic.BLOCKS, certify(block))
    assert bench.state.height == 1
    assert events(bench.hear(PEER.peer, Topic.BLOCKS, certify(block))) == []
    unproven = events(bench.hear(PEER.peer, Topic.BLOCKS, certify(rival, VALIDATORS[:2])))
    assert [event.reason for event in unproven if isinstance(event, PeerPenalized)] == [
        Reason.BAD_CERTIFICATE
    ]
    assert bench.replica.chain.halted is None
    told = InvariantViolated("agreement", Height(2), "two proven blocks at height 1")
    assert told in events(bench.hear(PEER.peer, Topic.BLOCKS, certify(rival)))
    assert bench.replica.chain.halted is not None


# ---- restarting


def test_after_a_crash_it_repeats_what_it_said_and_says_nothing_else() -> None:
    bench = proposing()
    said = published([*bench.open_height(), *bench.drain()], Topic.VOTES)
    again = bench.restarted().start()
    again.now_ms = Millis(again.now_ms + 1)
    again.connect(*others(again))
    again.graft()
    repeated = published([*again.fire("chain/height"), *again.drain()], Topic.VOTES)
    assert repeated == said, "byte for byte, though the clock moved on"
    (block,) = [one.block for one in again.replica.chain._candidates]
    assert again.replica.chain.candidate(block.header.digest()) == block


def test_a_disk_that_does_not_hold_what_we_wrote_is_refused_at_the_start() -> None:
    store = MemoryStore()
    store.commit([Put(Table.STATE, STATE_KEY, b"rubbish")])
    with pytest.raises(Malformed):
        Bench(store=store)
    other = MemoryStore()
    other.commit([Put(Table.META, SIGN_STATE_KEY, encode("rubbish"))])
    with pytest.raises(Malformed):
        Bench(VALIDATORS[0], store=other).start()


def test_a_proposal_of_a_valid_round_is_judged_without_its_time() -> None:
    """Its first round judged the time; by now it may be long ago."""
    bench = following()
    block = bench.build(bench.proposer()).block
    name = block.header.digest()
    for key in others(bench):
        bench.hear(key.peer, Topic.VOTES, vote(key, name))
    bench.fire("consensus/propose")
    to_round_one(bench)
    bench.now_ms = Millis(bench.now_ms + 60_000)
    proposer = bench.proposer(1)
    draft = Proposal(CHAIN, Height(1), Round(1), name, Round(0), proposer.account)
    again = msgspec.structs.replace(
        propose(proposer, block), proposal=sign_proposal(draft, Ed25519Signer(proposer))
    )
    bench.drain()
    (cast,) = votes_of([*bench.hear(PEER.peer, Topic.VOTES, again), *bench.drain()])
    assert (cast.round, cast.header_digest) == (1, name)
