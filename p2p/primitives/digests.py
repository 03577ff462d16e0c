"""SHA-256 and the Merkle trees of RFC 6962.

`leaf = H(0x00 || data)`, `node = H(0x01 || left || right)`; a tree of n leaves splits at the
largest power of two below n, so a root commits to the order and the number of its leaves together
with an inclusion path. Source: RFC 6962, section 2.1.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from p2p.primitives.units import Digest

DIGEST_BYTES: Final = 32
EMPTY_ROOT: Final = Digest(sha256(b"").digest())
ZERO_DIGEST: Final = Digest(bytes(DIGEST_BYTES))
PATH_LENGTH_MAX: Final = 64


def digest(*parts: bytes | memoryview) -> Digest:
    """SHA-256 of the concatenated parts."""
    state = sha256()
    for part in parts:
        state.update(part)
    return Digest(state.digest())


def leaf_digest(data: bytes | memoryview) -> Digest:
    """Digest of a leaf."""
    return digest(b"\x00", data)


def node_digest(left: bytes, right: bytes) -> Digest:
    """Digest of an inner node."""
    return Digest(sha256(b"\x01" + left + right).digest())


def merkle_root(leaves: Sequence[bytes]) -> Digest:
    """Root over the data of the leaves, in order."""
    return merkle_root_of_digests([leaf_digest(leaf) for leaf in leaves])


def merkle_root_of_digests(leaves: Sequence[Digest]) -> Digest:
    """Root over leaf digests, in order; level by level, which equals RFC 6962's recursion."""
    if not leaves:
        return EMPTY_ROOT
    level = leaves
    while len(level) > 1:
        level = _level_above(level)
    return level[0]


def _level_above(level: Sequence[Digest]) -> list[Digest]:
    """Digests of the pairs; an odd last one rises as it is. `node_digest` inlined: it is hot."""
    pairs = zip(level[::2], level[1::2], strict=False)
    above = [Digest(sha256(b"\x01" + left + right).digest()) for left, right in pairs]
    if len(level) % 2:
        above.append(level[-1])
    return above


def merkle_path(leaves: Sequence[Digest], index: int) -> tuple[Digest, ...]:
    """Siblings from leaf `index` to the root, lowest first. Raises IndexError."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} of {len(leaves)}")
    path: list[Digest] = []
    level = leaves
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level = _level_above(level)
        index //= 2
    return tuple(path)


def merkle_verify(
    root: Digest, leaf: Digest, path: Sequence[Digest], *, index: int, size: int
) -> bool:
    """Whether `path` proves that `leaf` is number `index` of `size` leaves under `root`."""
    if not 0 <= index < size or len(path) > PATH_LENGTH_MAX:
        return False
    current, last, used = leaf, size - 1, 0
    while last > 0:
        if index % 2 or index < last:
            if used == len(path):
                return False
            sibling = path[used]
            used += 1
            pair = (sibling, current) if index % 2 else (current, sibling)
            current = node_digest(*pair)
        index //= 2
        last //= 2
    return used == len(path) and current == root
