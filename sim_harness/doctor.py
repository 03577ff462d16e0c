"""`sim-harness doctor`: what this machine offers for breaking networks, found out by trying."""

import os
import resource
import subprocess
import sys
from json import dumps
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer

TRY_S: Final = 10
"""For one attempt."""
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
    option: str = ""
    """With which option words rest on it."""

    @property
    def use(self) -> str:
        """Who rests on it, in words."""
        if self.used:
            return "used"
        return f"used by {self.option}" if self.option else "not used"


def examine() -> list[Found]:
    """Try everything; nothing stays behind: networks are tried in a namespace that ends with it."""
    pids = _number("/proc/sys/kernel/pid_max")
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [
        Found("transport wrapper", True, True, "partition, delay, loss, bandwidth; no privilege"),
        Found("signals", os.name == "posix", True, "kill, pause"),
        Found("prlimit", hasattr(resource, "prlimit"), True, "disk_full, few_files"),
        Found("parent-death signal", Path("/proc/self").exists(), True, "nobody is left behind"),
        Found("process ids", pids >= 4_096, True, f"{pids} in all"),
        Found("descriptors", files >= DESCRIPTORS_PER_NODE, True, f"{files} for each process"),
        Found("autogroup", _autogroup(), True, "a run can be given precedence (root)"),
        *_kernel(),
        _cpu_quota(),
        _fuse(),
        _faketime(),
    ]


def _number(path: str) -> int:
    try:
        return int(Path(path).read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def _autogroup() -> bool:
    return os.geteuid() == 0 and os.access("/proc/self/autogroup", os.W_OK)


def _cpu_quota() -> Found:
    from sim_harness.live.cpu_groups import try_quota

    works, told = try_quota()
    how = "slow_cpu" if works else "slow_cpu is done by signals instead"
    return Found("cpu quota", works, works, f"{how}; {told}")


def _fuse() -> Found:
    from sim_harness.live.disk.offer import fuse_lacks

    lacks, words = fuse_lacks(), "slow_disk, disk_full, torn_write"
    return Found("FUSE", not lacks, False, lacks or words, option="--disk fuse")


def _faketime() -> Found:
    """Whether it could give forked nodes clocks: what they call has to work under it."""
    own = "clock_skew has a clock of its own"
    paths = [one for one in FAKETIME if Path(one).exists()]
    if not paths:
        return Found("libfaketime", False, False, f"{own}; there is none here")
    around = {**os.environ, "LD_PRELOAD": paths[0], "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    around["FAKETIME"] = "+1000"
    code = "import time; time.sleep(0.01)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=around, capture_output=True, timeout=TRY_S, check=False
    )
    told = "; time.sleep fails under it" if done.returncode else ""
    return Found("libfaketime", not done.returncode, False, own + told)


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
        found.append(Found(backend, not why, False, what, option="--faults kernel"))
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
