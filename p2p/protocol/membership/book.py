"""The address book: who could be dialled, where, and how that went. Bounded.

How we know a peer decides what it is worth:

    hearsay  a neighbour told us            a few a neighbour, recommended to nobody
    signed   its own ad says where it is    replaces addresses from hearsay
    tried    a dial of ours reached it      or it is configured (a seed)

A full book takes a newcomer in the place of the peer that has been failing longest (at least
`failures_max` times in a row); else of the oldest that is worth less than the newcomer; else not at
all. Seeds, connected and wanted peers keep their place, so nobody can talk them out of the book.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Annotated, Final

from msgspec import Meta

from p2p.model.fields import AddressText, MomentField
from p2p.model.persistence import Delete, Put, Table, Write
from p2p.model.requests import ADDRESSES_MAX, PEERS_COUNT_MAX, PeerRecord, Peers
from p2p.primitives.codec import Malformed, Value, decode, encode
from p2p.primitives.draws import Draws
from p2p.primitives.keys import account_text, peer_id_of
from p2p.primitives.units import AccountId, Millis, PeerId
from p2p.protocol.membership.interface import MembershipParameters

ROW_BYTES_MAX: Final = 4096
_CONNECTED_STALE_MS: Final = 3_600_000
"""A row's time of connection may be this old before it is written again."""


class Worth(IntEnum):
    """How we know of a peer."""

    HEARSAY = 0
    SIGNED = 1
    TRIED = 2
    WANTED = 3
    """Only of a newcomer: it may take the place of any that is worth less."""


class BookRow(Value, frozen=True, tag="peer"):
    """A peer on disk, under its account. `connected_ms` 0: never."""

    addresses: Annotated[tuple[AddressText, ...], Meta(min_length=1, max_length=ADDRESSES_MAX)]
    connected_ms: MomentField


class Entry:
    """A peer of the book."""

    __slots__ = (
        "account",
        "addresses",
        "backoff_ms",
        "connected_ms",
        "failed_ms",
        "failing_since_ms",
        "failures",
        "is_seed",
        "source",
        "worth",
    )

    def __init__(self, account: AccountId, addresses: tuple[str, ...], worth: Worth) -> None:
        self.account = account
        self.addresses = addresses
        self.worth = worth
        self.is_seed = False
        self.source: PeerId | None = None
        """Whose hearsay it is."""
        self.connected_ms = 0
        self.failures = 0
        """Dials in a row that came to nothing."""
        self.failing_since_ms = 0
        self.failed_ms = 0
        self.backoff_ms = 0

    def may_dial(self, now_ms: Millis, *, backoff_ms_max: int) -> bool:
        """Whether its backoff, or at least `backoff_ms_max`, is over."""
        return self.failed_ms + min(self.backoff_ms, backoff_ms_max) <= now_ms


