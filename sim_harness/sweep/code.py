"""Which code a sweep runs: this one, or that of another commit of the repository."""

import io
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from zipfile import ZipFile

from p2p.primitives.digests import digest
from sim_harness.swarm.swarm import ROOT, commit
from sim_harness.sweep.directory import SweepError

PACKAGES: Final = ("p2p", "sim_harness")
FOLDER: Final = "code"
WORK: Final = "sim_harness/sweep/work.py"


def commit_here() -> str:
    """Of this code; two states of changed files are two codes."""
    told = commit()
    if told is None:
        return "unknown"
    if told.endswith("-dirty"):
        told += f"-{digest(_git('diff', 'HEAD', '--', *PACKAGES)).hex()[:8]}"
    return told


def commit_named(name: str) -> str:
    """Another commit, as rows name theirs. Raises SweepError."""
    if commit() is None:
        raise SweepError("--at needs git, and the harness in its repository")
    try:
        _git("cat-file", "-e", f"{name}^{{commit}}:{WORK}")
        return _git("describe", "--always", "--tags", f"{name}^{{commit}}").decode().strip()
    except subprocess.CalledProcessError:
        raise SweepError(f"--at {name}: no commit that has sweeps is called so") from None


@contextmanager
def unpacked(name: str, directory: Path) -> Iterator[Path]:
    """A folder with the packages of a commit, in a sweep's directory, until they are done with.

    One that a killed sweep left is replaced.
    """
    folder = (directory / FOLDER).absolute()
    shutil.rmtree(folder, ignore_errors=True)
    try:
        packed = _git("archive", "--format=zip", f"{name}^{{commit}}", *PACKAGES)
        with ZipFile(io.BytesIO(packed)) as archive:
            archive.extractall(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _git(*words: str) -> bytes:
    command = ["git", "-C", str(ROOT), *words]
    return subprocess.run(command, capture_output=True, check=True).stdout
