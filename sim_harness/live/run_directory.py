"""Where a live run keeps everything: `runs/<time>-<name>/`.

scenario.toml   events.log   report.json   report.html   logs/node-000.log ...
homes/          the nodes' homes; removed at the end unless they are to be kept
"""

import re
import time
from pathlib import Path
from typing import Final

from p2p.node.errors import UserError

RUNS: Final = Path("runs")
NAME_MAX: Final = 40


class RunDirectory:
    """One run's files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.homes = path / "homes"
        self.logs = path / "logs"
        self.events = path / "events.log"
        self.scenario = path / "scenario.toml"
        self.report = path / "report.json"


def new_run_directory(name: str, runs: Path = RUNS) -> RunDirectory:
    """A directory that nobody has. Raises UserError."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:NAME_MAX] or "run"
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}"
    for number in range(1, 100):
        path = runs / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir(parents=True)
            (path / "logs").mkdir()
            path = path.resolve()
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"cannot make {path}: {error.strerror}") from None
        return RunDirectory(path)
    raise UserError(f"{runs} holds a hundred runs of this second: try again")
