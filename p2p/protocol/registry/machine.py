"""The registry: hears everybody's capacity ads, and makes our own.

An ad of a provider, as others see it:

    absent --ad--> kept --higher seq--> kept --expires--> absent
                     |
                     +--same seq, other body--> in conflict --higher seq--> kept

A kept ad in conflict still tells where the provider is, but nobody is sent there for business, so
it matters little which of the two a node heard first. The second is gossiped on as well, once, so
that every node sees both.

Our own ad has a seq that is durable before the ad leaves, so no restart uses one twice. It leaves

- at once when the operator changes the offer, within an allowance;
- `heard_ms` and more after the first connection, if the last one was published to nobody;
- again at each of `early_ms` after that connection: a young mesh may have carried it nowhere;
- when space or addresses changed, at most every `change_gap_ms`;
- and at a third of its life or after `renew_ms_max`, a little sooner by lot.

A node without an offer advertises too, accepting nothing: ads are how nodes find one another.
After a time alone it asks its first neighbours for the ads that it has missed, and one more at each
of `early_ms`: the first ones may be newcomers themselves.

Gossip may lose any ad, and a partition loses many: `Pulls` goes on asking for what is missing.
"""

from typing import Final, assert_never

import msgspec

from p2p.model.ad import CapacityAd
from p2p.model.effects import SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, TimerFired
from p2p.model.offer import Offer
from p2p.model.rejection import Reason, Rejected
from p2p.primitives.draws import Draws
from p2p.primitives.signing import Signer, Verified
from p2p.primitives.units import AccountId, Digest, Millis, PeerId
from p2p.protocol.registry.interface import (
    EXPIRE_TIMER,
    PULL_TIMER,
    RENEW_TIMER,
    AccountsBonded,
    AdConflictFound,
    AddressesKnown,
    AdDropped,
    AdLearned,
    AdReceived,
    AdsReceived,
    AskFailed,
    Judge,
    Need,
    OfferChanged,
    PublishAd,
    RegistryEffect,
    RegistryInput,
    RegistryParameters,
    Restored,
    SpaceMeasured,
    Verdict,
)
from p2p.protocol.registry.own import OwnAd
from p2p.protocol.registry.pulls import Pulls, missing
from p2p.protocol.registry.table import AdTable, Allowance, Entry, spread_over_regions

_SWEEP_MS_MIN: Final = 1_000
"""Between two searches for expired ads."""


