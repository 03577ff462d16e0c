"""Blame: from two certificates to the validators who broke the rules by signing in both.

Two quorums share more than a third of the power, and a correct validator signs only what algorithm
1 allows. So where two certificates of one height cannot both follow from it, who signed both lied:

    double    two polkas of one round for different values: a validator prevotes once a round (L22,
              L28, L57); or two commits of one round: it precommits once, too (L40, L45, L63)
    amnesia   a commit of (r, v), and a polka of a later round for another value whose prevotes
              name a valid round before r: who precommitted v was locked on (r, v) (L38), and only a
              polka of r or later would have released the lock (L29)

Amnesia shows only where prevotes are signed together with the valid round of the proposal that they
answer.

Source: Malachite, specs/consensus/accountable-tm; Amoussou-Guenou et al. and the Tendermint
accountability specification for what the words mean.
"""

import msgspec

from p2p.model.block import ValidatorSet, is_quorum
from p2p.model.vote import VoteKind
from p2p.primitives.units import NO_ROUND, AccountId, Digest, Height, Round


class Claim(msgspec.Struct, frozen=True):
    """What some validators said with one voice; their signatures are verified."""

    kind: VoteKind
    height: Height
    round: Round
    value: Digest | None
    signers: tuple[AccountId, ...]
    valid_round: Round = NO_ROUND
    """Of the proposal that the prevotes answer; precommits have none."""


def is_certificate(claim: Claim, validators: ValidatorSet) -> bool:
    """Whether more than two thirds of the power, each counted once, claim a value (not nil)."""
    powers = validators.powers()
    signed = sum(powers.get(signer, 0) for signer in dict.fromkeys(claim.signers))
    return claim.value is not None and is_quorum(signed, validators.total_power)


def double_prevoters(
    first: Claim, second: Claim, validators: ValidatorSet
) -> tuple[AccountId, ...]:
    """Who prevoted for both values of two polkas of one round; in set order."""
    polkas = first.kind is second.kind is VoteKind.PREVOTE
    same_slot = (first.height, first.round) == (second.height, second.round)
    if not (polkas and same_slot) or first.value == second.value:
        return ()
    return _in_both(first, second, validators)


def double_precommitters(
    first: Claim, second: Claim, validators: ValidatorSet
) -> tuple[AccountId, ...]:
    """Who precommitted both values of two commits of one round; in set order."""
    commits = first.kind is second.kind is VoteKind.PRECOMMIT
    same_slot = (first.height, first.round) == (second.height, second.round)
    if not (commits and same_slot) or first.value == second.value:
        return ()
    return _in_both(first, second, validators)


def amnesiacs(commit: Claim, polka: Claim, validators: ValidatorSet) -> tuple[AccountId, ...]:
    """Who committed a value, and forgot the lock in a later round's polka; in set order."""
    kinds = (commit.kind, polka.kind) == (VoteKind.PRECOMMIT, VoteKind.PREVOTE)
    if not kinds or commit.height != polka.height or commit.value == polka.value:
        return ()
    # L29: a prevote against the lock needs a valid round not below the locked round.
    if not polka.valid_round < commit.round < polka.round:
        return ()
    return _in_both(commit, polka, validators)


def _in_both(first: Claim, second: Claim, validators: ValidatorSet) -> tuple[AccountId, ...]:
    if not (is_certificate(first, validators) and is_certificate(second, validators)):
        return ()
    signed, also = set(first.signers), set(second.signers)
    return tuple(account for account in validators.powers() if account in signed & also)
