import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.model.block import Header
from p2p.model.light import Rows as RewardRows
from p2p.model.light import (
    RowsRequest,
    Settlement,
    Settlements,
    SettlementsRequest,
)
from p2p.model.parameters import Parameters
from p2p.model.receipt import ServiceReceipt
from p2p.model.transaction import ChannelOpen, channel_id
from p2p.primitives.codec import Malformed, decode, encode
from p2p.primitives.signing import Ed25519Scheme
from p2p.primitives.units import Amount, Height
from p2p.protocol.light import (
    Earned,
    earned,
    own_receipt_fault,
    settlement_fault,
    unsettled,
    validator_share,
)
from p2p.protocol.light.rewards import row_fault
from p2p.storage.light import light_answer
from p2p.storage.memory import MemoryStore
from sim_harness.made_chain import MadeChain

SCHEME = Ed25519Scheme()


class Work:
    """Three channels a provider was paid on, two blocks in a row."""

    def __init__(self) -> None:
        self.chain, self.store = MadeChain(accounts=5), MemoryStore()
        self.chain.keep_in(self.store)
        opened, names = [], []
        for number in range(1, 4):
            consumer = f"a{number}"
            names.append(channel_id(self.chain.chain_id, self.chain.account(consumer), 0))
            opened.append(
                self.chain.order(consumer, ChannelOpen(self.chain.account("a0"), Amount(90_000)))
            )
        self.chain.commit(opened)
        self.receipts: list[ServiceReceipt] = []
        for amount in (4_000, 10_000):
            given = [self.chain.receipt(name, amount + place) for place, name in enumerate(names)]
            self.chain.commit(receipts=given)
            self.receipts += given

    @property
    def parameters(self) -> Parameters:
        return self.chain.genesis.parameters

    def header(self, height: int) -> Header:
        return self.chain.blocks[height - 1].block.header

    def settlements(self, height: int, name: str = "a0") -> tuple[Settlement, ...]:
        request = SettlementsRequest(Height(height), self.chain.account(name))
        answer = light_answer(self.store, self.chain.state, request)
        assert isinstance(answer, Settlements)
        assert (answer.height, answer.left_off) == (height, 0)
        return decode(encode(answer), Settlements, bytes_max=100_000).settlements

    def fault(self, settlement: Settlement, height: int = 2) -> str | None:
        return settlement_fault(settlement, self.header(height), self.parameters, SCHEME)


@pytest.fixture(scope="module")
def work() -> Work:
    return Work()


def test_settlements_of_an_account_are_proven_row_and_receipt(work: Work) -> None:
    for height in (2, 3):
        mine = work.settlements(height)
        assert len(mine) == 3
        assert [work.fault(one, height) for one in mine] == [None] * 3
        assert len(encode(mine)) < 4_000
    (paid,) = work.settlements(3, "a2")
    assert paid.row.settled == 4_001
    assert paid.row.amount == 6_000
    assert paid.receipt in work.receipts
    assert work.settlements(1) == ()


def test_what_was_earned_is_the_ledgers_sum(work: Work) -> None:
    got = [one for height in (2, 3) for one in work.settlements(height)]
    before, after = work.chain.genesis.accounts, work.chain.state.accounts
    a0 = work.chain.account("a0")
    start = next(entry.balance for entry in before if entry.account == a0)
    assert earned(a0, got, ()) == Earned(Amount(after[a0].balance - start), Amount(0), Amount(0))
    a1 = work.chain.account("a1")
    assert earned(a1, got, [Amount(7)]) == Earned(Amount(0), Amount(10_000), Amount(7))


def test_a_validator_finds_its_share_in_all_rows(work: Work) -> None:
    v0 = work.chain.account("v0")
    voters = work.chain.state.validators
    shares = []
    for height in (2, 3):
        rows = light_answer(work.store, work.chain.state, RowsRequest(Height(height)))
        assert isinstance(rows, RewardRows)
        share = validator_share(rows, work.header(height), voters, v0)
        assert share is not None
        shares.append(share)
        fewer = msgspec.structs.replace(rows, rows=rows.rows[:-1])
        assert validator_share(fewer, work.header(height), voters, v0) is None
        stranger = work.chain.account("a0")
        assert validator_share(rows, work.header(height), voters, stranger) == 0
    assert work.chain.state.accounts[v0].balance == 10_000_000 + sum(shares)
    assert min(shares) > 0


def changed_row(one: Settlement, **values: object) -> Settlement:
    return msgspec.structs.replace(one, row=msgspec.structs.replace(one.row, **values))


def test_each_lie_about_a_settlement_is_named(work: Work) -> None:
    first, second, _ = work.settlements(2)
    assert work.fault(changed_row(first, received=first.row.received + 1)) == (
        "its paths do not lead to the header's roots"
    )
    crossed = msgspec.structs.replace(first, row=second.row, row_path=second.row_path)
    assert work.fault(crossed) == "its paths do not lead to the header's roots"
    assert work.fault(first, 3) == "its paths do not lead to the header's roots"
    other = msgspec.structs.replace(work.parameters, fee_rate=1)
    assert settlement_fault(first, work.header(2), other, SCHEME) == (
        "the chain's parameters are not those of the header"
    )


def test_a_row_that_validators_made_falsely_is_seen(work: Work) -> None:
    row = work.settlements(2)[0].row
    assert row_fault(row, work.parameters) is None
    for name in ("fee", "validators", "bonus", "burned", "received"):
        bad = msgspec.structs.replace(row, **{name: getattr(row, name) + 1})
        fault = row_fault(bad, work.parameters)
        assert fault is not None
        assert name in fault


def test_ones_own_receipts_are_held_against_the_settled_one(work: Work) -> None:
    one = work.settlements(2)[0]
    mine = one.receipt
    assert own_receipt_fault(one, work.receipts) is None
    lower = msgspec.structs.replace(mine, amount=Amount(1))
    assert own_receipt_fault(one, [lower]) == (
        "the settled receipt is not the one of this number that we hold"
    )
    later = msgspec.structs.replace(lower, seq=mine.seq + 1)
    assert own_receipt_fault(one, [later]) == (
        "the settled receipt is of more than a later one that we hold"
    )
    earlier = msgspec.structs.replace(mine, seq=mine.seq - 1, amount=Amount(mine.amount + 1))
    assert own_receipt_fault(one, [earlier]) == (
        "the settled receipt is of less than an earlier one that we hold"
    )


def test_receipts_that_nobody_settled_are_listed(work: Work) -> None:
    late = msgspec.structs.replace(work.receipts[-1], seq=99)
    own = [*work.receipts, late]
    settled = [one for height in (2, 3) for one in work.settlements(height)]
    assert unsettled(own, Height(3), settled) == (late,)
    assert unsettled(own, Height(3), ()) == (*work.receipts[3:], late)


WORK = Work()
TRUE = WORK.settlements(2)[1]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_flipped_bit_anywhere_fails(data: st.DataObject) -> None:
    written = bytearray(encode(TRUE))
    place = data.draw(st.integers(0, 8 * len(written) - 1))
    written[place // 8] ^= 1 << place % 8
    try:
        bad = decode(bytes(written), Settlement, bytes_max=8_192)
    except Malformed:
        return
    assert WORK.fault(bad) is not None
