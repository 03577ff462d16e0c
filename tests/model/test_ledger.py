"""The state of the ledger: one encoding, one root, and proofs under it."""

from typing import TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.model.block import ValidatorSet
from p2p.model.ledger import (
    Account,
    AccountProof,
    Channel,
    State,
    Unbonding,
    rules_of,
)
from p2p.model.parameters import Genesis, GenesisAccount, Parameters
from p2p.model.proposer import ProposerPriorities
from p2p.primitives.codec import Malformed, decode, encode
from p2p.primitives.digests import ZERO_DIGEST, digest, leaf_digest, merkle_root_of_digests
from p2p.primitives.units import MIB, AccountId, Amount, ChannelId, Digest, Height, Millis
from tests.model.values import values

K = TypeVar("K", bound=bytes)
V = TypeVar("V")
KEYS = st.binary(min_size=32, max_size=32)
KEY = AccountId(bytes(32))
LATER = AccountId(b"\x01" * 32)
SLOTS = st.tuples(st.integers(0, 5), st.sampled_from([bytes([n] * 32) for n in range(4)]))


@st.composite
def states(draw: st.DrawFn) -> State:
    """Any state that is in order; its numbers need not add up."""
    queue = draw(st.dictionaries(SLOTS, st.integers(1, 1_000), max_size=4))
    return State(
        height=Height(draw(st.integers(0, 1_000))),
        header_digest=Digest(draw(KEYS)),
        time_ms=Millis(draw(st.integers(0, 2**53))),
        supply=Amount(draw(st.integers(0, 2**60))),
        accounts=in_order(draw(st.dictionaries(KEYS.map(AccountId), values(Account), max_size=4))),
        channels=in_order(draw(st.dictionaries(KEYS.map(ChannelId), values(Channel), max_size=4))),
        unbonding=tuple(
            Unbonding(Height(height), AccountId(account), Amount(queue[height, account]))
            for height, account in sorted(queue)
        ),
        validators=draw(values(ValidatorSet)),
        next_validators=draw(values(ValidatorSet)),
        priorities=draw(values(ProposerPriorities)),
    )


def in_order(mapping: dict[K, V]) -> dict[K, V]:
    return dict(sorted(mapping.items()))


EMPTY = State(
    height=Height(0),
    header_digest=ZERO_DIGEST,
    time_ms=Millis(0),
    supply=Amount(0),
    accounts={},
    channels={},
    unbonding=(),
    validators=ValidatorSet(()),
    next_validators=ValidatorSet(()),
    priorities=ProposerPriorities(()),
)


def small_state(**changes: object) -> State:
    return msgspec.structs.replace(EMPTY, **changes)


@settings(max_examples=30)
@given(states())
def test_a_state_survives_its_bytes_with_its_root(state: State) -> None:
    again = decode(encode(state), State, bytes_max=MIB)
    assert again == state
    assert again.root == state.root
    assert list(again.accounts) == list(state.accounts)


@settings(max_examples=30)
@given(states(), states())
def test_equal_roots_are_equal_states(one: State, other: State) -> None:
    """The root covers all but the header's digest, which comes after it."""
    same = one == other.named(one.header_digest)
    assert (one.root == other.root) == same