class Registry:
    """Capacity ads. One instance a node; `step` alone changes it."""

    def __init__(
        self,
        me: AccountId,
        signer: Signer,
        chain_id: Digest,
        parameters: RegistryParameters | None = None,
        *,
        seed: bytes,
    ) -> None:
        self._me, self._chain_id = me, chain_id
        self._parameters = parameters or RegistryParameters()
        self._draws = Draws(b"registry", seed)
        self._table = AdTable(self._parameters.ads_max)
        self._staked: frozenset[AccountId] = frozenset((me,))
        self._expire_ms: Millis | None = None
        # Our own ad.
        self._own = OwnAd(signer, chain_id, self._parameters)
        self._published_ms: Millis | None = None
        self._renew_ms: Millis | None = None
        self._offers_allowed: Allowance | None = None
        # Neighbours.
        self._neighbours: dict[PeerId, None] = {}
        self._unheard = True
        """Nobody was connected when our ad was last published."""
        self._met_ms: Millis | None = None
        """When the last time alone ended."""
        self._early_ms: list[int] = []
        """Spans after that moment at which our ad is still to leave again."""
        self._asks_left = self._parameters.asks_max
        self._pulls = Pulls(self._table, self._parameters, self._draws)

    # ---- queries ----------------------------------------------------------------------------

    @property
    def offer(self) -> Offer:
        """What the operator lends."""
        return self._own.offer

    def ads(self) -> list[Verified[CapacityAd]]:
        """The newest ad of every provider, our own too, by provider."""
        return self._table.ads()

    def get(self, provider: AccountId) -> Verified[CapacityAd] | None:
        """A provider's newest ad."""
        entry = self._table.entry(provider)
        return entry.ad if entry else None

    def addresses_of(self, account: AccountId) -> tuple[str, ...]:
        """Where an account says it can be reached; empty when unknown."""
        ad = self.get(account)
        return ad.value.addrs if ad else ()

    def find(self, need: Need, *, distinct_regions: bool = False) -> list[Verified[CapacityAd]]:
        """Others' ads that meet a need, cheapest first; or the cheapest of each region first."""
        asked = msgspec.structs.replace(need, exclude=(*need.exclude, self._me))
        found = self._table.find(asked)
        return spread_over_regions(found) if distinct_regions else found

    def page(
        self, after: bytes, count: int, until: bytes = b"", known: bytes = b""
    ) -> tuple[CapacityAd, ...]:
        """The answer to a neighbour's `AskAds`: what it lacks of these providers, upwards."""
        count = min(count, self._parameters.page_max)
        if not until and not known:
            return tuple([ad.value for ad in self._table.above(after, count)])
        found = missing(self._table, after=after, count=count, until=until, known=known)
        return tuple(found)

    # ---- the step ---------------------------------------------------------------------------

    def step(self, event: RegistryInput, now_ms: Millis) -> list[RegistryEffect]:  # noqa: PLR0911 - one an input
        """Take in one piece of news."""
        match event:
            case AdReceived(ad=ad):
                return self._judge(ad, now_ms)
            case AdsReceived(peer=peer, ads=ads):
                return self._take_page(peer, ads, now_ms)
            case AskFailed(peer=peer):
                self._pulls.failed(peer)
                return []
            case OfferChanged(offer=offer):
                return self._change_offer(offer, now_ms)
            case SpaceMeasured(free_bytes=free_bytes):
                return self._measure(free_bytes, now_ms)
            case AddressesKnown(addresses=addresses):
                return self._know_addresses(addresses, now_ms)
            case AccountsBonded(accounts=accounts):
                self._staked = frozenset((self._me, *accounts))
                return []
            case PeerConnected(peer=peer):
                return self._meet(peer, now_ms)
            case PeerDisconnected(peer=peer):
                self._part(peer)
                return []
            case TimerFired(key=key):
                return self._on_timer(key, now_ms)
            case Restored(rows=rows):
                self._own.restore(rows)
                return []
            case _:
                assert_never(event)

    # ---- ads of others ----------------------------------------------------------------------

    def _judge(self, ad: Verified[CapacityAd], now_ms: Millis) -> list[RegistryEffect]:
        value = ad.value
        if value.chain_id != self._chain_id:
            return [Judge(Verdict.REJECT, Reason.WRONG_CHAIN)]
        if value.expires_ms <= now_ms:
            return [Judge(Verdict.IGNORE, Reason.EXPIRED)]
        if value.issued_ms > now_ms + self._parameters.future_ms_max:
            # Not rejected: it may be our clock that is wrong.
            return [Judge(Verdict.IGNORE, Reason.FROM_THE_FUTURE)]
        if value.provider == self._me:
            return self._judge_own(value, now_ms)
        entry = self._table.entry(value.provider)
        if entry is None:
            return self._admit(ad, now_ms)
        known = entry.ad.value
        is_known = value is known or (value.seq == known.seq and value.body() == known.body())
        if value.seq < known.seq or is_known:
            return [Judge(Verdict.IGNORE, Reason.OUTDATED)]
        if value.seq == known.seq:
            return self._note_conflict(entry, ad)
        if not entry.allowance.take(now_ms):
            return [Judge(Verdict.IGNORE, Reason.TOO_MANY)]
        self._table.renew(entry, ad)
        return self._learned(value)

    def _judge_own(self, ad: CapacityAd, now_ms: Millis) -> list[RegistryEffect]:
        """Our disk was lost, or our key runs twice: go on above what others have seen of us."""
        verdict = Judge(Verdict.IGNORE, Reason.OUTDATED)
        own = self.get(self._me)
        echo = ad.seq == self._own.seq and (own is None or own.value.body() == ad.body())
        if ad.seq < self._own.seq or echo:
            return [verdict]
        self._own.seq = ad.seq
        return [verdict, self._own.saved(with_offer=False), *self._publish_soon(now_ms)]

    def _admit(self, ad: Verified[CapacityAd], now_ms: Millis) -> list[RegistryEffect]:
        dropped: list[RegistryEffect] = []
        if self._table.is_full():
            staked = ad.value.provider in self._staked
            gone = self._table.make_room(self._staked) if staked else None
            if gone is None:
                return [Judge(Verdict.IGNORE, Reason.TOO_MANY)]
            dropped = [AdDropped(gone, Reason.TOO_MANY)]
        self._table.put(Entry(ad, self._new_allowance(now_ms)))
        return [*self._learned(ad.value), *dropped]

    def _note_conflict(self, entry: Entry, second: Verified[CapacityAd]) -> list[RegistryEffect]:
        """Keep the first; pass the second on so that all see it, and no third."""
        if entry.in_conflict:
            return [Judge(Verdict.IGNORE, Reason.EQUIVOCATION)]
        entry.in_conflict = True
        found = AdConflictFound(entry.ad, second)
        return [Judge(Verdict.ACCEPT, Reason.EQUIVOCATION), found]

    def _learned(self, ad: CapacityAd) -> list[RegistryEffect]:
        return [
            Judge(Verdict.ACCEPT),
            AdLearned(ad.provider, ad.seq, ad.addrs),
            *self._watch_expiry(ad.expires_ms),
        ]

    def _new_allowance(self, now_ms: Millis) -> Allowance:
        parameters = self._parameters
        allowance = Allowance(
            now_ms, gap_ms=parameters.ad_gap_ms, burst_max=parameters.ad_burst_max
        )
        allowance.take(now_ms)
        return allowance

    def _watch_expiry(self, expires_ms: int) -> list[RegistryEffect]:
        if self._expire_ms is not None and self._expire_ms <= expires_ms:
            return []
        self._expire_ms = Millis(expires_ms)
        return [SetTimer(EXPIRE_TIMER, self._expire_ms)]

    def _expire(self, now_ms: Millis) -> list[RegistryEffect]:
        gone = self._table.drop_expired(now_ms)
        effects: list[RegistryEffect] = [AdDropped(one, Reason.EXPIRED) for one in gone]
        self._expire_ms = None
        first_ms = self._table.first_expiry_ms()
        if first_ms is not None:
            effects += self._watch_expiry(max(first_ms, now_ms + _SWEEP_MS_MIN))
        return effects

    # ---- neighbours -------------------------------------------------------------------------

    def _meet(self, peer: PeerId, now_ms: Millis) -> list[RegistryEffect]:
        was_alone = not self._neighbours
        self._neighbours[peer] = None
        effects: list[RegistryEffect] = [*self._pulls.met(peer, now_ms)]
        if was_alone:
            self._met_ms, self._early_ms = now_ms, list(self._parameters.early_ms)
        if self._asks_left > 0 and not self._pulls.is_asking(peer):
            self._asks_left -= 1
            effects += self._pulls.ask(peer)
        if self._unheard and self._published_ms is not None:
            self._unheard = False
            heard_ms = self._parameters.heard_ms
            delay_ms = heard_ms + self._draws.below(heard_ms + 1)
            effects += self._publish_soon(now_ms, delay_ms=delay_ms, gap_ms=0)
        elif was_alone:
            delay_ms = self._until_early_ms(now_ms)
            effects += self._publish_soon(now_ms, delay_ms=delay_ms, gap_ms=0)
        return effects

    def _until_early_ms(self, now_ms: Millis) -> int:
        """How long until our ad is to leave again because it is young; its life when it is not."""
        if self._met_ms is None or not self._early_ms:
            return self._own.offer.ttl_s * 1000
        span_ms = self._early_ms[0]
        return max(0, self._met_ms + span_ms + self._draws.below(span_ms // 4 + 1) - now_ms)

    def _be_early(self, now_ms: Millis) -> list[RegistryEffect]:
        """If our ad leaves again because it is young: ask a neighbour for what we missed, too."""
        if self._met_ms is None or not self._early_ms or now_ms < self._met_ms + self._early_ms[0]:
            return []
        self._early_ms = [span for span in self._early_ms if now_ms < self._met_ms + span]
        others = [peer for peer in self._neighbours if not self._pulls.is_asking(peer)]
        return [*self._pulls.ask(self._draws.choice(others))] if others else []

    def _part(self, peer: PeerId) -> None:
        self._neighbours.pop(peer, None)
        if not self._neighbours:
            self._asks_left = self._parameters.asks_max
        self._pulls.parted(peer)

    def _take_page(
        self, peer: PeerId, ads: tuple[Verified[CapacityAd], ...], now_ms: Millis
    ) -> list[RegistryEffect]:
        """Take in an answer."""
        if not self._pulls.is_asking(peer):
            return []
        effects: list[RegistryEffect] = []
        for ad in ads[: self._parameters.page_max]:
            judged = self._judge(ad, now_ms)
            effects += [effect for effect in judged if not isinstance(effect, Judge)]
        if any(isinstance(effect, AdLearned) for effect in effects):
            effects += self._pulls.soon(now_ms)
        return [*effects, *self._pulls.answered(peer, ads)]

    # ---- our own ad -------------------------------------------------------------------------

    def _change_offer(self, offer: Offer, now_ms: Millis) -> list[RegistryEffect]:
        refusal = self._own.refusal(offer)
        if refusal is not None:
            return [refusal]
        if self._offers_allowed is None:
            gap_ms, burst_max = self._parameters.offer_gap_ms, self._parameters.offer_burst_max
            self._offers_allowed = Allowance(now_ms, gap_ms=gap_ms, burst_max=burst_max)
        if not self._offers_allowed.take(now_ms):
            return [Rejected(Reason.TOO_MANY, "the offer changed too often; wait some seconds")]
        self._own.offer = offer
        return self._advertise(now_ms, offer_changed=True)

    def _measure(self, free_bytes: int, now_ms: Millis) -> list[RegistryEffect]:
        self._own.free_bytes = max(0, free_bytes)
        advertised = self.get(self._me)
        if advertised is None or not self._own.space_differs(advertised.value):
            return []
        return self._publish_soon(now_ms)

    def _know_addresses(self, addresses: tuple[str, ...], now_ms: Millis) -> list[RegistryEffect]:
        before = self._own.addresses
        self._own.set_addresses(addresses)
        if before is None:
            return self._advertise(now_ms)
        return [] if before == self._own.addresses else self._publish_soon(now_ms)

    def _publish_soon(
        self, now_ms: Millis, *, delay_ms: int = 0, gap_ms: int | None = None
    ) -> list[RegistryEffect]:
        """Advertise after a delay and the gap since the last ad; an earlier renewal stands."""
        if self._published_ms is None or self._renew_ms is None:
            return []
        if gap_ms is None:
            gap_ms = self._parameters.change_gap_ms
        at_ms = Millis(max(now_ms + delay_ms, self._published_ms + gap_ms))
        if at_ms <= now_ms:
            return self._advertise(now_ms)
        if at_ms >= self._renew_ms:
            return []
        self._renew_ms = at_ms
        return [SetTimer(RENEW_TIMER, at_ms)]

    def _advertise(self, now_ms: Millis, *, offer_changed: bool = False) -> list[RegistryEffect]:
        """Sign and publish the next ad; a changed offer becomes durable together with the seq."""
        ad = self._own.next_ad(now_ms)
        dropped: list[RegistryEffect] = []
        if self._table.entry(self._me) is None and self._table.is_full():
            # Among none but accounts at stake our own ad is one more than `ads_max`.
            gone = self._table.make_room(self._staked)
            dropped = [AdDropped(gone, Reason.TOO_MANY)] if gone else []
        self._table.put(Entry(ad, self._new_allowance(now_ms)))
        self._published_ms, self._unheard = now_ms, not self._neighbours
        span_ms = ad.value.ttl_s * 1000 // 3
        span_ms = min(span_ms, self._parameters.renew_ms_max or span_ms)
        late_ms = span_ms - self._draws.below(span_ms // 10 + 1)
        self._renew_ms = Millis(now_ms + min(late_ms, self._until_early_ms(now_ms)))
        return [
            self._own.saved(with_offer=offer_changed),
            *([PublishAd(ad)] if self._neighbours or self._parameters.publish_alone else []),
            AdLearned(self._me, ad.value.seq, ad.value.addrs),
            *dropped,
            SetTimer(RENEW_TIMER, self._renew_ms),
            *self._watch_expiry(ad.value.expires_ms),
        ]

    def _on_timer(self, key: str, now_ms: Millis) -> list[RegistryEffect]:
        if key == RENEW_TIMER:
            asks = self._be_early(now_ms)
            return [*self._advertise(now_ms), *asks]
        if key == PULL_TIMER:
            return [*self._pulls.fire(now_ms)]
        if key == EXPIRE_TIMER:
            return self._expire(now_ms)
        raise ValueError(f"the registry has no timer {key!r}")
