"""A signature scheme for virtual time: a keyed hash behind the face of Ed25519.

A signature is a hash under the signer's secret, which the scheme, shared by all nodes of a world,
looks up by account. Nobody in the world can forge one, and it costs 2 us instead of 85.
"""

from hashlib import blake2b

from p2p.primitives.keys import SIGNATURE_BYTES, Key
from p2p.primitives.signing import SignedKind, signing_bytes
from p2p.primitives.units import AccountId, Digest


class KeyedHashScheme:
    """Signs and verifies for every key that was enrolled."""

    def __init__(self) -> None:
        self._secrets: dict[AccountId, bytes] = {}

    def enroll(self, key: Key) -> "KeyedHashSigner":
        """A signer of this scheme for a key."""
        self._secrets[key.account] = key.seed
        return KeyedHashSigner(self, key.account)

    def mac(self, account: AccountId, message: bytes) -> bytes:
        """The one valid signature of an enrolled account. Raises KeyError for another."""
        secret = self._secrets[account]
        return blake2b(message, key=secret, digest_size=SIGNATURE_BYTES).digest()

    def verify(
        self, account: AccountId, kind: SignedKind, chain_id: Digest, body: bytes, signature: bytes
    ) -> bool:
        """Whether an enrolled account signed this."""
        if account not in self._secrets:
            return False
        return self.mac(account, signing_bytes(kind, chain_id, body)) == signature


class KeyedHashSigner:
    """One account's signer in a `KeyedHashScheme`."""

    def __init__(self, scheme: KeyedHashScheme, account: AccountId) -> None:
        self._scheme = scheme
        self._account = account

    @property
    def account(self) -> AccountId:
        return self._account

    def sign(self, kind: SignedKind, chain_id: Digest, body: bytes) -> bytes:
        return self._scheme.mac(self._account, signing_bytes(kind, chain_id, body))