class Book:
    """Entries by account, in the order in which they came."""

    def __init__(self, me: AccountId | None, parameters: MembershipParameters) -> None:
        self._me, self._parameters = me, parameters
        self._entries: dict[AccountId, Entry] = {}
        self._dirty: dict[AccountId, None] = {}
        """Accounts whose row on disk is out of date."""
        self._full_for: Worth | None = None
        """For whom a search of a full book found no room, since when nothing made any: a thousand
        newcomers must not cost a thousand searches."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, account: AccountId) -> Entry | None:
        """The peer's entry."""
        return self._entries.get(account)

    def entries(self) -> list[Entry]:
        """All entries, oldest first."""
        return list(self._entries.values())

    # ---- learning ---------------------------------------------------------------------------

    def add_seed(self, record: PeerRecord) -> None:
        """A peer that the operator configured: it always has room."""
        if record.account == self._me:
            return
        entry = self._entries.get(record.account)
        if entry is None:
            entry = Entry(record.account, record.addresses, Worth.TRIED)
            self._entries[record.account] = entry
        entry.addresses = _merged(record.addresses, entry.addresses)
        entry.is_seed, entry.worth, entry.source = True, Worth.TRIED, None

    def learn_signed(
        self, account: AccountId, addresses: tuple[str, ...], keep: Callable[[AccountId], bool]
    ) -> None:
        """A peer's own word. `keep` names those that must not leave the book."""
        entry = self._entries.get(account)
        known = entry is not None and entry.worth > Worth.HEARSAY
        if entry is not None and known and set(addresses) <= set(entry.addresses):
            return
        fitting = _of_account(account, addresses)
        if account == self._me or not fitting:
            return
        if entry is None:
            worth = Worth.WANTED if keep(account) else Worth.SIGNED
            if not self._make_room(worth, keep):
                return
            entry = self._entries[account] = Entry(account, fitting, Worth.SIGNED)
        # The address that a dial reached stays, behind those that the peer names now.
        reached = entry.addresses[:1] if entry.worth is Worth.TRIED else ()
        entry.addresses = _merged(fitting, reached)
        entry.worth, entry.source = max(entry.worth, Worth.SIGNED), None
        self._dirty[account] = None

    def learn_hearsay(
        self,
        records: tuple[PeerRecord, ...],
        source: PeerId,
        keep: Callable[[AccountId], bool],
    ) -> bool:
        """A neighbour's word; False when it names addresses that cannot be that peer's."""
        told = sum(entry.source == source for entry in self._entries.values())
        truthful = True
        for record in records:
            if record.account == self._me:
                continue
            entry = self._entries.get(record.account)
            if entry is not None and set(record.addresses) <= set(entry.addresses):
                continue
            fitting = _of_account(record.account, record.addresses)
            truthful = truthful and len(fitting) == len(record.addresses)
            if not fitting:
                continue
            if entry is not None:
                self._add_hearsay(entry, fitting)
                continue
            wanted = keep(record.account)
            if not wanted and told >= self._parameters.hearsay_max:
                continue
            if self._make_room(Worth.WANTED if wanted else Worth.HEARSAY, keep):
                entry = Entry(record.account, fitting, Worth.HEARSAY)
                entry.source = source
                self._full_for = None
                self._entries[record.account] = entry
                told += 1
        return truthful

    def _add_hearsay(self, entry: Entry, addresses: tuple[str, ...]) -> None:
        """Fill spare room; what only hearsay named and failed gives way."""
        failing = entry.failures >= self._parameters.failures_max
        if entry.worth is Worth.HEARSAY and failing:
            entry.addresses = _merged(addresses, entry.addresses)
        else:
            entry.addresses = _merged(entry.addresses, addresses)

    def _make_room(self, newcomer: Worth, keep: Callable[[AccountId], bool]) -> bool:
        if len(self._entries) < self._parameters.book_max:
            return True
        if self._full_for is not None and newcomer <= self._full_for:
            return False
        loose = [one for one in self._entries.values() if not one.is_seed and not keep(one.account)]
        failing = [one for one in loose if one.failures >= self._parameters.failures_max]
        if failing:
            self._remove(min(failing, key=lambda one: one.failing_since_ms))
            return True
        lesser = [one for one in loose if one.worth < newcomer]
        if lesser:
            self._remove(min(lesser, key=lambda one: one.worth))
            return True
        self._full_for = newcomer
        return False

    def _remove(self, entry: Entry) -> None:
        self._full_for = None
        del self._entries[entry.account]
        if entry.worth > Worth.HEARSAY:
            self._dirty[entry.account] = None

    def recommend(self, wanted: tuple[AccountId, ...], asker: PeerId, draws: Draws) -> Peers:
        """The answer to a neighbour: whom it asked for, then others by lot.

        Hearsay is not passed on, nor is who fails.
        """
        chosen = [
            entry
            for account in dict.fromkeys(wanted)
            if (entry := self._entries.get(account)) is not None and self._is_good(entry, asker)
        ][:PEERS_COUNT_MAX]
        others = [
            entry
            for entry in self._entries.values()
            if entry.account not in wanted and self._is_good(entry, asker)
        ]
        while others and len(chosen) < PEERS_COUNT_MAX:
            index = draws.below(len(others))
            others[index], others[-1] = others[-1], others[index]
            chosen.append(others.pop())
        return Peers(tuple(PeerRecord(one.account, one.addresses) for one in chosen))

    def _is_good(self, entry: Entry, asker: PeerId) -> bool:
        return (
            entry.worth > Worth.HEARSAY
            and entry.failures < self._parameters.failures_max
            and peer_id_of(entry.account) != asker
        )

    # ---- dialling ---------------------------------------------------------------------------

    def reached(self, account: AccountId, address: str, now_ms: Millis) -> None:
        """A dial of ours succeeded at this address."""
        entry = self._entries.get(account)
        if entry is None:
            return
        entry.addresses = _merged(_of_account(account, (address,)), entry.addresses)
        entry.source = None
        if entry.worth is not Worth.TRIED or now_ms - entry.connected_ms > _CONNECTED_STALE_MS:
            self._dirty[account] = None
        entry.worth, entry.connected_ms = Worth.TRIED, now_ms

    def stayed(self, account: AccountId) -> None:
        """A connection of ours outlasted its grace: what failed before is forgiven.

        Not when it is made: who hangs up on us at once would be dialled every second.
        """
        entry = self._entries.get(account)
        if entry is not None:
            entry.failures = entry.failed_ms = entry.backoff_ms = 0

    def failed(self, account: AccountId, now_ms: Millis, draws: Draws) -> None:
        """A dial came to nothing: wait twice as long as before, a quarter more or less by lot."""
        entry = self._entries.get(account)
        if entry is None:
            return
        if entry.failures == 0:
            entry.failing_since_ms = now_ms
        span_ms = min(
            self._parameters.backoff_ms_min << min(entry.failures, 32),
            self._parameters.backoff_ms_max,
        )
        entry.failures += 1
        self._full_for = None
        entry.failed_ms = now_ms
        entry.backoff_ms = span_ms - span_ms // 4 + draws.below(span_ms // 2 + 1)

    def rest(self, account: AccountId, now_ms: Millis, span_ms: int) -> None:
        """Leave a peer alone for a while, for no fault of its own."""
        self._full_for = None  # Its connection kept it in the book.
        entry = self._entries.get(account)
        if entry is not None:
            entry.failed_ms, entry.backoff_ms = now_ms, span_ms

    # ---- disk -------------------------------------------------------------------------------

    def restore(self, rows: tuple[tuple[bytes, bytes], ...]) -> None:
        """Take in the rows of an earlier run; what cannot be read is forgotten, it is a cache."""
        for key, value in rows:
            account = AccountId(key)
            try:
                row = decode(value, BookRow, bytes_max=ROW_BYTES_MAX)
            except Malformed:
                self._dirty[account] = None
                continue
            if len(self._entries) >= self._parameters.book_max or account == self._me:
                self._dirty[account] = None
                continue
            worth = Worth.TRIED if row.connected_ms else Worth.SIGNED
            entry = self._entries[account] = Entry(account, row.addresses, worth)
            entry.connected_ms = row.connected_ms

    def take_writes(self) -> tuple[Write, ...]:
        """The oldest changes that the disk does not have yet, at most `rows_max`."""
        accounts = list(self._dirty)[: self._parameters.rows_max]
        writes: list[Write] = []
        for account in accounts:
            del self._dirty[account]
            entry = self._entries.get(account)
            if entry is None:
                writes.append(Delete(Table.PEERS, account))
            else:
                row = BookRow(entry.addresses, Millis(entry.connected_ms))
                writes.append(Put(Table.PEERS, account, encode(row)))
        return tuple(writes)


def _of_account(account: AccountId, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """The addresses that lead to this account and to nobody else."""
    ending = "/p2p/" + account_text(account)
    return tuple([address for address in addresses if address.endswith(ending)])


def _merged(first: tuple[str, ...], then: tuple[str, ...]) -> tuple[str, ...]:
    """Both without repeats, the first first, as many as an entry holds."""
    return tuple(dict.fromkeys((*first, *then)))[:ADDRESSES_MAX]
