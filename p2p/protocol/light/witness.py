"""Witnesses: other nodes that are asked whether they hold the same header.

Whoever holds more than two thirds of an old validator set can show a client a chain of its own,
and every check of that chain passes. Then an honest witness holds another header, which verifies,
too: the chain was forked, and both headers together name who did it (`p2p evidence analyze`). A
witness whose other header does not verify only lied itself.

    witness: the same header ----> Agrees        nothing --> Silent
             another of its height --proven--> Diverged      --not proven--> Lied
             an earlier one, proven:    it is behind, or has pruned that height
                 dated no earlier than the header ----------> Diverged: time grows with height
                 else the primary shows that height: the same ----------> Agrees
                          another one  --proven--> Diverged  --not proven--> PrimaryLied
                          none  ------------------------------> Unclear

The last lines are for a primary that claims a height which nobody else has reached: its word alone
would make liars of honest witnesses that answer with the newest they have.

Source: CometBFT spec/light-client/detection.
"""

import msgspec

from p2p.model.fields import DigestField
from p2p.model.light import LightBlock, LightBlockRequest
from p2p.primitives.codec import Value
from p2p.primitives.signing import SignatureScheme
from p2p.primitives.units import Digest, Height
from p2p.protocol.light.client import Bisection, Failed, LightParameters, Verified
from p2p.protocol.light.trust import TrustedBlock


class LightAttack(Value, frozen=True, tag="light_attack"):
    """Two headers that both follow from what was trusted, and contradict: somebody forked.

    They are of one height, or the second is of a lower height and no earlier time.
    """

    chain_id: DigestField
    trusted: TrustedBlock
    first: LightBlock
    second: LightBlock

    @property
    def what(self) -> str:
        """For people: what was proven."""
        here, there = self.first.header.height, self.second.header.height
        if here == there:
            return f"two different headers of height {here}"
        return f"headers of heights {here} and {there} that contradict"


class Agrees(msgspec.Struct, frozen=True):
    """The witness holds the same header."""


class Silent(msgspec.Struct, frozen=True):
    """The witness does not have the header, or did not answer: it says nothing."""


class Unclear(msgspec.Struct, frozen=True):
    """The witness proved an earlier header, and the primary does not show its own of that height.

    An honest primary may have pruned it; a liar would say so.
    """

    height: Height


class AskPrimary(msgspec.Struct, frozen=True):
    """Ask the primary this, and `take` its answer."""

    request: LightBlockRequest


class PrimaryLied(msgspec.Struct, frozen=True):
    """The primary showed a header beside the one that the witness proved, and cannot prove it."""

    detail: str


class Lied(msgspec.Struct, frozen=True):
    """The witness showed another header and cannot prove it."""

    detail: str


class Diverged(msgspec.Struct, frozen=True):
    """The witness proved another header: trust neither."""

    attack: LightAttack


Testimony = (
    LightBlockRequest | AskPrimary | Agrees | Silent | Unclear | Lied | PrimaryLied | Diverged
)


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
        self._scheme = scheme
        self._parameters = parameters
        self._session = self._new_session()
        self._is_first = True
        self._earlier: LightBlock | None = None
        """What the witness proved, where that is of a lower height; the primary is asked now."""
        self._primary: Bisection | None = None

    def _new_session(self) -> Bisection:
        return Bisection(
            self._trusted,
            chain_id=self._chain_id,
            scheme=self._scheme,
            parameters=self._parameters,
        )

    def begin(self) -> Testimony:
        """Ask for its header of the height."""
        asked = self._session.begin(self._verified.header.height)
        assert isinstance(asked, LightBlockRequest), "what was verified lies above what was trusted"
        return asked

    def take(self, answer: LightBlock | None, *, now_ms: int) -> Testimony:
        """An answer of whoever was asked; what follows from it."""
        if self._earlier is not None:
            return self._take_of_primary(self._earlier, answer, now_ms)
        if self._is_first:
            if answer is None:
                return Silent()
            if answer.header.digest() == self._verified.header.digest():
                return Agrees()
            if self._trusted.height < answer.header.height < self._verified.header.height:
                self._session = self._new_session()
                self._session.begin(answer.header.height)
        self._is_first = False
        progress = self._session.take(answer, now_ms=now_ms)
        match progress:
            case LightBlockRequest():
                return progress
            case Failed(detail=detail):
                return Lied(detail)
            case Verified(block=other):
                return self._compare(other)

    def _compare(self, other: LightBlock) -> Testimony:
        """Hold a header that the witness proved against the primary's."""
        here, there = self._verified.header, other.header
        if there.height == here.height or there.time_ms >= here.time_ms:
            return self._diverged(self._verified, other)
        self._earlier = other
        height = there.height
        return AskPrimary(LightBlockRequest(height, Height(height - 1), Height(height + 1)))

    def _take_of_primary(
        self, earlier: LightBlock, answer: LightBlock | None, now_ms: int
    ) -> Testimony:
        height = earlier.header.height
        if self._primary is None:
            if answer is None or answer.header.height != height:
                return Unclear(height)
            if answer.header.digest() == earlier.header.digest():
                return Agrees()
            self._primary = self._new_session()
            self._primary.begin(height)
        progress = self._primary.take(answer, now_ms=now_ms)
        match progress:
            case LightBlockRequest():
                return AskPrimary(progress)
            case Failed(detail=detail):
                return PrimaryLied(detail)
            case Verified(block=other):
                return self._diverged(other, earlier)

    def _diverged(self, first: LightBlock, second: LightBlock) -> Diverged:
        return Diverged(LightAttack(self._chain_id, self._trusted, first, second))
