"""The file of what a light client trusts."""

from pathlib import Path

import msgspec
import pytest

from p2p.model.light import LightBlockRequest
from p2p.node.errors import UserError
from p2p.node.trust_file import TRUSTED_MAX, read_trust, write_trust
from p2p.primitives.units import Digest, Height
from p2p.protocol.light import TrustedBlock, trust
from p2p.protocol.light.trust import with_known_sets
from sim_harness.made_chain import MadeChain
from tests.node.test_light import genesis
from tests.protocol.light.servers import made


def blocks(chain: MadeChain, count: int) -> list[TrustedBlock]:
    first = genesis(chain)[0]
    return [msgspec.structs.replace(first, height=Height(number)) for number in range(count)]


def test_trust_is_kept_from_the_first_and_the_highest(tmp_path: Path) -> None:
    chain, server = made(heights=1)
    path = tmp_path / "trust"
    assert read_trust(path, chain.chain_id) == ()
    many = blocks(chain, TRUSTED_MAX + 20)
    write_trust(path, chain.chain_id, [*reversed(many), many[3]])
    kept = read_trust(path, chain.chain_id)
    assert len(kept) == TRUSTED_MAX
    assert [one.height for one in kept[:2]] == [0, 21]
    assert kept[-1] == many[-1]
    assert path.stat().st_mode & 0o777 == 0o600
    light = server(LightBlockRequest(Height(1), Height(0), Height(2)))
    assert light is not None
    write_trust(path, chain.chain_id, [trust(with_known_sets(light, ()))])
    assert [one.height for one in read_trust(path, chain.chain_id)] == [1]


def test_a_file_of_trust_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    chain, _ = made()
    path = tmp_path / "trust"
    write_trust(path, chain.chain_id, genesis(chain))
    with pytest.raises(UserError, match="holds trust in another chain: name another --store"):
        read_trust(path, Digest(bytes(32)))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="is damaged: delete it, and trust begins anew"):
        read_trust(path, chain.chain_id)
    with pytest.raises(UserError, match="cannot read"):
        read_trust(tmp_path, chain.chain_id)
    with pytest.raises(UserError, match="cannot write"):
        write_trust(tmp_path / "none" / "trust", chain.chain_id, genesis(chain))
