"""How long a commit takes, and what it costs: committees in virtual time, and on real sockets.

    python -m benchmarks.consensus [--validators 4 16 32 64 100] [--live 4 16] [--json]

Virtual, for each committee size: every link has the same one-way delay δ and no jitter, nothing is
sent but consensus, and `latency` is from the moment at which the proposer opens a height until each
validator committed it, in units of δ. Tendermint's rounds take three messages one after the other:
proposal, prevote, precommit, so 3δ where every message takes one hop.

- `direct`: all validators are connected with one another and publish to all of them at once.
- `gossip`: as a node is configured, a few connections each; messages travel several hops, and the
  waits that bundle them (`flush_ms`, `patience_ms`) count. `hops` are those of the votes and
  proposals: their delay over δ.

`messages` are copies of consensus messages on the wire, `rpcs` and `bytes` all that is sent in the
heights measured. CPU is of this process for the whole network, by validator and height.

Live (`--live 0` leaves it out): one process a validator on 127.0.0.1, epochs of 0 ms, heights per
second from first to last commit of the run, CPU seconds of all processes per height and validator,
and what share of this machine's cores that is.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import time
from typing import Final

import msgspec
import trio

from p2p.model.parameters import PROPOSAL_BYTES_MAX, Parameters
from p2p.model.rpc import Rpc, message_id
from p2p.model.topic import Topic, topic_name
from p2p.model.vote import ProposedBlock
from p2p.primitives.codec import Malformed, decode
from p2p.primitives.units import Millis
from p2p.protocol.interface import Committed, Event, MessageVerified, ReplicaEffect, ReplicaInput
from p2p.protocol.membership import MembershipParameters
from p2p.protocol.replica import NodeParameters, Replica
from sim_harness.live.figures import usages
from sim_harness.live.network import LocalPlan, open_network
from sim_harness.virtual.conditions import height_at_least
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.spans import minutes, seconds
from sim_harness.virtual.world import World

SEED: Final = 1
KINDS: Final = ("direct", "gossip")
DELTA_MS: Final = 50
"""One-way delay: large beside the milliseconds that clocks and timers round to."""
EPOCH: Final = seconds(2)
WARM_HEIGHTS: Final = 4
HEIGHTS: Final = 12
HEIGHTS_LARGE: Final = 4
"""Of committees above 32: a height of a hundred is two hundred thousand messages."""
DIRECT_FACTOR_MAX: Final = 1.3
"""Of 3δ: what a commit over direct links may take."""
LIVE_S: Final = 20.0
LIVE_WARM_HEIGHTS: Final = 5
CPU_BOUND_SHARE: Final = 0.7


class Row(msgspec.Struct, frozen=True):
    """One committee in virtual time; latencies in units of δ."""

    validators: int
    kind: str
    """direct or gossip."""
    heights: int
    delta_ms: int
    latency_median: float
    latency_p95: float
    latency_max: float
    latency_over_3_delta: float
    """The median, over 3δ."""
    rounds_max: int
    hops_mean: float
    hops_max: float
    latency_over_hops: float
    """The median over three messages' mean hops: what is left is waiting."""
    messages_per_height: float
    rpcs_per_height: float
    bytes_per_height: float
    cpu_ms_per_height: float
    cpu_ms_per_height_and_validator: float


class Ledger:
    """What the network does, by the virtual clock, while `counting`."""

    def __init__(self) -> None:
        self.counting = False
        self.proposed_ms: dict[int, int] = {}
        """When a height's first proposal left its proposer."""
        self.latencies_ms: list[int] = []
        self.rounds_max = 0
        self.sent_ms: dict[bytes, int] = {}
        self.delays_ms: list[int] = []
        self.messages = self.rpcs = self.bytes = 0


class Watched(Replica):
    """A replica that tells when votes and proposals of others reach it."""

    ledger: Ledger

    def step(self, item: ReplicaInput, now_ms: Millis) -> list[ReplicaEffect]:
        if isinstance(item, MessageVerified) and item.topic is Topic.VOTES:
            sent_ms = self.ledger.sent_ms.get(item.message_id)
            if sent_ms is not None and self.ledger.counting:
                self.ledger.delays_ms.append(now_ms - sent_ms)
        return super().step(item, now_ms)


