"""What the owner of a node decides: `config.toml`, read strictly and written with comments.

An unknown key is an error, as a misspelt one would otherwise be ignored in silence. Nothing here is
agreed with other nodes; what a chain shares is in `genesis.toml`.
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from p2p.model.ad import Price, Resources
from p2p.model.fields import AmountField
from p2p.model.offer import Offer
from p2p.node.addresses import ANY_HOST, DEFAULT_PORT, IP_HOST, check_address, parse_port
from p2p.node.quantities import bytes_text, parse_bytes, parse_rate, rate_text
from p2p.node.toml_files import read_toml
from p2p.primitives.units import MIB, Amount

CONFIG_BYTES_MAX: Final = MIB
RETAIN_MIN: Final = 200
"""Two snapshot intervals (p2p.protocol.replica.parameters)."""


class ByteCount(int):
    """Bytes; a size with its unit in the file."""


class BitRate(int):
    """Bits a second; a rate with its unit in the file."""


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class NetworkConfig(_Section, frozen=True):
    """How the node meets others. Addresses are multiaddrs."""

    listen: Annotated[tuple[str, ...], Meta(min_length=1, max_length=8)] = (
        f"/ip4/0.0.0.0/tcp/{DEFAULT_PORT}",
    )
    announce: Annotated[tuple[str, ...], Meta(max_length=8)] = ()
    """Addresses told to others; empty: those of the machine's interfaces."""
    seeds: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    """Peers to ask for others, each with its `/p2p/<peer id>`."""
    direct_peers: Annotated[tuple[str, ...], Meta(max_length=16)] = ()
    """Explicit peers, each with its `/p2p/<peer id>`: always connected, outside of mesh and score.
    Their operators name us, too."""
    peers_target: Annotated[int, Meta(ge=1, le=256)] = 12
    connections_per_ip: Annotated[int, Meta(ge=0, le=10_000)] = 16
    """Inbound, of one IPv4 address or IPv6 /64; 0: any number. Loopback is never limited."""
    flush_ms: Annotated[int, Meta(ge=0, le=1000)] = 20
    mdns: bool = False
    """Find nodes of the local network by multicast."""

    def __post_init__(self) -> None:
        for text in self.listen:
            check_address(text, hosts=IP_HOST, with_peer=False)
        for text in self.announce:
            check_address(text, hosts=ANY_HOST, with_peer=False)
        for text in (*self.seeds, *self.direct_peers):
            check_address(text, hosts=ANY_HOST, with_peer=True)


class ApiConfig(_Section, frozen=True):
    """The local HTTP API."""

    listen: str = "127.0.0.1:0"

    def __post_init__(self) -> None:
        self.endpoint()

    def endpoint(self) -> tuple[str, int]:
        """Loopback host and port; port 0 lets the system choose. Raises ValueError."""
        host, colon, port = self.listen.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            is_loopback = ip_address(host).is_loopback
        except ValueError:
            is_loopback = False
        if not colon or not is_loopback:
            raise ValueError(
                "the API moves your money, so it listens on loopback only, such as"
                f" '127.0.0.1:0', not {self.listen!r}"
            )
        return host, parse_port(port, self.listen)


class StorageConfig(_Section, frozen=True):
    """What the node may use of the disk."""

    capacity: ByteCount = ByteCount(10 * 1024 * MIB)
    """Blobs never take more than this."""
    retain_blocks: Annotated[int, Meta(ge=0, le=2**53)] = 0
    """Blocks that are kept; 0 keeps all."""

    def __post_init__(self) -> None:
        if 0 < self.retain_blocks <= RETAIN_MIN:
            raise ValueError(
                f"retain_blocks is 0 (keep all) or more than {RETAIN_MIN}: others who start fetch"
                " states that old, and need their headers"
            )


class OfferConfig(_Section, frozen=True):
    """The offer that the node begins with; `p2p offer` changes it while the node runs."""

    accepting: bool = False
    storage: ByteCount = ByteCount(10 * 1024 * MIB)
    region: Annotated[str, Meta(max_length=64)] = ""
    bandwidth_up: BitRate = BitRate(0)
    bandwidth_down: BitRate = BitRate(0)
    price_per_mib_put: AmountField = Amount(100)
    price_per_mib_get: AmountField = Amount(100)
    price_per_mib_epoch: AmountField = Amount(1)

    def offer(self) -> Offer:
        """As the replica takes it."""
        return Offer(
            resources=Resources(
                storage_bytes_total=int(self.storage),
                storage_bytes_free=int(self.storage),
                bandwidth_up_bps=int(self.bandwidth_up),
                bandwidth_down_bps=int(self.bandwidth_down),
            ),
            price=Price(
                per_mib_put=self.price_per_mib_put,
                per_mib_get=self.price_per_mib_get,
                per_mib_epoch=self.price_per_mib_epoch,
            ),
            region=self.region,
            accepting=self.accepting,
        )


