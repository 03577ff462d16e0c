"""config.toml: strict to read, pleasant to write."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.model.ad import Price, Resources
from p2p.model.offer import Offer
from p2p.model.requests import PeerRecord
from p2p.node.addresses import announced_addresses, peer_records
from p2p.node.config import (
    ApiConfig,
    BitRate,
    ByteCount,
    Config,
    NetworkConfig,
    OfferConfig,
    config_text,
    read_config,
)
from p2p.node.errors import UserError
from p2p.node.quantities import (
    amount_text,
    bytes_text,
    parse_amount,
    parse_bytes,
    parse_rate,
    rate_text,
)
from p2p.primitives.keys import Key, account_text, peer_text
from p2p.primitives.units import MIB, Amount

PEER = peer_text(Key(bytes(32)).peer)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_what_was_written_is_read_back(path: Path) -> None:
    config = Config(
        network=NetworkConfig(
            listen=("/ip6/::1/tcp/0",),
            announce=("/dns4/node.example.net/tcp/4001",),
            seeds=(f"/ip4/10.0.0.1/tcp/7707/p2p/{PEER}",),
            direct_peers=(f"/dns/partner.example.net/tcp/7707/p2p/{PEER}",),
            peers_target=3,
            connections_per_ip=0,
            flush_ms=0,
        ),
        api=ApiConfig(listen="[::1]:8080"),
        offer=OfferConfig(
            accepting=True,
            storage=ByteCount(1500 * MIB),
            region='the "old" world',
            bandwidth_up=BitRate(20_000_000),
            price_per_mib_put=Amount(7),
        ),
    )
    path.write_text(config_text(config))
    assert read_config(path) == config


def test_the_written_file_explains_every_section(path: Path) -> None:
    lines = config_text(Config()).splitlines()
    assert {"[network]", "[api]", "[storage]", "[offer]", "[log]"} <= set(lines)
    assert 'capacity = "10 GiB"' in lines
    for number, line in enumerate(lines):
        if line.startswith("["):
            assert lines[number + 1].startswith("# ")


def test_an_empty_file_is_the_defaults(path: Path) -> None:
    path.write_text("")
    assert read_config(path) == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[network]\nlisten = 3", "network.listen: expected a list, got a whole number"),
        ("[network]\npeers_target = '12'", "network.peers_target: expected a whole number, got te"),
        ("[network]\nflush_ms = -1", "network.flush_ms: expected a whole number >= 0"),
        ("[network]\nseedz = []", "unknown key network.seedz"),
        ("[netwrok]", "unknown key netwrok"),
        ("network = 1", "network: expected a section, got a whole number"),
        ("[network]\nlisten = ['/ip4/1.2.3/tcp/1']", "network: '/ip4/1.2.3/tcp/1' has no ip4 addr"),
        ("[network]\nlisten = ['/ip4/::1/tcp/1']", "network: '/ip4/::1/tcp/1' has no ip4 address"),
        ("[network]\nlisten = ['/ip4/1.2.3.4/udp/1']", "network: expected an address such as /ip4"),
        ("[network]\nlisten = ['/dns/a.b/tcp/1']", "network: expected an address such as /ip4/"),
        ("[network]\nlisten = ['/ip4/1.2.3.4/tcp/65536']", "network: '/ip4/1.2.3.4/tcp/65536' has"),
        ("[network]\nseeds = ['/ip4/1.2.3.4/tcp/1']", "network: expected an address such as /ip4/"),
        ("[network]\nseeds = ['/dns/a/tcp/1/p2p/0']", "network: not a peer id: '0' has the char"),
        ("[api]\nlisten = '0.0.0.0:80'", "api: the API moves your money, so it listens on loop"),
        ("[api]\nlisten = 'localhost:80'", "api: the API moves your money"),
        ("[api]\nlisten = '127.0.0.1'", "api: the API moves your money"),
        ("[api]\nlisten = '127.0.0.1:x'", "api: '127.0.0.1:x' has no port from 0 to 65535"),
        ("[storage]\ncapacity = 10", "storage.capacity: expected text in quotes with a unit"),
        ("[storage]\ncapacity = '1 GGB'", "storage.capacity: expected a size such as '10 GiB', n"),
        ("[offer]\nstorage = '11 GiB'", "offer.storage (11 GiB) is more than storage.capacity (1"),
        ("[log]\nlevel = 'loud'", "log.level: Invalid enum value 'loud'"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(path: Path, tmp_path: Path) -> None:
    for content, message in (
        (b"[net", f"{path} is not valid TOML: "),
        (b"\xff\xfe", f"{path} is not a text file"),
        (b"#" * (MIB + 1), f"{path} is larger than the {MIB} bytes allowed"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            read_config(path)
        assert str(caught.value).startswith(message)
    with pytest.raises(UserError, match=r"cannot read .*none\.toml: No such file or directory"):
        read_config(tmp_path / "none.toml")


def test_the_first_offer_is_what_the_file_says() -> None:
    config = OfferConfig(accepting=True, storage=ByteCount(5 * MIB), bandwidth_up=BitRate(9))
    assert config.offer() == Offer(
        resources=Resources(
            storage_bytes_total=5 * MIB, storage_bytes_free=5 * MIB, bandwidth_up_bps=9
        ),
        price=Price(),
        accepting=True,
    )


def test_the_api_listens_where_the_file_says() -> None:
    assert ApiConfig(listen="[::1]:80").endpoint() == ("::1", 80)
    assert ApiConfig().endpoint() == ("127.0.0.1", 0)


def test_a_node_tells_others_where_it_can_be_reached() -> None:
    listening = ["/ip4/10.1.2.3/tcp/99/p2p/me", "/ip4/10.1.2.3/tcp/99/p2p/me"]
    assert announced_addresses(listening, (), "me") == ("/ip4/10.1.2.3/tcp/99/p2p/me",)
    assert announced_addresses(listening, ("/dns4/a.net/tcp/1",), "me") == (
        "/dns4/a.net/tcp/1/p2p/me",
    )
    everywhere = announced_addresses(["/ip4/0.0.0.0/tcp/99/p2p/me"], (), "me")
    assert 1 <= len(everywhere) <= 8
    assert all(text.startswith("/ip4/") and "0.0.0.0" not in text for text in everywhere)


def test_addresses_are_gathered_by_the_account_that_they_end_in() -> None:
    account = Key(bytes(32)).account
    mine = [f"/ip4/10.1.2.{host}/tcp/99/p2p/{account_text(account)}" for host in (1, 2)]
    nobodys = ["/ip4/10.1.2.3/tcp/99/p2p/QmNotAnEd25519Key", "/ip4/10.1.2.3/tcp/99", ""]
    assert peer_records([*mine, *nobodys]) == (PeerRecord(account, tuple(mine)),)


@given(st.integers(min_value=0, max_value=2**53))
def test_quantities_survive_their_text(count: int) -> None:
    assert parse_bytes(bytes_text(count)) == count
    assert parse_rate(rate_text(count)) == count
    assert parse_amount(amount_text(count)) == count


def test_quantities_are_read_as_people_write_them() -> None:
    assert parse_bytes("10 GiB") == 10 * 2**30
    assert parse_bytes(" 1.5kb ") == 1500
    assert parse_rate("0.1 Gbit/s") == 100_000_000
    assert parse_amount("2.5 tokens") == 2_500_000
    assert parse_amount("1_000") == 1000
    assert amount_text(-1_234_500_000) == "-1,234.5 tokens"


@pytest.mark.parametrize(
    "text", ["", "-1", "1.0000001 tokens", "1e9", "x", "9" * 19, "1.5", "1 GiB"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected an amount|whole number of units"):
        parse_amount(text)
