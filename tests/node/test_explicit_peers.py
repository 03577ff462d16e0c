"""`network.direct_peers`: what the node's parts are told of it."""

import pytest

from p2p.model.requests import PeerRecord
from p2p.node.config import Config, NetworkConfig
from p2p.node.errors import UserError
from p2p.node.node import _parameters, _seeds
from p2p.primitives.keys import Key, peer_text

PARTNER = Key(bytes(32))
PLACE = f"/ip4/10.0.0.1/tcp/7707/p2p/{peer_text(PARTNER.peer)}"
SECP256K1 = "/ip4/10.0.0.2/tcp/7707/p2p/16Uiu2HAmTRUPEQfYXEQmVjbwmJJmzJFGKgjNMwdtT9GYMVBRzMJ8"


def test_explicit_peers_are_dialled_kept_and_never_judged() -> None:
    config = Config(network=NetworkConfig(direct_peers=(PLACE,)))
    parameters = _parameters(config)
    assert parameters.gossip.direct_peers == (PARTNER.peer,)
    assert parameters.membership.direct == (PARTNER.account,)
    assert _seeds(config) == (PeerRecord(PARTNER.account, (PLACE,)),)


def test_a_partner_that_is_a_seed_too_is_one_peer() -> None:
    config = Config(network=NetworkConfig(seeds=(PLACE,), direct_peers=(PLACE,)))
    assert _seeds(config) == (PeerRecord(PARTNER.account, (PLACE,)),)


def test_an_explicit_peer_without_an_ed25519_key_is_named_as_the_mistake() -> None:
    config = Config(network=NetworkConfig(direct_peers=(SECP256K1,)))
    with pytest.raises(UserError, match=r"network\.direct_peers names a peer without"):
        _parameters(config)
