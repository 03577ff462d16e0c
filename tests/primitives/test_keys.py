"""Keys, signatures and the names that people and libp2p give them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.primitives.keys import (
    Key,
    account_of,
    account_text,
    parse_account,
    parse_peer,
    peer_id_of,
    peer_text,
    verify_bytes,
)
from p2p.primitives.units import AccountId, PeerId

SEEDS = st.binary(min_size=32, max_size=32)
RSA_PEER = "QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC"


def test_the_first_vector_of_rfc_8032() -> None:
    key = Key(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.account.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    signature = bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )
    assert key.sign_bytes(b"") == signature
    assert verify_bytes(key.account, b"", signature)


def test_the_peer_id_of_the_libp2p_specs_key() -> None:
    """Key of libp2p specs, peer-ids.md; its text is what py-libp2p derives."""
    key = Key(bytes.fromhex("7e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d"))
    assert peer_text(key.peer) == "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
    assert repr(key) == "Key(12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq)"


@given(SEEDS, st.binary(max_size=64), st.binary(max_size=64))
def test_a_signature_is_for_one_key_and_one_message(
    seed: bytes, message: bytes, other: bytes
) -> None:
    key, stranger = Key(seed), Key(bytes(31) + bytes([seed[0] ^ 1]))
    signature = key.sign_bytes(message)
    assert signature == key.sign_bytes(message)
    assert verify_bytes(key.account, message, signature)
    assert verify_bytes(key.account, other, signature) == (other == message)
    assert not verify_bytes(stranger.account, message, signature)


@pytest.mark.parametrize("broken", [b"", bytes(63), bytes(64), bytes(65)])
def test_a_malformed_signature_or_account_is_false_not_an_error(broken: bytes) -> None:
    key = Key(bytes(32))
    assert not verify_bytes(key.account, b"message", broken)
    signature = key.sign_bytes(b"message")
    assert not verify_bytes(AccountId(broken[:33]), b"message", signature)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_seed_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"32 bytes, not {size}"):
        Key(bytes(size))


@given(SEEDS)
def test_an_account_and_its_names_are_one(seed: bytes) -> None:
    account = Key(seed).account
    peer = peer_id_of(account)
    assert account_of(peer) == account
    assert parse_peer(peer_text(peer)) == peer
    assert account_text(account) == peer_text(peer)
    assert account_text(account).startswith("12D3KooW")
    assert parse_account(account_text(account)) == account


@given(st.binary(min_size=1, max_size=40))
def test_any_peer_id_survives_its_text(peer: bytes) -> None:
    assert parse_peer(peer_text(PeerId(peer))) == peer


@pytest.mark.parametrize(
    "text", ["", "1" * 65, "12D3KooW0", "12D3KooWO", "12D3KooWI", "12D3KooWl", "12D3KooW é"]
)
def test_what_is_no_base58_is_no_peer(text: str) -> None:
    with pytest.raises(ValueError, match="not a peer id"):
        parse_peer(text)


def test_a_peer_of_another_kind_of_key_is_no_account() -> None:
    assert account_of(parse_peer(RSA_PEER)) is None
    assert account_of(PeerId(bytes(38))) is None
    with pytest.raises(ValueError, match="not the peer id of an Ed25519 key"):
        parse_account(RSA_PEER)