class Committee(World):
    """Validators alone, at equal distances."""

    def __init__(self, validators: int, node_parameters: NodeParameters) -> None:
        self.ledger = ledger = Ledger()
        parameters = Parameters(epoch_ms=EPOCH, validators_max=max(32, validators))
        super().__init__(
            seed=SEED,
            nodes=validators,
            validators=validators,
            parameters=parameters,
            latency=lambda _source, _target: DELTA_MS * 1_000,
            jitter_us=0,
            node_parameters=node_parameters,
        )
        watched = type("WatchedHere", (Watched,), {"ledger": ledger})
        self.makers = dict.fromkeys(range(validators), watched)
        self.tap = self._count
        self._votes = topic_name(Topic.VOTES, self.genesis.chain_id)

    def _count(self, _source: VirtualNode, rpc: Rpc, size: int) -> None:
        ledger, now_ms = self.ledger, self.now_ms
        for message in rpc.publish:
            if message.topic != self._votes:
                continue
            ledger.messages += ledger.counting
            name = message_id(message.topic, message.data)
            if name not in ledger.sent_ms:
                ledger.sent_ms[name] = now_ms
                self._note_proposal(message.data, now_ms)
        if ledger.counting:
            ledger.rpcs += 1
            ledger.bytes += size

    def _note_proposal(self, data: bytes, now_ms: int) -> None:
        with contextlib.suppress(Malformed):
            proposed = decode(data, ProposedBlock, bytes_max=PROPOSAL_BYTES_MAX)
            self.ledger.proposed_ms.setdefault(proposed.proposal.height, now_ms)

    def heard(self, node: VirtualNode, event: Event) -> None:
        super().heard(node, event)
        if isinstance(event, Committed) and self.ledger.counting:
            began_ms = self.ledger.proposed_ms[event.height]
            self.ledger.latencies_ms.append(self.now_ms - began_ms)
            self.ledger.rounds_max = max(self.ledger.rounds_max, event.round)


def direct(validators: int) -> NodeParameters:
    """Everybody is connected with everybody, and publishes to all at once."""
    room = validators + 16
    return NodeParameters(
        membership=MembershipParameters(peers_max=room, sought_max=room, dials_max=32)
    )


