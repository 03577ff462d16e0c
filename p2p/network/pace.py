"""How much one peer, and one address, may ask of us."""

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from p2p.network.limits import TransportLimits

IPV6_PREFIX_BITS: Final = 64
"""One customer's network: whoever has one IPv6 address has all of its 2**64."""


class Pace:
    """A token bucket without a clock of its own: who comes too early is told how long to wait.

    Waiting, instead of refusing, slows an eager honest peer down and costs it nothing else; how
    many may wait is the caller's bound.
    """

    __slots__ = ("_burst_s", "_due_s", "_gap_s")

    def __init__(self, *, per_s: float, burst: int) -> None:
        self._gap_s = 1 / per_s
        self._burst_s = burst / per_s
        self._due_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """Take a token; how long to wait for it."""
        self._due_s = max(self._due_s, now_s - self._burst_s) + self._gap_s
        return max(0.0, self._due_s - now_s)


class AddressPlaces:
    """Inbound connections by where they come from, in handshake or served.

    Loopback has its own bound: a test network, or a proxy, is many peers at one address.
    """

    def __init__(self, limits: TransportLimits) -> None:
        self._limits = limits
        self._taken: dict[str, int] = {}

    def take(self, host: str) -> str | None:
        """A place for one connection from `host`, to be given back; None when all are taken."""
        place, places_max = self._place_of(host)
        taken = self._taken.get(place, 0)
        if places_max and taken >= places_max:
            return None
        self._taken[place] = taken + 1
        return place

    def give_back(self, place: str) -> None:
        """The connection has ended."""
        left = self._taken[place] - 1
        if left:
            self._taken[place] = left
        else:
            del self._taken[place]

    def _place_of(self, host: str) -> tuple[str, int]:
        try:
            address = ip_address(host)
        except ValueError:
            return host, self._limits.connections_per_ip_max
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address.is_loopback:
            return "loopback", self._limits.connections_loopback_max
        if isinstance(address, IPv6Address):
            network = ip_network((address, IPV6_PREFIX_BITS), strict=False)
            return str(network), self._limits.connections_per_ip_max
        return str(address), self._limits.connections_per_ip_max