@pytest.mark.parametrize(
    "change",
    [
        {"height": 1},
        {"time_ms": 1},
        {"supply": 1},
        {"accounts": {ZERO_DIGEST: Account()}},
        {"channels": {ZERO_DIGEST: Channel(ZERO_DIGEST, ZERO_DIGEST, Amount(1))}},  # type: ignore[arg-type]
        {"unbonding": (Unbonding(Height(1), ZERO_DIGEST, Amount(1)),)},  # type: ignore[arg-type]
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_root_covers_each_part(change: dict[str, object]) -> None:
    assert small_state(**change).root != small_state().root


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"accounts": {LATER: Account(), KEY: Account()}}, "accounts are not in key order"),
        (
            {
                "channels": {
                    ChannelId(LATER): Channel(KEY, LATER, Amount(1)),
                    ChannelId(KEY): Channel(KEY, LATER, Amount(1)),
                }
            },
            "channels are not in key order",
        ),
        (
            {
                "unbonding": (
                    Unbonding(Height(2), KEY, Amount(1)),
                    Unbonding(Height(1), KEY, Amount(1)),
                )
            },
            "unbonding is not in order",
        ),
        ({"unbonding": (Unbonding(Height(1), KEY, Amount(1)),) * 2}, "names a release twice"),
    ],
)
def test_a_state_out_of_order_cannot_be(change: dict[str, object], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        small_state(**change)


def test_bytes_of_a_state_out_of_order_are_malformed() -> None:
    good = encode(small_state(accounts={KEY: Account(Amount(1)), LATER: Account(Amount(1))}))
    swapped = good.replace(KEY, b"\x02" * 32)
    assert swapped != good
    with pytest.raises(Malformed, match="accounts are not in key order"):
        decode(swapped, State, bytes_max=MIB)


@settings(max_examples=30)
@given(states(), st.data())
def test_a_proof_shows_what_an_account_owns_and_nothing_else(
    state: State, data: st.DataObject
) -> None:
    absent = AccountId(b"\xaa" * 32)
    assert absent in state.accounts or state.account_proof(absent) is None
    for key, account in state.accounts.items():
        proof = state.account_proof(key)
        assert proof is not None
        assert (proof.entry.id, proof.entry.account) == (key, account)
        assert proof.proves(state.root)
        assert decode(encode(proof), AccountProof, bytes_max=8_192) == proof
        richer = msgspec.structs.replace(account, balance=Amount(account.balance ^ 1))
        lie = msgspec.structs.replace(proof.entry, account=richer)
        assert not msgspec.structs.replace(proof, entry=lie).proves(state.root)
        stolen = msgspec.structs.replace(proof.entry, id=absent)
        assert key == absent or not msgspec.structs.replace(proof, entry=stolen).proves(state.root)
        assert not proof.proves(ZERO_DIGEST)


@settings(max_examples=30)
@given(states(), states())
def test_inherited_digests_are_those_that_hashing_gives(before: State, after: State) -> None:
    changed = [*before.accounts, *after.accounts], [*before.channels, *after.channels]
    heir = msgspec.structs.replace(after)
    heir.inherit_digests(before, *changed)
    assert heir.entry_digests == after.entry_digests
    assert list(heir.entry_digests.accounts) == list(after.accounts)
    assert heir.root == after.root


def test_a_change_that_nobody_named_is_our_own_fault() -> None:
    before, after = small_state(), small_state(accounts={KEY: Account()})
    with pytest.raises(ValueError, match="not named"):
        after.inherit_digests(before, [], [])


def test_a_named_state_differs_in_the_name_alone() -> None:
    state = small_state(accounts={KEY: Account()})
    named = state.named(Digest(LATER))
    assert named == msgspec.structs.replace(state, header_digest=LATER)
    assert named.root == state.root


def test_the_root_of_the_empty_state_is_of_its_few_leaves() -> None:
    state = small_state()
    leaves = [
        ["totals", 0, 0, 0],
        ["validators", 1, [[]]],
        ["validators", 2, [[]]],
        ["priorities", 1, [[]]],
    ]
    assert state.root == merkle_root_of_digests([leaf_digest(encode(leaf)) for leaf in leaves])


def test_rules_are_what_a_genesis_says() -> None:
    genesis = Genesis("n", Millis(0), Parameters(), (GenesisAccount(KEY, Amount(1)),))
    rules = rules_of(genesis)
    assert (rules.chain_id, rules.parameters) == (genesis.chain_id, genesis.parameters)
    assert rules.parameters_digest == digest(encode(genesis.parameters))


def test_a_channel_holds_what_is_not_settled() -> None:
    assert Channel(KEY, LATER, Amount(10), Amount(4)).held == 6
