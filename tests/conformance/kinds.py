"""What a line of a trace file is, by its content: nobody has to name files in a certain way."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.conformance.blame import replay_accountability
from tests.conformance.replays import (
    Trace,
    replay_driver,
    replay_round_machine,
    replay_system_node,
    replay_vote_keeper,
)

TRACE_SUFFIXES = (".jsonl", ".jsonl.gz")
REPLAYS: dict[str, Callable[[Trace], None]] = {
    "accountability": replay_accountability,
    "consensus": replay_round_machine,
    "driver": replay_driver,
    "system_nodes": replay_system_node,
    "votekeeper": replay_vote_keeper,
}
UNKNOWN = "unknown"


def kind_of(trace: Any) -> str:
    """The kind of a trace, by the fields of its form; `UNKNOWN` for one that we cannot replay."""
    if not isinstance(trace, dict):
        return UNKNOWN
    if isinstance(trace.get("in"), list) and isinstance(trace.get("sent"), list):
        return "system_nodes"
    events = trace.get("events")
    if not isinstance(events, list) or not events or not isinstance(events[0], dict):
        return UNKNOWN
    first: Trace = events[0]
    if "cert1" in first and "cert2" in first:
        return "accountability"
    if "vote" in first:
        return "votekeeper"
    if isinstance(first.get("in"), list):
        return "consensus"
    return "driver" if isinstance(first.get("in"), dict) else UNKNOWN


def trace_files(folder: Path) -> list[Path]:
    """The files of traces below a folder, packed or plain."""
    files = (path for path in folder.rglob("*") if path.name.endswith(TRACE_SUFFIXES))
    return sorted(path for path in files if path.is_file())


def lines_of(path: Path) -> Iterator[tuple[str, str]]:
    """Every line of a file that is not empty, with a name for it: its file and number."""
    packed = path.name.endswith(".gz")
    with gzip.open(path, "rt", encoding="utf-8") if packed else path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"{path.name}:{number}", line


def replay_line(line: str) -> tuple[str, str | None]:
    """Replay one line: its kind, and what differs, or None.

    Whatever goes wrong with a line is a difference of this line, and stops no other.
    """
    try:
        trace = json.loads(line)
    except ValueError as error:
        return UNKNOWN, f"not JSON: {error}"
    kind = kind_of(trace)
    if kind == UNKNOWN:
        return kind, "no known kind of trace"
    try:
        REPLAYS[kind](trace)
    except Exception as error:  # noqa: BLE001 - whatever it is, this trace failed
        return kind, f"{trace.get('id', '')} {type(error).__name__}: {error}".strip()
    return kind, None
