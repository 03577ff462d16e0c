"""What `init` and `testnet` do."""

import shlex
import time
from pathlib import Path
from typing import NamedTuple

from p2p.api.render import Column, rows_of, short, show_table
from p2p.api.values import Json, Row
from p2p.model.parameters import Genesis, GenesisAccount, Parameters, with_overrides
from p2p.node.config import ByteCount, Config, NetworkConfig, OfferConfig, StorageConfig
from p2p.node.errors import UserError
from p2p.node.genesis import check_genesis, read_genesis
from p2p.node.home import create_home, new_key
from p2p.node.testnet import NetworkPlan, make_testnet
from p2p.primitives.keys import Key, peer_text
from p2p.primitives.units import Amount, Millis


class Wish(NamedTuple):
    """What the owner of a new home asked for."""

    name: str
    listen: str | None
    seeds: tuple[str, ...]
    balance: int
    storage_bytes: int
    region: str


class Made(NamedTuple):
    """The home that was made."""

    home: Path
    peer_id: str
    chain: str
    chain_id: str


def make_home(home: Path, genesis_path: Path | None, wish: Wish) -> Made:
    """Make a home on the chain of a genesis file, or on a chain of its own. Raises UserError."""
    key = new_key()
    genesis = _own_genesis(key, wish) if genesis_path is None else read_genesis(genesis_path)
    try:
        listen = NetworkConfig().listen if wish.listen is None else (wish.listen,)
        capacity = ByteCount(wish.storage_bytes)
        config = Config(
            network=NetworkConfig(listen=listen, seeds=wish.seeds),
            storage=StorageConfig(capacity=capacity),
            offer=OfferConfig(storage=capacity, region=wish.region),
        )
    except ValueError as error:
        raise UserError(str(error)) from None
    made = create_home(home, key, genesis, config)
    return Made(made.path, peer_text(key.peer), genesis.name, genesis.chain_id.hex())


def _own_genesis(key: Key, wish: Wish) -> Genesis:
    """A chain that this key alone decides; half of its account is bonded."""
    genesis = Genesis(
        name=wish.name,
        time_ms=Millis(time.time_ns() // 1_000_000),
        parameters=Parameters(),
        accounts=(
            GenesisAccount(
                key.account, Amount(wish.balance - wish.balance // 2), Amount(wish.balance // 2)
            ),
        ),
    )
    try:
        check_genesis(genesis)
    except ValueError as error:
        raise UserError(f"cannot begin a chain so: {error}") from None
    return genesis


def make_network(
    output: Path, *, nodes: int, validators: int, base_port: int, epoch_ms: int, storage_bytes: int
) -> Row:
    """Make the homes of a network; what was made. Raises UserError."""
    try:
        parameters = with_overrides(Parameters(), {"epoch_ms": epoch_ms})
    except ValueError as error:
        raise UserError(str(error)) from None
    plan = NetworkPlan(
        nodes=nodes,
        validators=validators,
        base_port=base_port,
        parameters=parameters,
        capacity_bytes=storage_bytes,
    )
    made = make_testnet(output, plan)
    homes: Json = [
        {
            "home": str(home.path),
            "peer_id": peer_text(key.peer),
            "listen": home.read_config().network.listen[0],
            "validator": index < validators,
        }
        for index, (home, key) in enumerate(zip(made.homes, made.keys, strict=True))
    ]
    return {"chain_id": made.genesis.chain_id.hex(), "output": str(output), "nodes": homes}


def show_network(made: Row) -> None:
    """Print what `make_network` made, and how to start it."""
    rows = rows_of(made["nodes"])
    columns = (
        Column("HOME", "home"),
        Column("PEER ID", "peer_id", short),
        Column("LISTENS ON", "listen"),
        Column("", "validator", lambda value: "validator" if value else ""),
    )
    show_table(rows, columns, empty="no nodes")
    pattern = f"{shlex.quote(str(made['output']))}/node-*"
    print(f'\nnext: for home in {pattern}; do p2p start --home "$home" & done')
