"""Blobs by content: names, manifests, leaves, and what a peer can claim of them."""

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.model.blob import (
    CHUNK_BYTES,
    CHUNK_BYTES_MAX,
    CHUNK_BYTES_MIN,
    LEAVES_MAX,
    MESSAGE_BYTES_MAX,
    Manifest,
    Opened,
    Owed,
    Refused,
    chunk_bytes_for,
    chunk_leaves,
    is_acceptable,
    manifest_of,
    obligation_leaf,
    obligations_root,
    split_leaves,
)
from p2p.model.rejection import Reason
from p2p.primitives.codec import Malformed, decode, encode
from p2p.primitives.digests import EMPTY_ROOT, ZERO_DIGEST, merkle_root
from p2p.primitives.units import AMOUNT_MAX, Amount, Height
from tests.protocol.parties import AD, PROVIDER, WORST_RECEIPT, ad_of, obligation

SMALL = CHUNK_BYTES_MIN


def test_an_id_is_the_digest_of_root_size_and_chunk_size() -> None:
    data = bytes(range(256)) * 10
    leaves = chunk_leaves(data, SMALL)
    manifest = manifest_of(leaves, size_bytes=len(data), chunk_bytes=SMALL)
    root = merkle_root([data[:1024], data[1024:2048], data[2048:]])
    expected = hashlib.sha256(
        b"\x02" + root + (2560).to_bytes(8, "big") + (1024).to_bytes(4, "big")
    )
    assert manifest.root == root
    assert manifest.blob == expected.digest()


@given(st.binary(max_size=5 * SMALL + 3))
def test_chunks_cover_the_blob_and_leaves_survive_the_wire(data: bytes) -> None:
    leaves = chunk_leaves(data, SMALL)
    manifest = manifest_of(leaves, size_bytes=len(data), chunk_bytes=SMALL)
    assert manifest.chunks == len(leaves)
    assert sum(map(manifest.chunk_size, range(manifest.chunks))) == len(data)
    assert split_leaves(manifest, b"".join(leaves)) == tuple(leaves)


def test_leaves_of_another_blob_are_not_taken() -> None:
    manifest = manifest_of(chunk_leaves(bytes(3000), SMALL), size_bytes=3000, chunk_bytes=SMALL)
    good = b"".join(chunk_leaves(bytes(3000), SMALL))
    assert split_leaves(manifest, good[:-1]) is None
    assert split_leaves(manifest, good + bytes(32)) is None
    assert split_leaves(manifest, bytes(len(good))) is None


def test_the_empty_blob_has_a_name_and_no_chunk() -> None:
    manifest = manifest_of([], size_bytes=0, chunk_bytes=SMALL)
    assert (manifest.root, manifest.chunks) == (EMPTY_ROOT, 0)
    assert split_leaves(manifest, b"") == ()
    with pytest.raises(IndexError):
        manifest.chunk_size(0)


def test_blobs_are_bounded_by_their_leaves() -> None:
    largest = Manifest(ZERO_DIGEST, LEAVES_MAX * SMALL, SMALL)
    assert is_acceptable(largest)
    assert not is_acceptable(msgspec.structs.replace(largest, size_bytes=LEAVES_MAX * SMALL + 1))


def test_large_files_get_larger_chunks_up_to_a_bound() -> None:
    assert chunk_bytes_for(0) == CHUNK_BYTES
    assert chunk_bytes_for(LEAVES_MAX * CHUNK_BYTES) == CHUNK_BYTES
    assert chunk_bytes_for(LEAVES_MAX * CHUNK_BYTES + 1) == 2 * CHUNK_BYTES
    assert chunk_bytes_for(LEAVES_MAX * CHUNK_BYTES_MAX) == CHUNK_BYTES_MAX
    assert chunk_bytes_for(LEAVES_MAX * CHUNK_BYTES_MAX + 1) is None


def test_a_manifest_with_chunks_out_of_bounds_is_malformed() -> None:
    for chunk_bytes in (0, CHUNK_BYTES_MIN - 1, CHUNK_BYTES_MAX + 1):
        data = encode(Manifest(ZERO_DIGEST, 1, chunk_bytes))
        with pytest.raises(Malformed):
            decode(data, Manifest, bytes_max=100)


def test_a_root_does_not_depend_on_the_order_of_blobs_nor_on_their_names() -> None:
    one, two = obligation(b"one"), obligation(b"two")
    named = msgspec.structs.replace(one, name="holiday")
    assert obligations_root([one, two]) == obligations_root([two, named])
    ordered = sorted([one, two], key=lambda held: held.blob)
    assert obligations_root([one, two]) == merkle_root([obligation_leaf(o) for o in ordered])
    longer = msgspec.structs.replace(one, until_epoch=101)
    assert obligations_root([one]) != obligations_root([longer])
    assert obligations_root([]) == EMPTY_ROOT


def test_the_largest_messages_are_within_their_bound() -> None:
    ad = ad_of(addrs=("/" * 256,) * 8, services=("s" * 64,) * 8, region="r" * 64)
    count = 2**53
    opened = Opened(
        ad=ad,
        manifest=Manifest(ZERO_DIGEST, count, CHUNK_BYTES_MAX),
        epoch=Height(count),
        window_bytes=2**26,
        receipt=WORST_RECEIPT,
        obligations_root=ZERO_DIGEST,
        owed=Owed(count, count, count),
    )
    assert len(encode(opened)) <= MESSAGE_BYTES_MAX
    refused = Refused(Reason.OVERSPENT, "\N{SNOWMAN}" * 512, Height(count))
    assert len(encode(refused)) <= MESSAGE_BYTES_MAX
    assert AD.provider == PROVIDER.account
    assert WORST_RECEIPT.amount == Amount(AMOUNT_MAX)
