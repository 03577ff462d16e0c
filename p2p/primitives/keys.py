"""Ed25519 keys, and the libp2p names of their owners.

A node has one key. Its public half is the account and validator id; wrapped in an identity
multihash it is the libp2p peer id, which people see in base58 (`12D3KooW...`).

Source: libp2p specs, peer-ids/peer-ids.md (identity multihash of the protobuf PublicKey).
"""

from functools import lru_cache
from typing import Final

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from p2p.primitives.units import AccountId, PeerId

SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_PEER_ID_PREFIX: Final = bytes.fromhex("002408011220")
"""identity multihash (0x00), 36 bytes, PublicKey{type: Ed25519 (1), data: 32 bytes}."""

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_INDEX: Final = {character: index for index, character in enumerate(_BASE58)}
_PEER_TEXT_MAX: Final = 64
NAMES_MAX: Final = 16_384
"""Names that are remembered, 4 MiB: a node asks for those of its neighbours again and again, and
their base58 takes as long as a small block."""


class Key:
    """An Ed25519 key pair made from its 32-byte seed; deterministic signatures (RFC 8032)."""

    __slots__ = ("_secret", "account", "peer", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"an Ed25519 seed has {SEED_BYTES} bytes, not {len(seed)}")
        public, self._secret = crypto_sign_seed_keypair(seed)
        self.seed = seed
        self.account = AccountId(public)
        self.peer = peer_id_of(self.account)

    def sign_bytes(self, message: bytes) -> bytes:
        """The 64-byte signature of `message`."""
        return crypto_sign(message, self._secret)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"Key({peer_text(self.peer)})"


def verify_bytes(account: AccountId, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is `account`'s over `message`; False for any malformed part."""
    if len(signature) != SIGNATURE_BYTES or len(account) != SEED_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, account)
    except BadSignatureError:
        return False
    return True


@lru_cache(NAMES_MAX)
def peer_id_of(account: AccountId) -> PeerId:
    """The libp2p peer id of an Ed25519 public key."""
    return PeerId(_PEER_ID_PREFIX + account)


def account_of(peer: PeerId) -> AccountId | None:
    """The Ed25519 public key inside a peer id, or None for another kind of key."""
    if len(peer) != len(_PEER_ID_PREFIX) + SEED_BYTES or not peer.startswith(_PEER_ID_PREFIX):
        return None
    return AccountId(peer[len(_PEER_ID_PREFIX) :])


@lru_cache(NAMES_MAX)
def peer_text(peer: PeerId) -> str:
    """The base58btc text of a peer id, as people and multiaddrs write it."""
    number = int.from_bytes(peer)
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    zeros = len(peer) - len(peer.lstrip(b"\0"))
    return "1" * zeros + text


def account_text(account: AccountId) -> str:
    """The peer id text of an account: the one name that people see."""
    return peer_text(peer_id_of(account))


def parse_peer(text: str) -> PeerId:
    """The peer id that `text` names. Raises ValueError."""
    number = 0
    if not 0 < len(text) <= _PEER_TEXT_MAX:
        raise ValueError(f"not a peer id: {text[:80]!r}")
    for character in text:
        digit = _BASE58_INDEX.get(character)
        if digit is None:
            raise ValueError(f"not a peer id: {text!r} has the character {character!r}")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return PeerId(b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8))


def parse_account(text: str) -> AccountId:
    """The account whose peer id `text` is. Raises ValueError."""
    account = account_of(parse_peer(text))
    if account is None:
        raise ValueError(f"not the peer id of an Ed25519 key: {text!r}")
    return account
