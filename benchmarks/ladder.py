"""How far one machine gets: `python -m benchmarks.ladder [--nodes 25,50,100] [--picture FILE.svg]`.

For each number of nodes, twice: our whole nodes (consensus, ledger, ads, SQLite), and stock hosts
of py-libp2p with their own GossipSub that carry the same ads and nothing else. Both are forked by
the same parent, report over the same sockets, and publish when they are told to. The table says how
long the network took to stand, how late ads were, what a node took of a processor while one ad a
second went round, and the memory of all processes.
"""

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from p2p.node.testnet import free_base_port
from sim_harness.live.cluster import ClusterError, LiveCluster, NodeState
from sim_harness.live.homes import open_homes
from sim_harness.live.messages import Reprice
from sim_harness.live.network import HOST, LocalPlan, open_network
from sim_harness.live.process_memory import usage
from sim_harness.live.rough_wires import UNBOUNDED
from sim_harness.live.setup import Setup
from sim_harness.live.timings import ad_latencies, commit_latencies, live_timings
from sim_harness.report.svg import GREY, INK, element, label, picture
from sim_harness.scenario.results import Distribution, distribution
from sim_harness.sweep.page import COLOURS, HEIGHT, WIDTH, plot
from sim_harness.sweep.row import MEASURES, Row

STEPS: Final = (25, 50, 100, 200, 300)
VALIDATORS_MAX: Final = 32
EPOCH_MS: Final = 10_000
DIALS: Final = 5
ADS: Final = 20
EVERY_S: Final = 1.0
TAIL_S: Final = 10.0
CALM_S: Final = 5.0
UP_S: Final = 240.0
SEED: Final = 11
DRAWN: Final = (
    "bring_up_s",
    "ad_p50",
    "ad_p99",
    "commit_p50",
    "cpu_percent_node",
    "peak_memory_mib",
)
COLUMNS: Final = 2
TITLE_PX: Final = 30


class Step(msgspec.Struct):
    """One stack at one number of nodes."""

    stack: str
    nodes: int
    served_s: float | None = None
    """Until every process listened."""
    up_s: float | None = None
    """Until every node had a mesh (ours: and a block)."""
    ad: Distribution = Distribution()
    ads_missing: int = 0
    commit: Distribution = Distribution()
    cpu_percent_node: float = 0.0
    memory_mib: float = 0.0
    load: float = 0.0
    failed: str = ""


@asynccontextmanager
async def ours(nodes: int) -> AsyncIterator[LiveCluster]:
    """Our nodes over bare sockets."""
    validators = min(VALIDATORS_MAX, nodes)
    with tempfile.TemporaryDirectory(prefix="gigmesh-ladder-") as scratch:
        setup = Setup(
            seed=SEED,
            nodes=nodes,
            validators=validators,
            rows_us=((0,),),
            places=(0,) * nodes,
            jitter_us=0,
            bytes_per_second=UNBOUNDED,
            parameters=(("gossip.patience_ms", 1_000),)
            if nodes > 300
            else (("gossip.flush_ms", 20),),
        ).write(Path(scratch))
        options = {
            "setup": str(setup),
            "watch_ads": "yes",
            "log_level": "warning",
            "report_ms": "1000",
        }
        plan = LocalPlan(
            nodes=nodes, validators=validators, epoch_ms=EPOCH_MS, seed=SEED, options=options
        )
        async with open_network(plan) as cluster:
            yield cluster


@asynccontextmanager
async def stock(nodes: int) -> AsyncIterator[LiveCluster]:
    """Stock hosts, each of which dials some drawn others."""
    draws = random.Random(SEED)
    dials = [
        ",".join(str(one) for one in draws.sample(range(index), min(index, DIALS)))
        for index in range(nodes)
    ]
    options = {"base_port": str(free_base_port(HOST, nodes)), "dials": ":".join(dials)}
    with tempfile.TemporaryDirectory(prefix="gigmesh-ladder-") as scratch:
        homes = [Path(scratch) / f"node-{index:03}" for index in range(nodes)]
        for home in homes:
            home.mkdir()
        entry = "benchmarks.ladder_stock:run"
        async with open_homes(homes, entry=entry, options=options) as cluster:
            yield cluster


def is_meshed(cluster: LiveCluster, *, height: int) -> bool:
    """Whether every node runs in a mesh and has a block, if there are any."""
    return all(
        node.state is NodeState.UP
        and node.status is not None
        and node.status.mesh >= min(2, len(cluster.nodes) - 1)
        and node.status.height >= height
        for node in cluster.nodes
    )


async def climb(stack: str, nodes: int) -> Step:
    """One step. What fails is told in it."""
    step = Step(stack, nodes)
    began_s = time.monotonic()
    try:
        async with (ours if stack == "ours" else stock)(nodes) as cluster:
            await cluster.start_all()
            step.served_s = round(time.monotonic() - began_s, 1)
            height = int(stack == "ours")
            await cluster.wait(
                lambda all_: is_meshed(all_, height=height), deadline_s=UP_S, what="the meshes"
            )
            step.up_s = round(time.monotonic() - began_s, 1)
            await trio.sleep(CALM_S)
            await measure(cluster, step)
    except ClusterError as error:
        step.failed = str(error).partition("\n")[0]
    return step


