"""Processor quotas by the kernel: a control group a node, under one that bears the zygote's number.

    /sys/fs/cgroup/cpu/gigmesh-4711/n3/cpu.cfs_quota_us     version 1
    /sys/fs/cgroup/gigmesh-4711/n3/cpu.max                  version 2

Who ends the nodes removes the groups, too: the zygote at its own end, so that none is left when the
harness is killed, and the harness after it, where that was too slow and was killed.
"""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
PERIOD_US: Final = 100_000
QUOTA_US_MIN: Final = 1_000
"""The least that the kernel takes: a hundredth of a core."""
PAUSE_S: Final = 0.01
REMOVE_S: Final = 1.0
TRY_S: Final = 0.5
TRY_SHARE: Final = 0.1


class CpuGroups:
    """The groups of one family of nodes."""

    def __init__(self, zygote_pid: int, root: Path = ROOT) -> None:
        self._is_first = (root / "cpu" / "cpu.shares").exists()
        """Whether these are control groups of version 1."""
        self._top = root / "cpu" if self._is_first else root
        self.base = self._top / f"gigmesh-{zygote_pid}"

    def limit(self, node: int, share: float) -> None:
        """Make a group that gets this share of a core. Raises OSError."""
        group = self._group(node)
        if not self._is_first:
            _write(self._top / "cgroup.subtree_control", "+cpu")
        self.base.mkdir(exist_ok=True)
        if not self._is_first:
            _write(self.base / "cgroup.subtree_control", "+cpu")
        group.mkdir(exist_ok=True)
        quota_us = max(QUOTA_US_MIN, int(share * PERIOD_US))
        if self._is_first:
            _write(group / "cpu.cfs_period_us", str(PERIOD_US))
            _write(group / "cpu.cfs_quota_us", str(quota_us))
        else:
            _write(group / "cpu.max", f"{quota_us} {PERIOD_US}")

    def put(self, node: int, pid: int) -> None:
        """Put a process into the group of its node. Raises OSError."""
        _write(self._group(node) / "cgroup.procs", str(pid))

    def throttled(self, node: int) -> int:
        """How many times the kernel made the group wait for its next period."""
        with contextlib.suppress(OSError):
            for line in (self._group(node) / "cpu.stat").read_text(encoding="ascii").splitlines():
                name, _, value = line.partition(" ")
                if name == "nr_throttled":
                    return int(value)
        return 0

    def free(self, node: int) -> None:
        """Let the processes of a group run as they may again, and remove it."""
        group = self._group(node)
        with contextlib.suppress(OSError):
            for pid in (group / "cgroup.procs").read_text(encoding="ascii").split():
                # One that has just ended cannot be moved, and need not be.
                with contextlib.suppress(ProcessLookupError):
                    _write(self._top / "cgroup.procs", pid)
            group.rmdir()
            # The last one takes the place of all with it; another's is in the way of that.
            self.base.rmdir()

    def remove(self) -> None:
        """Remove all groups; their processes have ended, or are about to."""
        deadline_s = time.monotonic() + REMOVE_S
        while self.base.exists() and time.monotonic() < deadline_s:
            with contextlib.suppress(OSError):
                for group in self.base.iterdir():
                    if group.is_dir():
                        self.free(int(group.name.removeprefix("n")))
                self.base.rmdir()
                return
            time.sleep(PAUSE_S)

    def _group(self, node: int) -> Path:
        return self.base / f"n{node}"


def try_quota(root: Path = ROOT) -> tuple[bool, str]:
    """Let a process spin at a tenth of a core: whether the kernel holds it there, and its share."""
    groups = CpuGroups(os.getpid(), root)
    spin = [sys.executable, "-c", "while True: pass"]
    process = subprocess.Popen(spin, stdin=subprocess.DEVNULL)
    try:
        groups.limit(0, TRY_SHARE)
        groups.put(0, process.pid)
        early_s, began_s = _cpu_s(process.pid), time.monotonic()
        time.sleep(TRY_S)
        share = (_cpu_s(process.pid) - early_s) / (time.monotonic() - began_s)
        told = f"{share:.0%} of a core used where {TRY_SHARE:.0%} was given"
        return groups.throttled(0) > 0, told
    except OSError as error:
        return False, error.strerror or str(error)
    finally:
        process.kill()
        process.wait()
        groups.remove()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _write(path: Path, text: str) -> None:
    """Kernels take a value in one write, of a file that is there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
