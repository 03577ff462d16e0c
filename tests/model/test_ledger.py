"""The state of the ledger: one encoding, one root, and proofs under it."""

from typing import TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.model.block import ValidatorSet
from p2p.model.ledger import (
    Account,
    AccountEntry,
    AccountProof,
    Channel,
    ChannelProof,
    State,
    Unbonding,
    rules_of,
)
from p2p.model.parameters import Genesis, GenesisAccount, Parameters
from p2p.model.proposer import ProposerPriorities
from p2p.primitives.codec import Malformed, decode, encode
from p2p.primitives.digests import (
    EMPTY_ROOT,
    ZERO_DIGEST,
    digest,
    leaf_digest,
    merkle_root_of_digests,
)
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
@given(states())
def test_a_proof_shows_what_an_account_owns_and_nothing_else(state: State) -> None:
    absent = AccountId(b"\xaa" * 32)
    assert absent in state.accounts or state.account_proof(absent) is None
    for key, account in state.accounts.items():
        proof = state.account_proof(key)
        assert proof is not None
        assert (proof.entry.id, proof.entry.account) == (key, account)
        assert proof.proves(state.root)
        assert decode(encode(proof), AccountProof, bytes_max=8_192) == proof
        assert not proof.proves(ZERO_DIGEST)


@settings(max_examples=30)
@given(states())
def test_a_proof_shows_what_a_channel_has_settled(state: State) -> None:
    absent = ChannelId(b"\xaa" * 32)
    assert absent in state.channels or state.channel_proof(absent) is None
    for key, channel in state.channels.items():
        proof = state.channel_proof(key)
        assert proof is not None
        assert (proof.entry.id, proof.entry.channel) == (key, channel)
        assert proof.proves(state.root)
        # An entry of one map proves nothing in the place of the other.
        elsewhere = AccountProof(AccountEntry(AccountId(key), Account()), proof.path)
        assert not elsewhere.proves(state.root)


PROVEN = small_state(
    accounts={AccountId(bytes([n]) * 32): Account(Amount(n)) for n in range(9)},
    channels={ChannelId(bytes([n]) * 32): Channel(KEY, LATER, Amount(n)) for n in range(9)},
)


@settings(max_examples=200)
@given(st.integers(0, 8), st.booleans(), st.data())
def test_a_proof_with_any_bit_flipped_fails(
    number: int, of_channel: bool, data: st.DataObject
) -> None:
    name = bytes([number]) * 32
    account, channel = PROVEN.account_proof(AccountId(name)), PROVEN.channel_proof(ChannelId(name))
    proof: AccountProof | ChannelProof | None = channel if of_channel else account
    assert proof is not None
    written = bytearray(encode(proof))
    place = data.draw(st.integers(0, 8 * len(written) - 1))
    written[place // 8] ^= 1 << place % 8
    try:
        bad = decode(bytes(written), type(proof), bytes_max=8_192)
    except Malformed:
        return
    assert not bad.proves(PROVEN.root)


@settings(max_examples=30)
@given(states(), states())
def test_inherited_digests_are_those_that_hashing_gives(before: State, after: State) -> None:
    changed = [*before.accounts, *after.accounts], [*before.channels, *after.channels]
    heir = msgspec.structs.replace(after)
    heir.inherit_digests(before, *changed)
    assert heir.parts() == after.parts()
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


def test_the_root_of_the_empty_state_is_of_its_parts() -> None:
    state = small_state()
    ends = (["totals", 0, 0, 0], ["validators", 1, [[]]], ["validators", 2, [[]]])
    first, *sets = [leaf_digest(encode(leaf)) for leaf in (*ends, ["priorities", 1, [[]]])]
    parts = [first, EMPTY_ROOT, EMPTY_ROOT, EMPTY_ROOT, *sets, EMPTY_ROOT]
    assert state.root == merkle_root_of_digests(parts)


def test_rules_are_what_a_genesis_says() -> None:
    genesis = Genesis("n", Millis(0), Parameters(), (GenesisAccount(KEY, Amount(1)),))
    rules = rules_of(genesis)
    assert (rules.chain_id, rules.parameters) == (genesis.chain_id, genesis.parameters)
    assert rules.parameters_digest == digest(encode(genesis.parameters))


def test_a_channel_holds_what_is_not_settled() -> None:
    assert Channel(KEY, LATER, Amount(10), Amount(4)).held == 6
