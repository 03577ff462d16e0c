"""Moments of a live network: what can be said of all nodes, and what their processes take."""

import os
from pathlib import Path
from typing import Final

import psutil
import trio

from p2p.primitives.units import MIB
from p2p.protocol.interface import Committed, RoundStarted, StakeSlashed
from sim_harness.live.evidence import Evidence
from sim_harness.live.node_watch import machine_ms
from sim_harness.live.process_memory import usage
from sim_harness.live.records import Taken
from sim_harness.scenario.statements import Sample

RECENT: Final = 16
"""Events of a node that are looked at for its round."""
BATCH: Final = 16
"""Processes measured before the harness does something else."""


def sample_of(evidence: Evidence) -> Sample:
    """This moment, as the virtual world's recorder has it."""
    world = evidence.world
    at_ms = evidence.since_ms(machine_ms())
    running = [node for node in world.watched if world.is_honest(node) and node.runs]
    told = [node.status for node in running if node.status is not None]
    heights = [node.told_height for node in running] or [0]
    before = evidence.samples[-1] if evidence.samples else None
    since_ms = evidence.start_ms + (before.at_ms if before else 0)
    rounds = [
        event.round
        for node in world.honest
        for moment, event in node.events[-RECENT:]
        if moment > since_ms and isinstance(event, Committed | RoundStarted)
    ]
    idle_ms = at_ms - _rose_ms(evidence, max(heights), at_ms)
    return Sample(
        at_ms=at_ms,
        height=min(heights),
        height_max=max(heights),
        round=max([0, *rounds]),
        up=len(running),
        peers=min((one.peers for one in told), default=0),
        ads=min((one.ads for one in told), default=0),
        crashes=sum(node.crashes for node in world.nodes),
        stops=sum(len(node.stops) for node in world.nodes),
        caught_up=int(min(heights) == max(heights)),
        lag=max(heights) - min(heights),
        idle=idle_ms // 1_000,
        slashed=len(
            {
                event.row.offender
                for node in world.honest
                for _, event in node.events
                if isinstance(event, StakeSlashed)
            }
        ),
        bytes_sent=sum(sum(one.sent.values()) for one in told),
    )


def _rose_ms(evidence: Evidence, height: int, at_ms: int) -> int:
    """When this greatest height was sampled first, since the start."""
    rose_ms = at_ms
    for sample in reversed(evidence.samples):
        if sample.height_max < height:
            break
        rose_ms = sample.at_ms
    return rose_ms


def resident_and_open(pid: int) -> tuple[int, int] | None:
    """Bytes of physical memory and open descriptors of a process; None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{pid}/fd"))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


async def take(pids: dict[int, int], parent: int) -> Taken:
    """What the processes take now; the harness goes on meanwhile."""
    cpu_s: dict[int, float] = {}
    rss_mib: dict[int, float] = {}
    descriptors: dict[int, int] = {}
    above = usage(parent)
    pss_bytes = above.pss_bytes if above else 0
    for number, (index, pid) in enumerate(pids.items()):
        if number % BATCH == 0:
            await trio.lowlevel.checkpoint()
        found = usage(pid)
        if found is None:
            continue
        pss_bytes += found.pss_bytes
        cpu_s[index] = found.cpu_s
        seen = resident_and_open(pid)
        if seen is not None:
            rss_mib[index], descriptors[index] = round(seen[0] / MIB, 1), seen[1]
    own = psutil.Process().cpu_times()
    return Taken(
        machine_ms(),
        round(pss_bytes / MIB, 1),
        cpu_s,
        rss_mib,
        descriptors,
        round(own.user + own.system, 2),
    )
