"""Signatures are for one kind of value on one chain."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from p2p.primitives.keys import Key, verify_bytes
from p2p.primitives.signing import Ed25519Scheme, Ed25519Signer, SignedKind, signing_bytes
from p2p.primitives.units import Digest

KINDS = st.sampled_from(SignedKind)
CHAINS = st.binary(min_size=32, max_size=32).map(Digest)
BODIES = st.binary(max_size=80)


def test_the_signed_bytes_are_the_designs() -> None:
    chain = Digest(bytes(range(32)))
    assert (
        signing_bytes(SignedKind.RECEIPT_CONSUMER, chain, b"body")
        == b"gigmesh/1/receipt-consumer\x00" + bytes(range(32)) + b"body"
    )


def test_no_kind_is_the_beginning_of_another() -> None:
    chain = Digest(bytes(32))
    for one, other in product(SignedKind, SignedKind):
        prefix = signing_bytes(one, chain, b"")[: -len(chain)]
        assert signing_bytes(other, chain, b"").startswith(prefix) == (one is other)


@given(st.tuples(KINDS, CHAINS, BODIES), st.tuples(KINDS, CHAINS, BODIES))
def test_two_things_to_sign_never_share_their_bytes(
    one: tuple[SignedKind, Digest, bytes], other: tuple[SignedKind, Digest, bytes]
) -> None:
    assert (signing_bytes(*one) == signing_bytes(*other)) == (one == other)


def test_a_signature_verifies_for_its_kind_chain_body_and_key_alone() -> None:
    key, stranger = Key(bytes(32)), Key(b"\x01" * 32)
    chains, bodies = (Digest(bytes(32)), Digest(b"\x01" * 32)), (b"", b"body")
    signer, scheme = Ed25519Signer(key), Ed25519Scheme()
    signature = signer.sign(SignedKind.VOTE, chains[0], bodies[1])
    assert signer.account == key.account
    for kind, chain, body in product(SignedKind, chains, bodies):
        right = (kind, chain, body) == (SignedKind.VOTE, chains[0], bodies[1])
        assert scheme.verify(key.account, kind, chain, body, signature) == right
        assert not scheme.verify(stranger.account, kind, chain, body, signature)


def test_a_signature_over_the_bare_body_is_no_signature() -> None:
    key, chain = Key(bytes(32)), Digest(bytes(32))
    bare = key.sign_bytes(b"body")
    assert verify_bytes(key.account, b"body", bare)
    assert not Ed25519Scheme().verify(key.account, SignedKind.VOTE, chain, b"body", bare)
