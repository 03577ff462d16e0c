"""Homes of a network on one machine, with one genesis between them."""

import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from p2p.model.parameters import VALIDATORS_MAX, Genesis, GenesisAccount, Parameters
from p2p.node.config import ByteCount, Config, NetworkConfig, OfferConfig, StorageConfig
from p2p.node.errors import UserError
from p2p.node.genesis import check_genesis
from p2p.node.home import Home, create_home, new_key
from p2p.node.quantities import MICRO
from p2p.primitives.digests import digest
from p2p.primitives.keys import Key, peer_text
from p2p.primitives.units import MIB, Amount, Millis

NODES_MAX: Final = 10_000
SEEDS_COUNT: Final = 3
PORT_MIN: Final = 10_000
EPHEMERAL_MIN_DEFAULT: Final = 32_768
PORT_TRIES_MAX: Final = 200
REGIONS: Final = ("eu-west", "us-east", "ap-south", "sa-east", "us-west", "af-south")
BALANCE: Final = Amount(1_000 * MICRO)
BOND: Final = Amount(100 * MICRO)
CAPACITY_BYTES: Final = 256 * MIB


class NetworkPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What network to make."""

    nodes: int = 4
    validators: int = 4
    """How many nodes, the first, are bonded."""
    name: str = "testnet"
    base_port: int = 0
    """Node i listens on this + i; 0 takes ports that are free now."""
    host: str = "127.0.0.1"
    parameters: Parameters = Parameters()
    time_ms: Millis | None = None
    """Of the genesis; None is now."""
    balance: Amount = BALANCE
    bond: Amount = BOND
    capacity_bytes: int = CAPACITY_BYTES
    """Storage that every node offers."""
    regions: tuple[str, ...] = REGIONS
    """Given to the nodes in turn."""
    accepting: bool = True
    secret: bytes | None = None
    """Derives the keys, so that the same plan makes the same network; None draws them."""


class LocalNetwork(msgspec.Struct, frozen=True):
    """What was made: node i has `homes[i]` and `keys[i]`; the first are the validators."""

    genesis: Genesis
    homes: tuple[Home, ...]
    keys: tuple[Key, ...]


def make_testnet(output: Path, plan: NetworkPlan) -> LocalNetwork:
    """Write homes `node-000`, `node-001`, ... under `output`, which may not exist yet.

    Raises:
        UserError: a number is out of bounds, or the disk refuses.
    """
    _check(output, plan)
    keys = tuple(_key(plan.secret, index) for index in range(plan.nodes))
    genesis = _genesis(plan, keys)
    homes = []
    try:
        for index, config in enumerate(_configs(plan, keys)):
            path = output / f"node-{index:03}"
            homes.append(create_home(path, keys[index], genesis, config))
    except UserError:
        shutil.rmtree(output, ignore_errors=True)
        raise
    return LocalNetwork(genesis=genesis, homes=tuple(homes), keys=keys)


def free_base_port(host: str, count: int) -> int:
    """The first of `count` ports in a row that nobody listens on. Raises UserError.

    They lie below the ports that the kernel gives to outgoing connections: one of those could take
    a node's port while the node is down, and the restarted node could not listen.
    """
    highest = _ephemeral_min() - count
    if highest > PORT_MIN:
        for _ in range(PORT_TRIES_MAX):
            base = PORT_MIN + secrets.randbelow(highest - PORT_MIN + 1)
            if all(_is_free(host, port) for port in range(base, base + count)):
                return base
    raise UserError(f"found no {count} free ports in a row on {host}: name one with --base-port")


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, port))
        except OSError:
            return False
    return True


def _ephemeral_min() -> int:
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
    except FileNotFoundError:
        return EPHEMERAL_MIN_DEFAULT
    return int(text.split()[0])


def _check(output: Path, plan: NetworkPlan) -> None:
    if not 1 <= plan.nodes <= NODES_MAX:
        raise UserError(f"a testnet has 1 to {NODES_MAX} nodes, not {plan.nodes}")
    most = min(plan.nodes, VALIDATORS_MAX)
    if not 1 <= plan.validators <= most:
        raise UserError(f"{plan.nodes} nodes have 1 to {most} validators, not {plan.validators}")
    if plan.base_port and not 1024 <= plan.base_port <= 65536 - plan.nodes:
        raise UserError(f"from port {plan.base_port} on there are no {plan.nodes} usable ports")
    if output.exists():
        raise UserError(f"{output} exists already: choose another directory")


def _genesis(plan: NetworkPlan, keys: Sequence[Key]) -> Genesis:
    now_ms = Millis(time.time_ns() // 1_000_000)
    genesis = Genesis(
        name=plan.name,
        time_ms=now_ms if plan.time_ms is None else plan.time_ms,
        parameters=plan.parameters,
        accounts=tuple(
            GenesisAccount(
                account=key.account,
                balance=plan.balance,
                bonded=plan.bond if index < plan.validators else Amount(0),
            )
            for index, key in enumerate(keys)
        ),
    )
    try:
        check_genesis(genesis)
    except ValueError as error:
        raise UserError(f"cannot begin a chain so: {error}") from None
    return genesis


def _configs(plan: NetworkPlan, keys: Sequence[Key]) -> Iterator[Config]:
    base_port = plan.base_port or free_base_port(plan.host, plan.nodes)
    ports = range(base_port, base_port + plan.nodes)
    kind = "ip6" if ":" in plan.host else "ip4"
    listen = [f"/{kind}/{plan.host}/tcp/{port}" for port in ports]
    named = [
        f"{address}/p2p/{peer_text(key.peer)}" for address, key in zip(listen, keys, strict=True)
    ]
    for index, address in enumerate(listen):
        try:
            yield Config(
                network=NetworkConfig(
                    listen=(address,),
                    seeds=tuple(named[seed] for seed in _seeds_of(index, plan.nodes)),
                ),
                storage=StorageConfig(capacity=ByteCount(plan.capacity_bytes)),
                offer=OfferConfig(
                    accepting=plan.accepting,
                    storage=ByteCount(plan.capacity_bytes),
                    region=plan.regions[index % len(plan.regions)] if plan.regions else "",
                ),
            )
        except ValueError as error:
            raise UserError(f"cannot configure a node so: {error}") from None


def _seeds_of(index: int, nodes: int) -> list[int]:
    """Whom a node is told of: its neighbours in a ring, and one halfway down.

    Nobody is everybody's seed: a thousand first dials at one node would keep it from its work.
    """
    found = dict.fromkeys(((index - 1) % nodes, index // 2, (index + 1) % nodes))
    return [seed for seed in found if seed != index][:SEEDS_COUNT]


def _key(secret: bytes | None, index: int) -> Key:
    return new_key() if secret is None else Key(digest(b"testnet", secret, index.to_bytes(8)))
