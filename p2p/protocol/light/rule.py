"""The one rule of the light client: may a trusted header vouch for a later one?

    trusted (h, its next validators) --judge--> claimed (h', its validators, who signed)
        SUCCESS ............ the claimed header may be trusted from now on
        NOT_ENOUGH_TRUST ... too few of those we trust signed: try a header in between
        INVALID ............ no header in between would help

A set that was trusted at most a trust period ago still has its stake at risk, and at most a third
of it lies. So where more than a third of it signed, an honest one did; and more than two thirds
of the header's own set make it a commit. The rule counts power alone: signatures and the roots
that name the sets are checked by the caller (`p2p.protocol.light.client`), which lets vectors from
elsewhere drive it with their own encodings.

Source: CometBFT spec/light-client/verification; arXiv 2010.07031, section 3.
"""

from collections.abc import Mapping, Sequence
from enum import Enum

import msgspec

from p2p.model.block import is_quorum, is_skip


class Verdict(Enum):
    """What a trusted header says of a claimed one."""

    SUCCESS = "success"
    NOT_ENOUGH_TRUST = "not enough trust"
    INVALID = "invalid"


class Fault(Enum):
    """Why a claimed header is not trusted."""

    EXPIRED = "the trusted header is older than the trust period"
    FROM_THE_FUTURE = "the header is dated ahead of our clock"
    NOT_LATER = "its height and time do not follow those of the trusted header"
    UNKNOWN_SIGNER = "a signer is not of the header's validators, or signed twice"
    NOT_THE_NEXT_SET = "its validators are not those that the trusted header names for its height"
    NOT_ENOUGH_TRUST = "at most a third of the trusted validators signed it"
    NO_QUORUM = "at most two thirds of its own validators signed it"

    @property
    def verdict(self) -> Verdict:
        """What follows from it."""
        if self is Fault.NOT_ENOUGH_TRUST:
            return Verdict.NOT_ENOUGH_TRUST
        return Verdict.INVALID


class Basis(msgspec.Struct, frozen=True):
    """What of a trusted header the rule asks for."""

    height: int
    time_ms: int
    next_root: bytes
    """Names the set that decides the next height."""
    next_powers: Mapping[bytes, int]
    """That set: power by validator."""


class Claim(msgspec.Struct, frozen=True):
    """What of a claimed header the rule asks for."""

    height: int
    time_ms: int
    root: bytes
    """Names the set that decides its height."""
    powers: Mapping[bytes, int]
    signers: Sequence[bytes]


def judge(basis: Basis, claim: Claim, *, trust_period_ms: int, now_ms: int) -> Fault | None:
    """Why the claimed header must not be trusted on this basis, or None."""
    if basis.time_ms + trust_period_ms <= now_ms:
        return Fault.EXPIRED
    if claim.time_ms > now_ms:
        return Fault.FROM_THE_FUTURE
    if claim.height <= basis.height or claim.time_ms <= basis.time_ms:
        return Fault.NOT_LATER
    signers = dict.fromkeys(claim.signers)
    if len(signers) != len(claim.signers) or any(one not in claim.powers for one in signers):
        return Fault.UNKNOWN_SIGNER
    if claim.height == basis.height + 1:
        if claim.root != basis.next_root:
            return Fault.NOT_THE_NEXT_SET
    else:
        trusted = sum(basis.next_powers.get(signer, 0) for signer in signers)
        if not is_skip(trusted, sum(basis.next_powers.values())):
            return Fault.NOT_ENOUGH_TRUST
    signed = sum(claim.powers[signer] for signer in signers)
    return None if is_quorum(signed, sum(claim.powers.values())) else Fault.NO_QUORUM


def verdict_of(fault: Fault | None) -> Verdict:
    """The verdict in the words of the vectors."""
    return Verdict.SUCCESS if fault is None else fault.verdict
