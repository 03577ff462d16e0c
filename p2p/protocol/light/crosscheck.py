"""A header that one peer proves and others confirm, as an exchange of questions and answers.

    primary: bisection --Verified--> witnesses, one after the other --> Confirmed
       | Failed                         | another header: it lied, WitnessLied, or
       v                                v it can prove it: Forked
    Refused <-- no witness agrees, and one proved a height that the primary does not show

Whoever holds the keys of more than two thirds of a set that has left can prove a chain of its own.
The primary alone cannot tell; any honest witness does. Who is silent says nothing: the way goes on
without it, for a node whose neighbours are few must still get in.
"""

from collections.abc import Sequence

import msgspec

from p2p.model.light import LightBlock, LightBlockRequest
from p2p.primitives.signing import SignatureScheme
from p2p.primitives.units import Digest, Height, PeerId
from p2p.protocol.light.client import Bisection, Failed, LightParameters, Verified
from p2p.protocol.light.trust import TrustedBlock
from p2p.protocol.light.witness import (
    Agrees,
    AskPrimary,
    Diverged,
    Lied,
    LightAttack,
    PrimaryLied,
    Silent,
    Testimony,
    Unclear,
    Witness,
)


class AskPeer(msgspec.Struct, frozen=True):
    """Ask a peer for a light block; `take` its answer."""

    peer: PeerId
    request: LightBlockRequest


class Confirmed(msgspec.Struct, frozen=True):
    """The header may be trusted."""

    light: LightBlock
    agreed: tuple[PeerId, ...]


class Refused(msgspec.Struct, frozen=True):
    """The primary did not prove it."""

    detail: str
    lied: bool


class WitnessLied(msgspec.Struct, frozen=True):
    """A witness showed another header and cannot prove it; it is left out."""

    peer: PeerId
    detail: str


class Forked(msgspec.Struct, frozen=True):
    """Two peers prove two headers of one height: trust neither."""

    first: PeerId
    second: PeerId
    attack: LightAttack


CrossCheckStep = AskPeer | Confirmed | Refused | WitnessLied | Forked


class CrossCheck:
    """One header. `begin`, then `take` each answer, until a step says what came of it.

    Args:
        trusted: where the way begins.
        primary: who offered what the header is needed for.
        witnesses: other peers, in the order in which they are asked.
        wanted: witnesses that shall agree; fewer do where there are no more.
    """

    def __init__(
        self,
        trusted: TrustedBlock,
        *,
        chain_id: Digest,
        scheme: SignatureScheme,
        parameters: LightParameters,
        primary: PeerId,
        witnesses: Sequence[PeerId],
        wanted: int,
    ) -> None:
        self._trusted = trusted
        self._chain_id = chain_id
        self._scheme = scheme
        self._parameters = parameters
        self._primary = primary
        self._witnesses = [peer for peer in witnesses if peer != primary]
        self._wanted = wanted
        self._bisection = Bisection(
            trusted, chain_id=chain_id, scheme=scheme, parameters=parameters
        )
        self._verified: LightBlock | None = None
        self._witness: Witness | None = None
        self._witness_peer = primary
        self._agreed: list[PeerId] = []
        self._unclear: Height | None = None
        self._asked: PeerId | None = None

    def begin(self, height: int) -> list[CrossCheckStep]:
        """Ask the primary for the header of a height."""
        return self._by_primary(self._bisection.begin(height))

    def take(self, peer: PeerId, answer: LightBlock | None, now_ms: int) -> list[CrossCheckStep]:
        """A peer's answer, None for none; nothing comes of one that nobody asked for."""
        if peer != self._asked:
            return []
        self._asked = None
        if self._witness is None:
            return self._by_primary(self._bisection.take(answer, now_ms=now_ms))
        return self._by_witness(self._witness.take(answer, now_ms=now_ms))

    def _by_primary(self, progress: LightBlockRequest | Verified | Failed) -> list[CrossCheckStep]:
        match progress:
            case LightBlockRequest():
                return self._ask(self._primary, progress)
            case Failed(detail=detail, lied=lied):
                return [Refused(detail, lied)]
            case Verified(block=light):
                self._verified = light
                return self._next_witness()

    def _ask(self, peer: PeerId, request: LightBlockRequest) -> list[CrossCheckStep]:
        self._asked = peer
        return [AskPeer(peer, request)]

    def _next_witness(self) -> list[CrossCheckStep]:
        assert self._verified is not None, "the primary comes first"
        if len(self._agreed) >= self._wanted or not self._witnesses:
            if self._unclear is not None and not self._agreed:
                return [
                    Refused(f"it does not show its header of height {self._unclear}", lied=False)
                ]
            return [Confirmed(self._verified, tuple(self._agreed))]
        self._witness = Witness(
            self._trusted,
            self._verified,
            chain_id=self._chain_id,
            scheme=self._scheme,
            parameters=self._parameters,
        )
        self._witness_peer = self._witnesses.pop(0)
        return self._by_witness(self._witness.begin())

    def _by_witness(self, said: Testimony) -> list[CrossCheckStep]:
        peer = self._witness_peer
        match said:
            case LightBlockRequest():
                return self._ask(peer, said)
            case AskPrimary(request=request):
                return self._ask(self._primary, request)
            case Agrees():
                self._agreed.append(peer)
                return self._next_witness()
            case Silent():
                return self._next_witness()
            case Unclear(height=height):
                self._unclear = height
                return self._next_witness()
            case PrimaryLied(detail=detail):
                return [Refused(detail, lied=True)]
            case Lied(detail=detail):
                return [WitnessLied(peer, detail), *self._next_witness()]
            case Diverged(attack=attack):
                return [Forked(self._primary, peer, attack)]
