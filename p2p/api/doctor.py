"""`p2p doctor`: whether this machine has what a node needs, and what to mend.

Each check answers with one line. A home is optional: without one, only the machine is looked at.
"""

import importlib.metadata
import os
import platform
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from p2p.api.client import ApiClient
from p2p.api.render import number, row_of, rows_of, size
from p2p.api.values import Row
from p2p.node.errors import UserError
from p2p.node.home import OTHERS_MODE, Home

PYTHON_MIN: Final = (3, 11)
LIBP2P_VERSION: Final = "0.8.1"
DISK_RESERVE_BYTES: Final = 1024**3
FSYNC_MS_MAX: Final = 50.0
"""A validator syncs twice a round; beyond this its votes come late."""
FSYNC_COUNT: Final = 20
CLOCK_MS_MAX: Final = 500
"""The chain's default tolerance (`time_precision_ms`)."""


class Finding(NamedTuple):
    """One check: what was looked at, whether it is well, what was seen, and what to do."""

    name: str
    ok: bool
    seen: str
    fix: str = ""

    def as_row(self) -> Row:
        """As JSON."""
        return {"check": self.name, "ok": self.ok, "seen": self.seen, "fix": self.fix}


def examine(home_path: Path) -> list[Finding]:
    """All checks, in the order in which a person would mend them."""
    findings = [_python(), _libp2p()]
    home = Home(home_path)
    if not home.config_path.exists():
        fix = f"make one: p2p init --home {home.path}"
        return [*findings, Finding("home", False, f"{home.path} is no home", fix)]
    checks: tuple[Callable[[Home], Iterator[Finding]], ...] = (
        _files,
        _disk,
        _fsync,
        _ports,
        _running,
    )
    for check in checks:
        name = check.__name__.removeprefix("_")
        try:
            findings.extend(check(home))
        except UserError as error:
            findings.append(Finding(name, False, str(error)))
        except OSError as error:
            findings.append(Finding(name, False, f"{error.filename}: {error.strerror}"))
    return findings


def show(findings: list[Finding]) -> None:
    """Print a line for each finding."""
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = "ok " if finding.ok else "fix"
        advice = f" -> {finding.fix}" if finding.fix and not finding.ok else ""
        print(f"{mark}  {finding.name:<{width}}  {finding.seen}{advice}")


def _python() -> Finding:
    ok = sys.version_info[:2] >= PYTHON_MIN
    return Finding("python", ok, platform.python_version(), "install Python 3.11 to 3.13")


def _libp2p() -> Finding:
    fix = f"pip install libp2p=={LIBP2P_VERSION}"
    try:
        version = importlib.metadata.version("libp2p")
        began = time.monotonic()
        from p2p.network import libp2p_transport  # noqa: F401 - whether it can be imported

        seen = f"{version}, imported in {time.monotonic() - began:.1f} s"
    except ImportError as error:
        return Finding("libp2p", False, str(error), fix)
    return Finding("libp2p", version == LIBP2P_VERSION, seen, fix)


def _files(home: Home) -> Iterator[Finding]:
    mode = home.path.stat().st_mode & 0o777
    shared = mode & 0o022
    yield Finding("home", not shared, f"{home.path}, mode {mode:04o}", f"chmod 700 {home.path}")
    for path in (home.key_path, home.token_path):
        mode = path.stat().st_mode & 0o777
        fix = f"chmod 600 {path}"
        yield Finding(path.name, not mode & OTHERS_MODE, f"mode {mode:04o}", fix)
    home.read_key()
    home.read_config()
    genesis = home.read_genesis()
    yield Finding("chain", True, f"{genesis.name} ({genesis.chain_id.hex()[:16]})")


def _disk(home: Home) -> Iterator[Finding]:
    free = shutil.disk_usage(home.path).free
    used = sum(file.stat().st_size for file in home.blobs_path.rglob("*") if file.is_file())
    wanted = max(0, home.read_config().storage.capacity - used) + DISK_RESERVE_BYTES
    seen = f"{size(free)} free, {size(wanted)} wanted for storage.capacity and a reserve"
    yield Finding("disk", free >= wanted, seen, "free some space, or lower storage.capacity")


def _fsync(home: Home) -> Iterator[Finding]:
    path = home.data_path / ".doctor"
    times_ms = []
    with path.open("wb") as file:
        for _ in range(FSYNC_COUNT):
            file.write(bytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            times_ms.append((time.perf_counter() - began) * 1000)
    path.unlink()
    middle = median(times_ms)
    seen = f"{middle:.2f} ms in the middle, {max(times_ms):.2f} ms at worst"
    yield Finding("fsync", middle <= FSYNC_MS_MAX, seen, "put the home on a faster disk")


def _ports(home: Home) -> Iterator[Finding]:
    is_running = _status(home) is not None
    for address in home.read_config().network.listen:
        _, kind, host, _, port = address.split("/")
        family = socket.AF_INET6 if kind == "ip6" else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, int(port)))
                ok, seen = True, "free"
            except OSError as error:
                ok, seen = is_running, "this node's" if is_running else str(error.strerror)
        yield Finding("port", ok, f"{address}: {seen}", "choose another in network.listen")


def _running(home: Home) -> Iterator[Finding]:
    status = _status(home)
    if status is None:
        yield Finding("node", True, "not running, so peers and clocks were not looked at")
        return
    peers, halted = number(status.get("peers")), status.get("halted")
    seen = str(halted or f"height {number(status.get('height'))}, {peers} peers")
    alone = peers == 0 and number(status.get("validators")) > 1
    fix = "see its log" if halted else "check network.seeds and the firewall"
    yield Finding("node", not halted and not alone, seen, fix)
    yield _clock(home, number(status.get("block_time_ms")))


def _clock(home: Home, block_time_ms: int) -> Finding:
    """Nothing signed by others can be dated ahead of a clock that is right."""
    now_ms = time.time_ns() // 1_000_000
    dated = [number(row.get("issued_ms")) for row in rows_of(ApiClient(home.path).get("/ads"))]
    ahead_ms = max([block_time_ms, *dated]) - now_ms
    if ahead_ms <= CLOCK_MS_MAX:
        return Finding("clock", True, "nothing from peers is dated ahead of it")
    seen = f"at least {ahead_ms} ms behind what peers have signed"
    return Finding("clock", False, seen, "synchronise it (chrony, systemd-timesyncd)")


def _status(home: Home) -> Row | None:
    try:
        return row_of(ApiClient(home.path).get("/status"))
    except UserError:
        return None