async def measure(cluster: LiveCluster, step: Step) -> None:
    """Let ads go round, and see what it takes."""
    draws = random.Random(SEED)
    from_ms, cpu_ms, from_s = _now_ms(), _cpu_ms(cluster), time.monotonic()
    for number in range(ADS):
        await cluster.order(draws.randrange(step.nodes), Reprice(number, 10_100))
        await trio.sleep(EVERY_S)
    until_ms = _now_ms()
    spent_s = time.monotonic() - from_s
    step.cpu_percent_node = round((_cpu_ms(cluster) - cpu_ms) / step.nodes / spent_s / 10, 2)
    await trio.sleep(TAIL_S)
    found = live_timings(cluster)
    latencies, step.ads_missing = ad_latencies(found.heard, from_ms=from_ms, until_ms=until_ms)
    step.ad = distribution(latencies)
    step.commit = distribution(commit_latencies(found.finals, from_ms=from_ms, until_ms=until_ms))
    pids = [cluster.zygote_pid, *(node.pid for node in cluster.nodes if node.pid is not None)]
    taken = [usage(pid) for pid in pids]
    step.memory_mib = round(sum(one.pss_bytes for one in taken if one) / 2**20, 1)
    step.load = round(os.getloadavg()[0], 1)


def _cpu_ms(cluster: LiveCluster) -> int:
    return sum(node.status.cpu_ms for node in cluster.nodes if node.status is not None)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def drawing(steps: list[Step]) -> str:
    """All steps as one picture: a plot a measure, a line a stack."""
    rows = [_row(step) for step in steps if not step.failed]
    stacks = list(dict.fromkeys(row.settings["stack"] for row in rows))
    tall = HEIGHT + TITLE_PX
    parts = [
        label(20 + 120 * at, 20, f"\u25cf {stack}", fill=COLOURS[at], font_weight="bold")
        for at, stack in enumerate(stacks)
    ]
    drawn = [name for name in DRAWN if plot(rows, name)]
    for at, name in enumerate(drawn):
        x, y = WIDTH * (at % COLUMNS), TITLE_PX + tall * (at // COLUMNS)
        what, unit = MEASURES[name]
        parts.append(label(x + 10, y + 22, f"{what}, {unit}", fill=INK))
        inner = plot(rows, name).replace(
            "<svg ", f'<svg x="{x}" y="{y + TITLE_PX}" width="{WIDTH}" height="{HEIGHT}" ', 1
        )
        parts.append(inner)
    width, height = WIDTH * COLUMNS, TITLE_PX + tall * -(-len(drawn) // COLUMNS)
    ground = element("rect", width=width, height=height, fill="white", stroke=GREY)
    style = "<style>text{font:12px system-ui,sans-serif}</style>"
    return picture(width, height, [style, ground, *parts], "stacks side by side")


def _row(step: Step) -> Row:
    """As a row of a sweep, whose plots these are."""
    return Row(
        job="",
        settings={"nodes": step.nodes, "stack": step.stack},
        seed=SEED,
        world="live",
        verdict="pass",
        commit="",
        measures={
            "bring_up_s": step.up_s,
            "ad_p50": step.ad.p50 if step.ad.count else None,
            "ad_p99": step.ad.p99 if step.ad.count else None,
            "commit_p50": step.commit.p50 if step.commit.count else None,
            "cpu_percent_node": step.cpu_percent_node,
            "peak_memory_mib": step.memory_mib,
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", default=",".join(map(str, STEPS)), help="25,50,100 and so on")
    parser.add_argument("--stack", choices=["ours", "py-libp2p", "both"], default="both")
    parser.add_argument("--picture", type=Path, help="an SVG of all steps")
    parser.add_argument("--from-json", type=Path, help="draw what --json printed; run nothing")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    arguments = parser.parse_args()
    if arguments.from_json is not None:
        told = json.loads(arguments.from_json.read_text(encoding="utf-8"))
        steps = msgspec.convert(told["steps"], list[Step])
        arguments.picture.write_text(drawing(steps), encoding="utf-8")
        return
    stacks = ["ours", "py-libp2p"] if arguments.stack == "both" else [arguments.stack]
    steps = []
    for nodes in (int(one) for one in arguments.nodes.split(",")):
        for stack in stacks:
            steps.append(trio.run(climb, stack, nodes))
            print(_line(steps[-1]), file=sys.stderr if arguments.json else sys.stdout, flush=True)
    if arguments.picture is not None:
        arguments.picture.write_text(drawing(steps), encoding="utf-8")
    if arguments.json:
        machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.python_version()}"
        print(json.dumps(msgspec.to_builtins({"steps": steps, "machine": machine})))
    sys.exit(1 if any(step.failed for step in steps if step.stack == "ours") else 0)


def _line(step: Step) -> str:
    if step.failed:
        return f"{step.nodes:4} {step.stack:10} FAILED: {step.failed}"
    commit = f", commit p50 {step.commit.p50} p95 {step.commit.p95} ms" if step.commit.count else ""
    return (
        f"{step.nodes:4} {step.stack:10} served {step.served_s} s, up {step.up_s} s; ad p50"
        f" {step.ad.p50} p99 {step.ad.p99} ms, {step.ads_missing} missing of"
        f" {step.ad.count + step.ads_missing}{commit}; {step.cpu_percent_node} % of a core a node,"
        f" {step.memory_mib:.0f} MiB; load {step.load}"
    )


if __name__ == "__main__":
    main()
