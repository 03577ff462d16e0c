"""The membership: which connections to have.

A peer, as we see it:

    unknown --seed, ad, hearsay--> in the book --Dial--> dialling --> connected
                                       ^                    |             |
                                       +---- backoff -------+-- ended ----+--too bad--> banned

At every tick, in this order: hang up what is too much, dial what is missing, ask for peers, write
the book. What is missing:

- wanted accounts (the validators, while we are one): those within `peers_max - peers_target`;
- connections of our own choice: `outbound_min`, drawn from the book, half of the draws among peers
  that were reached before. Whoever connects to us, or talks most, has no say in it;
- any, up to `peers_target`, and every `explore_ms` one more, to a random stranger.

What is too much: others' connections above what is left beside the wanted, with some slack, the
youngest first (who stayed long is likely to stay); own choices above `outbound_max`. Never below
the target.

Peers with another kind of key than Ed25519 may connect; the book does not know them.
"""

from typing import assert_never

from p2p.model.effects import Dial, HangUp, Persist, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed, TimerFired
from p2p.model.rejection import Reason
from p2p.model.requests import PEERS_COUNT_MAX, PeerRecord, Peers, PeersRequest
from p2p.primitives.draws import Draws
from p2p.primitives.keys import account_of, peer_id_of
from p2p.primitives.units import AccountId, Millis, PeerId
from p2p.protocol.membership.book import Book, Entry, Worth
from p2p.protocol.membership.interface import (
    TICK_TIMER,
    AdLearned,
    AskPeers,
    DialFailed,
    MembershipEffect,
    MembershipInput,
    MembershipParameters,
    Misbehaved,
    PeersLearned,
    Restored,
    Started,
    WantedChanged,
)
from p2p.protocol.membership.penalties import Penalties


class _Connection:
    """A connection that stands."""

    __slots__ = ("is_leaving", "is_outbound", "is_wanted", "silent_until_ms", "since_ms")

    def __init__(self, now_ms: Millis, *, outbound: bool, wanted: bool) -> None:
        self.is_outbound, self.since_ms, self.is_wanted = outbound, now_ms, wanted
        self.is_leaving = False
        """We ordered to hang up."""
        self.silent_until_ms = 0
        """It did not answer; others are asked until then."""


