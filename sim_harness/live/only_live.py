"""Faults that only real processes have: sockets that lie, readers that dawdle, files that run out.

They are said to `sim-harness up`, or begun from Python; scenario files hold what both worlds know.
"""

from typing import ClassVar, Final

from sim_harness.scenario.schema import Fault


class BlackHole(Fault, frozen=True):
    """Dials succeed, connections stand, and nothing that is sent ever arrives."""

    kind: ClassVar[str] = "black_hole"


class HalfOpen(Fault, frozen=True):
    """Nodes lose their ends of all connections; the others are not told and go on believing."""

    kind: ClassVar[str] = "half_open"


class SlowReader(Fault, frozen=True):
    """Nodes take from their sockets only so many bytes a second of each connection."""

    kind: ClassVar[str] = "slow_reader"

    rate: int
    """Bytes a second."""


class FewFiles(Fault, frozen=True):
    """Processes have no descriptor left: accepting and opening fail, while strangers knock."""

    kind: ClassVar[str] = "few_files"


class EmptyDisk(Fault, frozen=True):
    """Processes end, and start again with the keys that they had and nothing else."""

    kind: ClassVar[str] = "empty_disk"


ONLY_LIVE: Final[dict[str, type[Fault]]] = {
    one.kind: one for one in (BlackHole, HalfOpen, SlowReader, FewFiles, EmptyDisk)
}
