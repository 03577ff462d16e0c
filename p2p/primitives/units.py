"""Integer units and the two divisions of money.

Money is integer micro-tokens, time is integer milliseconds, quality and rates are basis points
(1/10000). Floats never reach a machine: two nodes must compute the same block.
"""

from typing import Final, NewType

Height = NewType("Height", int)
"""Height of a block; one height is one epoch. Genesis is height 0."""

Round = NewType("Round", int)
"""Round of consensus within a height; -1 is "none"."""

Amount = NewType("Amount", int)
"""Micro-tokens, never negative in a stored value."""

Millis = NewType("Millis", int)
"""Milliseconds, of Unix time for a moment and plain for a span."""

Digest = NewType("Digest", bytes)
"""SHA-256, 32 bytes."""

AccountId = NewType("AccountId", bytes)
"""Ed25519 public key, 32 bytes: an account, a validator and a provider are one key."""

PeerId = NewType("PeerId", bytes)
"""Raw libp2p peer id (a multihash), 38 bytes for an Ed25519 key."""

ChannelId = NewType("ChannelId", bytes)
"""Digest that names a payment channel, 32 bytes."""

BlobId = NewType("BlobId", bytes)
"""Digest that names a blob by its content, 32 bytes."""

NO_ROUND: Final = Round(-1)
BASIS_POINTS: Final = 10_000
KIB: Final = 1024
MIB: Final = 1024 * 1024
AMOUNT_MAX: Final = 2**63 - 1
"""Largest amount on the wire: MessagePack and SQLite both hold it exactly."""


def div_floor(numerator: int, denominator: int) -> int:
    """Quotient rounded towards minus infinity. Raises ZeroDivisionError."""
    return numerator // denominator


def div_ceil(numerator: int, denominator: int) -> int:
    """Quotient rounded towards plus infinity. Raises ZeroDivisionError."""
    return -(-numerator // denominator)
