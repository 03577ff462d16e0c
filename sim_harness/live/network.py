"""Networks on this machine: homes, ports, and the cluster over them."""

import random
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from p2p.model.parameters import Parameters, with_overrides
from p2p.node.errors import UserError
from p2p.node.testnet import NetworkPlan, make_testnet
from p2p.primitives.units import MIB
from sim_harness.live.cluster import LiveCluster, open_homes
from sim_harness.live.zygote import NODE_ENTRY

HOST: Final = "127.0.0.1"
PORT_MIN: Final = 10_000
EPHEMERAL_MIN_DEFAULT: Final = 32_768
PORT_TRIES_MAX: Final = 200


class LocalPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A network to run on this machine."""

    nodes: int
    validators: int = 4
    epoch_ms: int = 5_000
    capacity_bytes: int = 256 * MIB
    seed: int | None = None
    """The keys and the random choices of the harness follow from it; None draws them."""
    directory: Path | None = None
    """Where the homes are made, or found from an earlier run; None is a place that is removed."""
    options: dict[str, str] = {}
    """For the node processes: see `node_process`."""


@asynccontextmanager
async def open_network(plan: LocalPlan, *, entry: str = NODE_ENTRY) -> AsyncIterator[LiveCluster]:
    """A cluster as planned, no node started yet; afterwards no process is left, no temporary file.

    Raises:
        UserError: the plan cannot be carried out.
        ZygoteError: the parent of all node processes could not start.
    """
    directory = plan.directory or Path(tempfile.mkdtemp(prefix="gigmesh-"))
    try:
        homes = find_homes(directory) or make_homes(plan, directory)
        if len(homes) != plan.nodes:
            raise UserError(
                f"{directory} holds a network of {len(homes)} nodes, not {plan.nodes}:"
                f" choose another directory, or --nodes {len(homes)}"
            )
        async with open_homes(homes, entry=entry, options=plan.options) as cluster:
            yield cluster
    finally:
        if plan.directory is None:
            shutil.rmtree(directory, ignore_errors=True)


def find_homes(directory: Path) -> list[Path]:
    """Homes that an earlier run made there."""
    return sorted(path.parent for path in directory.glob("node-*/config.toml"))


def make_homes(plan: LocalPlan, directory: Path) -> list[Path]:
    """New homes under a directory that is empty or not there yet. Raises UserError."""
    if directory.exists():
        if any(directory.iterdir()):
            raise UserError(f"{directory} holds something else than a network of ours")
        directory.rmdir()
    secret = None if plan.seed is None else b"sim-harness" + plan.seed.to_bytes(8, signed=True)
    try:
        parameters = with_overrides(Parameters(), {"epoch_ms": plan.epoch_ms})
    except ValueError as error:
        raise UserError(str(error)) from None
    network = make_testnet(
        directory,
        NetworkPlan(
            nodes=plan.nodes,
            validators=min(plan.validators, plan.nodes),
            name="live",
            base_port=free_base_port(plan.nodes),
            host=HOST,
            parameters=parameters,
            capacity_bytes=plan.capacity_bytes,
            secret=secret,
        ),
    )
    return [home.path for home in network.homes]


def free_base_port(count: int) -> int:
    """The first of `count` ports in a row that nobody listens on. Raises UserError.

    They lie below the ports that the kernel gives to outgoing connections: one of those could take
    a node's port while the node is down, and the restarted node could not listen.
    """
    highest = _ephemeral_min() - count
    if highest > PORT_MIN:
        for _ in range(PORT_TRIES_MAX):
            base = random.randint(PORT_MIN, highest)
            if all(_is_free(port) for port in range(base, base + count)):
                return base
    raise UserError(f"found no {count} free ports in a row on {HOST}: use fewer nodes")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((HOST, port))
        except OSError:
            return False
    return True


def _ephemeral_min() -> int:
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
    except FileNotFoundError:
        return EPHEMERAL_MIN_DEFAULT
    return int(text.split()[0])
