"""A ledger that changes: the copy of a state on which one block is carried out.

A draft copies the mappings, never the entries, and remembers which entries it touched, so that the
next state hashes those alone.
"""

from typing import Final

import msgspec

from p2p.model.evidence import Punished
from p2p.model.ledger import Account, Channel, Rules, State, Unbonding
from p2p.primitives.units import (
    BASIS_POINTS,
    AccountId,
    Amount,
    ChannelId,
    Digest,
    Height,
    div_ceil,
)


class Draft:
    """The ledger in the middle of block `height`. Its owner checks before it changes anything."""

    def __init__(self, state: State, rules: Rules) -> None:
        self.before: Final = state
        self.rules: Final = rules
        self.height: Final = Height(state.height + 1)
        self.burned = 0
        self.bonds_changed = False
        self._accounts = dict(state.accounts)
        self._channels = dict(state.channels)
        self._unbonding = {
            (entry.release_height, entry.account): entry.amount for entry in state.unbonding
        }
        self._punished = {entry.offence: entry for entry in state.punished}
        self._touched_accounts: dict[AccountId, None] = {}
        self._touched_channels: dict[ChannelId, None] = {}

    # ---- accounts --------------------------------------------------------------------------

    def account(self, key: AccountId) -> Account | None:
        """The account, or None when nobody has paid or named it yet."""
        return self._accounts.get(key)

    def quality(self, key: AccountId) -> int:
        """A provider's quality, in basis points."""
        account = self._accounts.get(key)
        return self.rules.parameters.quality_initial if account is None else account.quality

    def credit(self, key: AccountId, amount: int) -> None:
        """Add to a balance; the first micro-token makes the account."""
        if amount == 0:
            return
        account = self._accounts.get(key) or Account(quality=self.quality(key))
        self._put(key, msgspec.structs.replace(account, balance=Amount(account.balance + amount)))

    def charge(self, key: AccountId, *, fee: int, spent: int) -> None:
        """Take a transaction's fee, which burns, and what it spends; count it in the nonce."""
        account = self._accounts[key]
        balance = account.balance - fee - spent
        assert balance >= 0, "checked before it was charged"
        self.burned += fee
        self._put(
            key, msgspec.structs.replace(account, balance=Amount(balance), nonce=account.nonce + 1)
        )

    def move_bond(self, key: AccountId, change: int) -> None:
        """Raise or lower an account's stake."""
        account = self._accounts[key]
        bonded = account.bonded + change
        assert bonded >= 0, "checked before it was moved"
        self.bonds_changed = True
        self._put(key, msgspec.structs.replace(account, bonded=Amount(bonded)))

    def jail(self, key: AccountId, until: Height) -> None:
        """Take an account's vote until it asks for it at a height; 0 gives it back."""
        account = self._accounts[key]
        self.bonds_changed = True
        self._put(key, msgspec.structs.replace(account, jailed_until=until))

    def others_vote(self, key: AccountId) -> bool:
        """Whether another account has stake and is not jailed."""
        return any(
            account.bonded > 0 and not account.jailed_until and other != key
            for other, account in self._accounts.items()
        )

    # ---- punishment ----------------------------------------------------------------------------

    @property
    def punished(self) -> dict[Digest, Punished]:
        """Offences that are not punished again. To read."""
        return self._punished

    def remember(self, punished: Punished) -> None:
        """Note that an offence was punished."""
        self._punished[punished.offence] = punished

    def stake(self, key: AccountId) -> int:
        """Micro-tokens that an account has bonded and unbonding: all that can be slashed."""
        account = self._accounts.get(key)
        bonded = 0 if account is None else account.bonded
        queued = [amount for slot, amount in self._unbonding.items() if slot[1] == key]
        return bonded + sum(queued)

    def slash(self, key: AccountId, rate: int) -> int:
        """Take a share (basis points) of each part of an account's stake; what was taken.

        Rounded up for each part, so that nobody is spared by having little, or in many places.
        """
        account = self._accounts[key]
        taken = div_ceil(account.bonded * rate, BASIS_POINTS)
        self.move_bond(key, -taken)
        for slot in [slot for slot in self._unbonding if slot[1] == key]:
            part = div_ceil(self._unbonding[slot] * rate, BASIS_POINTS)
            left = self._unbonding.pop(slot) - part
            taken += part
            if left:
                self._unbonding[slot] = Amount(left)
        return taken

    def _put(self, key: AccountId, account: Account) -> None:
        self._accounts[key] = account
        self._touched_accounts[key] = None

    # ---- channels and the unbonding queue -----------------------------------------------------

    def channel(self, key: ChannelId) -> Channel | None:
        """The channel, or None when it never was or is paid back."""
        return self._channels.get(key)

    def put_channel(self, key: ChannelId, channel: Channel) -> None:
        """Make or change a channel."""
        assert 0 <= channel.settled <= channel.deposit, "checked before it was settled"
        self._channels[key] = channel
        self._touched_channels[key] = None

    def queue_unbonding(self, key: AccountId, amount: int) -> None:
        """Pay `amount` back to the account's balance when it has been unbonding long enough."""
        release = Height(self.height + self.rules.parameters.unbonding_epochs)
        queued = self._unbonding.get((release, key), 0)
        self._unbonding[release, key] = Amount(queued + amount)

    def end_epoch(self) -> None:
        """Pay out stake and closed channels that are due; forget offences too old to bring."""
        due = [slot for slot in self._unbonding if slot[0] <= self.height]
        for slot in due:
            self.credit(slot[1], self._unbonding.pop(slot))
        late = self.rules.parameters.receipt_late_epochs
        over = [
            key
            for key, channel in self._channels.items()
            if 0 < channel.closing_height <= self.height - late
        ]
        for key in over:
            channel = self._channels.pop(key)
            self._touched_channels[key] = None
            self.credit(channel.consumer, channel.held)
        for offence, entry in list(self._punished.items()):
            if entry.until_height < self.height and entry.until_ms < self.before.time_ms:
                del self._punished[offence]

    # ---- the result ----------------------------------------------------------------------------

    @property
    def accounts(self) -> dict[AccountId, Account]:
        """All accounts, in key order."""
        return {key: self._accounts[key] for key in sorted(self._accounts)}

    @property
    def channels(self) -> dict[ChannelId, Channel]:
        """All channels, in key order."""
        return {key: self._channels[key] for key in sorted(self._channels)}

    @property
    def unbonding(self) -> tuple[Unbonding, ...]:
        """The queue, by release height and account."""
        return tuple(
            Unbonding(release, account, self._unbonding[release, account])
            for release, account in sorted(self._unbonding)
        )

    @property
    def punished_entries(self) -> tuple[Punished, ...]:
        """What was punished, by offence."""
        return tuple(self._punished[offence] for offence in sorted(self._punished))

    def hand_over_digests(self, state: State) -> None:
        """Spare the state that came of this draft hashing what the block did not touch."""
        state.inherit_digests(self.before, self._touched_accounts, self._touched_channels)
