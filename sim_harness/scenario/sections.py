"""Reading sections of a scenario file strictly: every mistake names its line."""

import difflib
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import TypeVar

from p2p.primitives.units import Millis
from sim_harness.scenario.lines import Lines, Path
from sim_harness.scenario.quantities import parse_span

T = TypeVar("T")


class ScenarioError(Exception):
    """A scenario file that makes no sense: where, what and what to do, in one sentence."""


class Section:
    """One table of a file. Take what it may hold, then `finish`."""

    def __init__(
        self, table: Mapping[str, object], path: Path, lines: Lines, file: PurePath
    ) -> None:
        self._table = table
        self._path = path
        self._lines = lines
        self._file = file
        self._taken: dict[str, None] = {}

    @property
    def line(self) -> int:
        """Where it begins."""
        return self._lines.of(self._path)

    @property
    def keys(self) -> list[str]:
        """What stands in it, in order."""
        return list(self._table)

    def error(self, why: str, key: str | None = None) -> ScenarioError:
        """What is wrong with a key of this section, or with all of it; to be raised."""
        path = self._path if key is None else (*self._path, key)
        return ScenarioError(f"{self._file}:{self._lines.of(path)}: {why}")

    def section(self, key: str) -> "Section":
        """A table in this table; empty when it is absent."""
        return self._sub(self._take(key, {}), key, ())

    def sections(self, key: str) -> "list[Section]":
        """An array of tables; empty when it is absent."""
        found = self._take(key, [])
        if not isinstance(found, list):
            raise self.error(f"write [[{key}]]: there may be several", key)
        return [self._sub(one, key, (number,)) for number, one in enumerate(found)]

    def _sub(self, found: object, key: str, rest: Path) -> "Section":
        if not isinstance(found, dict):
            raise self.error(f"{key} must be a section", key)
        return Section(found, (*self._path, key, *rest), self._lines, self._file)

    def text(self, key: str, default: str | None = None) -> str:
        """Text; required without a default."""
        if default is None and key not in self._table:
            raise self.error(f"{key} is missing")
        found = self._take(key, default)
        if not isinstance(found, str):
            raise self.error(f"{key} must be text in quotes, not {found!r}", key)
        return found

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        found = self._take(key, default)
        if not isinstance(found, bool):
            raise self.error(f"{key} must be true or false, not {found!r}", key)
        return found

    def integer(self, key: str, default: int, *, minimum: int = 0, maximum: int) -> int:
        """A whole number in a range."""
        found = self._take(key, default)
        if not isinstance(found, int) or isinstance(found, bool):
            raise self.error(f"{key} must be a whole number, not {found!r}", key)
        if not minimum <= found <= maximum:
            raise self.error(f"{key} must be from {minimum} to {maximum}, not {found}", key)
        return found

    def number(self, key: str, default: float, *, minimum: float, maximum: float) -> float:
        """A number in a range."""
        found = self._take(key, default)
        if not isinstance(found, int | float) or isinstance(found, bool):
            raise self.error(f"{key} must be a number, not {found!r}", key)
        if not minimum <= found <= maximum:
            raise self.error(f"{key} must be from {minimum} to {maximum}, not {found}", key)
        return float(found)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty when it is absent."""
        found = self._take(key, [])
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise self.error(f"{key} must be a list of texts", key)
        return tuple(found)

    def parsed(self, key: str, parse: Callable[[str], T], default: T) -> T:
        """Text in a form of our own."""
        if key not in self._table:
            self._taken[key] = None
            return default
        return self.attempt(lambda: parse(self.text(key)), key)

    def span(self, key: str, default: Millis | None = None, *, minimum: int = 0) -> Millis:
        """A time such as `20s`; required without a default."""
        if default is None and key not in self._table:
            raise self.error(f"{key} is missing")
        found = self.parsed(key, parse_span, default or Millis(0))
        if found < minimum:
            raise self.error(f"{key} must be at least {minimum} ms", key)
        return found

    def raw(self, key: str) -> object:
        """Whatever stands there; None when it is absent."""
        return self._take(key, None)

    def attempt(self, act: Callable[[], T], key: str | None = None) -> T:
        """Let a ValueError name the line."""
        try:
            return act()
        except ValueError as error:
            where = "" if key is None else f"{key}: "
            raise self.error(f"{where}{error}", key) from None

    def finish(self) -> None:
        """Refuse what nobody asked for."""
        for key in self._table:
            if key not in self._taken:
                near = difflib.get_close_matches(key, self._taken, 1)
                known = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(self._taken)}"
                raise self.error(f"unknown key {key!r}; {known}", key)

    def _take(self, key: str, default: object) -> object:
        self._taken[key] = None
        return self._table.get(key, default)
