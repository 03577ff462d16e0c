"""What waits for a block, what is turned away, and what a proposer gets."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.model.transaction import ChannelClose, ChannelOpen, Transaction, Transfer
from p2p.primitives.codec import encode
from p2p.primitives.digests import ZERO_DIGEST
from p2p.primitives.signing import Verified
from p2p.primitives.units import MIB, Amount, ChannelId
from p2p.protocol.mempool import (
    Accepted,
    BlockCommitted,
    Candidates,
    Ignored,
    Mempool,
    MempoolLimits,
    ReceiptReceived,
    TransactionReceived,
    Verdict,
)
from tests.protocol.ledger.chain import Chain, account, genesis


class Pool:
    """A mempool on a chain, in few words."""

    def __init__(self, chain: Chain | None = None, **limits: int) -> None:
        self.chain = chain or Chain()
        self.mempool = Mempool(self.chain.rules, self.chain.state, MempoolLimits(**limits))

    def send(self, transaction: Transaction) -> Verdict:
        (verdict,) = self.mempool.step(TransactionReceived(Verified(transaction)))
        return verdict

    def claim(self, receipt: ServiceReceipt) -> Verdict:
        (verdict,) = self.mempool.step(ReceiptReceived(Verified(receipt)))
        return verdict

    def pay(self, sender: int, *, ahead: int = 0, fee: int = 10, amount: int = 1) -> Transaction:
        action = Transfer(account(5), Amount(amount))
        return self.chain.transaction(sender, action, fee=fee, ahead=ahead)

    def commit(self, candidates: Candidates) -> None:
        self.chain.commit_all(transactions=candidates.transactions, receipts=candidates.receipts)
        assert self.mempool.step(BlockCommitted(self.chain.state)) == []

    def offered(self) -> Candidates:
        return self.mempool.candidates(bytes_max=MIB)


def open_channels(pool: Pool, *providers: int, deposit: int = 1_000) -> list[ChannelId]:
    """Channels from account 3 to these providers, committed."""
    chain = pool.chain
    keys = [chain.next_channel(3, ahead=ahead) for ahead in range(len(providers))]
    chain.commit_all(
        transactions=[
            chain.transaction(3, ChannelOpen(account(provider), Amount(deposit)), ahead=ahead)
            for ahead, provider in enumerate(providers)
        ]
    )
    pool.mempool.step(BlockCommitted(chain.state))
    return keys


# ---- transactions ------------------------------------------------------------------------------


def test_the_highest_fee_goes_first_but_never_before_its_senders_earlier_nonce() -> None:
    pool = Pool()
    slow, rich = pool.pay(3, fee=11), pool.pay(3, ahead=1, fee=900)
    middle, low = pool.pay(4, fee=50), pool.pay(0, fee=10)
    for transaction in (rich, low, middle, slow):
        assert pool.send(transaction) == Accepted()
    assert pool.offered() == Candidates((middle, slow, rich, low), ())
    assert pool.mempool.transactions_count == 4


def test_equal_fees_go_by_account() -> None:
    pool = Pool()
    senders = range(5)
    for sender in senders:
        pool.send(pool.pay(sender))
    offered = [transaction.sender for transaction in pool.offered().transactions]
    assert offered == sorted(account(sender) for sender in senders)


def test_a_gap_in_nonces_waits_and_is_not_offered() -> None:
    pool = Pool()
    first, third = pool.pay(3), pool.pay(3, ahead=2)
    assert [pool.send(third), pool.send(first)] == [Accepted(), Accepted()]
    assert pool.offered().transactions == (first,)
    assert pool.mempool.next_nonce(account(3)) == 1
    second = pool.pay(3, ahead=1)
    assert pool.send(second) == Accepted()
    assert pool.offered().transactions == (first, second, third)
    assert pool.mempool.waiting_of(account(3)) == (first, second, third)
    assert pool.mempool.next_nonce(account(3)) == 3


def test_a_stranger_starts_at_nonce_zero_and_has_nothing_waiting() -> None:
    mempool = Pool().mempool
    assert (mempool.next_nonce(account(77)), mempool.waiting_of(account(77))) == (0, ())


def test_the_same_nonce_is_replaced_by_a_tenth_more_fee() -> None:
    pool = Pool()
    old = pool.pay(3, fee=100)
    assert pool.send(old) == Accepted()
    assert pool.send(old) == Ignored(Reason.OUTDATED)
    assert pool.send(pool.pay(3, fee=109, amount=2)) == Ignored(
        Reason.FEE_TOO_LOW, "replacing it takes 110"
    )
    new = pool.pay(3, fee=110, amount=2)
    assert pool.send(new) == Accepted()
    assert pool.offered().transactions == (new,)
    assert pool.mempool.transactions_count == 1


@pytest.mark.parametrize(
    ("sender", "ahead", "fee", "amount", "verdict"),
    [
        (3, 0, 9, 1, Rejected(Reason.FEE_TOO_LOW, "9 of 10")),
        (3, 0, 10, 0, Rejected(Reason.ZERO_AMOUNT)),
        (77, 0, 10, 1, Ignored(Reason.UNKNOWN_ACCOUNT)),
        (3, 64, 10, 1, Ignored(Reason.TOO_MANY, "too far ahead of the account's nonce")),
        (3, 0, 10, 999_991, Ignored(Reason.INSUFFICIENT_FUNDS, "1000001 of 1000000")),
    ],
)
def test_a_transaction_is_turned_away_for_its_own_reason(
    sender: int, ahead: int, fee: int, amount: int, verdict: Verdict
) -> None:
    pool = Pool()
    assert pool.send(pool.pay(sender, ahead=ahead, fee=fee, amount=amount)) == verdict
    assert (pool.offered(), pool.mempool.transactions_count) == (Candidates((), ()), 0)


def test_a_transaction_of_another_chain_is_a_fault() -> None:
    other = Chain(genesis(overrides={"epoch_ms": 1}))
    foreign = other.transaction(3, Transfer(account(5), Amount(1)))
    assert Pool().send(foreign) == Rejected(Reason.WRONG_CHAIN)


def test_a_used_nonce_is_ignored() -> None:
    pool = Pool()
    old = pool.pay(3)
    pool.send(old)
    pool.commit(pool.offered())
    assert pool.send(old) == Ignored(Reason.BAD_NONCE, "0, not 1")


def test_a_sender_never_owes_more_than_its_balance() -> None:
    pool = Pool()
    assert pool.send(pool.pay(3, amount=600_000)) == Accepted()
    refused = pool.send(pool.pay(3, ahead=1, amount=400_000))
    assert refused == Ignored(Reason.INSUFFICIENT_FUNDS, "1000020 of 1000000")
    assert pool.send(pool.pay(3, ahead=1, amount=399_980)) == Accepted()
    # A replacement frees what it replaces.
    assert pool.send(pool.pay(3, amount=599_980, fee=30)) == Accepted()


def test_a_block_drops_what_it_took_and_what_can_no_longer_be_paid() -> None:
    pool = Pool()
    waiting = [pool.pay(3, ahead=ahead, amount=300_000) for ahead in range(3)]
    for transaction in waiting:
        pool.send(transaction)
    elsewhere = pool.pay(3, amount=500_000)
    pool.commit(Candidates((elsewhere,), ()))
    # The first nonce went to another transaction, which leaves enough for one of two.
    assert pool.mempool.waiting_of(account(3)) == (waiting[1],)
    assert pool.mempool.next_nonce(account(3)) == 2
    pool.commit(pool.offered())
    assert pool.mempool.transactions_count == 0


def test_a_full_pool_takes_a_higher_fee_for_the_lowest_last_one() -> None:
    pool = Pool(transactions_max=3)
    first, last, other = pool.pay(3, fee=10), pool.pay(3, ahead=1, fee=20), pool.pay(4, fee=30)
    for transaction in (first, last, other):
        assert pool.send(transaction) == Accepted()
    full = Ignored(Reason.TOO_MANY, "its fee is too low for a full mempool")
    assert pool.send(pool.pay(0, fee=20)) == full
    # Nonce 0 pays less, but without it nonce 1 could not run: nonce 1 goes.
    newcomer = pool.pay(0, fee=21)
    assert pool.send(newcomer) == Accepted()
    assert pool.offered().transactions == (other, newcomer, first)


def test_a_pool_full_in_bytes_pushes_out_as_many_as_it_takes_or_none() -> None:
    small = len(encode(Pool().pay(3, fee=30)))
    pool = Pool(transactions_bytes_max=3 * small)
    waiting = [pool.pay(sender, fee=fee) for sender, fee in ((3, 30), (4, 20), (0, 10))]
    assert [pool.send(transaction) for transaction in waiting] == [Accepted()] * 3

    def signed(fee: int) -> Transaction:
        return msgspec.structs.replace(pool.pay(1, fee=fee), signature=bytes(64))

    # A signed one takes the room of two. The first to go is cheaper, the second is not.
    assert pool.send(signed(15)) == Ignored(
        Reason.TOO_MANY, "its fee is too low for a full mempool"
    )
    assert pool.offered().transactions == tuple(waiting)
    assert pool.send(signed(25)) == Accepted()
    assert pool.offered().transactions == (waiting[0], signed(25))
    assert pool.mempool.transactions_count == 2


def test_a_refused_replacement_leaves_the_old_one() -> None:
    small = len(encode(Pool().pay(3, fee=10)))
    pool = Pool(transactions_bytes_max=2 * small)
    old, other = pool.pay(3, fee=10), pool.pay(4, fee=100)
    assert [pool.send(old), pool.send(other)] == [Accepted(), Accepted()]
    larger = pool.pay(3, fee=20, amount=900_000)
    assert pool.send(larger) == Ignored(Reason.TOO_MANY, "its fee is too low for a full mempool")
    assert pool.offered().transactions == (other, old)


@pytest.mark.parametrize(("first", "second"), [(0, 4), (4, 0)])
def test_among_equal_fees_who_came_first_stays(first: int, second: int) -> None:
    pool = Pool(transactions_max=1)
    waiting = pool.pay(first)
    assert pool.send(waiting) == Accepted()
    assert pool.send(pool.pay(second)) == Ignored(
        Reason.TOO_MANY, "its fee is too low for a full mempool"
    )
    assert pool.offered().transactions == (waiting,)


def test_what_follows_a_transaction_that_does_not_fit_is_not_offered_either() -> None:
    pool = Pool()
    large = msgspec.structs.replace(pool.pay(3), signature=bytes(64))
    small = pool.pay(3, ahead=1)
    assert [pool.send(large), pool.send(small)] == [Accepted(), Accepted()]
    between = len(encode(large)) - 1
    assert between > len(encode(small))
    assert pool.mempool.candidates(bytes_max=between) == Candidates((), ())


def test_candidates_fit_their_bytes() -> None:
    pool = Pool()
    for sender in (3, 4):
        for ahead in range(3):
            pool.send(pool.pay(sender, ahead=ahead, fee=10 + sender))
    size = len(encode(pool.pay(3)))
    offered = pool.mempool.candidates(bytes_max=4 * size + size // 2)
    assert [transaction.nonce for transaction in offered.transactions] == [0, 1, 2, 0]
    assert pool.mempool.candidates(bytes_max=size - 1) == Candidates((), ())


# ---- receipts ----------------------------------------------------------------------------------


def test_what_settles_most_goes_first() -> None:
    pool = Pool()
    keys = open_channels(pool, 4, 5, 0)
    receipts = [
        pool.chain.receipt(key, amount) for key, amount in zip(keys, (100, 900, 500), strict=True)
    ]
    assert [pool.claim(receipt) for receipt in receipts] == [Accepted()] * 3
    assert pool.offered() == Candidates((), (receipts[1], receipts[2], receipts[0]))
    assert pool.mempool.receipts_count == 3


def test_the_highest_seq_of_a_channel_waits() -> None:
    pool = Pool()
    (key,) = open_channels(pool, 4)
    new, old = pool.chain.receipt(key, 200, seq=7), pool.chain.receipt(key, 100, seq=6)
    newest = pool.chain.receipt(key, 300, seq=8)
    assert pool.claim(new) == Accepted()
    assert pool.claim(old) == Ignored(Reason.OUTDATED)
    assert pool.claim(new) == Ignored(Reason.OUTDATED)
    assert pool.claim(newest) == Accepted()
    assert pool.offered().receipts == (newest,)


def test_two_bodies_of_one_seq_are_told_from_two_copies() -> None:
    pool = Pool()
    (key,) = open_channels(pool, 4)
    first = pool.chain.receipt(key, 200)
    pool.claim(first)
    assert pool.claim(pool.chain.receipt(key, 201)) == Ignored(Reason.EQUIVOCATION)
    assert pool.offered().receipts == (first,)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"chain_id": ZERO_DIGEST}, Rejected(Reason.WRONG_CHAIN)),
        ({"provider": account(5)}, Rejected(Reason.WRONG_PARTY)),
        ({"channel": ZERO_DIGEST}, Ignored(Reason.UNKNOWN_CHANNEL)),
        ({"amount": 1_001}, Ignored(Reason.OVERSPENT, "1001 of 1000")),
        ({"seq": 0}, Ignored(Reason.OUTDATED, "seq 0, settled 0")),
        ({"epoch": 6}, Ignored(Reason.WRONG_EPOCH, "epoch 6 in block 2")),
    ],
)
def test_a_receipt_is_turned_away_for_its_own_reason(
    changes: dict[str, object], verdict: Verdict
) -> None:
    pool = Pool()
    (key,) = open_channels(pool, 4)
    receipt = msgspec.structs.replace(pool.chain.receipt(key, 100), **changes)
    assert pool.claim(receipt) == verdict
    assert (pool.mempool.receipts_count, pool.offered().receipts) == (0, ())


def test_a_receipt_of_the_epoch_to_come_waits_for_its_block() -> None:
    pool = Pool()
    (key,) = open_channels(pool, 4)
    early = pool.chain.receipt(key, 100, epoch=pool.chain.state.height + 2)
    assert pool.claim(early) == Accepted()
    assert pool.offered().receipts == ()
    pool.commit(Candidates((), ()))
    assert pool.offered().receipts == (early,)
    pool.commit(pool.offered())
    assert pool.mempool.receipts_count == 0


def test_a_receipt_is_dropped_when_it_is_too_late_or_lost_its_channel() -> None:
    pool = Pool()
    late, lost = open_channels(pool, 4, 5)
    chain = pool.chain
    pool.claim(chain.receipt(late, 100))
    chain.commit_all(transactions=[chain.transaction(3, ChannelClose(lost))])
    pool.mempool.step(BlockCommitted(chain.state))
    pool.claim(chain.receipt(lost, 100, epoch=chain.state.height))
    assert pool.mempool.receipts_count == 2
    for left in (2, 0):
        pool.commit(Candidates((), ()))
        assert pool.mempool.receipts_count == left


def test_a_full_pool_takes_the_receipt_that_settles_more() -> None:
    pool = Pool(receipts_max=2)
    keys = open_channels(pool, 4, 5, 0)
    one, two = pool.chain.receipt(keys[0], 100), pool.chain.receipt(keys[1], 200)
    assert [pool.claim(one), pool.claim(two)] == [Accepted(), Accepted()]
    full = Ignored(Reason.TOO_MANY, "it settles too little for a full mempool")
    assert pool.claim(pool.chain.receipt(keys[2], 100)) == full
    assert pool.offered().receipts == (two, one)
    more = pool.chain.receipt(keys[2], 101)
    assert pool.claim(more) == Accepted()
    assert pool.offered().receipts == (two, more)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0)])
def test_among_receipts_that_settle_alike_who_came_first_stays(first: int, second: int) -> None:
    pool = Pool(receipts_max=1)
    keys = open_channels(pool, 4, 5)
    waiting = pool.chain.receipt(keys[first], 100)
    assert pool.claim(waiting) == Accepted()
    assert pool.claim(pool.chain.receipt(keys[second], 100)) == Ignored(
        Reason.TOO_MANY, "it settles too little for a full mempool"
    )
    assert pool.offered().receipts == (waiting,)


def test_receipts_full_in_bytes_push_out_as_many_as_it_takes_or_none() -> None:
    pool = Pool()
    keys = open_channels(pool, 4, 5, 0, 1)
    receipts = [
        pool.chain.receipt(key, amount)
        for key, amount in zip(keys, (400, 300, 200, 250), strict=True)
    ]
    pool = Pool(pool.chain, receipts_bytes_max=3 * len(encode(receipts[0])))
    assert [pool.claim(receipt) for receipt in receipts[:3]] == [Accepted()] * 3
    signed = msgspec.structs.replace(receipts[3], provider_signature=bytes(64))
    full = Ignored(Reason.TOO_MANY, "it settles too little for a full mempool")
    assert pool.claim(signed) == full
    assert pool.offered().receipts == tuple(receipts[:3])
    more = msgspec.structs.replace(signed, amount=Amount(350))
    assert pool.claim(more) == Accepted()
    assert pool.offered().receipts == (receipts[0], more)


def test_candidate_receipts_fit_their_bytes() -> None:
    pool = Pool()
    keys = open_channels(pool, 4, 5)
    for key in keys:
        pool.claim(pool.chain.receipt(key, 100))
    size = len(encode(pool.chain.receipt(keys[0], 100)))
    offered = pool.mempool.candidates(bytes_max=2 * size - 1)
    assert [receipt.channel for receipt in offered.receipts] == [min(keys)]


# ---- both --------------------------------------------------------------------------------------

SENDINGS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(9, 40), st.integers(0, 700)),
    max_size=40,
)


@settings(max_examples=100)
@given(SENDINGS, st.integers(1, 6), st.integers(200, 2_000))
def test_whatever_comes_the_pool_stays_bounded_and_all_it_offers_is_valid(
    sendings: list[tuple[int, int, int, int]], count_max: int, bytes_max: int
) -> None:
    pool = Pool(
        Chain(genesis(balances=(1_000,) * 6)),
        transactions_max=count_max,
        transactions_bytes_max=bytes_max,
        per_sender_max=4,
    )
    for index, (sender, ahead, fee, amount) in enumerate(sendings):
        before = [pool.mempool.waiting_of(account(number)) for number in range(6)]
        verdict = pool.send(pool.pay(sender, ahead=ahead, fee=fee, amount=amount))
        after = [pool.mempool.waiting_of(account(number)) for number in range(6)]
        waiting = [transaction for queue in after for transaction in queue]
        assert verdict == Accepted() or before == after
        assert pool.mempool.transactions_count == len(waiting) <= count_max
        assert sum(len(encode(transaction)) for transaction in waiting) <= bytes_max
        if index % 10 == 9:
            pool.commit(pool.offered())
    pool.commit(pool.offered())
