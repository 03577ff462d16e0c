"""Every fault word on real processes: what was asked, and what was measured of it.

    python examples/live_words.py [--nodes 6] [--json]

Takes about two minutes. Each word hurts a node or two of a running network for a few seconds; the
nodes' own processes, the kernel and the disk say what became of it.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Final

import trio

from sim_harness.live.console import Console
from sim_harness.live.console_words import Hurting, parse
from sim_harness.live.figures import is_brought_up
from sim_harness.live.live_faults import LiveFaults
from sim_harness.live.network import LocalPlan, open_network
from sim_harness.live.setup import FILE
from sim_harness.scenario.faults import FaultRecord

WORDS: Final = (
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
    "slow_cpu 20% 1",
    "empty_disk 5",
    "black_hole 5",
    "half_open 5",
    "slow_reader 2000 5",
    "few_files 5",
)
LASTS_S: Final = 4.0
CALM_S: Final = 2.0
UP_S: Final = 120.0
SEED: Final = 7


async def run(nodes: int) -> list[FaultRecord]:
    """All words, one after the other; their records."""
    found: list[FaultRecord] = []
    with tempfile.TemporaryDirectory(prefix="gigmesh-words-") as scratch:
        setup = Path(scratch) / FILE
        options = {"setup": str(setup), "report_ms": "200", "log_level": "warning"}
        plan = LocalPlan(nodes=nodes, epoch_ms=1_000, seed=SEED, options=options)
        async with open_network(plan) as cluster, trio.open_nursery() as nursery:
            words = Console(cluster, seed=SEED, validators=4, setup=setup)
            await nursery.start(words.run)
            await cluster.start_all()
            await cluster.wait(is_brought_up, deadline_s=UP_S, what="the network to come up")
            for text in WORDS:
                said = parse(text, words.population)
                if not isinstance(said, Hurting):
                    words.say(text)
                    await trio.sleep(CALM_S)
                    continue
                faults = words.faults
                number = await faults.begin(said.fault)
                await trio.sleep(LASTS_S)
                await faults.end(number)
                found.append(record_of(faults, number))
                print(f"  {text}", flush=True)
                await cluster.wait(
                    lambda all_: len(all_.up()) == nodes, deadline_s=UP_S, what="all to be back"
                )
                await trio.sleep(CALM_S)
            nursery.cancel_scope.cancel()
    return found


def record_of(faults: LiveFaults, number: int) -> FaultRecord:
    """What a fault did."""
    return faults.records[number]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=6)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    arguments = parser.parse_args()
    found = trio.run(run, arguments.nodes)
    if arguments.json:
        rows = [{"word": one.kind, "asked": one.what, "measured": one.measured} for one in found]
        print(json.dumps(rows))
        return
    for one in found:
        print(f"{one.kind:13} {one.what:45} | {one.measured}")


if __name__ == "__main__":
    main()
