"""Replay traces against the consensus machines: `python -m tests.conformance DIR`.

DIR holds gzipped JSON lines, one trace a line. What a trace tells of is known by its own fields,
not by its file. Prints a line for each level, the first differences, and the sum last; exits with 1
if any trace failed, or none was found.
"""

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.conformance.replays import (
    Trace,
    replay_driver,
    replay_round_machine,
    replay_system_node,
    replay_vote_keeper,
)

DIFFERENCES_SHOWN_MAX = 60
REPLAYS: dict[str, Callable[[Trace], None]] = {
    "driver": replay_driver,
    "system_nodes": replay_system_node,
    "consensus": replay_round_machine,
    "votekeeper": replay_vote_keeper,
}


def level_of(trace: Trace) -> str | None:
    """The level that a trace tells of, by the fields of its form; None for one we cannot replay."""
    if "sent" in trace:
        return "system_nodes"
    events: list[Any] = trace.get("events", [])
    if not events:
        return None
    if "vote" in events[0]:
        return "votekeeper"
    if "in" in events[0]:
        return "consensus" if isinstance(events[0]["in"], list) else "driver"
    return None


def traces(folder: Path) -> Iterator[tuple[str, Trace]]:
    """Every trace below a folder with a name for it, by file and line."""
    for path in sorted(folder.rglob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                yield f"{path.name}:{number}", json.loads(line)


def run(folder: Path) -> int:
    """Replay all traces; the exit code."""
    counts: dict[str, dict[str, int]] = {}
    differences: list[str] = []
    for name, trace in traces(folder):
        level = level_of(trace)
        outcome = "left out"
        if level is not None:
            try:
                REPLAYS[level](trace)
                outcome = "passed"
            except Exception as error:  # noqa: BLE001 - whatever it is, this trace failed
                outcome = "failed"
                differences.append(f"{level} {name}: {type(error).__name__}: {error}")
        count = counts.setdefault(level or "other", {"passed": 0, "failed": 0, "left out": 0})
        count[outcome] += 1
    for level in sorted(counts):
        print(
            f"{level}: " + ", ".join(f"{number} {what}" for what, number in counts[level].items())
        )
    for difference in differences[:DIFFERENCES_SHOWN_MAX]:
        print(difference, file=sys.stderr)
    passed = sum(count["passed"] for count in counts.values())
    failed = sum(count["failed"] for count in counts.values())
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


def main() -> int:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        print("usage: python -m tests.conformance DIR", file=sys.stderr)
        return 2
    return run(Path(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
