"""The ledger between two blocks: what every node computes alike.

A `State` is immutable. Its mappings stand in key order, so one state has one encoding, and the
encoding is all that a node has to keep. Executing a block makes the next state; see
`p2p.protocol.ledger`.

Its root is an RFC 6962 Merkle root over one leaf an entry: totals, accounts by id, channels by id,
unbonding in order, the two validator sets, the proposers' priorities. A header carries the root,
so a certificate over the header and one path prove what an account owns to somebody who holds
nothing else.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from p2p.model.block import Block, ValidatorSet
from p2p.model.fields import (
    AccountField,
    AmountField,
    ChannelField,
    CountField,
    DigestField,
    HeightField,
    MomentField,
    PositiveAmountField,
)
from p2p.model.parameters import Genesis, Parameters
from p2p.model.proposer import ProposerPriorities
from p2p.primitives.codec import Value, encode
from p2p.primitives.digests import (
    PATH_LENGTH_MAX,
    digest,
    leaf_digest,
    merkle_path,
    merkle_root_of_digests,
    merkle_verify,
)
from p2p.primitives.units import (
    BASIS_POINTS,
    KIB,
    MIB,
    AccountId,
    Amount,
    ChannelId,
    Digest,
    Height,
)

K = TypeVar("K")
V = TypeVar("V")

SUPPLY_MAX: Final = 2**60
"""An eighth of the largest amount: sums of powers and priorities stay within 64 bits, too."""
STATE_BYTES_MAX: Final = 256 * MIB
"""A million accounts; a bound for what is read back from our own disk."""
ROW_BYTES_MAX: Final = KIB


class Account(Value, frozen=True):
    """What a key owns. `nonce` counts its transactions; `quality` is in basis points."""

    balance: AmountField = Amount(0)
    nonce: CountField = 0
    bonded: AmountField = Amount(0)
    quality: Annotated[int, Meta(ge=0, le=BASIS_POINTS)] = 0


class Channel(Value, frozen=True):
    """A deposit that pays one provider for one consumer's receipts, as last settled.

    `deposit` and `settled` are totals since the opening; the channel holds their difference.
    """

    consumer: AccountField
    provider: AccountField
    deposit: AmountField
    settled: AmountField = Amount(0)
    seq: CountField = 0
    bytes_put: CountField = 0
    bytes_get: CountField = 0
    mib_epochs: CountField = 0
    last_settled_epoch: HeightField = Height(0)
    """Epoch of the receipt settled last; 0 is none."""
    closing_height: HeightField = Height(0)
    """Height of the block that closed it; 0 is open."""

    @property
    def held(self) -> int:
        """Micro-tokens that the channel still holds."""
        return self.deposit - self.settled


class Unbonding(Value, frozen=True):
    """Stake on its way back to its owner; paid at the end of block `release_height`."""

    release_height: HeightField
    account: AccountField
    amount: PositiveAmountField


class RewardRow(Value, frozen=True, tag="reward"):
    """One settlement. received + validators + burned = amount; received = amount - fee + bonus."""

    height: HeightField
    channel: ChannelField
    consumer: AccountField
    provider: AccountField
    epoch: HeightField
    amount: AmountField
    """Settled now: the receipt's amount beyond what was settled before."""
    fee: AmountField
    validators: AmountField
    bonus: AmountField
    burned: AmountField
    received: AmountField


class TotalsEntry(Value, frozen=True, tag="totals"):
    """Leaf of the state: what is counted once."""

    height: HeightField
    time_ms: MomentField
    supply: AmountField


class AccountEntry(Value, frozen=True, tag="account"):
    """Leaf of the state: an account."""

    id: AccountField
    account: Account


class ChannelEntry(Value, frozen=True, tag="channel"):
    """Leaf of the state: a channel."""

    id: ChannelField
    channel: Channel


class UnbondingEntry(Value, frozen=True, tag="unbonding"):
    """Leaf of the state: stake on its way back."""

    unbonding: Unbonding


class ValidatorsEntry(Value, frozen=True, tag="validators"):
    """Leaf of the state: the voters of a height."""

    height: HeightField
    validators: ValidatorSet


class PrioritiesEntry(Value, frozen=True, tag="priorities"):
    """Leaf of the state: whose turn it is to propose, before the height's first round."""

    height: HeightField
    priorities: ProposerPriorities


class EntryDigests(msgspec.Struct, frozen=True):
    """Leaf digests of the many entries, in key order; derived, kept to spare hashing them again."""

    accounts: dict[AccountId, Digest]
    channels: dict[ChannelId, Digest]


class AccountProof(Value, frozen=True, tag="account_proof"):
    """That a state with a known root holds this account: leaf `index` of `size`, and its path."""

    entry: AccountEntry
    index: CountField
    size: CountField
    path: Annotated[tuple[DigestField, ...], Meta(max_length=PATH_LENGTH_MAX)]

    def proves(self, state_root: Digest) -> bool:
        """Whether the account stands in the state of this root."""
        leaf = leaf_digest(encode(self.entry))
        return merkle_verify(state_root, leaf, self.path, index=self.index, size=self.size)


