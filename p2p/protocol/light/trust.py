"""What a light client trusts, and the checks that let it trust more.

Trust begins with the genesis, whose digest is the chain's id, or with a height and the digest of
its header that the client's owner had from a person, a block explorer, a friend. From there only
`verify` adds to it.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from p2p.model.block import Validator, ValidatorSet
from p2p.model.fields import DigestField, HeightField, MomentField
from p2p.model.light import LightBlock
from p2p.model.parameters import Genesis
from p2p.model.vote import certificate_votes
from p2p.primitives.codec import Value
from p2p.primitives.signing import SignatureScheme, SignedKind
from p2p.primitives.units import Digest, Height, Millis
from p2p.protocol.light.rule import Basis, Claim, Fault, judge

TRUST_PERIOD_MS: Final = Millis(14 * 24 * 3600 * 1000)
"""Two weeks. It must stay below the time that stake takes to unbond, or liars have lost nothing."""


class TrustedBlock(Value, frozen=True, tag="trusted"):
    """A header that is trusted, as far as it vouches for later ones."""

    height: HeightField
    time_ms: MomentField
    header_digest: DigestField
    """The chain's id for the genesis, which has no header."""
    next_validators: ValidatorSet

    def basis(self) -> Basis:
        """As the rule takes it."""
        return Basis(
            height=self.height,
            time_ms=self.time_ms,
            next_root=self.next_validators.root(),
            next_powers=_powers(self.next_validators),
        )


class Distrust(msgspec.Struct, frozen=True):
    """Why a light block is not trusted: the rule's fault, or what is false in itself."""

    fault: Fault | None
    detail: str


def trusted_genesis(genesis: Genesis) -> TrustedBlock:
    """Trust in the genesis: its largest bonds decide the first two heights."""
    bonded = sorted(genesis.validators, key=lambda entry: (-entry.bonded, entry.account))
    chosen = bonded[: genesis.parameters.validators_max]
    return TrustedBlock(
        height=Height(0),
        time_ms=genesis.time_ms,
        header_digest=genesis.chain_id,
        next_validators=ValidatorSet(tuple(Validator(one.account, one.bonded) for one in chosen)),
    )


def trusted_header(light: LightBlock, *, chain_id: Digest, header_digest: Digest) -> TrustedBlock:
    """Trust in the header that a digest names. Raises ValueError where the block is another."""
    if light.header.digest() != header_digest:
        raise ValueError("the header is not the one that the trusted hash names")
    detail = content_fault(light, chain_id)
    if detail is not None:
        raise ValueError(detail)
    return trust(light)


def trust(light: LightBlock) -> TrustedBlock:
    """What remains of a light block that was verified."""
    assert light.next_validators is not None, "its content was checked"
    header = light.header
    return TrustedBlock(header.height, header.time_ms, header.digest(), light.next_validators)


def with_known_sets(light: LightBlock, known: Iterable[ValidatorSet]) -> LightBlock:
    """The light block with the sets that were left out because we hold them."""
    by_root = {validators.root(): validators for validators in known}
    header = light.header
    own = light.validators or by_root.get(header.validators_root)
    following = light.next_validators
    if following is None and own is not None and own.root() == header.next_validators_root:
        following = own
    following = following or by_root.get(header.next_validators_root)
    return msgspec.structs.replace(light, validators=own, next_validators=following)


def content_fault(light: LightBlock, chain_id: Digest) -> str | None:
    """What of a light block contradicts itself or is of another chain, or None."""
    header, certificate = light.header, light.certificate
    if header.chain_id != chain_id or certificate.chain_id != chain_id:
        return "it belongs to another chain"
    if certificate.height != header.height or certificate.header_digest != header.digest():
        return "its certificate is of another header"
    if light.validators is None or light.validators.root() != header.validators_root:
        return "its validators are not those that its header names"
    following = light.next_validators
    if following is None or following.root() != header.next_validators_root:
        return "its next validators are not those that its header names"
    signers = [entry.validator for entry in certificate.signatures]
    return None if signers == sorted(signers) else "its signers are out of order"


def verify(
    trusted: TrustedBlock,
    light: LightBlock,
    *,
    chain_id: Digest,
    scheme: SignatureScheme,
    trust_period_ms: int,
    now_ms: int,
) -> Distrust | None:
    """Why a light block must not be trusted on the ground of a trusted one, or None.

    Powers are counted before signatures are checked, which are the dear part: 85 us each.
    """
    detail = content_fault(light, chain_id)
    if detail is not None:
        return Distrust(None, detail)
    assert light.validators is not None, "its content was checked"
    claim = Claim(
        height=light.header.height,
        time_ms=light.header.time_ms,
        root=light.header.validators_root,
        powers=_powers(light.validators),
        signers=[entry.validator for entry in light.certificate.signatures],
    )
    fault = judge(trusted.basis(), claim, trust_period_ms=trust_period_ms, now_ms=now_ms)
    if fault is not None:
        return Distrust(fault, fault.value)
    if not signatures_verify(light, scheme):
        return Distrust(None, "a signature of its certificate does not verify")
    return None


def signatures_verify(light: LightBlock, scheme: SignatureScheme) -> bool:
    """Whether every signature of the certificate is its signer's."""
    return all(
        scheme.verify(vote.validator, SignedKind.VOTE, vote.chain_id, vote.body(), vote.signature)
        for vote in certificate_votes(light.certificate)
    )


def latest_before(trusted: Sequence[TrustedBlock], height: int) -> TrustedBlock | None:
    """The highest trusted block below or at a height."""
    return max(
        (block for block in trusted if block.height <= height),
        key=lambda block: block.height,
        default=None,
    )


def _powers(validators: ValidatorSet) -> dict[bytes, int]:
    return {validator.account: validator.power for validator in validators.validators}
