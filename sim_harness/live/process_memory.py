"""Memory and processor time of processes, as the kernel counts them."""

import os
import resource
from pathlib import Path

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """What one process takes."""

    pss_bytes: int
    """Its own pages, and its share of those that it has in common with others."""
    private_bytes: int
    """What would be freed by its end."""
    cpu_s: float
    """Processor time since its start."""


def resident_bytes() -> int:
    """Physical memory of this process, shared pages included; its peak if no file can be opened."""
    try:
        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def usage(pid: int) -> Usage | None:
    """What a process takes; None when it is gone."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    kib = {name: int(rest.split()[0]) for name, rest in _pairs(rollup)}
    # The name of the program, in parentheses, may hold anything.
    fields = stat.rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return Usage(
        pss_bytes=kib.get("Pss", 0) * 1024,
        private_bytes=(kib.get("Private_Clean", 0) + kib.get("Private_Dirty", 0)) * 1024,
        cpu_s=ticks / os.sysconf("SC_CLK_TCK"),
    )


def _pairs(rollup: str) -> list[tuple[str, str]]:
    """The lines `Name:   123 kB`."""
    found = []
    for line in rollup.splitlines():
        name, colon, rest = line.partition(":")
        if colon and rest.endswith("kB"):
            found.append((name, rest))
    return found
