"""Where each key of a TOML file stands: a scan of a text that is known to be valid TOML.

`tomllib` gives values and no places. The scan walks over statements (`[table]`, `[[table]]`,
`key = value`) and skips what is inside strings, comments, arrays and inline tables; a key inside an
inline table or array is found at the statement that holds it.
"""

import re
import tomllib
from typing import Final

Path = tuple[str | int, ...]
"""Keys and, in arrays of tables, indices from the root of the file."""

_STRINGS: Final = ('"""', "'''", '"', "'")
_OPENING: Final = "[{"
_CLOSING: Final = "]}"
_QUOTED: Final = re.compile(r'"(?:\\.|[^"\\])*"|\'[^\']*\'')


class Lines:
    """Line numbers, from 1, of every statement of a file."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {(): 1}
        self._counts: dict[Path, int] = {}
        """How many tables of an array have begun."""
        self._table: Path = ()
        for line, statement in _statements(text):
            self._note(line, statement)

    def of(self, path: Path) -> int:
        """The line of a key, or of the innermost statement around it that is known."""
        for length in range(len(path), -1, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return 1

    def _note(self, line: int, statement: str) -> None:
        if statement.startswith("[["):
            array = self._resolve(_keys(statement[2 : statement.rindex("]]")]))
            number = self._counts.get(array, 0)
            self._counts[array] = number + 1
            self._lines.setdefault(array, line)
            self._table = (*array, number)
            self._lines[self._table] = line
        elif statement.startswith("["):
            self._table = self._resolve(_keys(statement[1 : statement.rindex("]")]))
            self._lines.setdefault(self._table, line)
        else:
            path = self._table
            for key in _keys(statement[: _end_of_key(statement)]):
                path = (*path, key)
                self._lines.setdefault(path, line)

    def _resolve(self, keys: list[str]) -> Path:
        """A header's path: the name of an array of tables means its last table."""
        path: Path = ()
        for place, key in enumerate(keys):
            path = (*path, key)
            if path in self._counts and place < len(keys) - 1:
                path = (*path, self._counts[path] - 1)
        return path


def _statements(text: str) -> list[tuple[int, str]]:
    """The first line of every statement, and its text without comments."""
    found: list[tuple[int, str]] = []
    place, line = 0, 1
    while place < len(text):
        if text[place] in " \t\r\n":
            line += text[place] == "\n"
            place += 1
        elif text[place] == "#":
            place = _end_of_line(text, place)
        else:
            end = _end_of_statement(text, place)
            found.append((line, text[place:end]))
            line += text.count("\n", place, end)
            place = end
    return found


def _end_of_statement(text: str, place: int) -> int:
    depth = 0
    while place < len(text):
        if text[place] in "\"'":
            place = _end_of_string(text, place)
            continue
        if text[place] == "#":
            if depth == 0:
                return place
            place = _end_of_line(text, place)
            continue
        if text[place] == "\n" and depth == 0:
            return place
        depth += (text[place] in _OPENING) - (text[place] in _CLOSING)
        place += 1
    return place


def _end_of_string(text: str, place: int) -> int:
    quote = next(one for one in _STRINGS if text.startswith(one, place))
    place += len(quote)
    while not text.startswith(quote, place):
        place += 2 if quote[0] == '"' and text[place] == "\\" else 1
    place += len(quote)
    # Up to two quotes may stand right before the closing three.
    while len(quote) == 3 and text.startswith(quote[0], place):
        place += 1
    return place


def _end_of_line(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end


def _end_of_key(statement: str) -> int:
    place = 0
    while statement[place] != "=":
        place = _end_of_string(statement, place) if statement[place] in "\"'" else place + 1
    return place


def _keys(dotted: str) -> list[str]:
    """The parts of a dotted key, unquoted."""
    keys: list[str] = []
    place = 0
    dotted = dotted.strip()
    while place < len(dotted):
        quoted = _QUOTED.match(dotted, place)
        if quoted is not None:
            keys.append(tomllib.loads(f"x = {quoted[0]}")["x"])
            place = quoted.end()
        else:
            end = min(
                (dotted.find(one, place) for one in ". \t" if one in dotted[place:]), default=-1
            )
            end = len(dotted) if end < 0 else end
            keys.append(dotted[place:end])
            place = end
        while place < len(dotted) and dotted[place] in ". \t":
            place += 1
    return keys
