"""How the disks of live nodes are hurt; imported by command lines, so it brings nothing else."""

from enum import StrEnum


class DiskKind(StrEnum):
    """How disks are hurt."""

    INJECTED = "injected"
    """In the nodes' processes and by their limits: works everywhere."""
    FUSE = "fuse"
    """By a file system of ours under the homes."""
