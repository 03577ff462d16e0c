"""Domain-separated signatures.

The signed bytes are `"gigmesh/1/" + kind + 0x00 + chain_id + body`, so a signature for one kind of
value or one chain never verifies for another. `Signer` and `SignatureScheme` are ports: the product
uses Ed25519, the virtual world may put a cheaper scheme behind the same face.
"""

from enum import Enum
from typing import Generic, Protocol, TypeVar

import msgspec

from p2p.primitives.keys import Key, verify_bytes
from p2p.primitives.units import AccountId, Digest

T = TypeVar("T")


class SignedKind(Enum):
    """What a signature is for; the text is part of the signed bytes."""

    CAPACITY_AD = "capacity-ad"
    RECEIPT_CONSUMER = "receipt-consumer"
    RECEIPT_PROVIDER = "receipt-provider"
    TRANSACTION = "transaction"
    PROPOSAL = "proposal"
    VOTE = "vote"


_PREFIXES = {kind: b"gigmesh/1/" + kind.value.encode() + b"\x00" for kind in SignedKind}


def signing_bytes(kind: SignedKind, chain_id: Digest, body: bytes) -> bytes:
    """The bytes that are signed for a body of this kind on this chain."""
    return _PREFIXES[kind] + chain_id + body


class Signer(Protocol):
    """A key that signs; its secret stays behind this face."""

    @property
    def account(self) -> AccountId: ...

    def sign(self, kind: SignedKind, chain_id: Digest, body: bytes) -> bytes:
        """Signature over `signing_bytes`; the same input gives the same bytes."""


class SignatureScheme(Protocol):
    """Verification of what the scheme's signers sign."""

    def verify(
        self, account: AccountId, kind: SignedKind, chain_id: Digest, body: bytes, signature: bytes
    ) -> bool: ...


class Ed25519Signer:
    """The product's signer: an Ed25519 key."""

    def __init__(self, key: Key) -> None:
        self._key = key

    @property
    def account(self) -> AccountId:
        return self._key.account

    def sign(self, kind: SignedKind, chain_id: Digest, body: bytes) -> bytes:
        return self._key.sign_bytes(signing_bytes(kind, chain_id, body))


class Ed25519Scheme:
    """The product's verification."""

    def verify(
        self, account: AccountId, kind: SignedKind, chain_id: Digest, body: bytes, signature: bytes
    ) -> bool:
        return verify_bytes(account, signing_bytes(kind, chain_id, body), signature)


class Verified(msgspec.Struct, Generic[T], frozen=True):
    """A value whose encoding, bounds, chain and signatures a verifier has checked.

    Only verifiers (and tests) build it; machines that act on untrusted values ask for it by type.
    """

    value: T
