"""Analysis of a fork: from commits of one height to the validators who made it possible.

Two commits of different values need a third of the power to have lied. Of one round, the signers of
both commits voted twice. Of two rounds r < s, either the polka of s states a valid round before r:
the signers of it and of the commit of r forgot their lock (amnesia); or it states a later polka,
which is asked the same question; or it states r, and two polkas of r share their liars.

So the polkas from r to s are needed, and every node that voted in those rounds has them. Without
them the analysis says that it cannot name enough, and which polka to look for. Nobody correct is
ever named: what blames is a contradiction between two of a signer's own signatures.

Source: Accountable Tendermint (Malachite, specs/consensus/accountable-tm), with the prevotes'
valid round as in docs/decisions/0014.
"""

from collections.abc import Sequence
from itertools import combinations, permutations

import msgspec

from p2p.model.accusation import CommitProof
from p2p.model.ballot import VoteKind
from p2p.model.block import ValidatorSet, is_skip
from p2p.primitives.units import AccountId, Digest, Height
from p2p.protocol.accountability.blame import (
    Claim,
    amnesiacs,
    double_precommitters,
    double_prevoters,
)


class Guilt(msgspec.Struct, frozen=True):
    """One validator's lies of one kind: `first` and `second` say which rounds contradict."""

    account: AccountId
    power: int
    kind: str
    first: str
    second: str


class Finding(msgspec.Struct, frozen=True):
    """The outcome of an analysis."""

    height: Height
    values: tuple[Digest, ...]
    """What was decided, by header digest; more than one is a fork."""
    guilt: tuple[Guilt, ...]
    """By validator in set order, then as found; one entry a kind and pair of rounds."""
    guilty_power: int
    total_power: int
    missing: tuple[str, ...]
    """Polkas that would name more, where a fork was found and too few are named."""

    @property
    def is_fork(self) -> bool:
        """Whether two values were decided."""
        return len(self.values) > 1

    @property
    def names_enough(self) -> bool:
        """Whether the guilty hold more than a third, which every fork needs."""
        return is_skip(self.guilty_power, self.total_power)


def analyze(proofs: Sequence[CommitProof]) -> Finding:
    """Who lied, by proofs of commits of one height.

    Args:
        proofs: with verified signatures, each proving its header (`commit_proof_fault`).

    Raises:
        ValueError: none, or of several chains, heights or validator sets.
    """
    if not proofs:
        raise ValueError("nothing to analyze")
    first = proofs[0].header
    for proof in proofs:
        header = proof.header
        if header.chain_id != first.chain_id:
            raise ValueError("the commits are of two chains")
        if header.height != first.height:
            raise ValueError(
                f"the commits are of heights {first.height} and {header.height}: bring those of the"
                " first height at which the two chains differ"
            )
        if header.validators_root != first.validators_root:
            raise ValueError(
                "the commits are of two validator sets: their chains differ at a lower height"
            )
    claims = _claims(proofs)
    validators = proofs[0].validators
    guilt = _guilt(claims, validators)
    guilty = {entry.account: entry.power for entry in guilt}
    commits = [claim for claim in claims if claim.kind is VoteKind.PRECOMMIT]
    values = tuple(dict.fromkeys(claim.value for claim in commits if claim.value is not None))
    power, total = sum(guilty.values()), validators.total_power
    enough = len(values) < 2 or is_skip(power, total)
    missing = () if enough else tuple(_missing(commits, claims))
    return Finding(first.height, values, guilt, power, total, missing)


def _claims(proofs: Sequence[CommitProof]) -> list[Claim]:
    """What all certificates claim: commits and polkas, each once."""
    found: dict[Claim, None] = {}
    for proof in proofs:
        certificate = proof.certificate
        signers = tuple(entry.validator for entry in certificate.signatures)
        at = (certificate.height, certificate.round, certificate.header_digest)
        found[Claim(VoteKind.PRECOMMIT, *at, signers)] = None
        for polka in proof.polkas:
            voters = tuple(entry.validator for entry in polka.signatures)
            about = (polka.height, polka.round, polka.header_digest)
            found[Claim(VoteKind.PREVOTE, *about, voters, polka.valid_round)] = None
    return list(found)


def _guilt(claims: list[Claim], validators: ValidatorSet) -> tuple[Guilt, ...]:
    powers = validators.powers()
    found: dict[tuple[AccountId, str, str, str], None] = {}
    for one, other in combinations(claims, 2):
        for account in double_precommitters(one, other, validators):
            found[account, "double precommit", _text(one), _text(other)] = None
        for account in double_prevoters(one, other, validators):
            found[account, "double prevote", _text(one), _text(other)] = None
    for commit, polka in permutations(claims, 2):
        for account in amnesiacs(commit, polka, validators):
            found[account, "amnesia", _text(commit), _text(polka)] = None
    place = {account: index for index, account in enumerate(powers)}
    ordered = sorted(found, key=lambda entry: (place[entry[0]], entry[1:]))
    return tuple(Guilt(entry[0], powers[entry[0]], *entry[1:]) for entry in ordered)


def _missing(commits: list[Claim], claims: list[Claim]) -> list[str]:
    """Polkas that a commit needed, or that another polka names, and that nobody brought."""
    rounds = {(claim.round, claim.value) for claim in claims if claim.kind is VoteKind.PREVOTE}
    wanted: dict[str, None] = {}
    for claim in claims:
        later = claim.kind is VoteKind.PREVOTE and claim.valid_round >= 0
        needed = claim.valid_round if later else claim.round
        is_needed = later or claim in commits
        if claim.value is not None and is_needed and (needed, claim.value) not in rounds:
            wanted[f"round {needed} for {claim.value.hex()[:16]}"] = None
    return list(wanted)


def _text(claim: Claim) -> str:
    value = "nil" if claim.value is None else claim.value.hex()[:16]
    if claim.kind is VoteKind.PRECOMMIT:
        return f"precommit of round {claim.round} for {value}"
    stated = "" if claim.valid_round < 0 else f", valid since round {claim.valid_round}"
    return f"prevote of round {claim.round} for {value}{stated}"
