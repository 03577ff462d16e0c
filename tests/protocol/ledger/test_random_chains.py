"""Any sequence of orders, good or bad, keeps the invariants: `Chain.commit` checks all of them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.model.ledger import State
from p2p.model.receipt import ServiceReceipt
from p2p.model.transaction import (
    Action,
    Bond,
    ChannelClose,
    ChannelOpen,
    ChannelTopUp,
    Transaction,
    Transfer,
    Unbond,
)
from p2p.primitives.codec import decode, encode
from p2p.primitives.digests import ZERO_DIGEST
from p2p.primitives.units import Amount, ChannelId
from tests.protocol.ledger.chain import Chain, account, fresh, genesis

ACTORS = st.integers(0, 7)
"""Six accounts of the genesis and two that may come to be."""
AMOUNTS = st.one_of(st.integers(0, 60), st.integers(0, 12_000)).map(Amount)
PICKS = st.integers(0, 30)

Order = tuple[int, str, int, int, int]
"""Sender, kind of action, other party, amount, channel."""
Claim = tuple[int, int, int, int]
"""Channel, amount to settle, epochs back, seq to add."""

ORDERS = st.tuples(
    ACTORS,
    st.sampled_from(["transfer", "bond", "unbond", "open", "open", "topup", "close"]),
    ACTORS,
    AMOUNTS,
    PICKS,
)
CLAIMS = st.tuples(PICKS, st.integers(0, 3_000), st.integers(-1, 4), st.integers(0, 2))
BLOCKS = st.lists(
    st.tuples(st.lists(ORDERS, max_size=6), st.lists(CLAIMS, max_size=4)), max_size=10
)


def action(chain: Chain, order: Order) -> Action:
    _, kind, other, number, pick = order
    amount = Amount(number)
    keys = list(chain.state.channels)
    channel = keys[pick % len(keys)] if keys else ChannelId(ZERO_DIGEST)
    actions: dict[str, Action] = {
        "transfer": Transfer(account(other), amount),
        "bond": Bond(amount),
        "unbond": Unbond(amount),
        "open": ChannelOpen(account(other), amount),
        "topup": ChannelTopUp(channel, amount),
        "close": ChannelClose(channel),
    }
    return actions[kind]


def transactions(chain: Chain, orders: list[Order]) -> list[Transaction]:
    """Transactions of these orders; each sender's nonces as if all were good."""
    ahead: dict[int, int] = {}
    made = []
    for order in orders:
        sender = order[0]
        made.append(chain.transaction(sender, action(chain, order), ahead=ahead.get(sender, 0)))
        ahead[sender] = ahead.get(sender, 0) + 1
    return made


def receipts(chain: Chain, claims: list[Claim]) -> list[ServiceReceipt]:
    keys = list(chain.state.channels)
    if not keys:
        return []
    made = []
    for pick, more, back, seqs in claims:
        key = keys[pick % len(keys)]
        channel = chain.state.channels[key]
        epoch = max(0, chain.state.height + 1 - back)
        made.append(chain.receipt(key, channel.settled + more, seq=channel.seq + seqs, epoch=epoch))
    return made


@settings(max_examples=150)
@given(BLOCKS)
def test_any_sequence_of_blocks_keeps_every_invariant(
    blocks: list[tuple[list[Order], list[Claim]]],
) -> None:
    chain = Chain(
        genesis(
            balances=(20_000,) * 6,
            overrides={
                "unbonding_epochs": 2,
                "evidence_age_epochs": 1,
                "receipt_late_epochs": 1,
                "validators_max": 2,
            },
        )
    )
    for orders, claims in blocks:
        chain.commit(transactions=transactions(chain, orders), receipts=receipts(chain, claims))
        data = encode(chain.state)
        again = decode(data, State, bytes_max=len(data))
        assert again == chain.state == fresh(chain.state)
        assert again.root == chain.state.root
        assert again.validators.validators
