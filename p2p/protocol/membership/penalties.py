"""Penalty points with decay, and the bans that follow. Bounded."""

from typing import Final

from p2p.model.rejection import Reason
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.membership.interface import MembershipParameters

_POINTS_DEFAULT: Final = 20
_POINTS: Final = {
    # What an honest node never sends, whatever it has heard.
    Reason.WRONG_CHAIN: 100,
    Reason.MALFORMED: 50,
    Reason.TOO_LARGE: 50,
    Reason.BAD_SIGNATURE: 50,
    Reason.BAD_CERTIFICATE: 50,
    # Told at every heartbeat while it lasts.
    Reason.GRAYLISTED: 50,
    # What bad luck or a bad clock explains as well.
    Reason.BACKOFF: 5,
    Reason.TOO_MANY: 5,
    Reason.EXPIRED: 5,
    Reason.OUTDATED: 5,
    Reason.FROM_THE_FUTURE: 5,
    Reason.ROUND_TOO_FAR: 5,
}


class Penalties:
    """Points and bans by peer, oldest first."""

    def __init__(self, parameters: MembershipParameters) -> None:
        self._parameters = parameters
        self._points: dict[PeerId, tuple[int, Millis]] = {}
        """Points, and the moment of which they are."""
        self._bans: dict[PeerId, Millis] = {}
        """When each ban ends."""

    def add(self, peer: PeerId, reason: Reason, now_ms: Millis) -> bool:
        """Note a fault; True when the peer is banned from now on."""
        before, at_ms = self._points.pop(peer, (0, now_ms))
        forgiven = max(0, now_ms - at_ms) // self._parameters.penalty_decay_ms
        points = max(0, before - forgiven) + _POINTS.get(reason, _POINTS_DEFAULT)
        if points >= self._parameters.penalty_max:
            self._ban(peer, now_ms)
            return True
        if len(self._points) >= self._parameters.bans_max:
            del self._points[next(iter(self._points))]
        self._points[peer] = (points, now_ms)
        return False

    def is_banned(self, peer: PeerId, now_ms: Millis) -> bool:
        """Whether connections to the peer are refused now."""
        until_ms = self._bans.get(peer)
        return until_ms is not None and now_ms < until_ms

    def _ban(self, peer: PeerId, now_ms: Millis) -> None:
        """All bans last equally long, so the oldest is the one to go first when there are many."""
        self._bans.pop(peer, None)
        if len(self._bans) >= self._parameters.bans_max:
            del self._bans[next(iter(self._bans))]
        self._bans[peer] = Millis(now_ms + self._parameters.ban_ms)
