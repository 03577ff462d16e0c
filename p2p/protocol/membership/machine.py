"""The membership: which connections to have.

A peer, as we see it:

    unknown --seed, ad, hearsay--> in the book --Dial--> dialling --> connected
                                       ^                    |             |
                                       +---- backoff -------+-- ended ----+--too bad--> banned

At every tick, in this order: hang up what is too much, dial what is missing, ask for peers, write
the book. What is missing:

- wanted accounts (the validators, while we are one): up to `sought_max` of them;
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
from p2p.protocol.membership.connections import Connections
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
        self._connections = Connections(me, self._parameters, self._draws)
        self._dials: dict[PeerId, Millis] = {}
        """When each dial under way began."""
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
        return self._connections.staying()

    @property
    def book_size(self) -> int:
        """Peers in the address book."""
        return len(self._book)

    def is_banned(self, peer: PeerId, now_ms: Millis) -> bool:
        """Whether connections to a peer are refused now."""
        return self._penalties.is_banned(peer, now_ms)

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
                if provider in self._connections.wanted and provider in self._connections.missing():
                    effects = self._hasten(now_ms)
            case WantedChanged(accounts=accounts):
                self._connections.want(accounts)
                if self._connections.missing():
                    effects = self._hasten(now_ms)
            case Misbehaved(peer=peer, reason=reason):
                effects = self._blame(peer, reason, now_ms)
            case RequestFailed(peer=peer):
                connection = self._connections.get(peer)
                if connection is not None:
                    connection.silent_until_ms = now_ms + self._parameters.ask_ms
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
        for peer in self._connections.take_who_stayed(now_ms):
            account = account_of(peer)
            if account is not None:
                self._book.stayed(account)
        effects = self._trim(now_ms)
        effects += self._dial(now_ms, at_tick=True)
        effects += self._ask(now_ms)
        effects += self._persist(now_ms)
        lacking = len(self._connections) < self._parameters.peers_target or bool(
            self._connections.missing()
        )
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

    # ---- connections ------------------------------------------------------------------------

    def _keeps(self, account: AccountId) -> bool:
        """Who must not leave the book."""
        return account in self._connections.wanted or peer_id_of(account) in self._connections

    def _connect(
        self, peer: PeerId, address: str, now_ms: Millis, *, outbound: bool
    ) -> list[MembershipEffect]:
        self._dials.pop(peer, None)
        connection = self._connections.add(peer, now_ms, outbound=outbound)
        account = account_of(peer)
        if outbound and account is not None:
            self._book.reached(account, address, now_ms)
        if peer == self._me:
            return self._hang_up(peer, "this is ourselves")
        if self._penalties.is_banned(peer, now_ms):
            return self._hang_up(peer, "banned")
        effects: list[MembershipEffect] = []
        if self._connections.is_crowded() and not outbound and not connection.is_wanted:
            gone = self._connections.gives_way(now_ms)
            if gone is None:
                return self._hang_up(peer, "too many connections")
            effects = self._hang_up(gone, "another comes")
        return [*effects, *self._dial(now_ms), *self._ask(now_ms)]

    def _disconnect(self, peer: PeerId, now_ms: Millis) -> list[MembershipEffect]:
        connection = self._connections.remove(peer)
        account = account_of(peer)
        if connection is None or account is None:
            return []
        parameters = self._parameters
        if connection.is_leaving:
            self._book.rest(account, now_ms, self._jittered(parameters.explore_ms))
        elif connection.is_outbound and now_ms < connection.since_ms + parameters.grace_ms:
            self._book.failed(account, now_ms, self._draws)
        else:
            self._book.rest(account, now_ms, self._jittered(parameters.backoff_ms_min))
        return self._hasten(now_ms)

    def _hang_up(self, peer: PeerId, reason: str) -> list[MembershipEffect]:
        connection = self._connections.get(peer)
        if connection is None or connection.is_leaving:
            return []
        self._connections.leave(connection)
        return [HangUp(peer, reason)]

    def _blame(self, peer: PeerId, reason: Reason, now_ms: Millis) -> list[MembershipEffect]:
        if self._parameters.direct and account_of(peer) in self._parameters.direct:
            return []  # gossipsub v1.1: explicit peering agreements stand whatever happens
        if not self._penalties.add(peer, reason, now_ms):
            return []
        gone = self._hang_up(peer, f"banned: {reason.value}")
        return [*gone, *self._hasten(now_ms)] if gone else []

    def _trim(self, now_ms: Millis) -> list[MembershipEffect]:
        effects: list[MembershipEffect] = []
        for peer in self._connections.replaced(now_ms):
            effects += self._hang_up(peer, "replaced by another choice")
        for peer in self._connections.crowd(now_ms):
            effects += self._hang_up(peer, "too many connections")
        return effects

    # ---- dials ------------------------------------------------------------------------------

    def _dial(self, now_ms: Millis, *, at_tick: bool = False) -> list[MembershipEffect]:
        """Dial what is missing, as far as `dials_max` allows; wanted accounts leave one slot."""
        if self._tick_ms is None:
            return []
        choices = self._choices_missing(now_ms, at_tick=at_tick)
        room = self._parameters.dials_max - len(self._dials)
        wanted_room = room - 1 if choices > 0 and room > 1 else room
        effects: list[MembershipEffect] = []
        cap_ms = self._parameters.wanted_backoff_ms_max
        for account in self._connections.missing():
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

    def _choices_missing(self, now_ms: Millis, *, at_tick: bool) -> int:
        """How many more dials of our own choice are due.

        Beyond `outbound_min` it is one a tick: others connect to us meanwhile, and nodes that start
        together would else make twice the connections that they need.
        """
        parameters = self._parameters
        total = len(self._connections)
        lacking = parameters.outbound_min - self._connections.own_choices()
        if lacking <= 0 and at_tick and total < parameters.peers_target:
            lacking = 1
        if lacking <= 0 and now_ms >= self._explore_ms and total < parameters.peers_max:
            self._explore_ms = now_ms + self._jittered(parameters.explore_ms)
            lacking = 1
        return lacking - sum(
            account_of(peer) not in self._connections.sought for peer in self._dials
        )

    def _choose(self, now_ms: Millis) -> Entry | None:
        """A peer of the book by lot: tried or untried first, then one of those."""
        alone = not self.connected
        parameters = self._parameters
        cap_ms = parameters.wanted_backoff_ms_max if alone else parameters.backoff_ms_max * 2
        able = [
            one
            for one in self._book.entries()
            if one.account not in self._connections.sought
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
        lost = [one for one in self._connections.missing() if self._is_lost(one)]
        lacking = len(self._connections) < parameters.peers_target or bool(lost)
        span_ms = self._ask_span_ms if lacking else parameters.ask_ms
        if self._tick_ms is None or now_ms < self._asked_ms + span_ms:
            return []
        able = [
            peer
            for peer in self.connected
            if (one := self._connections.get(peer)) and one.silent_until_ms <= now_ms
        ]
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
