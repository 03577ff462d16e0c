"""Where two runs part: the first event that differs, and what both had in common before."""

import tempfile
from collections import deque
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Final

import msgspec

from sim_harness.explain.log import Entry, Head, entry_text, logged, read_log
from sim_harness.scenario.commands import load
from sim_harness.scenario.run import Run

BEFORE: Final = 8
"""Common events that are shown."""
AFTER: Final = 4
"""Events of each run that are shown from where they part."""
LOG_SUFFIX: Final = ".log"


class Source(msgspec.Struct, frozen=True):
    """A run to compare: `FILE.toml`, `FILE.toml@7`, a seed of the swarm, or a log."""

    text: str
    canary: str | None = None

    @property
    def is_log(self) -> bool:
        """Whether it was recorded before."""
        return self.text.endswith(LOG_SUFFIX)

    @property
    def file_and_seed(self) -> tuple[Path, int | None]:
        """What is run, and with which seed; None: its own."""
        name, _, seed = self.text.rpartition("@")
        if name and seed.isdecimal():
            return Path(name), int(seed)
        return Path(self.text), None


class Parting(msgspec.Struct, frozen=True):
    """How two runs differ."""

    common: int
    """Events that are the same in both."""
    before: tuple[str, ...]
    """The last of them."""
    first: tuple[str, ...]
    """What the first run did then; empty: it had ended."""
    second: tuple[str, ...]
    heads: tuple[Head, Head]

    @property
    def is_same(self) -> bool:
        """Whether they do not differ at all."""
        return not self.first and not self.second


def part(one: Source, other: Source) -> Parting:
    """Run or read both, and compare. Raises ScenarioError, LogError."""
    with tempfile.TemporaryDirectory(prefix="sim-harness-") as directory:
        paths = [
            Path(source.text) if source.is_log else _record(source, Path(directory) / name)
            for source, name in ((one, "a.log"), (other, "b.log"))
        ]
        (head_a, events_a), (head_b, events_b) = (read_log(path) for path in paths)
        return _compare(events_a, events_b, (head_a, head_b))


def _record(source: Source, path: Path) -> Path:
    file, seed = source.file_and_seed
    scenario, seed = load(file, seed)
    run = Run(scenario, seed, canary=source.canary)
    with logged(run, path):
        run.finish()
    return path


def _compare(one: Iterator[Entry], other: Iterator[Entry], heads: tuple[Head, Head]) -> Parting:
    common = 0
    before: deque[Entry] = deque(maxlen=BEFORE)
    for first, second in zip_longest(one, other):
        if first != second:
            return Parting(
                common,
                tuple(map(entry_text, before)),
                _some(first, one),
                _some(second, other),
                heads,
            )
        before.append(first)
        common += 1
    return Parting(common, tuple(map(entry_text, before)), (), (), heads)


def _some(first: Entry | None, rest: Iterator[Entry]) -> tuple[str, ...]:
    if first is None:
        return ()
    entries = [first]
    for entry in rest:
        if len(entries) == AFTER:
            break
        entries.append(entry)
    return tuple(map(entry_text, entries))


def shown(parting: Parting) -> list[str]:
    """The answer in lines."""
    if parting.is_same:
        return [f"the runs are the same: {parting.common:,} events"]
    lines = [f"the runs part after {parting.common:,} common events"]
    for name, head in zip("AB", parting.heads, strict=True):
        code = f", commit {head.commit}" if head.commit else ""
        lines.append(f"  {name}: {head.name!r}, seed {head.seed}{code}, Python {head.python}")
    lines += [f"    {line}" for line in parting.before]
    for name, found in (("A", parting.first), ("B", parting.second)):
        lines += [f"  {name} {line}" for line in found or ("has ended",)]
    return lines
