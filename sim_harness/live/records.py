"""The event log of a live run: all that nodes told and the harness did, in order, as it came.

    {Head} then records, each 4 bytes of length and one MessagePack value

The log is all that a verdict rests on: `sim-harness check` reads it and judges again, without the
nodes' homes. What disks held at the end stands in it, too, each value once.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from p2p.model.persistence import Put, Table
from p2p.primitives.digests import digest
from p2p.primitives.units import Digest
from p2p.storage.port import Store
from sim_harness.live.disk.kinds import DiskKind
from sim_harness.scenario.faults import FaultRecord
from sim_harness.scenario.statements import Sample

FORMAT: Final = "gigmesh live events 1"
FILE: Final = "events.log"
LENGTH_BYTES: Final = 4
RECORD_BYTES_MAX: Final = 1 << 26


class LogError(Exception):
    """A file that is no event log of a live run; in a sentence."""


class Head(msgspec.Struct, frozen=True, tag=True):
    """Of which run a log is."""

    format: str
    seed: int
    validators: int
    genesis: bytes
    directory: str
    """Where paths in the scenario begin."""
    file: str
    """The scenario's file, as it was named."""
    kernel: bool = False
    """Whether the kernel broke the network."""
    disk: DiskKind = DiskKind.INJECTED


class Told(msgspec.Struct, frozen=True, tag=True):
    """A node told something: a `NodeWord`, packed."""

    at_ms: int
    node: int
    word: bytes


class Began(msgspec.Struct, frozen=True, tag=True):
    """A process of a node was started."""

    at_ms: int
    node: int


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A process of a node ended; `why` it did, if by itself."""

    at_ms: int
    node: int
    code: int
    why: str = ""


class Marked(msgspec.Struct, frozen=True, tag=True):
    """A phase began: `up`, `closed` (no more faults and load), `over`."""

    at_ms: int
    what: str
    number: float = 0.0


class Hurt(msgspec.Struct, frozen=True, tag=True):
    """What a fault did, as it stands now; a later record of the same number replaces it."""

    number: int
    record: FaultRecord


class Sampled(msgspec.Struct, frozen=True, tag=True):
    """A moment of the whole network."""

    sample: Sample


class Taken(msgspec.Struct, frozen=True, tag=True):
    """What the processes take at a moment, measured from outside."""

    at_ms: int
    pss_mib: float
    """Of all nodes and their parent."""
    cpu_s: dict[int, float]
    """By node, since its process began."""
    rss_mib: dict[int, float]
    descriptors: dict[int, int]
    harness_cpu_s: float = 0.0


class Worked(msgspec.Struct, frozen=True, tag=True):
    """A piece of load: asked at a moment, and what came of it."""

    at_ms: int
    kind: str
    node: int
    ok: bool
    took_ms: int
    size_bytes: int = 0
    paid: int = 0
    why: str = ""


class Value(msgspec.Struct, frozen=True, tag=True):
    """A value that stood on some disk."""

    data: bytes


class Disk(msgspec.Struct, frozen=True, tag=True):
    """What a node's disk held at the end: table, key, and digest of the value."""

    node: int
    rows: tuple[tuple[str, bytes, Digest], ...]


class Broken(msgspec.Struct, frozen=True, tag=True):
    """The harness could not go on, or a promise was broken: a sentence."""

    at_ms: int
    text: str


Record = (
    Head | Told | Began | Ended | Marked | Hurt | Sampled | Taken | Worked | Value | Disk | Broken
)

_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


class RunLog:
    """Writes records as they come."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("wb", buffering=1 << 18)
        self._encoder = msgspec.msgpack.Encoder()
        self._known: set[Digest] = set()
        self.count = 0

    def write(self, record: Record) -> None:
        """Add one record."""
        data = self._encoder.encode(record)
        self._file.write(len(data).to_bytes(LENGTH_BYTES))
        self._file.write(data)
        self.count += 1

    def write_disk(self, node: int, store: Store) -> list[Record]:
        """Add what a disk holds, values once; the records. Raises StoreError."""
        records: list[Record] = []
        rows = []
        for table in Table:
            for key, value in store.scan(table):
                name = digest(value)
                rows.append((table.value, key, name))
                if name not in self._known:
                    self._known.add(name)
                    records.append(Value(value))
        records.append(Disk(node, tuple(rows)))
        for record in records:
            self.write(record)
        return records

    def flush(self) -> None:
        """Let readers see everything."""
        self._file.flush()

    def close(self) -> None:
        """No more records."""
        self._file.close()


def read_records(path: Path) -> Iterator[Record]:
    """The records of a log; one that was cut off ends with its last whole record.

    Raises LogError.
    """
    try:
        with path.open("rb") as file:
            while len(length := file.read(LENGTH_BYTES)) == LENGTH_BYTES:
                size = int.from_bytes(length)
                data = file.read(size) if size <= RECORD_BYTES_MAX else b""
                if len(data) < size:
                    return
                try:
                    yield _decoder.decode(data)
                except msgspec.DecodeError:
                    raise LogError(f"{path} is no event log of a live run") from None
    except OSError as error:
        raise LogError(f"cannot read {path}: {error.strerror}") from None


def puts_of(disk: Disk, values: dict[Digest, bytes]) -> list[Put]:
    """What a disk held, as writes."""
    return [Put(Table(table), key, values[name]) for table, key, name in disk.rows]
