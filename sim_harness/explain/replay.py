"""Repeats a run up to a moment: what some of its nodes saw, a picture, a log.

t=8.000s ---- fault kill: n1 killed
t=11.321s n02 h=4 r=0 timer consensus/propose -> PREVOTE 4/0 nil  # Tendermint L57: ...
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from p2p.primitives.units import Millis
from sim_harness.explain.messages import CONSENSUS, Messages
from sim_harness.explain.sequence import sequence
from sim_harness.scenario.run import Run
from sim_harness.scenario.sections import ScenarioError
from sim_harness.scenario.trace import Trace
from sim_harness.virtual.heap import MICROS_PER_MS, What

Say = Callable[[str], None]

FAULT_OVER: Final = "fault over"
TOLD: Final = ("fault", FAULT_OVER, "churn")
"""Events that no node sees and that people want to know of."""


class Window(msgspec.Struct, frozen=True):
    """Which part of a run is told, of which nodes."""

    until_ms: Millis
    from_ms: Millis = Millis(0)
    nodes: tuple[int, ...] = (0,)


def replay(
    run: Run,
    window: Window,
    say: Say,
    *,
    svg: Path | None = None,
    kinds: Sequence[str] = CONSENSUS,
) -> None:
    """Run up to the window's end and tell of it. Raises ScenarioError, OSError."""
    last = len(run.world.nodes) - 1
    for node in window.nodes:
        if not 0 <= node <= last:
            raise ScenarioError(f"there is no node {node}; the last one is {last}")
    if window.from_ms >= window.until_ms:
        raise ScenarioError("there is nothing between --from and --until")
    start_us = run.world.heap.now_us
    from_us = start_us + window.from_ms * MICROS_PER_MS

    def heard(line: str) -> None:
        if run.world.heap.now_us >= from_us:
            say(line)

    def happened(at_us: int, kind: str, what: What) -> None:
        if kind not in TOLD or not isinstance(what, bytes):
            return
        texts = [what.decode()]
        if kind == FAULT_OVER:
            now_ms = (at_us - start_us) // MICROS_PER_MS
            ended = [one for one in run.faults.records if one.until_ms == now_ms]
            texts = [f"{one.kind} {one.what}" for one in ended]
        for text in texts:
            heard(f"t={(at_us - start_us) / 1_000_000:.3f}s ---- {kind}: {text}")

    messages = None if svg is None else Messages(run, tuple(kinds))
    for node in window.nodes:
        Trace(run.world, run.world.nodes[node], heard)
    run.world.heap.watch = happened
    run.run_until_ms(window.until_ms)
    run.world.heap.watch = None
    for violation in run.violations:
        say(f"t={violation.at_ms / 1000:.3f}s VIOLATED {violation.name}: {violation.detail}")
    say(f"t={window.until_ms / 1000:.3f}s digest {run.world.digest}")
    if messages is not None and svg is not None:
        picture = sequence(run, messages, window.from_ms, window.until_ms)
        svg.write_text(picture, encoding="utf-8")
        say(f"picture: {svg}")
