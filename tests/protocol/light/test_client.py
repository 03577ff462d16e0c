import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.model.block import CommitSignature
from p2p.model.light import LightBlock, LightBlockRequest
from p2p.model.persistence import Delete, DeleteRange, Table, number_key
from p2p.primitives.codec import Malformed, decode, encode
from p2p.primitives.units import AccountId, Digest, Height
from p2p.protocol.ledger import genesis_state
from p2p.protocol.light import (
    Failed,
    LightParameters,
    TrustedBlock,
    Verified,
    latest_before,
    trusted_genesis,
    trusted_header,
)
from p2p.storage.memory import MemoryStore
from sim_harness.made_chain import MadeChain
from tests.protocol.light.servers import Honest, bisect, made


def turned_over(heights: int = 60) -> tuple[MadeChain, Honest]:
    """Four validators who are replaced one after the other, all of them, within 60 heights."""
    chain, server = made()
    for number in range(4):
        chain.grow(heights // 4 - 1)
        chain.replace_voter(f"v{number}", f"a{number}")
    chain.grow(4)
    return chain, server


@pytest.fixture(scope="module")
def changed() -> tuple[MadeChain, Honest]:
    return turned_over()


def heights_of(server: Honest) -> list[int]:
    return [request.height for request in server.asked]


def test_trust_in_a_genesis_is_in_the_validators_of_its_ledger() -> None:
    chain, _ = made()
    trusted = trusted_genesis(chain.genesis)
    state = genesis_state(chain.genesis)
    assert trusted == TrustedBlock(Height(0), state.time_ms, chain.chain_id, state.validators)


def test_one_header_suffices_where_the_validators_stay() -> None:
    chain, server = made(heights=50)
    result, session = bisect(chain, server)
    assert isinstance(result, Verified)
    assert result.block.header == chain.blocks[-1].block.header
    assert session.trusted.height == 50
    assert len(server.asked) == 1
    assert server.sent_bytes < 2_000


def test_a_whole_turnover_is_crossed_by_halving(changed: tuple[MadeChain, Honest]) -> None:
    chain, server = changed
    server.asked.clear()
    result, session = bisect(chain, server)
    assert isinstance(result, Verified)
    assert result.block.header.height == chain.state.height
    assert heights_of(server) == [0, chain.state.height // 2]
    heights = [block.height for block in session.path]
    assert heights == sorted(heights)
    assert heights[0] == 0


def test_sequential_verification_asks_for_every_height(changed: tuple[MadeChain, Honest]) -> None:
    chain, server = changed
    server.asked.clear()
    result, _ = bisect(chain, server, target=12, parameters=LightParameters(sequential=True))
    assert isinstance(result, Verified)
    assert heights_of(server) == [12, *range(1, 12)]


def test_a_pruned_server_still_leads_over_every_change() -> None:
    chain, server = turned_over()
    low, high = number_key(0), number_key(chain.state.height)
    server.store.commit([DeleteRange(Table.BLOCKS, low, high)])
    result, _ = bisect(chain, server)
    assert isinstance(result, Verified)
    # Without the header of one change nobody can follow.
    kept = [key for key, _ in server.store.scan(Table.HEADERS)]
    server.store.commit([Delete(Table.HEADERS, key) for key in kept[1:]])
    result, _ = bisect(chain, server)
    assert isinstance(result, Failed)
    assert not result.lied


def test_trust_may_begin_at_a_hash(changed: tuple[MadeChain, Honest]) -> None:
    chain, server = changed
    light = server(LightBlockRequest(Height(30), Height(29), Height(31)))
    assert light is not None
    filled = msgspec.structs.replace(
        light, next_validators=light.next_validators or light.validators
    )
    name = light.header.digest()
    trusted = trusted_header(filled, chain_id=chain.chain_id, header_digest=name)
    result, _ = bisect(chain, server, trusted=trusted)
    assert isinstance(result, Verified)
    with pytest.raises(ValueError, match="trusted hash"):
        trusted_header(filled, chain_id=chain.chain_id, header_digest=chain.chain_id)
    with pytest.raises(ValueError, match="another chain"):
        trusted_header(filled, chain_id=name, header_digest=name)


def test_an_old_trust_leads_nowhere(changed: tuple[MadeChain, Honest]) -> None:
    chain, server = changed
    late = chain.genesis.time_ms + LightParameters().trust_period_ms
    result, _ = bisect(chain, server, now_ms=late)
    assert isinstance(result, Failed)
    assert "trust period" in result.detail
    assert not result.lied


def test_a_target_below_what_is_trusted_is_no_target(changed: tuple[MadeChain, Honest]) -> None:
    chain, server = changed
    _, session = bisect(chain, server)
    result, _ = bisect(chain, server, trusted=session.trusted, target=3)
    assert result == Failed(f"height 3 is not above the trusted {chain.state.height}", lied=False)


def test_the_way_has_a_bound(changed: tuple[MadeChain, Honest]) -> None:
    chain, server = changed
    result, _ = bisect(chain, server, parameters=LightParameters(blocks_max=1))
    assert result == Failed("more than 1 headers lie on the way", lied=False)


def test_the_nearest_trusted_block_is_the_start() -> None:
    chain, server = made(heights=3)
    _, session = bisect(chain, server, target=2)
    assert latest_before(session.path, 2) == session.trusted
    assert latest_before(session.path, 1) == session.path[0]
    assert latest_before((), 1) is None


# ---- lies ----------------------------------------------------------------------------------


def test_an_answer_of_another_height_is_a_lie(changed: tuple[MadeChain, Honest]) -> None:
    chain, server = changed

    def shifted(request: LightBlockRequest) -> LightBlock | None:
        return server(LightBlockRequest(Height(5), Height(4), Height(6)))

    result, _ = bisect(chain, shifted, target=40)
    assert result == Failed("asked for height 40, it answered 5", lied=True)


def test_silence_ends_the_session_without_blame(changed: tuple[MadeChain, Honest]) -> None:
    result, _ = bisect(changed[0], lambda _: None, target=40)
    assert result == Failed("it has no header at or about height 40", lied=False, is_empty=True)


def test_another_chain_of_the_same_validators_is_refused() -> None:
    chain, _ = made(heights=5)
    other, store = MadeChain(name="other"), MemoryStore()
    other.keep_in(store)
    other.grow(5)
    result, _ = bisect(chain, Honest(other, store))
    assert isinstance(result, Failed)
    assert "another chain" in result.detail


def test_a_missing_signature_of_the_quorum_is_seen() -> None:
    chain, server = made(heights=5)

    def thinned(request: LightBlockRequest) -> LightBlock | None:
        light = server(request)
        assert light is not None
        some = msgspec.structs.replace(
            light.certificate, signatures=light.certificate.signatures[:2]
        )
        return msgspec.structs.replace(light, certificate=some)

    result, _ = bisect(chain, thinned)
    assert isinstance(result, Failed)
    assert "two thirds" in result.detail


def test_signatures_of_others_in_the_names_of_validators_are_seen() -> None:
    chain, server = made(heights=5)

    def swapped(request: LightBlockRequest) -> LightBlock | None:
        light = server(request)
        assert light is not None
        one, two, *rest = light.certificate.signatures
        crossed = (
            CommitSignature(one.validator, two.signature),
            CommitSignature(two.validator, one.signature),
            *rest,
        )
        certificate = msgspec.structs.replace(light.certificate, signatures=crossed)
        return msgspec.structs.replace(light, certificate=certificate)

    result, _ = bisect(chain, swapped)
    assert result == Failed("height 5: a signature of its certificate does not verify", lied=True)


FLIPPED, FLIPPED_SERVER = made(heights=3)
TRUE_BLOCK = FLIPPED_SERVER(LightBlockRequest(Height(3), Height(2), Height(4)))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_flipped_bit_anywhere_fails(data: st.DataObject) -> None:
    written = bytearray(encode(TRUE_BLOCK))
    place = data.draw(st.integers(0, 8 * len(written) - 1))
    written[place // 8] ^= 1 << place % 8
    try:
        bad = decode(bytes(written), LightBlock, bytes_max=32 * 1024)
    except Malformed:
        return
    result, _ = bisect(FLIPPED, lambda _: bad, target=3)
    assert isinstance(result, Failed)


@given(st.binary(max_size=200))
def test_junk_is_no_light_block(junk: bytes) -> None:
    with pytest.raises(Malformed):
        decode(junk, LightBlock, bytes_max=32 * 1024)


def test_a_forger_with_a_third_of_the_old_power_gets_nowhere() -> None:
    """A set of the forger's own, signed by it and by one validator of four."""
    light = TRUE_BLOCK
    assert light is not None
    own = msgspec.structs.replace(light.certificate, signatures=light.certificate.signatures[:1])
    signer = AccountId(own.signatures[0].validator)
    assert light.validators is not None
    alone = msgspec.structs.replace(
        light.validators,
        validators=tuple(one for one in light.validators.validators if one.account == signer),
    )
    header = msgspec.structs.replace(
        light.header, validators_root=alone.root(), next_validators_root=alone.root()
    )
    signed = msgspec.structs.replace(own, header_digest=Digest(header.digest()))
    forged = LightBlock(header, signed, alone, alone)
    asked: list[LightBlockRequest] = []

    def server(request: LightBlockRequest) -> LightBlock | None:
        asked.append(request)
        return forged if request.height == 3 else None

    result, _ = bisect(FLIPPED, server, target=3)
    assert isinstance(result, Failed)
    assert [request.height for request in asked] == [3, 1]  # too little trust: it has to show more
