"""The ledger between two blocks: what every node computes alike.

A `State` is immutable. Its mappings stand in key order, so one state has one encoding, and the
encoding is all that a node has to keep. Executing a block makes the next state; see
`p2p.protocol.ledger`.

Its root is an RFC 6962 Merkle root over its parts: totals, accounts, channels, unbonding in order,
the two validator sets, the proposers' priorities, what was punished. Accounts and channels are
Merkle maps, so a block hashes no more than what it touched. A header carries the root, so a
certificate over the header and one path prove what an account owns to somebody who holds nothing
else.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from p2p.model.block import Block, ValidatorSet
from p2p.model.evidence import Punished, SlashRow
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
from p2p.primitives.digests import digest, leaf_digest, merkle_root_of_digests
from p2p.primitives.merkle_map import KEY_BITS, MapPath, MerkleMap, path_digest
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

SUPPLY_MAX: Final = 2**60
"""An eighth of the largest amount: sums of powers and priorities stay within 64 bits, too."""
STATE_BYTES_MAX: Final = 256 * MIB
"""A million accounts; a bound for what is read back from our own disk."""
ROW_BYTES_MAX: Final = KIB
PARTS_MAX: Final = 16
"""Parts of a state under its root; more than there are, so that a proof may outlive a change."""
_ACCOUNTS_PART: Final = 1
_CHANNELS_PART: Final = 2


class Account(Value, frozen=True):
    """What a key owns. `nonce` counts its transactions; `quality` is in basis points."""

    balance: AmountField = Amount(0)
    nonce: CountField = 0
    bonded: AmountField = Amount(0)
    quality: Annotated[int, Meta(ge=0, le=BASIS_POINTS)] = 0
    jailed_until: HeightField = Height(0)
    """No vote until its owner asks for it in a block of this height or later; 0 is not jailed."""


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
    """One settlement. received + validators + burned = amount; received = amount - fee + bonus.

    It holds all that the split was made of, so whoever has the receipt can make it again.
    """

    height: HeightField
    channel: ChannelField
    consumer: AccountField
    provider: AccountField
    epoch: HeightField
    settled: AmountField
    """What the channel had settled before: the receipt's amount is this and `amount` together."""
    quality: Annotated[int, Meta(ge=0, le=BASIS_POINTS)]
    """The provider's, which the bonus was worked out with."""
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


class PunishedEntry(Value, frozen=True, tag="punished"):
    """Leaf of the state: an offence that is not punished again."""

    punished: Punished


class ValidatorsEntry(Value, frozen=True, tag="validators"):
    """Leaf of the state: the voters of a height."""

    height: HeightField
    validators: ValidatorSet


class PrioritiesEntry(Value, frozen=True, tag="priorities"):
    """Leaf of the state: whose turn it is to propose, before the height's first round."""

    height: HeightField
    priorities: ProposerPriorities


class EntryMaps(msgspec.Struct, frozen=True):
    """Merkle maps of the many entries; derived, kept to spare hashing them again."""

    accounts: MerkleMap
    channels: MerkleMap