def virtual_row(validators: int, kind: str) -> Row:
    """Run one committee for some heights."""
    chosen = direct(validators) if kind == "direct" else NodeParameters()
    heights = HEIGHTS if validators <= 32 else HEIGHTS_LARGE
    world = Committee(validators, chosen)
    ledger = world.ledger
    world.start()
    world.run_until(height_at_least(WARM_HEIGHTS), within=minutes(10))
    if kind == "direct":
        world.run_until(everybody_connected, within=minutes(10))
    # Between two heights: half an epoch after the last commit.
    first = min(node.height for node in world.nodes) + 1
    world.run_until(height_at_least(first), within=minutes(2))
    world.run_for(Millis(EPOCH // 2))
    ledger.counting = True
    cpu_s = time.process_time()
    world.run_until(height_at_least(first + heights), within=minutes(10))
    world.run_for(Millis(EPOCH // 2))
    cpu_ms = (time.process_time() - cpu_s) * 1_000
    ledger.counting = False
    world.check()
    latencies = sorted(one / DELTA_MS for one in ledger.latencies_ms)
    hops = [one / DELTA_MS for one in ledger.delays_ms]
    median, hops_mean = statistics.median(latencies), statistics.mean(hops)
    return Row(
        validators=validators,
        kind=kind,
        heights=heights,
        delta_ms=DELTA_MS,
        latency_median=round(median, 2),
        latency_p95=round(latencies[int(len(latencies) * 0.95)], 2),
        latency_max=round(latencies[-1], 2),
        latency_over_3_delta=round(median / 3, 3),
        rounds_max=ledger.rounds_max,
        hops_mean=round(hops_mean, 2),
        hops_max=round(max(hops), 2),
        latency_over_hops=round(median / (3 * hops_mean), 3),
        messages_per_height=round(ledger.messages / heights, 1),
        rpcs_per_height=round(ledger.rpcs / heights, 1),
        bytes_per_height=round(ledger.bytes / heights, 1),
        cpu_ms_per_height=round(cpu_ms / heights, 2),
        cpu_ms_per_height_and_validator=round(cpu_ms / heights / validators, 3),
    )


def everybody_connected(world: World) -> bool:
    """Whether each validator has a connection to each other one."""
    count = len(world.nodes)
    replicas = [node.replica for node in world.nodes if node.replica is not None]
    return all(len(one.membership.connected) == count - 1 for one in replicas)


# --------------------------------------------------------------------------------------- live


class LiveRow(msgspec.Struct, frozen=True):
    """One committee of processes on this machine."""

    validators: int
    epoch_ms: int
    measured_s: float
    heights: int
    heights_per_s: float
    cpu_ms_per_height: float
    """Of all processes."""
    cpu_ms_per_height_and_validator: float
    cores_busy: float
    """Of the nodes alone, of `cores`."""
    cores: int
    load_before: float
    """The machine's one-minute load before the run: others' work."""
    bound: str


async def live_row(validators: int) -> LiveRow:
    """Heights per second with no wait between them."""
    plan = LocalPlan(nodes=validators, validators=validators, epoch_ms=0, seed=SEED)
    load = os.getloadavg()[0]
    async with open_network(plan) as cluster:
        await cluster.start_all()
        await cluster.wait(
            lambda all_: all(node.height >= LIVE_WARM_HEIGHTS for node in all_.nodes),
            deadline_s=120,
            what="the first heights",
        )
        before, began_s = usages(cluster.nodes), time.monotonic()
        low = min(node.height for node in cluster.nodes)
        await trio.sleep(LIVE_S)
        after, seconds_ = usages(cluster.nodes), time.monotonic() - began_s
        heights = min(node.height for node in cluster.nodes) - low
        if cluster.disagreements or cluster.failures or not heights:
            raise SystemExit(f"live {validators}: {cluster.disagreements or cluster.failures}")
    cpu_s = sum(taken.cpu_s - before[pid].cpu_s for pid, taken in after.items())
    cores = os.cpu_count() or 1
    busy = cpu_s / seconds_
    return LiveRow(
        validators=validators,
        epoch_ms=0,
        measured_s=round(seconds_, 1),
        heights=heights,
        heights_per_s=round(heights / seconds_, 2),
        cpu_ms_per_height=round(1_000 * cpu_s / heights, 1),
        cpu_ms_per_height_and_validator=round(1_000 * cpu_s / heights / validators, 2),
        cores_busy=round(busy, 2),
        cores=cores,
        load_before=round(load, 2),
        bound="cpu" if busy > CPU_BOUND_SHARE * cores else "waiting, or others' load",
    )


# -------------------------------------------------------------------------------------- report


def report(rows: list[Row], live: list[LiveRow]) -> dict[str, object]:
    """All figures, and whether direct commits keep within the bound."""
    worst = max((row.latency_over_3_delta for row in rows if row.kind == "direct"), default=0.0)
    return {
        "benchmark": "consensus",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python "
        + platform.python_version(),
        "direct_latency_over_3_delta_max": worst,
        "direct_latency_bound": DIRECT_FACTOR_MAX,
        "held": worst <= DIRECT_FACTOR_MAX,
        "virtual": [msgspec.to_builtins(row) for row in rows],
        "live": [msgspec.to_builtins(row) for row in live],
    }


def print_table(rows: list[Row], live: list[LiveRow]) -> None:
    """For people."""
    print(f"virtual, one-way delay {DELTA_MS} ms = δ")
    print(
        "  n    kind    median  p95   max (δ)  x 3δ   hops   msgs/h    KiB/h   CPU ms/h/validator"
    )
    for row in rows:
        print(
            f"{row.validators:4} {row.kind:8} {row.latency_median:6.2f} {row.latency_p95:6.2f}"
            f" {row.latency_max:6.2f} {row.latency_over_3_delta:8.3f} {row.hops_mean:6.2f}"
            f" {row.messages_per_height:8.0f} {row.bytes_per_height / 1024:8.1f}"
            f" {row.cpu_ms_per_height_and_validator:8.3f}"
        )
    for one in live:
        print(
            f"live {one.validators} validators: {one.heights_per_s} heights/s,"
            f" {one.cpu_ms_per_height_and_validator} ms CPU per height and validator,"
            f" {one.cores_busy} of {one.cores} cores: bound by {one.bound}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.consensus")
    parser.add_argument("--validators", type=int, nargs="+", default=[4, 16, 32, 64, 100])
    parser.add_argument("--live", type=int, nargs="+", default=[4, 16], help="0: none")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [virtual_row(count, kind) for count in options.validators for kind in KINDS]
    live = [trio.run(live_row, count) for count in options.live if count]
    if options.json:
        print(json.dumps(report(rows, live), indent=2))
    else:
        print_table(rows, live)
    return 0 if report(rows, live)["held"] else 1


if __name__ == "__main__":
    sys.exit(main())
