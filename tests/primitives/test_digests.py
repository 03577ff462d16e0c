"""RFC 6962 trees: published vectors, the recursion of the standard, proofs that hold or fail."""

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.primitives.digests import (
    EMPTY_ROOT,
    PATH_LENGTH_MAX,
    digest,
    leaf_digest,
    merkle_path,
    merkle_root,
    merkle_root_of_digests,
    merkle_verify,
    node_digest,
)
from p2p.primitives.units import Digest

LEAVES = st.lists(st.binary(max_size=8), min_size=1, max_size=40)


def test_vectors_of_the_certificate_transparency_tests() -> None:
    """Google Trillian's rfc6962 tests, as CometBFT's crypto/merkle repeats them."""
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert (
        leaf_digest(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    )
    assert (
        leaf_digest(b"L123456").hex()
        == "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    )
    assert (
        node_digest(b"N123", b"N456").hex()
        == "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"
    )


def test_a_digest_is_of_the_parts_together() -> None:
    assert digest() == EMPTY_ROOT == merkle_root([])
    assert digest(b"a", memoryview(b"bc")) == sha256(b"abc").digest()


def standard_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962, section 2.1, word by word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = standard_root(leaves[:split]), standard_root(leaves[split:])
    return sha256(b"\x01" + left + right).digest()


def standard_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """RFC 6962, section 2.1.1, word by word."""
    if len(leaves) == 1:
        return []
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if index < split:
        return [*standard_path(index, leaves[:split]), standard_root(leaves[split:])]
    return [*standard_path(index - split, leaves[split:]), standard_root(leaves[:split])]


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_roots_are_the_standards(leaves: list[bytes]) -> None:
    assert merkle_root(leaves) == standard_root(leaves)
    assert merkle_root_of_digests([leaf_digest(leaf) for leaf in leaves]) == standard_root(leaves)


@given(LEAVES, st.data())
def test_paths_are_the_standards_and_prove_their_leaf(
    leaves: list[bytes], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    digests = [leaf_digest(leaf) for leaf in leaves]
    path = merkle_path(digests, index)
    assert list(path) == standard_path(index, leaves)
    size = len(leaves)
    assert merkle_verify(merkle_root(leaves), digests[index], path, index=index, size=size)


@given(LEAVES, st.data())
def test_a_proof_of_anything_else_fails(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    digests, size = [leaf_digest(leaf) for leaf in leaves], len(leaves)
    path, root = merkle_path(digests, index), merkle_root(leaves)
    absent = leaf_digest(b"not a leaf: longer")
    other_index = data.draw(st.integers(-2, size + 1).filter(lambda other: other != index))
    assert not merkle_verify(root, absent, path, index=index, size=size)
    assert not merkle_verify(absent, digests[index], path, index=index, size=size)
    assert not merkle_verify(root, digests[index], (*path, absent), index=index, size=size)
    moved = merkle_verify(root, digests[index], path, index=other_index, size=size)
    # Equal leaves may share a path; then the claim about the other place is true.
    assert not moved or leaves[index] == leaves[other_index]
    if path:
        place = data.draw(st.integers(0, len(path) - 1))
        wrong = (*path[:place], absent, *path[place + 1 :])
        assert not merkle_verify(root, digests[index], wrong, index=index, size=size)
        assert not merkle_verify(root, digests[index], path[:-1], index=index, size=size)


def test_an_inner_node_never_passes_for_a_leaf() -> None:
    leaves = [leaf_digest(name) for name in (b"a", b"b", b"c", b"d")]
    inner, root = node_digest(leaves[0], leaves[1]), merkle_root_of_digests(leaves)
    right = node_digest(leaves[2], leaves[3])
    # The digest does fit, as a digest; but nobody finds data whose leaf digest it would be.
    assert merkle_verify(root, inner, (right,), index=0, size=2)
    assert leaf_digest(leaves[0] + leaves[1]) != inner


def test_a_path_longer_than_any_tree_is_refused_unread() -> None:
    path = (Digest(bytes(32)),) * (PATH_LENGTH_MAX + 1)
    assert not merkle_verify(EMPTY_ROOT, EMPTY_ROOT, path, index=0, size=2**70)


@pytest.mark.parametrize("index", [-1, 2])
def test_there_is_no_path_to_a_leaf_that_is_not_there(index: int) -> None:
    with pytest.raises(IndexError, match=f"leaf {index} of 2"):
        merkle_path([EMPTY_ROOT, EMPTY_ROOT], index)