class StatePath(Value, frozen=True):
    """The way from an entry of an account or channel map to the state root."""

    siblings: Annotated[tuple[DigestField, ...], Meta(max_length=KEY_BITS)]
    turns: Annotated[bytes, Meta(max_length=KEY_BITS // 8)]
    parts: Annotated[tuple[DigestField, ...], Meta(max_length=PARTS_MAX)]

    def leads(self, entry: Value, part: int, state_root: Digest) -> bool:
        """Whether the entry stands in this part of the state with this root."""
        found = path_digest(leaf_digest(encode(entry)), MapPath(self.siblings, self.turns))
        if part >= len(self.parts) or found != self.parts[part]:
            return False
        return merkle_root_of_digests(self.parts) == state_root


class AccountProof(Value, frozen=True, tag="account_proof"):
    """That the state with a known root holds this account."""

    entry: AccountEntry
    path: StatePath

    def proves(self, state_root: Digest) -> bool:
        """Whether the account stands in the state of this root."""
        return self.path.leads(self.entry, _ACCOUNTS_PART, state_root)


class ChannelProof(Value, frozen=True, tag="channel_proof"):
    """That the state with a known root holds this channel, settled so far."""

    entry: ChannelEntry
    path: StatePath

    def proves(self, state_root: Digest) -> bool:
        """Whether the channel stands in the state of this root."""
        return self.path.leads(self.entry, _CHANNELS_PART, state_root)


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
    punished: tuple[Punished, ...] = ()
    """By offence upwards, those that evidence could still be brought of."""

    def __post_init__(self) -> None:
        queue = [(entry.release_height, entry.account) for entry in self.unbonding]
        for name, keys in (("accounts", list(self.accounts)), ("channels", list(self.channels))):
            if keys != sorted(keys):
                raise ValueError(f"{name} are not in key order")
        if queue != sorted(set(queue)):
            raise ValueError("unbonding is not in order, or names a release twice")
        offences = [entry.offence for entry in self.punished]
        if offences != sorted(set(offences)):
            raise ValueError("punished offences are not in order, or named twice")

    @cached_property
    def root(self) -> Digest:
        """What a header says of the state after its block."""
        return merkle_root_of_digests(self.parts())

    @cached_property
    def entry_maps(self) -> EntryMaps:
        """Accounts and channels as Merkle maps."""
        return EntryMaps(
            accounts=MerkleMap({k: _account_leaf(k, one) for k, one in self.accounts.items()}),
            channels=MerkleMap({k: _channel_leaf(k, one) for k, one in self.channels.items()}),
        )

    def parts(
        self, *, accounts: Digest | None = None, channels: Digest | None = None
    ) -> tuple[Digest, ...]:
        """Digests of the parts under the root.

        `accounts` and `channels` stand for maps that are held elsewhere, as in a snapshot.
        """
        height = self.height
        unbonding = [leaf_digest(encode(UnbondingEntry(entry))) for entry in self.unbonding]
        punished = [leaf_digest(encode(PunishedEntry(entry))) for entry in self.punished]
        return (
            leaf_digest(encode(TotalsEntry(height, self.time_ms, self.supply))),
            accounts or self.entry_maps.accounts.digest,
            channels or self.entry_maps.channels.digest,
            merkle_root_of_digests(unbonding),
            leaf_digest(encode(ValidatorsEntry(Height(height + 1), self.validators))),
            leaf_digest(encode(ValidatorsEntry(Height(height + 2), self.next_validators))),
            leaf_digest(encode(PrioritiesEntry(Height(height + 1), self.priorities))),
            merkle_root_of_digests(punished),
        )

    def account_proof(self, account: AccountId) -> AccountProof | None:
        """Proof of what an account owns, or None when there is no such account."""
        if account not in self.accounts:
            return None
        path = self.entry_maps.accounts.path(account)
        entry = AccountEntry(account, self.accounts[account])
        return AccountProof(entry, StatePath(path.siblings, path.turns, self.parts()))

    def channel_proof(self, channel: ChannelId) -> ChannelProof | None:
        """Proof of what a channel holds and has settled, or None when there is none."""
        if channel not in self.channels:
            return None
        path = self.entry_maps.channels.path(channel)
        entry = ChannelEntry(channel, self.channels[channel])
        return ChannelProof(entry, StatePath(path.siblings, path.turns, self.parts()))

    def named(self, header_digest: Digest) -> "State":
        """This state with the digest of the header that names it; roots do not cover it."""
        state = msgspec.structs.replace(self, header_digest=header_digest)
        state.__dict__.update(self.__dict__)
        return state

    def inherit_digests(
        self, before: "State", accounts: Iterable[AccountId], channels: Iterable[ChannelId]
    ) -> None:
        """Take the Merkle maps of `before`, but for the entries that changed since.

        It changes nothing that can be seen but the time that `root` takes. Call it before `root`.

        Raises:
            ValueError: an entry came or went that was not named.
        """
        maps = EntryMaps(
            accounts=before.entry_maps.accounts.updated(
                {
                    key: _account_leaf(key, self.accounts[key]) if key in self.accounts else None
                    for key in accounts
                }
            ),
            channels=before.entry_maps.channels.updated(
                {
                    key: _channel_leaf(key, self.channels[key]) if key in self.channels else None
                    for key in channels
                }
            ),
        )
        if (maps.accounts.size, maps.channels.size) != (len(self.accounts), len(self.channels)):
            raise ValueError("an entry changed that was not named")
        self.__dict__["entry_maps"] = maps


def _account_leaf(key: AccountId, account: Account) -> Digest:
    return leaf_digest(encode(AccountEntry(key, account)))


def _channel_leaf(key: ChannelId, channel: Channel) -> Digest:
    return leaf_digest(encode(ChannelEntry(key, channel)))


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
    slashes: tuple[SlashRow, ...] = ()


def rules_of(genesis: Genesis) -> Rules:
    """The rules of the chain that `genesis` begins."""
    return Rules(
        chain_id=genesis.chain_id,
        parameters=genesis.parameters,
        parameters_digest=digest(encode(genesis.parameters)),
    )
