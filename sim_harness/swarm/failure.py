"""How a run failed, in few words: what two runs that failed in the same way have in common."""

import re
import traceback
from pathlib import Path
from typing import Final

import msgspec

from sim_harness.scenario.results import Result

SENTENCE_MAX: Final = 300
ROOT: Final = Path(__file__).parents[2]


class Failure(msgspec.Struct, frozen=True):
    """What was broken first, with the moment when it is known."""

    kind: str
    """`agreement`, `I1`, `recovers within`, `raised AssertionError in votes.py`: the same in
    every run that fails alike."""
    detail: str
    at_ms: int | None = None


def failure_of(result: Result) -> Failure | None:
    """The first failure of a run; None: it passed."""
    for violation in result.violations:
        kind = kind_of(violation.name, violation.detail)
        return Failure(kind, _short(violation.detail), violation.at_ms)
    for check in result.checks:
        if not check.holds:
            return Failure(_kind_of_check(check.name, check.measured), _short(check.measured))
    return None


def raised(error: BaseException, at_ms: int | None) -> Failure:
    """A run that ended in an exception, by the innermost line of this project's own code."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(ROOT)
    ]
    where = Path(frames[-1].filename).relative_to(ROOT).as_posix() if frames else "nowhere"
    line = f" (line {frames[-1].lineno})" if frames else ""
    kind = f"raised {type(error).__name__} in {where}"
    return Failure(kind, _short(f"{error}{line}"), at_ms)


def kind_of(name: str, detail: str) -> str:
    """The promise that a violation broke: without nodes, heights and moments."""
    if "signed two" in name or "signed two" in detail:
        return "no equivocation"
    name = name.partition("; ")[0]
    return re.sub(r" at \d+$", "", name)


def _kind_of_check(name: str, measured: str) -> str:
    """Of a disk that is wrong, the invariant; of a chain that stands still, only the fact."""
    invariant = re.search(r"\b(I\d)\b", measured)
    return invariant[1] if name == "validity" and invariant else name


def _short(text: str) -> str:
    return text if len(text) <= SENTENCE_MAX else text[: SENTENCE_MAX - 1] + "…"
