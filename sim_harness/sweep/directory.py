"""The directory of a sweep: rows that came, and what all of them have in common.

sweep.json       the scenario, the world and the code of every row
rows.jsonl       a row a line, added when its run ended: what is there is not run again
results.parquet  the rows as a table         report.html  one page with plots

One sweep at a time may write to it. Rows of another scenario, world or code are refused: held
together with those of this one they would tell about neither.
"""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from p2p.primitives.digests import digest
from sim_harness.scenario.reading import parse_scenario
from sim_harness.scenario.schema import Churn, Matrix, Scenario
from sim_harness.sweep.grid import read_text
from sim_harness.sweep.row import Row, flat

ROWS: Final = "rows.jsonl"
TABLE: Final = "results.parquet"
PLAN: Final = "sweep.json"
PAGE: Final = "report.html"


class SweepError(Exception):
    """A sweep that cannot be run; in a sentence."""


class Plan(msgspec.Struct, frozen=True):
    """What all rows of a sweep have in common."""

    file: str
    text: str
    """Of the scenario, before any setting."""
    scenario: str
    """A digest of the text and of the files that it names."""
    world: str
    commit: str
    """Of the code, with a digest of what was changed since."""


def plan_of(file: Path, world: str, commit: str) -> Plan:
    """Of a scenario's file. Raises ScenarioError."""
    text = read_text(file)
    named = [path for path in files_named(parse_scenario(text, file)) if path.is_file()]
    found = digest(text.encode(), *(path.read_bytes() for path in named)).hex()[:16]
    return Plan(str(file), text, found, world, commit)


def files_named(scenario: Scenario) -> list[Path]:
    """Files that a scenario reads besides its own: distances and sessions."""
    found = []
    if isinstance(scenario.network.distance, Matrix):
        found.append(scenario.network.distance.path)
    found += [one.sessions for one in scenario.faults if isinstance(one, Churn)]
    return [Path(scenario.directory) / path for path in found]


class Rows:
    """The rows of a directory that is ours; each is on the disk before it counts."""

    def __init__(self, directory: Path) -> None:
        self._file = (directory / ROWS).open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise SweepError(
                f"another sweep is at work in {directory}: wait for it, or name another --output"
            ) from None
        self.known: dict[str, Row] = {}
        """By job; the last one counts. A run that broke is run again."""

    def read(self, directory: Path) -> None:
        """Take up what is there. A last line that was cut off goes. Raises SweepError."""
        rows, size = _read(directory / ROWS)
        self._file.truncate(size)
        self.known = {row.job: row for row in rows}

    def add(self, row: Row) -> None:
        self._file.write(msgspec.json.encode(row) + b"\n")
        self._file.flush()
        self.known[row.job] = row

    def close(self) -> None:
        self._file.close()


@contextmanager
def opened(directory: Path, plan: Plan) -> Iterator[Rows]:
    """The rows of a directory, for one sweep alone. Raises SweepError, OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = Rows(directory)
    try:
        rows.read(directory)
        if rows.known:
            _refuse_others(directory, plan)
        # Renamed into place: a sweep that is killed here leaves the old one or the new one.
        fresh = directory / f"{PLAN}.new"
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(plan)))
        fresh.replace(directory / PLAN)
        yield rows
    finally:
        rows.close()


def _refuse_others(directory: Path, plan: Plan) -> None:
    told = read_plan(directory)
    if told == plan:
        return
    if told is None:
        what = "rows, and no word of where they are from"
    elif told.scenario != plan.scenario:
        changed = f"{plan.file} as it was before it changed"
        what = f"rows of {changed if told.file == plan.file else told.file}"
    elif told.world != plan.world:
        what = f"rows of the {told.world} world"
    elif told.commit != plan.commit:
        what = f"rows of the code at {told.commit}, and this is {plan.commit}"
    else:
        return  # The same text under another name.
    raise SweepError(f"{directory} holds {what}: name another --output, or remove it")


def read_plan(directory: Path) -> Plan | None:
    """What a sweep's directory is about; None: it does not say. Raises SweepError."""
    file = directory / PLAN
    try:
        return msgspec.json.decode(file.read_bytes(), type=Plan)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise SweepError(f"{file} tells of no sweep: {error}") from None


def read_rows(directory: Path) -> list[Row]:
    """Rows of runs that ended, the last of each. Raises SweepError."""
    return list({row.job: row for row in _read(directory / ROWS)[0]}.values())


def _read(file: Path) -> tuple[list[Row], int]:
    """Rows, and how many bytes of the file they are."""
    if not file.exists():
        return [], 0
    rows, size = [], 0
    lines = file.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            rows.append(msgspec.json.decode(line, type=Row))
        except msgspec.DecodeError as error:
            # Of a sweep that was killed the last line may be cut off: its run is run again.
            if number == len(lines) and not line.endswith(b"\n"):
                break
            raise SweepError(
                f"{file}:{number} is no row of a sweep ({error}): remove the line"
            ) from None
        size += len(line)
    return rows, size


def write_table(rows: Sequence[Row], path: Path) -> None:
    """As Parquet. Raises SweepError."""
    try:
        import polars
    except ImportError:
        raise SweepError(
            "Parquet needs the package 'polars': pip install 'gigmesh[sweep]'"
        ) from None
    table = [flat(row) for row in rows]
    polars.DataFrame(table, infer_schema_length=None).write_parquet(path)
