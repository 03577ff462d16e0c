"""The witness: what it sees, once, and what it forgets."""

from collections.abc import Iterable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from p2p.model.ballot import Proposal, Vote, VoteKind
from p2p.model.evidence import (
    Amnesia,
    DoubleAd,
    DoubleProposal,
    DoubleReceipt,
    DoubleVote,
    Offence,
    offence_id,
)
from p2p.model.receipt import ServiceReceipt
from p2p.primitives.digests import digest
from p2p.primitives.signing import Verified
from p2p.primitives.units import AccountId, Digest, Height, Round
from p2p.protocol.accountability.witness import (
    CHANNELS_MAX,
    HEIGHTS_MAX,
    OFFENCES_MAX,
    VOTERS_MAX,
    VOTES_MAX,
    AdsDiffer,
    HeightOpened,
    ProposalsDiffer,
    ReceiptHeard,
    VoteHeard,
    Witness,
)
from tests.protocol.ledger import lies
from tests.protocol.ledger.chain import Chain, account
from tests.protocol.ledger.lies import BLUE, RED

CHAIN = Chain()


def vote(
    who: int,
    value: Digest | None,
    *,
    height: int = 1,
    round_: int = 0,
    kind: VoteKind = VoteKind.PREVOTE,
    valid_round: int = -1,
) -> Vote:
    return lies.vote(
        CHAIN, who, value, height=height, round_=round_, kind=kind, valid_round=valid_round
    )


def hear(judge: Witness, *votes: Vote) -> list[Offence]:
    return [found for one in votes for found in judge.step(VoteHeard(Verified(one)))]


def test_the_second_vote_of_a_slot_is_told_once_in_whatever_order() -> None:
    judge = Witness()
    first, second = vote(0, RED), vote(0, None)
    assert hear(judge, first, first) == []
    assert judge.wants(second)
    assert not judge.wants(first)
    assert hear(judge, second) == [DoubleVote(first, second)]
    third = vote(0, BLUE)
    assert not judge.wants(third)
    assert hear(judge, second, third) == []
    # Another valid round is another word, too.
    other = Witness()
    early, late = vote(1, RED, round_=3), vote(1, RED, round_=3, valid_round=1)
    assert hear(other, early, late) == [DoubleVote(early, late)]


def test_a_late_vote_of_a_past_height_is_still_compared() -> None:
    judge = Witness()
    first = vote(0, RED, height=1)
    hear(judge, first)
    judge.step(HeightOpened(Height(HEIGHTS_MAX)))
    second = vote(0, BLUE, height=1)
    assert hear(judge, second) == [DoubleVote(first, second)]
    forgetful = Witness()
    hear(forgetful, first)
    forgetful.step(HeightOpened(Height(HEIGHTS_MAX + 1)))
    assert not forgetful.wants(second)
    assert hear(forgetful, second) == []


def test_a_forgotten_lock_is_told_whichever_vote_comes_first() -> None:
    precommit = vote(0, RED, round_=1, kind=VoteKind.PRECOMMIT)
    prevote = vote(0, BLUE, round_=3, valid_round=0)
    for order in ((precommit, prevote), (prevote, precommit)):
        assert hear(Witness(), *order) == [Amnesia(precommit, prevote)]


def test_votes_that_the_rules_allow_are_no_amnesia() -> None:
    precommit = vote(0, RED, round_=1, kind=VoteKind.PRECOMMIT)
    allowed = [
        vote(0, RED, round_=3),
        vote(0, None, round_=3),
        vote(0, BLUE, round_=3, valid_round=1),
        vote(0, BLUE, round_=3, valid_round=2),
        vote(0, BLUE, round_=0),
        vote(0, BLUE, round_=1),
        vote(0, BLUE, round_=3, kind=VoteKind.PRECOMMIT),
        vote(1, BLUE, round_=3),
        vote(0, BLUE, round_=3, height=2),
    ]
    for second in allowed:
        assert hear(Witness(), precommit, second) == []
    silent = vote(0, None, round_=1, kind=VoteKind.PRECOMMIT)
    assert hear(Witness(), silent, vote(0, BLUE, round_=3)) == []


def test_what_two_machines_found_passes_once() -> None:
    judge = Witness()
    first = Proposal(CHAIN.rules.chain_id, Height(1), Round(0), RED, Round(-1), account(0))
    second = msgspec.structs.replace(first, header_digest=BLUE)
    assert judge.step(ProposalsDiffer(first, second)) == [DoubleProposal(first, second)]
    assert judge.step(ProposalsDiffer(second, first)) == []
    one = lies.ad(CHAIN, 0)
    two = msgspec.structs.replace(one, region="there")
    assert judge.step(AdsDiffer(Verified(one), Verified(two))) == [DoubleAd(one, two)]
    assert judge.step(AdsDiffer(Verified(one), Verified(two))) == []


