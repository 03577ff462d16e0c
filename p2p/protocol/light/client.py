"""Skipping verification: from a trusted block to a target in few steps.

    Bisection                      trusted ------------------------------> target
        ask the target                 |  not enough trust                   |
        too few of ours signed it:     |---> pivot, half way                 |
        try one in between first       |     verified: the new trusted ----->| again
        ...                            down to the neighbour, which needs no overlap

A session (`Bisection`) asks one server; what that one answers is verified or ends the session, so
a server can delay a client and never mislead it. Blocks that were asked for and not trusted yet
wait on a stack, which the halving keeps short. `sequential` goes height by height instead.

Source: CometBFT spec/light-client/verification; `rule.judge` has the rule.
"""

from typing import Final

import msgspec

from p2p.model.block import ValidatorSet
from p2p.model.light import LightBlock, LightBlockRequest
from p2p.primitives.signing import SignatureScheme
from p2p.primitives.units import Digest, Height
from p2p.protocol.light.rule import Fault
from p2p.protocol.light.trust import (
    TRUST_PERIOD_MS,
    TrustedBlock,
    trust,
    verify,
    with_known_sets,
)

BLOCKS_MAX: Final = 20_000
"""Light blocks that one session may ask for: above, the way is too long for a light client."""


class LightParameters(msgspec.Struct, frozen=True):
    """How a light client verifies."""

    trust_period_ms: int = TRUST_PERIOD_MS
    sequential: bool = False
    """Verify every height, as a last resort where bisection finds no way."""
    blocks_max: int = BLOCKS_MAX


class Verified(msgspec.Struct, frozen=True):
    """The target may be trusted."""

    block: LightBlock
    """With both its validator sets."""


class Failed(msgspec.Struct, frozen=True):
    """This server did not prove the target."""

    detail: str
    lied: bool
    """Whether it said something false, and did not merely lack what was asked for."""
    is_empty: bool = False
    """Whether it had no answer to the first question."""


Progress = LightBlockRequest | Verified | Failed


class Bisection:
    """One session with one server. `begin`, then `take` each answer until it is over."""

    def __init__(
        self,
        trusted: TrustedBlock,
        *,
        chain_id: Digest,
        scheme: SignatureScheme,
        parameters: LightParameters | None = None,
    ) -> None:
        self.trusted = trusted
        self.path: list[TrustedBlock] = [trusted]
        """Everything trusted on the way, from the first."""
        self._chain_id = chain_id
        self._scheme = scheme
        self._parameters = parameters or LightParameters()
        self._target = 0
        self._waiting: list[LightBlock] = []
        """Not trusted yet: the target at the bottom, then pivots downwards in height."""
        self._asked: LightBlockRequest | None = None
        self._asks = 0

    def begin(self, target: int = 0) -> Progress:
        """Ask for the target, or the newest block if that is 0."""
        if target and target <= self.trusted.height:
            detail = f"height {target} is not above the trusted {self.trusted.height}"
            return Failed(detail, lied=False)
        self._target = target
        return self._ask(target, above=self.trusted.height, below=target + 1 if target else 2**53)

    def take(self, answer: LightBlock | None, *, now_ms: int) -> Progress:
        """An answer to what was asked last; None is no answer."""
        asked, self._asked = self._asked, None
        assert asked is not None, "an answer follows a question"
        if answer is None:
            wanted = f"at or about height {asked.height}" if asked.height else "that is newer"
            return Failed(f"it has no header {wanted}", lied=False, is_empty=not self._waiting)
        height = answer.header.height
        if not asked.above < height < asked.below or (not self._waiting and not self._fits(height)):
            return Failed(f"asked for height {asked.height}, it answered {height}", lied=True)
        known = [self.trusted.next_validators, *_sets(self._waiting)]
        self._waiting.append(with_known_sets(answer, known))
        return self._climb(now_ms)

    def _fits(self, height: int) -> bool:
        """Whether the first answer is the target."""
        return not self._target or height == self._target

    def _climb(self, now_ms: int) -> Progress:
        """Trust what can be trusted; then ask for one in between, or be done."""
        while True:
            light = self._waiting[-1]
            height = light.header.height
            if self._parameters.sequential and height > self.trusted.height + 1:
                return self._ask_between(self.trusted.height + 1, below=height)
            distrust = verify(
                self.trusted,
                light,
                chain_id=self._chain_id,
                scheme=self._scheme,
                trust_period_ms=self._parameters.trust_period_ms,
                now_ms=now_ms,
            )
            if distrust is None:
                self.trusted = trust(light)
                self.path.append(self.trusted)
                self._waiting.pop()
                if not self._waiting:
                    return Verified(light)
            elif distrust.fault is Fault.NOT_ENOUGH_TRUST:
                return self._ask_between((self.trusted.height + height) // 2, below=height)
            else:
                # Of these two our own clock may be the cause.
                lied = distrust.fault not in {Fault.EXPIRED, Fault.FROM_THE_FUTURE}
                return Failed(f"height {height}: {distrust.detail}", lied=lied)

    def _ask_between(self, height: int, *, below: int) -> Progress:
        if self._asks >= self._parameters.blocks_max:
            return Failed(f"more than {self._asks} headers lie on the way", lied=False)
        return self._ask(height, above=self.trusted.height, below=below)

    def _ask(self, height: int, *, above: int, below: int) -> LightBlockRequest:
        self._asks += 1
        sets = [self.trusted.next_validators, *_sets(self._waiting[-1:])]
        known = tuple(dict.fromkeys(validators.root() for validators in sets))
        self._asked = LightBlockRequest(Height(height), Height(above), Height(below), known)
        return self._asked


def _sets(blocks: list[LightBlock]) -> list[ValidatorSet]:
    found: list[ValidatorSet] = []
    for light in blocks:
        found += [one for one in (light.validators, light.next_validators) if one is not None]
    return found