class State(Value, frozen=True, tag="state", dict=True):
    """The ledger after the block of `height`. Raises ValueError when not in key order."""

    height: HeightField
    header_digest: DigestField
    """Header of the last block; the chain id at genesis."""
    time_ms: MomentField
    supply: AmountField
    accounts: Mapping[AccountField, Account]
    """By account id upwards."""
    channels: Mapping[ChannelField, Channel]
    """By channel id upwards."""
    unbonding: tuple[Unbonding, ...]
    """By release height, then by account; one entry for each pair."""
    validators: ValidatorSet
    """The set that decides height + 1."""
    next_validators: ValidatorSet
    """The set that decides height + 2."""
    priorities: ProposerPriorities
    """Who proposes height + 1: `validators`' priorities before its first round."""

    def __post_init__(self) -> None:
        queue = [(entry.release_height, entry.account) for entry in self.unbonding]
        for name, keys in (("accounts", list(self.accounts)), ("channels", list(self.channels))):
            if keys != sorted(keys):
                raise ValueError(f"{name} are not in key order")
        if queue != sorted(set(queue)):
            raise ValueError("unbonding is not in order, or names a release twice")

    @cached_property
    def root(self) -> Digest:
        """What a header says of the state after its block."""
        return merkle_root_of_digests(self._leaves())

    @cached_property
    def entry_digests(self) -> EntryDigests:
        """Leaf digests of accounts and channels."""
        return EntryDigests(
            accounts={key: _account_leaf(key, value) for key, value in self.accounts.items()},
            channels={key: _channel_leaf(key, value) for key, value in self.channels.items()},
        )

    def _leaves(self) -> list[Digest]:
        rest: list[Value] = [UnbondingEntry(entry) for entry in self.unbonding]
        rest.append(ValidatorsEntry(Height(self.height + 1), self.validators))
        rest.append(ValidatorsEntry(Height(self.height + 2), self.next_validators))
        rest.append(PrioritiesEntry(Height(self.height + 1), self.priorities))
        totals = TotalsEntry(self.height, self.time_ms, self.supply)
        return [
            leaf_digest(encode(totals)),
            *self.entry_digests.accounts.values(),
            *self.entry_digests.channels.values(),
            *(leaf_digest(encode(entry)) for entry in rest),
        ]

    def account_proof(self, account: AccountId) -> AccountProof | None:
        """Proof of what an account owns, or None when there is no such account."""
        if account not in self.accounts:
            return None
        leaves = self._leaves()
        index = 1 + list(self.accounts).index(account)
        return AccountProof(
            entry=AccountEntry(account, self.accounts[account]),
            index=index,
            size=len(leaves),
            path=merkle_path(leaves, index),
        )

    def named(self, header_digest: Digest) -> "State":
        """This state with the digest of the header that names it; roots do not cover it."""
        state = msgspec.structs.replace(self, header_digest=header_digest)
        state.__dict__.update(self.__dict__)
        return state

    def inherit_digests(
        self, before: "State", accounts: Iterable[AccountId], channels: Iterable[ChannelId]
    ) -> None:
        """Take the leaf digests of `before`, but for the entries that changed since.

        It changes nothing that can be seen but the time that `root` takes. Call it before `root`.
        """
        self.__dict__["entry_digests"] = EntryDigests(
            accounts=_updated(
                before.entry_digests.accounts, self.accounts, accounts, _account_leaf
            ),
            channels=_updated(
                before.entry_digests.channels, self.channels, channels, _channel_leaf
            ),
        )


def _account_leaf(key: AccountId, account: Account) -> Digest:
    return leaf_digest(encode(AccountEntry(key, account)))


def _channel_leaf(key: ChannelId, channel: Channel) -> Digest:
    return leaf_digest(encode(ChannelEntry(key, channel)))


def _updated(
    digests: Mapping[K, Digest],
    entries: Mapping[K, V],
    changed: Iterable[K],
    leaf: Callable[[K, V], Digest],
) -> dict[K, Digest]:
    fresh = dict(digests)
    for key in changed:
        if key in entries:
            fresh[key] = leaf(key, entries[key])
        else:
            fresh.pop(key, None)
    if len(fresh) != len(entries):
        raise ValueError("an entry changed that was not named")
    return {key: fresh[key] for key in entries}


class Rules(msgspec.Struct, frozen=True):
    """What of a genesis the ledger asks for at every block."""

    chain_id: Digest
    parameters: Parameters
    parameters_digest: Digest


class Executed(msgspec.Struct, frozen=True):
    """A block that follows from a state, and what follows from the block."""

    block: Block
    state: State
    rows: tuple[RewardRow, ...]


def rules_of(genesis: Genesis) -> Rules:
    """The rules of the chain that `genesis` begins."""
    return Rules(
        chain_id=genesis.chain_id,
        parameters=genesis.parameters,
        parameters_digest=digest(encode(genesis.parameters)),
    )
