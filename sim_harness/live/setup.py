"""What all node processes of one run have in common: written once, read by each of them."""

from pathlib import Path
from typing import Final

import msgspec

from p2p.model.parameters import Genesis
from p2p.primitives.keys import peer_id_of
from p2p.primitives.units import PeerId
from sim_harness.virtual.links import Latency

FILE: Final = "setup.msgpack"


class Seat(msgspec.Struct, frozen=True):
    """Nodes in the hands of one league of adversaries."""

    kind: str
    nodes: tuple[int, ...]
    options: dict[str, int | str | bool | float] = {}


class Setup(msgspec.Struct, frozen=True):
    """Distances, local parameters, and who lies or bears witness."""

    seed: int
    nodes: int
    validators: int
    rows_us: tuple[tuple[int, ...], ...]
    """One way, between places."""
    places: tuple[int, ...]
    """Of each node."""
    jitter_us: int
    bytes_per_second: int
    """Of each node's uplink."""
    parameters: tuple[tuple[str, int], ...] = ()
    """Overrides, as scenarios have them."""
    seats: tuple[Seat, ...] = ()
    witnesses: tuple[int, ...] = ()
    """Nodes that tell every vote which reaches them."""
    own_addresses: bool = False
    """Whether each node has an address of its own, in the run's own network namespace."""

    def latency(self) -> Latency:
        """Microseconds between nodes, by number."""
        rows, places = self.rows_us, self.places
        return lambda source, target: rows[places[source]][places[target]]

    @property
    def liars(self) -> dict[int, str]:
        """The kind of adversary of each node that has one."""
        return {node: seat.kind for seat in self.seats for node in seat.nodes}

    def write(self, directory: Path) -> Path:
        """Put it into a file; its path. Raises OSError."""
        path = directory / FILE
        path.write_bytes(msgspec.msgpack.encode(self))
        return path


def read_setup(path: Path) -> Setup:
    """The setup in a file. Raises OSError, msgspec.DecodeError."""
    return msgspec.msgpack.decode(path.read_bytes(), type=Setup)


def numbers_of(genesis: Genesis) -> dict[PeerId, int]:
    """The number of every node of the network: genesis names them in order."""
    return {peer_id_of(entry.account): index for index, entry in enumerate(genesis.accounts)}