# ---- receipts -----------------------------------------------------------------------------------


def receipt(seq: int, amount: int = 5, *, by: str = "both") -> ServiceReceipt:
    bare = lies.receipt(CHAIN, 0, 1, seq=seq, amount=amount)
    provider = b"p" * 64 if by == "both" else b""
    return msgspec.structs.replace(bare, consumer_signature=b"c" * 64, provider_signature=provider)


def listen(judge: Witness, receipts: Iterable[ServiceReceipt]) -> list[Offence]:
    return [found for one in receipts for found in judge.step(ReceiptHeard(Verified(one)))]


def test_two_receipts_of_one_seq_tell_on_both_who_signed_both() -> None:
    first, second = receipt(3), receipt(3, amount=6)
    found = listen(Witness(), [first, second, second])
    assert found == [
        DoubleReceipt(first, second, account(0)),
        DoubleReceipt(first, second, account(1)),
    ]


def test_a_promise_tells_on_its_consumer_alone() -> None:
    first, second = receipt(3, by="consumer"), receipt(3, amount=6)
    assert listen(Witness(), [first, second]) == [DoubleReceipt(first, second, account(0))]
    judge = Witness()
    listen(judge, [first, second])
    # The receipt that both signed was kept: a third body tells on the provider, too.
    third = receipt(3, amount=7)
    assert listen(judge, [third]) == [DoubleReceipt(second, third, account(1))]


def test_one_body_signed_by_one_and_by_both_is_no_contradiction() -> None:
    judge = Witness()
    assert listen(judge, [receipt(3, by="consumer"), receipt(3), receipt(4), receipt(3)]) == []
    assert listen(judge, [receipt(3, amount=9)]) == [], "an older seq is not remembered"


# ---- bounds -------------------------------------------------------------------------------------


def test_what_is_kept_is_bounded_whatever_comes() -> None:
    judge = Witness()
    for height in range(1, HEIGHTS_MAX + 20):
        hear(judge, vote(0, RED, height=height))
    assert judge.votes_count == HEIGHTS_MAX + 1
    crowd = Witness()
    for number in range(VOTERS_MAX + 5):
        hear(crowd, msgspec.structs.replace(vote(0, RED), validator=_stranger(number)))
    assert crowd.votes_count == VOTERS_MAX
    talker = Witness()
    for round_ in range(VOTES_MAX + 9):
        hear(talker, vote(0, RED, round_=round_))
    assert talker.votes_count == VOTES_MAX
    assert not talker.wants(vote(0, BLUE, round_=0)), "the oldest rounds went"
    assert talker.wants(vote(0, BLUE, round_=VOTES_MAX))
    for number in range(CHANNELS_MAX + 3):
        channel = digest(number.to_bytes(4))
        listen(talker, [msgspec.structs.replace(receipt(1), channel=channel)])
    assert len(talker._receipts) == CHANNELS_MAX
    for number in range(OFFENCES_MAX + 3):
        one = lies.ad(CHAIN, 0, seq=number)
        other = msgspec.structs.replace(one, region="there")
        talker.step(AdsDiffer(Verified(one), Verified(other)))
    assert len(talker._told) == OFFENCES_MAX


def _stranger(number: int) -> AccountId:
    return AccountId(digest(b"stranger", number.to_bytes(4)))


VALUES = st.sampled_from([None, RED, BLUE])
HEARD = st.lists(
    st.tuples(
        st.integers(0, 2),
        VALUES,
        st.integers(1, 3),
        st.integers(0, 4),
        st.sampled_from(list(VoteKind)),
        st.integers(-1, 3),
    ),
    max_size=40,
)


@given(HEARD)
def test_everything_told_is_a_contradiction_of_what_was_heard_and_told_once(
    heard: list[tuple[int, Digest | None, int, int, VoteKind, int]],
) -> None:
    judge = Witness()
    said: list[Vote] = []
    named: set[bytes] = set()
    for who, value, height, round_, kind, valid_round in heard:
        one = vote(who, value, height=height, round_=round_, kind=kind, valid_round=valid_round)
        said.append(one)
        wanted = judge.wants(one)
        found = hear(judge, one)
        assert bool(found) == wanted
        for offence in found:
            assert isinstance(offence, DoubleVote | Amnesia)
            assert offence_id(offence) not in named
            named.add(offence_id(offence))
            pair = [getattr(offence, name) for name in offence.__struct_fields__]
            assert all(part in said for part in pair)
