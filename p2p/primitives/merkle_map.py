"""A Merkle tree over a map: cheap to change, one shape for one content, proofs of entries.

Keys are 32 bytes, values the digests of their leaves. The tree branches at the first bit in which
its keys differ (a crit-bit tree), so its shape depends on the keys alone and not on their history:

    digest of nothing: H()    of one entry: its leaf    of more: H(0x01 || zeros || ones)

where `zeros` and `ones` are the digests of the entries with that bit off and on. Nothing is hashed
for bits that all keys share, so the digest of a map is the `joined` digests of its halves by any
bit, and a map can be cut into parts by prefix, each checked alone (`p2p.model.snapshot`).

A map is immutable; `updated` shares what did not change, and hashes log2(n) nodes an entry, when
the digest is asked for. Leaves name their own key, so a path needs no positions: it is a chain of
siblings, and a bit for each that says on which side we stand.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from p2p.primitives.digests import EMPTY_ROOT, node_digest
from p2p.primitives.units import Digest

KEY_BYTES: Final = 32
KEY_BITS: Final = 8 * KEY_BYTES
"""The most siblings that a path can have; n random keys need about log2(n)."""


class _Leaf(msgspec.Struct, frozen=True):
    key: bytes
    digest: Digest


class _Fork(msgspec.Struct):
    """Two subtrees whose keys agree before bit `bit`; `digest` is filled in when asked for."""

    bit: int
    zeros: "_Node"
    ones: "_Node"
    digest: Digest | None = None


_Node = _Leaf | _Fork


class MapPath(msgspec.Struct, frozen=True):
    """Siblings from a leaf up; bit i of `turns` (from the lowest) is set where we are the ones."""

    siblings: tuple[Digest, ...]
    turns: bytes


class MerkleMap:
    """An immutable map of keys to leaf digests, and its digest."""

    __slots__ = ("_node", "size")

    def __init__(self, entries: Mapping[bytes, Digest] | None = None) -> None:
        """The map of these entries. Raises ValueError for a key of another length."""
        self._node: _Node | None = None
        self.size = 0
        if entries:
            ordered = [_leaf(key, entries[key]) for key in sorted(entries)]
            self._node, self.size = _built(ordered, 0, len(ordered)), len(ordered)

    @property
    def digest(self) -> Digest:
        """Names the whole content."""
        return EMPTY_ROOT if self._node is None else _digest(self._node)

    def updated(self, changes: Mapping[bytes, Digest | None]) -> "MerkleMap":
        """This map with some entries put, and those that become None taken out."""
        node, size = self._node, self.size
        for key, value in changes.items():
            if value is None:
                node, change = _without(node, key)
            else:
                node, change = _with(node, _leaf(key, value))
            size += change
        changed = MerkleMap()
        changed._node, changed.size = node, size
        return changed

    def part_digest(self, key: bytes, depth: int) -> Digest:
        """Digest of the entries that share the first `depth` bits of a key which is one of them."""
        node = self._node
        while isinstance(node, _Fork) and node.bit < depth:
            node = node.ones if _bit(key, node.bit) else node.zeros
        return EMPTY_ROOT if node is None else _digest(node)

    def path(self, key: bytes) -> MapPath:
        """From an entry to the digest. Raises KeyError."""
        siblings: list[Digest] = []
        turns: list[int] = []
        node = self._node
        while isinstance(node, _Fork):
            turn = _bit(key, node.bit)
            siblings.append(_digest(node.zeros if turn else node.ones))
            turns.append(turn)
            node = node.ones if turn else node.zeros
        if node is None or node.key != key:
            raise KeyError(key)
        siblings.reverse()
        turns.reverse()
        return MapPath(tuple(siblings), _packed(turns))


def path_digest(leaf: Digest, path: MapPath) -> Digest | None:
    """The digest of the map that `path` leads to from a leaf; None for a malformed path."""
    count = len(path.siblings)
    turns = int.from_bytes(path.turns, "little")
    if count > KEY_BITS or len(path.turns) != (count + 7) // 8 or turns >> count:
        return None
    current = leaf
    for sibling in path.siblings:
        current = node_digest(sibling, current) if turns & 1 else node_digest(current, sibling)
        turns >>= 1
    return current


def joined(zeros: Digest, ones: Digest) -> Digest:
    """Digest of a map from those of its two halves by any bit that its keys have not split at."""
    if zeros == EMPTY_ROOT:
        return ones
    if ones == EMPTY_ROOT:
        return zeros
    return node_digest(zeros, ones)


# ---- nodes ------------------------------------------------------------------------------------


def _leaf(key: bytes, value: Digest) -> _Leaf:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
    return _Leaf(key, value)


def _bit(key: bytes, place: int) -> int:
    return key[place >> 3] >> (7 - (place & 7)) & 1


def _first_difference(one: bytes, other: bytes) -> int:
    """The first bit in which two different keys differ."""
    difference = int.from_bytes(one) ^ int.from_bytes(other)
    return KEY_BITS - difference.bit_length()


def _built(leaves: Sequence[_Leaf], low: int, high: int) -> _Node:
    """The tree of leaves[low:high], which are in key order."""
    if high - low == 1:
        return leaves[low]
    bit = _first_difference(leaves[low].key, leaves[high - 1].key)
    first, last = low, high - 1
    while last - first > 1:  # the first leaf whose bit is on
        middle = (first + last) // 2
        if _bit(leaves[middle].key, bit):
            last = middle
        else:
            first = middle
    return _Fork(bit, _built(leaves, low, last), _built(leaves, last, high))


def _digest(node: _Node) -> Digest:
    if isinstance(node, _Leaf):
        return node.digest
    if node.digest is None:
        node.digest = node_digest(_digest(node.zeros), _digest(node.ones))
    return node.digest


def _with(node: _Node | None, leaf: _Leaf) -> tuple[_Node, int]:
    """The tree with a leaf put, and how many entries that adds."""
    if node is None:
        return leaf, 1
    above: list[_Fork] = []
    found = node
    while isinstance(found, _Fork):
        above.append(found)
        found = found.ones if _bit(leaf.key, found.bit) else found.zeros
    added = 0
    rebuilt: _Node = leaf
    if found.key != leaf.key:
        added = 1
        bit = _first_difference(found.key, leaf.key)
        while above and above[-1].bit > bit:
            found = above.pop()
        rebuilt = _Fork(bit, found, leaf) if _bit(leaf.key, bit) else _Fork(bit, leaf, found)
    return _rehung(above, rebuilt, leaf.key), added


def _without(node: _Node | None, key: bytes) -> tuple[_Node | None, int]:
    """The tree without an entry, and how many that takes away (as 0 or -1)."""
    above: list[_Fork] = []
    found = node
    while isinstance(found, _Fork):
        above.append(found)
        found = found.ones if _bit(key, found.bit) else found.zeros
    if found is None or found.key != key:
        return node, 0
    if not above:
        return None, -1
    parent = above.pop()
    sibling = parent.zeros if _bit(key, parent.bit) else parent.ones
    return _rehung(above, sibling, key), -1


def _rehung(above: list[_Fork], node: _Node, key: bytes) -> _Node:
    """The tree in which `node` stands below the forks that lead to a key."""
    for fork in reversed(above):
        if _bit(key, fork.bit):
            node = _Fork(fork.bit, fork.zeros, node)
        else:
            node = _Fork(fork.bit, node, fork.ones)
    return node


def _packed(bits: Sequence[int]) -> bytes:
    """Bits, lowest first, in as few bytes as hold them."""
    number = sum(bit << place for place, bit in enumerate(bits))
    return number.to_bytes((len(bits) + 7) // 8, "little")


def prefix_parts(
    keys: Sequence[bytes], *, entries_max: int
) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Keys in order, cut by prefix into parts of at most `entries_max`: (bits of prefix, keys)."""
    stack: list[tuple[int, int, int]] = [(0, 0, len(keys))]
    while stack:
        depth, low, high = stack.pop()
        if high - low <= entries_max:
            yield depth, keys[low:high]
            continue
        first, last = low, high
        while first < last:
            middle = (first + last) // 2
            if _bit(keys[middle], depth):
                last = middle
            else:
                first = middle + 1
        stack.append((depth + 1, first, high))
        stack.append((depth + 1, low, first))


def parts_digest(parts: Sequence[tuple[int, Digest]]) -> Digest | None:
    """Digest of the map that was cut into parts (bits of prefix, digest); None if they do not fit.

    Parts stand in key order, as `prefix_parts` gives them.
    """
    stack: list[tuple[int, Digest]] = []
    for place, (depth, part) in enumerate(parts):
        if not 0 <= depth <= KEY_BITS or (stack and depth < stack[-1][0]):
            return None
        current = part
        while depth and stack and stack[-1][0] == depth:
            current = joined(stack.pop()[1], current)
            depth -= 1  # noqa: PLW2901 - climbs to the part that this one completes
        if depth == 0 and place < len(parts) - 1:
            return None
        stack.append((depth, current))
    return stack[0][1] if len(stack) == 1 and stack[0][0] == 0 else None
