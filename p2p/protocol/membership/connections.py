"""The connections that stand, what each is for, and which of them are too many.

A connection is *sought* (to a wanted account that we chose to dial), an *own choice* (outbound, by
our draws) or a *guest* (they came to us). Sought ones are never shown out.
"""

from p2p.primitives.draws import Draws
from p2p.primitives.keys import account_of, peer_id_of
from p2p.primitives.units import AccountId, Millis, PeerId
from p2p.protocol.membership.interface import MembershipParameters


class Connection:
    """A connection that stands."""

    __slots__ = (
        "has_stayed",
        "is_leaving",
        "is_outbound",
        "is_sought",
        "is_wanted",
        "silent_until_ms",
        "since_ms",
    )

    def __init__(self, now_ms: Millis, *, outbound: bool) -> None:
        self.is_outbound, self.since_ms = outbound, now_ms
        self.is_wanted = self.is_sought = False
        self.is_leaving = False
        """We ordered to hang up."""
        self.has_stayed = False
        """It outlasted its grace."""
        self.silent_until_ms = 0
        """It did not answer; others are asked until then."""


class Connections:
    """Connections by peer, oldest first, and the accounts that we want among them."""

    def __init__(self, me: PeerId, parameters: MembershipParameters, draws: Draws) -> None:
        self._me, self._parameters, self._draws = me, parameters, draws
        self._all: dict[PeerId, Connection] = {}
        self._leaving = 0
        """How many of them we ordered to hang up."""
        self.wanted: frozenset[AccountId] = frozenset()
        self.sought: tuple[AccountId, ...] = ()
        """The wanted accounts that we dial: as many as there is room for beside the target."""
        if parameters.direct:
            self.want(())

    def __contains__(self, peer: PeerId) -> bool:
        return peer in self._all

    def get(self, peer: PeerId) -> Connection | None:
        """The connection to a peer, also one that is being hung up."""
        return self._all.get(peer)

    def add(self, peer: PeerId, now_ms: Millis, *, outbound: bool) -> Connection:
        """A connection stands."""
        self.remove(peer)
        connection = self._all[peer] = Connection(now_ms, outbound=outbound)
        self._classify(peer, connection)
        return connection

    def remove(self, peer: PeerId) -> Connection | None:
        """A connection is gone."""
        connection = self._all.pop(peer, None)
        if connection is not None and connection.is_leaving:
            self._leaving -= 1
        return connection

    def leave(self, connection: Connection) -> None:
        """We order to hang one up."""
        self._leaving += not connection.is_leaving
        connection.is_leaving = True

    def __len__(self) -> int:
        """How many connections stand and are not being hung up."""
        return len(self._all) - self._leaving

    def staying(self) -> list[PeerId]:
        """Peers whose connection is not being hung up, oldest first."""
        return [peer for peer, one in self._all.items() if not one.is_leaving]

    def is_staying(self, peer: PeerId) -> bool:
        """Whether a peer is connected and not being hung up."""
        connection = self._all.get(peer)
        return connection is not None and not connection.is_leaving

    def want(self, accounts: tuple[AccountId, ...]) -> None:
        """Seek explicit peers, and as many of these as there is room for beside them.

        Who is sought already stays so.
        """
        mine, direct = account_of(self._me), self._parameters.direct
        wanted = [account for account in dict.fromkeys((*direct, *accounts)) if account != mine]
        self.wanted = frozenset(wanted)
        parameters = self._parameters
        room = min(parameters.sought_max, parameters.peers_max - parameters.peers_target)
        first = [account for account in wanted if account in direct]
        kept = first + [one for one in self.sought if one in self.wanted and one not in first]
        fresh = [account for account in wanted if account not in kept]
        self.sought = tuple((kept + self._draws.sample(fresh, len(fresh)))[:room])
        for peer, connection in self._all.items():
            self._classify(peer, connection)

    def _classify(self, peer: PeerId, connection: Connection) -> None:
        account = account_of(peer)
        connection.is_wanted = account is not None and account in self.wanted
        connection.is_sought = account is not None and account in self.sought

    def missing(self) -> list[AccountId]:
        """Sought accounts without a connection."""
        return [one for one in self.sought if not self.is_staying(peer_id_of(one))]

    def own_choices(self) -> int:
        """How many connections our own draws chose."""
        chosen = [
            one.is_outbound and not one.is_sought
            for one in self._all.values()
            if not one.is_leaving
        ]
        return sum(chosen)

    def take_who_stayed(self, now_ms: Millis) -> list[PeerId]:
        """Outbound connections that outlasted their grace since the last call."""
        stayed = [
            peer
            for peer, one in self._all.items()
            if one.is_outbound and not one.has_stayed and self._is_past_grace(one, now_ms)
        ]
        for peer in stayed:
            self._all[peer].has_stayed = True
        return stayed

    # ---- too many ---------------------------------------------------------------------------

    def is_crowded(self) -> bool:
        """Whether even a newcomer's grace must end."""
        return len(self) > 2 * self._parameters.peers_max

    def gives_way(self, now_ms: Millis) -> PeerId | None:
        """The guest that leaves for a newcomer in a crowd.

        Of those above the room for guests it is the oldest, if it had the time to ask for peers.
        """
        parameters = self._parameters
        guests = [
            peer
            for peer in self.staying()
            if not self._all[peer].is_outbound and not self._all[peer].is_wanted
        ]
        for peer in guests[max(parameters.peers_target, parameters.peers_max - len(self.sought)) :]:
            if self._all[peer].since_ms + parameters.crowded_grace_ms <= now_ms:
                return peer
        return None

    def replaced(self, now_ms: Millis) -> list[PeerId]:
        """Own choices above `outbound_max`, by lot; as many as the target can spare."""
        surplus = self.own_choices() - self._parameters.outbound_max
        spare = len(self) - self._parameters.peers_target
        choices = self._removable(now_ms, outbound=True)
        return self._draws.sample(choices, min(surplus, spare))

    def crowd(self, now_ms: Millis) -> list[PeerId]:
        """Guests above the room for them or above `peers_max`; youngest first, wanted ones last.

        A few too many are borne, then all of those are shown out at once: no see-saw at the edge.
        """
        parameters = self._parameters
        staying = self.staying()
        others = sum(not self._all[peer].is_wanted for peer in staying)
        others_max = max(parameters.peers_target, parameters.peers_max - len(self.sought))
        is_crowd = others > others_max + parameters.surplus_max
        if not is_crowd and len(staying) <= parameters.peers_max + parameters.surplus_max:
            return []
        guests = self._removable(now_ms, outbound=False)
        plain = [peer for peer in guests if not self._all[peer].is_wanted]
        wanted = [peer for peer in guests if self._all[peer].is_wanted]
        gone: list[PeerId] = []
        if is_crowd:
            gone = plain[: others - others_max]
        total = len(staying) - len(gone)
        if total > parameters.peers_max + parameters.surplus_max:
            gone += (plain[len(gone) :] + wanted)[: total - parameters.peers_max]
        return gone

    def _removable(self, now_ms: Millis, *, outbound: bool) -> list[PeerId]:
        """Own choices, or guests, past their grace, youngest first; none that is sought."""
        return [
            peer
            for peer in reversed(self.staying())
            if (one := self._all[peer]).is_outbound is outbound
            and not one.is_sought
            and self._is_past_grace(one, now_ms)
        ]

    def _is_past_grace(self, connection: Connection, now_ms: Millis) -> bool:
        return connection.since_ms + self._parameters.grace_ms <= now_ms
