"""Witnesses: other nodes that are asked whether they hold the same header.

Whoever holds more than two thirds of an old validator set can show a client a chain of its own,
and every check of that chain passes. Then an honest witness holds another header, which verifies,
too: the chain was forked, and both headers together name who did it (`p2p evidence analyze`). A
witness whose other header does not verify only lied itself.

Source: CometBFT spec/light-client/detection.
"""

import msgspec

from p2p.model.fields import DigestField
from p2p.model.light import LightBlock, LightBlockRequest
from p2p.primitives.codec import Value
from p2p.primitives.signing import SignatureScheme
from p2p.primitives.units import Digest
from p2p.protocol.light.client import Bisection, Failed, LightParameters, Verified
from p2p.protocol.light.trust import TrustedBlock


class LightAttack(Value, frozen=True, tag="light_attack"):
    """Two headers of one height that both follow from what was trusted: somebody forked."""

    chain_id: DigestField
    trusted: TrustedBlock
    first: LightBlock
    second: LightBlock


class Agrees(msgspec.Struct, frozen=True):
    """The witness holds the same header."""


class Silent(msgspec.Struct, frozen=True):
    """The witness does not have the header, or did not answer: it says nothing."""


class Lied(msgspec.Struct, frozen=True):
    """The witness showed another header and cannot prove it."""

    detail: str


class Diverged(msgspec.Struct, frozen=True):
    """The witness proved another header: trust neither."""

    attack: LightAttack


Testimony = LightBlockRequest | Agrees | Silent | Lied | Diverged


class Witness:
    """One witness, asked about one verified block. `begin`, then `take` until it is over."""

    def __init__(
        self,
        trusted: TrustedBlock,
        verified: LightBlock,
        *,
        chain_id: Digest,
        scheme: SignatureScheme,
        parameters: LightParameters | None = None,
    ) -> None:
        self._trusted = trusted
        self._verified = verified
        self._chain_id = chain_id
        self._session = Bisection(trusted, chain_id=chain_id, scheme=scheme, parameters=parameters)
        self._is_first = True

    def begin(self) -> Testimony:
        """Ask for its header of the height."""
        asked = self._session.begin(self._verified.header.height)
        assert isinstance(asked, LightBlockRequest), "what was verified lies above what was trusted"
        return asked

    def take(self, answer: LightBlock | None, *, now_ms: int) -> Testimony:
        """Its answer; what follows from it."""
        if answer is None and self._is_first:
            return Silent()
        if answer is not None and answer.header.digest() == self._verified.header.digest():
            return Agrees()
        self._is_first = False
        progress = self._session.take(answer, now_ms=now_ms)
        match progress:
            case LightBlockRequest():
                return progress
            case Failed(detail=detail):
                return Lied(detail)
            case Verified(block=other):
                attack = LightAttack(self._chain_id, self._trusted, self._verified, other)
                return Diverged(attack)