class LogConfig(_Section, frozen=True):
    """What the node writes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(_Section, frozen=True):
    """All of `config.toml`."""

    network: NetworkConfig = NetworkConfig()
    api: ApiConfig = ApiConfig()
    storage: StorageConfig = StorageConfig()
    offer: OfferConfig = OfferConfig()
    log: LogConfig = LogConfig()

    def __post_init__(self) -> None:
        if self.offer.storage > self.storage.capacity:
            raise ValueError(
                f"offer.storage ({bytes_text(self.offer.storage)}) is more than"
                f" storage.capacity ({bytes_text(self.storage.capacity)})"
            )


def read_config(path: Path) -> Config:
    """The configuration in a file. Raises UserError naming the file and the key."""
    return read_toml(path, Config, bytes_max=CONFIG_BYTES_MAX, convert=_convert)


def config_text(config: Config) -> str:
    """The file for a configuration: every key, each with what it is for."""
    import tomlkit

    document = tomlkit.document()
    document.add(tomlkit.comment("A Gigmesh node. `p2p start` reads this once, when it starts."))
    for section_field in msgspec.structs.fields(Config):
        section: msgspec.Struct = getattr(config, section_field.name)
        table = tomlkit.table()
        for field in msgspec.structs.fields(section):
            for line in _COMMENTS.get(f"{section_field.name}.{field.name}", ()):
                table.add(tomlkit.comment(line))
            table.add(field.name, _plain(getattr(section, field.name)))
        document.add(tomlkit.nl())
        document.add(section_field.name, table)
    return tomlkit.dumps(document)


def _plain(value: object) -> object:
    """A value as TOML has it."""
    if isinstance(value, ByteCount):
        return bytes_text(value)
    if isinstance(value, BitRate):
        return rate_text(value)
    if isinstance(value, tuple):
        return list(value)
    return value


def _convert(kind: type, value: object) -> object:
    """Quantities from their text, for msgspec."""
    parse = {ByteCount: parse_bytes, BitRate: parse_rate}[kind]
    if not isinstance(value, str):
        raise ValueError("expected text in quotes with a unit")
    return kind(parse(value))


_COMMENTS: Final[dict[str, tuple[str, ...]]] = {
    "network.listen": ("Where other nodes reach this one; port 0 lets the system choose.",),
    "network.announce": (
        "Addresses to tell others, when they differ (behind a router, say).",
        "Empty: the addresses of this machine.",
    ),
    "network.seeds": ("Nodes to meet first: /ip4/<address>/tcp/<port>/p2p/<peer id>.",),
    "network.direct_peers": (
        "Nodes of partners, as seeds: always connected, sent every message, never judged.",
        "Both sides name each other.",
    ),
    "network.peers_target": ("Connections to keep up.",),
    "network.mdns": ("Announce this node on the local network, and look for others there.",),
    "network.connections_per_ip": (
        "Inbound connections of one IPv4 address or IPv6 /64; 0: any number. Loopback is free.",
    ),
    "network.flush_ms": (
        "How long gossip to a peer waits for company, in milliseconds; 0 sends at once.",
    ),
    "api.listen": ("Loopback only; port 0 lets the system choose (see data/api.json).",),
    "storage.capacity": ("The most that other people's blobs may take on this disk.",),
    "storage.retain_blocks": ("Newest blocks to keep; 0 keeps all. State and proofs stay whole.",),
    "offer.accepting": (
        "What is lent to the network when the node first starts. Later, `p2p offer` changes it.",
        "Nothing is lent before this is true (or `p2p offer resume` was said).",
    ),
    "offer.storage": ("At most storage.capacity.",),
    "offer.region": ('A name such as "eu-central"; replicas go to different regions.',),
    "offer.bandwidth_up": ("What others may expect; 0 says nothing.",),
    "offer.price_per_mib_put": (
        "Micro-tokens (1/1000000) for a MiB taken in, given out, and kept for an epoch.",
    ),
    "log.level": ("debug, info, warning or error.",),
}
