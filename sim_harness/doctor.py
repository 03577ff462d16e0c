"""`sim-harness doctor`: what this machine offers for breaking networks, found out by trying."""

import ctypes.util
import os
import resource
from json import dumps
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer

FAKETIME: Final = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
)
DESCRIPTORS_PER_NODE: Final = 60
"""The most that a node of a hundred had open."""


class Found(NamedTuple):
    """One thing that was looked for."""

    name: str
    works: bool
    used: bool
    """Whether words of scenarios rest on it; the rest is only told."""
    what: str
    kernel: bool = False
    """Whether words rest on it with `--faults kernel`."""

    @property
    def use(self) -> str:
        """Who rests on it, in words."""
        if self.used:
            return "used"
        return "used by --faults kernel" if self.kernel else "not used"


def examine() -> list[Found]:
    """Try everything; nothing stays behind: networks are tried in a namespace that ends with it."""
    pids = _number("/proc/sys/kernel/pid_max")
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [
        Found("transport wrapper", True, True, "partition, delay, loss, bandwidth; no privilege"),
        Found("signals", os.name == "posix", True, "kill, pause, slow_cpu"),
        Found("prlimit", hasattr(resource, "prlimit"), True, "disk_full, few_files"),
        Found("parent-death signal", Path("/proc/self").exists(), True, "nobody is left behind"),
        Found("process ids", pids >= 4_096, True, f"{pids} in all"),
        Found("descriptors", files >= DESCRIPTORS_PER_NODE, True, f"{files} for each process"),
        Found("autogroup", _autogroup(), True, "a run can be given precedence (root)"),
        *_kernel(),
        Found("cgroups", _cgroups(), False, "processor and disk quotas"),
        Found("libfaketime", _faketime(), False, "clocks of unchanged programs"),
    ]


def _number(path: str) -> int:
    try:
        return int(Path(path).read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def _autogroup() -> bool:
    return os.geteuid() == 0 and os.access("/proc/self/autogroup", os.W_OK)


def _cgroups() -> bool:
    root = Path("/sys/fs/cgroup")
    return (os.access(root, os.W_OK) and any(root.glob("**/cpu.cfs_quota_us"))) or os.access(
        root / "cgroup.subtree_control", os.W_OK
    )


def _faketime() -> bool:
    found = ctypes.util.find_library("faketime")
    return found is not None or any(Path(one).exists() for one in FAKETIME)


def _kernel() -> list[Found]:
    """What `--faults kernel` has for each word, tried with real packets."""
    from sim_harness.live.kernel.offer import HTB, NFQUEUE, NFTABLES, WORDS, find_offer

    offer = find_offer()
    found = []
    for backend, why in (
        (NFTABLES, offer.nftables),
        (HTB, offer.htb),
        (NFQUEUE, offer.nfqueue),
    ):
        words = ", ".join(word for word, does in WORDS.items() if does == backend)
        instead = "there is no --faults kernel" if backend == NFTABLES else "by the transport"
        what = f"{words}: {instead}; {why}" if why else words
        found.append(Found(backend, not why, False, what, kernel=True))
    netem = offer.netem or "delay and loss have others here"
    return [*found, Found("netem", not offer.netem, False, netem)]


def doctor(
    *, json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False
) -> None:
    """See what this machine offers for breaking networks, each found out by trying."""
    from rich.console import Console
    from rich.table import Table

    found = examine()
    if json:
        typer.echo(dumps({"found": [one._asdict() for one in found]}))
    else:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("", "what", "", "for"):
            table.add_column(name)
        for one in found:
            mark = "[green]works[/]" if one.works else "[yellow]not here[/]"
            table.add_row(mark, one.name, one.use, one.what)
        Console().print(table)
    if any(one.used and not one.works and one.name != "autogroup" for one in found):
        raise typer.Exit(1)