class Membership:
    """Connections. One instance a node; `step` alone changes it."""

    def __init__(
        self, me: PeerId, parameters: MembershipParameters | None = None, *, seed: bytes
    ) -> None:
        self._me = me
        self._parameters = parameters or MembershipParameters()
        self._seed = seed
        self._draws = Draws(b"membership", seed)
        self._book = Book(account_of(me), self._parameters)
        self._penalties = Penalties(self._parameters)
        self._connections: dict[PeerId, _Connection] = {}
        self._dials: dict[PeerId, Millis] = {}
        """When each dial under way began."""
        self._wanted: frozenset[AccountId] = frozenset()
        self._sought: tuple[AccountId, ...] = ()
        """The wanted accounts that we dial: as many as there is room for."""
        self._tick_ms: Millis | None = None
        """When the next tick is due; None before the start."""
        self._asked_ms = -self._parameters.ask_ms
        self._ask_span_ms = self._parameters.ask_fast_ms
        """Between questions while something is missing."""
        self._explore_ms = 0
        self._persist_ms = 0
        self._answers = 0
        """Bumped by every tick, so that neighbours' samples change."""

    # ---- queries ----------------------------------------------------------------------------

    @property
    def connected(self) -> list[PeerId]:
        """Peers whose connection stands and is not being hung up, oldest first."""
        return [peer for peer, one in self._connections.items() if not one.is_leaving]

    @property
    def book_size(self) -> int:
        """Peers in the address book."""
        return len(self._book)

    def addresses_of(self, account: AccountId) -> tuple[str, ...]:
        """Where the book says a peer is; empty when unknown."""
        entry = self._book.get(account)
        return entry.addresses if entry else ()

    def peers_for(self, request: PeersRequest, asker: PeerId) -> Peers:
        """The answer to a neighbour: whom it asked for, then others by lot."""
        draws = Draws(b"peers", self._seed, asker, self._answers.to_bytes(8))
        return self._book.recommend(request.wanted, asker, draws)

    # ---- the step ---------------------------------------------------------------------------

    def step(self, event: MembershipInput, now_ms: Millis) -> list[MembershipEffect]:
        """Take in one piece of news."""
        effects: list[MembershipEffect] = []
        match event:
            case TimerFired(key=key):
                effects = self._on_timer(key, now_ms)
            case PeerConnected(peer=peer, outbound=outbound, address=address):
                effects = self._connect(peer, address, now_ms, outbound=outbound)
            case PeerDisconnected(peer=peer):
                effects = self._disconnect(peer, now_ms)
            case DialFailed(peer=peer):
                self._fail(peer, now_ms)
                effects = self._dial(now_ms)
            case PeersLearned(peer=peer, records=records):
                effects = self._learn(peer, records, now_ms)
            case AdLearned(provider=provider, addresses=addresses):
                self._book.learn_signed(provider, addresses, keep=self._keeps)
                if provider in self._wanted and provider in self._missing():
                    effects = self._hasten(now_ms)
            case WantedChanged(accounts=accounts):
                effects = self._want(accounts, now_ms)
            case Misbehaved(peer=peer, reason=reason):
                effects = self._blame(peer, reason, now_ms)
            case RequestFailed(peer=peer):
                if peer in self._connections:
                    silent_until_ms = now_ms + self._parameters.ask_ms
                    self._connections[peer].silent_until_ms = silent_until_ms
            case Restored(rows=rows):
                self._book.restore(rows)
            case Started(seeds=seeds):
                effects = self._start(seeds, now_ms)
            case _:
                assert_never(event)
        return effects

    def _start(self, seeds: tuple[PeerRecord, ...], now_ms: Millis) -> list[MembershipEffect]:
        for record in seeds:
            self._book.add_seed(record)
        self._explore_ms = now_ms + self._jittered(self._parameters.explore_ms)
        self._persist_ms = now_ms + self._jittered(self._parameters.persist_ms)
        self._tick_ms = Millis(now_ms + self._draws.below(self._parameters.start_spread_ms + 1))
        return [SetTimer(TICK_TIMER, self._tick_ms)]

    def _on_timer(self, key: str, now_ms: Millis) -> list[MembershipEffect]:
        if key != TICK_TIMER:
            raise ValueError(f"the membership has no timer {key!r}")
        self._answers += 1
        self._forget_dials(now_ms)
        effects = self._trim(now_ms)
        effects += self._dial(now_ms)
        effects += self._ask(now_ms)
        effects += self._persist(now_ms)
        lacking = len(self.connected) < self._parameters.peers_target or bool(self._missing())
        span_ms = self._parameters.tick_ms if lacking else self._parameters.tick_idle_ms
        self._tick_ms = Millis(now_ms + self._jittered(span_ms))
        return [*effects, SetTimer(TICK_TIMER, self._tick_ms)]

    def _hasten(self, now_ms: Millis) -> list[MembershipEffect]:
        """Something is missing: the next tick is due soon, if the machine ticks at all."""
        self._ask_span_ms = self._parameters.ask_fast_ms
        soon_ms = Millis(now_ms + self._jittered(self._parameters.tick_ms))
        if self._tick_ms is None or self._tick_ms <= soon_ms:
            return []
        self._tick_ms = soon_ms
        return [SetTimer(TICK_TIMER, soon_ms)]

    def _jittered(self, span_ms: int) -> int:
        """A span, an eighth more or less by lot."""
        return span_ms - span_ms // 8 + self._draws.below(span_ms // 4 + 1)

    # ---- wanted accounts --------------------------------------------------------------------

    def _want(self, accounts: tuple[AccountId, ...], now_ms: Millis) -> list[MembershipEffect]:
        """Seek as many as there is room for; who is sought already stays so."""
        mine = account_of(self._me)
        wanted = [account for account in dict.fromkeys(accounts) if account != mine]
        self._wanted = frozenset(wanted)
        room = self._parameters.peers_max - self._parameters.peers_target
        kept = [account for account in self._sought if account in self._wanted]
        fresh = [account for account in wanted if account not in kept]
        self._sought = tuple((kept + self._draws.sample(fresh, len(fresh)))[:room])
        for peer, connection in self._connections.items():
            connection.is_wanted = self._is_wanted(peer)
        return self._hasten(now_ms) if self._missing() else []

    def _is_wanted(self, peer: PeerId) -> bool:
        account = account_of(peer)
        return account is not None and account in self._wanted

    def _missing(self) -> list[AccountId]:
        """Sought accounts without a connection."""
        return [one for one in self._sought if not self._is_connected(peer_id_of(one))]

    def _is_connected(self, peer: PeerId) -> bool:
        connection = self._connections.get(peer)
        return connection is not None and not connection.is_leaving

    def _keeps(self, account: AccountId) -> bool:
        """Who must not leave the book."""
        return account in self._wanted or peer_id_of(account) in self._connections

    # ---- connections ------------------------------------------------------------------------

    def _connect(
        self, peer: PeerId, address: str, now_ms: Millis, *, outbound: bool
    ) -> list[MembershipEffect]:
        self._dials.pop(peer, None)
        connection = _Connection(now_ms, outbound=outbound, wanted=self._is_wanted(peer))
        self._connections[peer] = connection
        account = account_of(peer)
        if outbound and account is not None:
            self._book.reached(account, address, now_ms)
        if peer == self._me:
            return self._hang_up(peer, "this is ourselves")
        if self._penalties.is_banned(peer, now_ms):
            return self._hang_up(peer, "banned")
        crowded = len(self.connected) > 2 * self._parameters.peers_max
        if crowded and not outbound and not connection.is_wanted:
            return self._hang_up(peer, "too many connections")
        return [*self._dial(now_ms), *self._ask(now_ms)]

    def _disconnect(self, peer: PeerId, now_ms: Millis) -> list[MembershipEffect]:
        connection = self._connections.pop(peer, None)
        account = account_of(peer)
        if connection is None or account is None:
            return []
        parameters = self._parameters
        if connection.is_leaving:
            self._book.rest(account, now_ms, self._jittered(parameters.explore_ms))
        elif connection.is_outbound and now_ms - connection.since_ms < parameters.grace_ms:
            self._book.failed(account, now_ms, self._draws)
        else:
            self._book.rest(account, now_ms, self._jittered(parameters.backoff_ms_min))
        return self._hasten(now_ms)

    def _hang_up(self, peer: PeerId, reason: str) -> list[MembershipEffect]:
        self._connections[peer].is_leaving = True
        return [HangUp(peer, reason)]

    def _blame(self, peer: PeerId, reason: Reason, now_ms: Millis) -> list[MembershipEffect]:
        banned = self._penalties.add(peer, reason, now_ms)
        if not banned or not self._is_connected(peer):
            return []
        return [*self._hang_up(peer, f"banned: {reason.value}"), *self._hasten(now_ms)]

    def _trim(self, now_ms: Millis) -> list[MembershipEffect]:
        """Hang up what is too much: own choices, then others' connections, youngest first."""
        parameters = self._parameters
        effects: list[MembershipEffect] = []
        chosen = self._removable(now_ms, outbound=True, wanted=False)
        for peer in self._draws.sample(chosen, self._own_choices() - parameters.outbound_max):
            if len(self.connected) > parameters.peers_target:
                effects += self._hang_up(peer, "replaced by another choice")
        others_max = max(parameters.peers_target, parameters.peers_max - len(self._sought))
        others = sum(not self._connections[peer].is_wanted for peer in self.connected)
        if others > others_max + parameters.surplus_max:
            guests = self._removable(now_ms, outbound=False, wanted=False)
            for peer in guests[: others - others_max]:
                effects += self._hang_up(peer, "too many connections")
        total = len(self.connected)
        if total > parameters.peers_max + parameters.surplus_max:
            guests = self._removable(now_ms, outbound=False, wanted=False)
            guests += self._removable(now_ms, outbound=False, wanted=True)
            for peer in guests[: total - parameters.peers_max]:
                effects += self._hang_up(peer, "too many connections")
        return effects

    def _removable(self, now_ms: Millis, *, outbound: bool, wanted: bool) -> list[PeerId]:
        """Connections of a kind that are past their grace and not sought, youngest first."""
        sought = [peer_id_of(account) for account in self._sought]
        return [
            peer
            for peer in reversed(self.connected)
            if (one := self._connections[peer]).is_outbound is outbound
            and one.is_wanted is wanted
            and one.since_ms + self._parameters.grace_ms <= now_ms
            and peer not in sought
        ]

    def _own_choices(self) -> int:
        """Connections that our own draws chose."""
        connections = [self._connections[peer] for peer in self.connected]
        return sum(one.is_outbound and not one.is_wanted for one in connections)

    # ---- dials ------------------------------------------------------------------------------

    def _dial(self, now_ms: Millis) -> list[MembershipEffect]:
        """Dial what is missing, as far as `dials_max` allows; wanted accounts leave one slot."""
        if self._tick_ms is None:
            return []
        choices = self._choices_missing(now_ms)
        room = self._parameters.dials_max - len(self._dials)
        wanted_room = room - 1 if choices > 0 and room > 1 else room
        effects: list[MembershipEffect] = []
        cap_ms = self._parameters.wanted_backoff_ms_max
        for account in self._missing():
            entry = self._book.get(account)
            if len(effects) >= wanted_room:
                break
            if entry is not None and self._may_dial(entry, now_ms, backoff_ms_max=cap_ms):
                effects += self._dial_one(entry, now_ms)
        while choices > 0 and len(self._dials) < self._parameters.dials_max:
            entry = self._choose(now_ms)
            if entry is None:
                break
            effects += self._dial_one(entry, now_ms)
            choices -= 1
        return effects

    def _choices_missing(self, now_ms: Millis) -> int:
        """How many more dials of our own choice are due."""
        parameters = self._parameters
        under_way = sum(not self._is_wanted(peer) for peer in self._dials)
        total = len(self.connected)
        lacking = max(
            parameters.outbound_min - self._own_choices(), parameters.peers_target - total
        )
        if lacking <= 0 and now_ms >= self._explore_ms and total < parameters.peers_max:
            self._explore_ms = now_ms + self._jittered(parameters.explore_ms)
            lacking = 1
        return lacking - under_way

    def _choose(self, now_ms: Millis) -> Entry | None:
        """A peer of the book by lot: tried or untried first, then one of those."""
        alone = not self.connected
        parameters = self._parameters
        cap_ms = parameters.wanted_backoff_ms_max if alone else parameters.backoff_ms_max * 2
        able = [
            one
            for one in self._book.entries()
            if one.account not in self._wanted
            and self._may_dial(one, now_ms, backoff_ms_max=cap_ms)
        ]
        tried = [one for one in able if one.worth is Worth.TRIED]
        untried = [one for one in able if one.worth is not Worth.TRIED]
        pools = [pool for pool in (tried, untried) if pool]
        return self._draws.choice(self._draws.choice(pools)) if pools else None

    def _may_dial(self, entry: Entry, now_ms: Millis, *, backoff_ms_max: int) -> bool:
        peer = peer_id_of(entry.account)
        return (
            entry.may_dial(now_ms, backoff_ms_max=backoff_ms_max)
            and peer not in self._connections
            and peer not in self._dials
            and not self._penalties.is_banned(peer, now_ms)
        )

    def _dial_one(self, entry: Entry, now_ms: Millis) -> list[MembershipEffect]:
        peer = peer_id_of(entry.account)
        self._dials[peer] = now_ms
        return [Dial(peer, entry.addresses)]

    def _fail(self, peer: PeerId, now_ms: Millis) -> None:
        account = account_of(peer)
        if self._dials.pop(peer, None) is not None and account is not None:
            self._book.failed(account, now_ms, self._draws)

    def _forget_dials(self, now_ms: Millis) -> None:
        overdue_ms = now_ms - self._parameters.dial_ms_max
        for peer in [one for one, began_ms in self._dials.items() if began_ms <= overdue_ms]:
            self._fail(peer, now_ms)

    # ---- questions and the disk -------------------------------------------------------------

    def _ask(self, now_ms: Millis) -> list[MembershipEffect]:
        """Ask a random neighbour for peers, when it is time."""
        parameters = self._parameters
        lost = [one for one in self._missing() if self._is_lost(one)]
        lacking = len(self.connected) < parameters.peers_target or bool(lost)
        span_ms = self._ask_span_ms if lacking else parameters.ask_ms
        if self._tick_ms is None or now_ms < self._asked_ms + span_ms:
            return []
        able = [one for one in self.connected if self._connections[one].silent_until_ms <= now_ms]
        if not able:
            return []
        self._asked_ms = now_ms
        self._ask_span_ms = min(self._ask_span_ms * 2, parameters.ask_ms)
        return [AskPeers(self._draws.choice(able), tuple(lost[:PEERS_COUNT_MAX]))]

    def _learn(
        self, peer: PeerId, records: tuple[PeerRecord, ...], now_ms: Millis
    ) -> list[MembershipEffect]:
        before = len(self._book)
        truthful = self._book.learn_hearsay(records[:PEERS_COUNT_MAX], peer, keep=self._keeps)
        if len(self._book) > before:
            self._ask_span_ms = self._parameters.ask_fast_ms
        faults = [] if truthful else self._blame(peer, Reason.MALFORMED, now_ms)
        return [*faults, *self._dial(now_ms)]

    def _is_lost(self, account: AccountId) -> bool:
        """Whether we know no address of an account, or none that works."""
        entry = self._book.get(account)
        return entry is None or entry.failures >= self._parameters.failures_max

    def _persist(self, now_ms: Millis) -> list[MembershipEffect]:
        if now_ms < self._persist_ms:
            return []
        self._persist_ms = now_ms + self._jittered(self._parameters.persist_ms)
        writes = self._book.take_writes()
        return [Persist(writes)] if writes else []
