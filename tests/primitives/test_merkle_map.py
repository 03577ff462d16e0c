from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.primitives.digests import EMPTY_ROOT, leaf_digest, node_digest
from p2p.primitives.merkle_map import (
    MapPath,
    MerkleMap,
    joined,
    parts_digest,
    path_digest,
    prefix_parts,
)
from p2p.primitives.units import Digest

# Few bytes, so that keys share prefixes of every length.
KEYS = st.lists(st.sampled_from(b"\x00\x01\x80\xff"), min_size=2, max_size=2).map(
    lambda ends: bytes([ends[0]]) + bytes(30) + bytes([ends[1]])
)
ENTRIES = st.dictionaries(KEYS | st.binary(min_size=32, max_size=32), st.integers(0, 9))


def leaves(entries: dict[bytes, int]) -> dict[bytes, Digest]:
    return {key: leaf_digest(key + bytes([value])) for key, value in entries.items()}


def spelt_out(entries: dict[bytes, Digest]) -> bytes:
    """The definition: split at the first bit that differs, hash the halves."""
    keys = sorted(entries)
    if len(keys) < 2:
        return entries[keys[0]] if keys else sha256(b"").digest()
    texts = {key: f"{int.from_bytes(key):0256b}" for key in keys}
    bit = next(n for n in range(256) if len({texts[key][n] for key in keys}) == 2)
    zeros = {key: entries[key] for key in keys if texts[key][bit] == "0"}
    ones = {key: entries[key] for key in keys if texts[key][bit] == "1"}
    return sha256(b"\x01" + spelt_out(zeros) + spelt_out(ones)).digest()


@given(ENTRIES)
def test_the_digest_is_the_definitions(entries: dict[bytes, int]) -> None:
    assert MerkleMap(leaves(entries)).digest == spelt_out(leaves(entries))


@settings(max_examples=200)
@given(ENTRIES, ENTRIES, st.lists(KEYS))
def test_history_leaves_no_trace(
    before: dict[bytes, int], after: dict[bytes, int], absent: list[bytes]
) -> None:
    old, new = leaves(before), leaves(after)
    changes: dict[bytes, Digest | None] = dict.fromkeys([*absent, *old])
    start = MerkleMap(old)
    name = start.digest
    changed = start.updated({**changes, **new})
    assert changed.digest == MerkleMap(new).digest
    assert changed.size == len(new)
    assert (start.digest, start.size) == (name, len(old))
    added = start.updated(dict(new))
    assert added.digest == MerkleMap({**old, **new}).digest
    assert added.size == len({**old, **new})


@given(ENTRIES)
def test_a_path_leads_from_every_entry_to_the_digest(entries: dict[bytes, int]) -> None:
    held = leaves(entries)
    tree = MerkleMap(held)
    for key, leaf in held.items():
        assert path_digest(leaf, tree.path(key)) == tree.digest
    with pytest.raises(KeyError):
        tree.path(b"\x77" * 32)


def test_a_path_of_a_false_form_leads_nowhere() -> None:
    leaf, other = leaf_digest(b"a"), leaf_digest(b"b")
    assert path_digest(leaf, MapPath((other,), b"\x01")) == node_digest(other, leaf)
    assert path_digest(leaf, MapPath((other,), b"\x02")) is None  # a turn too many
    assert path_digest(leaf, MapPath((other,), b"\x01\x00")) is None
    assert path_digest(leaf, MapPath((other,) * 257, bytes(33))) is None


def test_keys_have_one_length() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        MerkleMap({b"short": EMPTY_ROOT})


@given(ENTRIES, st.integers(1, 4))
def test_parts_by_prefix_join_to_the_whole(entries: dict[bytes, int], entries_max: int) -> None:
    held = leaves(entries)
    parts = list(prefix_parts(sorted(held), entries_max=entries_max))
    assert [key for _, keys in parts for key in keys] == sorted(held)
    assert all(len(keys) <= entries_max for _, keys in parts)
    digests = [(depth, MerkleMap({key: held[key] for key in keys}).digest) for depth, keys in parts]
    assert parts_digest(digests) == MerkleMap(held).digest
    whole = MerkleMap(held)
    for (depth, keys), (_, name) in zip(parts, digests, strict=True):
        assert not keys or whole.part_digest(keys[0], depth) == name


@pytest.mark.parametrize("depths", [(), (1,), (1, 1, 1), (2, 1), (0, 0), (1, 2), (-1,), (257,)])
def test_parts_that_do_not_fit_are_no_map(depths: tuple[int, ...]) -> None:
    assert parts_digest([(depth, EMPTY_ROOT) for depth in depths]) is None


def test_nothing_beside_a_half_is_that_half() -> None:
    leaf = leaf_digest(b"a")
    assert joined(EMPTY_ROOT, leaf) == joined(leaf, EMPTY_ROOT) == leaf
    assert joined(EMPTY_ROOT, EMPTY_ROOT) == EMPTY_ROOT
