"""Replay traces against the consensus machines: `python -m tests.conformance DIR [--vectors DIR]`.

DIR holds JSON lines, packed (.jsonl.gz) or plain (.jsonl), one trace a line; what a trace tells of
is known by its own fields, not by its file. `--vectors` names a folder with the published vectors
of light clients, proposers and Merkle trees. Prints a line for each kind, the first differences,
and the sum last; exits with 1 if anything failed, or nothing was found.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.conformance.kinds import lines_of, replay_line, trace_files
from tests.conformance.vectors import check_vectors

DIFFERENCES_SHOWN_MAX = 60

Outcome = tuple[str, str, str | None]
"""Kind, name, and what differs."""


def trace_outcomes(folder: Path) -> Iterator[Outcome]:
    """The outcome of every trace below a folder."""
    for path in trace_files(folder):
        try:
            for name, line in lines_of(path):
                kind, difference = replay_line(line)
                yield kind, name, difference
        except (OSError, EOFError, UnicodeError) as error:
            yield "unreadable", path.name, f"{type(error).__name__}: {error}"


def report(outcomes: Iterable[Outcome]) -> int:
    """Print the counts by kind and the differences; the exit code."""
    passed: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    differences: list[str] = []
    for kind, name, difference in outcomes:
        if difference is None:
            passed[kind] += 1
        else:
            failed[kind] += 1
            differences.append(f"{kind} {name}: {difference}")
    for kind in sorted({*passed, *failed}):
        print(f"{kind}: {passed[kind]} passed, {failed[kind]} failed")
    for difference in differences[:DIFFERENCES_SHOWN_MAX]:
        print(difference, file=sys.stderr)
    print(f"{passed.total()} passed, {failed.total()} failed", flush=True)
    return 0 if passed and not failed else 1


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance",
        description="Replay conformance traces against the consensus machines.",
    )
    parser.add_argument("traces", metavar="DIR", nargs="?", type=Path, help="*.jsonl, *.jsonl.gz")
    parser.add_argument("--vectors", metavar="DIR", type=Path, help="*.json, *.toml")
    options = parser.parse_args(arguments)
    folders = [folder for folder in (options.traces, options.vectors) if folder is not None]
    if not folders:
        parser.error("nothing to replay: name a DIR, or --vectors DIR")
    for folder in folders:
        if not folder.is_dir():
            parser.error(f"no folder {folder}")

    def outcomes() -> Iterator[Outcome]:
        if options.traces is not None:
            yield from trace_outcomes(options.traces)
        if options.vectors is not None:
            yield from check_vectors(options.vectors)

    return report(outcomes())


if __name__ == "__main__":
    sys.exit(main())
