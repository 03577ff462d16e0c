"""What every stack is given, and what it answers: JSON on standard input and output."""

import random
import sys
import time
from collections.abc import Sequence
from typing import Final

import msgspec

TOPIC: Final = "/gigmesh/benchmark/1"
DIALS: Final = 5
"""Peers that each node dials: 10 connections a node, of which the mesh takes D."""
HEADER_BYTES: Final = 8


class Plan(msgspec.Struct, frozen=True):
    """One network and its load."""

    nodes: int
    messages: int
    rate: float
    """Messages a second, of all nodes together."""
    bytes: int
    edges: tuple[tuple[int, int], ...]
    """Who dials whom."""
    flush_ms: int = 0
    signed: bool = True
    """Each message is signed by its author, and verified once by every node."""
    topic: str = TOPIC
    degree_low: int = 4
    degree: int = 6
    degree_high: int = 12
    heartbeat_ms: int = 1_000
    warm_up_s: float = 4.0
    """Connected to measured: four heartbeats to form the mesh, and a few messages."""
    warm_up_messages: int = 20
    tail_s: float = 90.0
    """How long after the last publication missing deliveries are waited for."""


class Result(msgspec.Struct, frozen=True):
    """What one stack did with it."""

    cpu_ms: float
    """Of the whole process, from the first publication to the last delivery."""
    deliveries: int
    expected: int
    p50_ms: float
    p99_ms: float
    seconds: float
    mesh_degree: float
    version: str = ""

    @property
    def ms_per_delivery(self) -> float:
        return self.cpu_ms / max(1, self.deliveries)

    @property
    def delivered(self) -> float:
        return self.deliveries / max(1, self.expected)


def plan(
    nodes: int, messages: int, rate: float, size: int, *, flush_ms: int = 0, signed: bool = True
) -> Plan:
    """A connected random network: each node dials earlier ones, as nodes that join do."""
    draws = random.Random(nodes)
    edges: list[tuple[int, int]] = []
    for node in range(1, nodes):
        known = min(node, DIALS)
        edges += [(node, other) for other in sorted(draws.sample(range(node), known))]
    return Plan(nodes, messages, rate, size, tuple(edges), flush_ms, signed)


def publisher(number: int, nodes: int) -> int:
    """Who publishes a message: everyone in turn."""
    return number * 7 % nodes


def payload(number: int, size: int) -> bytes:
    """A message: its number and noise."""
    noise = random.Random(number).randbytes(size - HEADER_BYTES)
    return number.to_bytes(HEADER_BYTES) + noise


class Ledger:
    """Counts deliveries, each (node, message) once, and how long they took."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._sent_s: dict[int, float] = {}
        self._seen: set[tuple[int, int]] = set()
        self._latencies_s: list[float] = []
        self._started = (0.0, 0.0)
        self.duplicates = 0

    @property
    def is_complete(self) -> bool:
        return len(self._latencies_s) >= self._plan.messages * (self._plan.nodes - 1)

    def start(self) -> None:
        """The load begins: what came before was warm-up."""
        self._started = time.process_time(), time.perf_counter()

    def sent(self, number: int) -> None:
        self._sent_s[number] = time.perf_counter()

    def received(self, node: int, data: bytes) -> None:
        """A node was given a message."""
        number = int.from_bytes(data[:HEADER_BYTES])
        sent_s = self._sent_s.get(number)
        if sent_s is None or publisher(number, self._plan.nodes) == node:
            return
        if (node, number) in self._seen:
            self.duplicates += 1
            return
        self._seen.add((node, number))
        self._latencies_s.append(time.perf_counter() - sent_s)

    def result(self, mesh_degree: float, version: str) -> Result:
        cpu_s, started_s = self._started
        now_cpu_s, now_s = time.process_time(), time.perf_counter()
        ordered = sorted(self._latencies_s)
        return Result(
            cpu_ms=(now_cpu_s - cpu_s) * 1000,
            deliveries=len(ordered),
            expected=self._plan.messages * (self._plan.nodes - 1),
            p50_ms=quantile_ms(ordered, 0.5),
            p99_ms=quantile_ms(ordered, 0.99),
            seconds=now_s - started_s,
            mesh_degree=mesh_degree,
            version=version,
        )


def quantile_ms(ordered: Sequence[float], share: float) -> float:
    """A quantile of sorted seconds, in milliseconds; 0 of nothing."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


def asked() -> Plan:
    """The plan on standard input."""
    return msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)


def answer(result: Result) -> None:
    """Print the result."""
    print(msgspec.json.encode(result).decode(), flush=True)
