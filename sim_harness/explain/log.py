"""Event logs: every event of a run as a stream of MessagePack, to be compared with another run's.

    {format, name, seed, commit, python, hash_seed}     one map
    [microseconds since the start, kind, what...]       one array an event, in order

Two processes, two commits or two machines can each write one; `sim-harness diff` reads them.
"""

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import msgpack
import msgspec

from sim_harness.scenario.run import Run
from sim_harness.swarm.swarm import commit
from sim_harness.virtual.heap import MICROS_PER_MS, What

FORMAT: Final = "gigmesh events 1"
BUFFER_BYTES: Final = 1 << 20
ITEM_BYTES_MAX: Final = 1 << 20


class LogError(Exception):
    """A file that is no event log, or ends in the middle; in a sentence."""


class Head(msgspec.Struct, frozen=True):
    """Of which run a log is."""

    format: str
    name: str
    seed: int
    commit: str | None
    python: str
    hash_seed: bool
    """Whether texts are hashed with a seed that differs from process to process."""


class Entry(msgspec.Struct, frozen=True):
    """One event."""

    at_us: int
    """Since the start."""
    kind: str
    what: tuple[object, ...]


class Log:
    """Writes the events of a run to a file, from its construction until `close`."""

    def __init__(self, run: Run, file: BinaryIO) -> None:
        self._file = file
        self._start_us = run.world.heap.now_us
        self._packer = msgpack.Packer(use_bin_type=True)
        self._run = run
        head = Head(
            FORMAT,
            run.scenario.name,
            run.world.seed,
            commit(),
            platform.python_version(),
            bool(sys.flags.hash_randomization),
        )
        self._parts = bytearray(self._packer.pack(msgspec.structs.asdict(head)))
        run.world.heap.watch = self._write

    def _write(self, at_us: int, kind: str, what: What) -> None:
        rest = what if isinstance(what, tuple) else (what,)
        self._parts += self._packer.pack([at_us - self._start_us, kind, *rest])
        if len(self._parts) >= BUFFER_BYTES:
            self._file.write(self._parts)
            self._parts.clear()

    def close(self) -> None:
        """Write what is left; no event is watched any more."""
        self._run.world.heap.watch = None
        self._file.write(self._parts)
        self._parts.clear()


@contextmanager
def logged(run: Run, path: Path) -> Iterator[None]:
    """Log a run to a file while the block lasts. Raises OSError."""
    with path.open("wb") as file:
        log = Log(run, file)
        try:
            yield
        finally:
            log.close()


def read_log(path: Path) -> tuple[Head, Iterator[Entry]]:
    """The head of a log, and its events as they are read. Raises LogError."""
    items = _items(path)
    head = next(items, None)
    try:
        found = msgspec.convert(head, Head)
    except msgspec.ValidationError:
        raise LogError(f"{path} is no event log") from None
    if found.format != FORMAT:
        raise LogError(f"{path} is a log of another format: {found.format[:40]!r}")
    return found, _entries(path, items)


def _entries(path: Path, items: Iterator[object]) -> Iterator[Entry]:
    for item in items:
        match item:
            case [int(at_us), str(kind), *what]:
                yield Entry(at_us, kind, tuple(what))
            case _:
                raise LogError(f"{path} holds something else than events")


def _items(path: Path) -> Iterator[object]:
    try:
        with path.open("rb") as file:
            unpacker = msgpack.Unpacker(file, raw=False, max_buffer_size=16 * ITEM_BYTES_MAX)
            try:
                yield from unpacker
            except (ValueError, msgpack.exceptions.UnpackException):
                raise LogError(f"{path} is no event log") from None
    except OSError as error:
        raise LogError(f"cannot read {path}: {error.strerror}") from None


def entry_text(entry: Entry) -> str:
    """An event in a line: `t=4.170312s rpc 3 > 0, 120 bytes ...`."""
    words = " ".join(_word(one) for one in entry.what)
    return f"t={entry.at_us / MICROS_PER_MS / 1_000:.6f}s {entry.kind} {words}".rstrip()


def _word(one: object) -> str:
    if isinstance(one, bytes):
        is_text = one.isascii() and one.decode("ascii").isprintable()
        return one.decode("ascii") if is_text else one.hex()[:8]
    return str(one)
