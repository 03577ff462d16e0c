"""Every fault word on real processes: what was asked, and what was measured of it.

    python examples/live_words.py [--nodes 6] [--only churn ...] [--json]
        [--faults kernel] [--disk fuse]

Takes about three minutes. Each word hurts a node or two of a running network for a few seconds; the
nodes' own processes, the kernel and the disk say what became of it.
"""

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

import trio

from p2p.primitives.units import Millis
from sim_harness.live.console import Console
from sim_harness.live.console_words import Hurting, parse
from sim_harness.live.disk.kinds import DiskKind
from sim_harness.live.disk.offer import fuse_lacks
from sim_harness.live.figures import is_brought_up
from sim_harness.live.kernel.offer import KernelLacks, Offer, require_offer
from sim_harness.live.network import LocalPlan, open_network
from sim_harness.live.setup import FILE
from sim_harness.scenario.faults import FaultRecord
from sim_harness.scenario.schema import Churn, CorruptPage, Fault

WORDS: Final[tuple[str | Fault, ...]] = (
    "kill 1",
    "restart 1",
    "pause 1",
    "partition 0-1 | rest",
    "delay 100ms +-20ms 1",
    "loss 10% 1",
    "bandwidth 64 kbit/s 1",
    "slow_disk 50ms 1",
    "disk_full 1",
    "torn_write 1",
    "clock 2s 1",
    # Less than a node takes when it has nothing to do, so that it has to wait.
    "slow_cpu 1% 1",
    "empty_disk 5",
    "black_hole 5",
    "half_open 5",
    "slow_reader 2000 5",
    "few_files 1",
    CorruptPage(nodes="nodes[5:6]"),
    Churn(nodes="nodes[4:6]", mean=Millis(1_500), down=Millis(1_500)),
)
LASTS_S: Final = 4.0
LONGER_S: Final = {"half_open": 20.0, "few_files": 12.0, "churn": 12.0}
"""Where it takes a while until it shows: a dead connection is found by its pings."""
CALM_S: Final = 2.0
UP_S: Final = 120.0
SEED: Final = 7


async def run(
    nodes: int, only: set[str], *, kernel: Offer | None, disk: DiskKind
) -> list[FaultRecord]:
    """All words, or only these, one after the other; their records."""
    found: list[FaultRecord] = []
    with tempfile.TemporaryDirectory(prefix="gigmesh-words-") as scratch:
        setup = Path(scratch) / FILE
        options = {"setup": str(setup), "report_ms": "200", "log_level": "warning"}
        plan = LocalPlan(
            nodes=nodes,
            epoch_ms=1_000,
            seed=SEED,
            options=options,
            scratch=(setup.parent,),
            kernel=kernel,
            disk=disk,
        )
        async with open_network(plan) as cluster, trio.open_nursery() as nursery:
            words = Console(cluster, seed=SEED, validators=4, setup=setup)
            await nursery.start(words.run)
            await cluster.start_all()
            await cluster.wait(is_brought_up, deadline_s=UP_S, what="the network to come up")
            for word in WORDS:
                said = parse(word, words.population) if isinstance(word, str) else Hurting(word)
                if not isinstance(said, Hurting):
                    if not only:
                        words.say(str(word))
                        await trio.sleep(CALM_S)
                    continue
                kind = said.fault.kind
                if only and kind not in only:
                    continue
                found.append(await hurt(words, said.fault, LONGER_S.get(kind, LASTS_S)))
                print(f"  {kind}", file=sys.stderr, flush=True)
                await cluster.wait(
                    lambda all_: len(all_.up()) == nodes, deadline_s=UP_S, what="all to be back"
                )
                await trio.sleep(CALM_S)
            nursery.cancel_scope.cancel()
    return found


async def hurt(words: Console, fault: Fault, lasts_s: float) -> FaultRecord:
    """Do one fault for a while; its record."""
    number = await words.faults.begin(fault)
    await trio.sleep(lasts_s)
    await words.faults.end(number)
    return words.faults.records[number]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=6)
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD", help="of these kinds")
    parser.add_argument("--faults", choices=("transport", "kernel"), default="transport")
    parser.add_argument("--disk", choices=[one.value for one in DiskKind], default="injected")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    arguments = parser.parse_args()
    disk = DiskKind(arguments.disk)
    try:
        kernel = require_offer() if arguments.faults == "kernel" else None
    except KernelLacks as lacks:
        parser.error(str(lacks))
    if disk is DiskKind.FUSE and (told := fuse_lacks()):
        parser.error(told)
    only = set(arguments.only)
    found = trio.run(partial(run, arguments.nodes, only, kernel=kernel, disk=disk))
    if arguments.json:
        rows = [{"word": one.kind, "asked": one.what, "measured": one.measured} for one in found]
        print(json.dumps(rows))
        return
    for one in found:
        print(f"{one.kind:13} {one.what:45} | {one.measured}")


if __name__ == "__main__":
    main()
