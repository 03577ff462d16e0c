"""Networks on this machine: homes, ports, and the cluster over them."""

import shutil
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
from sim_harness.live.cluster import LiveCluster
from sim_harness.live.disk.kinds import DiskKind
from sim_harness.live.homes import open_homes
from sim_harness.live.janitor import janitor
from sim_harness.live.kernel.offer import Offer
from sim_harness.live.zygote import NODE_ENTRY

HOST: Final = "127.0.0.1"


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
    scratch: tuple[Path, ...] = ()
    """Other directories that go with the network, also when this process is killed."""
    options: dict[str, str] = {}
    """For the node processes: see `node_process`."""
    parameters: dict[str, int] = {}
    """Of the chain, where they differ from the defaults."""
    kernel: Offer | None = None
    """What the kernel has, to break the network there; None: in the transport."""
    disk: DiskKind = DiskKind.INJECTED
    """How disks are hurt."""


@asynccontextmanager
async def open_network(plan: LocalPlan, *, entry: str = NODE_ENTRY) -> AsyncIterator[LiveCluster]:
    """A cluster as planned, no node started yet; afterwards no process is left, no temporary file.

    Raises:
        UserError: the plan cannot be carried out.
        ZygoteError: the parent of all node processes could not start.
        KernelError: the nodes' network namespace could not be set up.
    """
    directory = plan.directory or Path(tempfile.mkdtemp(prefix="gigmesh-"))
    scratch = plan.scratch if plan.directory else (directory, *plan.scratch)
    try:
        with janitor(scratch):
            homes = find_homes(directory) or make_homes(plan, directory)
            if len(homes) != plan.nodes:
                raise UserError(
                    f"{directory} holds a network of {len(homes)} nodes, not {plan.nodes}:"
                    f" choose another directory, or --nodes {len(homes)}"
                )
            async with open_homes(
                homes,
                entry=entry,
                options=plan.options,
                scratch=scratch,
                kernel=plan.kernel,
                seed=plan.seed or 0,
                disk=plan.disk,
            ) as cluster:
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
        parameters = with_overrides(Parameters(), {"epoch_ms": plan.epoch_ms, **plan.parameters})
    except ValueError as error:
        raise UserError(str(error)) from None
    network = make_testnet(
        directory,
        NetworkPlan(
            nodes=plan.nodes,
            validators=min(plan.validators, plan.nodes),
            name="live",
            host=HOST,
            parameters=parameters,
            capacity_bytes=plan.capacity_bytes,
            secret=secret,
        ),
    )
    return [home.path for home in network.homes]
