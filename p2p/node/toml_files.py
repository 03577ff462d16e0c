"""TOML files read into strict types, with errors that a person can act on."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from p2p.node.errors import UserError

T = TypeVar("T")

_AT: Final = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<where>[^`]*)`)?", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<key>.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(?P<key>.*)`", re.DOTALL)
_WORDS: Final = {
    "`int`": "a whole number",
    "`float`": "a number",
    "`str`": "text in quotes",
    "`bool`": "true or false",
    "`array`": "a list",
    "`object`": "a section",
    "Expected": "expected",
}


def read_text(path: Path, *, bytes_max: int) -> str:
    """A UTF-8 file of bounded size. Raises UserError."""
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > bytes_max:
        raise UserError(f"{path} is larger than the {bytes_max} bytes allowed")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file") from None


def read_toml(
    path: Path,
    kind: type[T],
    *,
    bytes_max: int,
    convert: Callable[[type, object], object] | None = None,
) -> T:
    """The value of type `kind` in a file. Raises UserError naming file, key and what is expected.

    Args:
        path: the file.
        kind: a `msgspec.Struct` type whose fields are the keys.
        bytes_max: largest size of the file.
        convert: makes values of types of our own; raises ValueError.
    """
    return parse_toml(read_text(path, bytes_max=bytes_max), path, kind, convert=convert)


def parse_toml(
    text: str,
    path: Path,
    kind: type[T],
    *,
    convert: Callable[[type, object], object] | None = None,
) -> T:
    """The same of a text that was read from a file. Raises UserError."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}") from None
    try:
        return msgspec.convert(data, kind, dec_hook=convert)
    except msgspec.ValidationError as error:
        raise UserError(f"{path}: {_explain(str(error))}") from None


def _explain(message: str) -> str:
    """A message of msgspec in people's words, with the key first."""
    match = _AT.fullmatch(message)
    what, where = (match["what"], match["where"] or "") if match else (message, "")
    for pattern, words in ((_UNKNOWN, "unknown key"), (_MISSING, "missing key")):
        if found := pattern.fullmatch(what):
            return f"{words} {f'{where}.' if where else ''}{found['key']}"
    for term, words in _WORDS.items():
        what = what.replace(term, words)
    return f"{where}: {what}" if where else what
