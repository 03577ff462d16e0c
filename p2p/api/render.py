"""Answers as people read them: tables, pairs and one-line results; or JSON, when asked."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from p2p.api.values import Json, Row

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_WIDTH = 400
"""Columns when nobody watches: a table in a pipe is never cut."""


class Column(NamedTuple):
    """One column of a table: its head, where its cells come from, and how they are written."""

    head: str
    path: str
    write: "Callable[[Json], str]" = str
    right: bool = False


def console(*, error: bool = False) -> "Console":
    """Where text goes; as wide as it needs to be when it is not a terminal."""
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False)


def show_json(value: Json, *, lines: bool = False) -> None:
    """Print JSON: indented, or as one line."""
    import json

    print(json.dumps(value, indent=None if lines else 2, ensure_ascii=False))


def show_table(rows: Sequence[Row], columns: Sequence[Column], *, empty: str) -> None:
    """Print rows under heads, or the sentence `empty`."""
    from rich.table import Table

    if not rows:
        print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.head, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(column.write(find(row, column.path)) for column in columns))
    console().print(table)


def show_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values, aligned."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        print(f"{name:<{width}}  {value}")


def rows_of(answer: Json) -> list[Row]:
    """An answer that is a list of objects."""
    return [item for item in answer if isinstance(item, dict)] if isinstance(answer, list) else []


def row_of(answer: Json) -> Row:
    """An answer that is an object."""
    return answer if isinstance(answer, dict) else {}


def find(row: Row, path: str) -> Json:
    """The value at a dotted path, or None."""
    value: Json = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


# ---- how cells are written ------------------------------------------------------------------


def number(value: Json) -> int:
    """An integer of an answer; 0 for what is none."""
    return value if isinstance(value, int) else 0


def count(value: Json) -> str:
    """A number with its thousands apart."""
    return "-" if value is None else f"{number(value):,}"


def size(value: Json) -> str:
    """Bytes in the unit that people would use, rounded."""
    amount = float(number(value))
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError


def money(value: Json) -> str:
    """An amount in tokens."""
    from p2p.node.quantities import amount_text

    return "-" if value is None else amount_text(number(value))


def moment(value: Json) -> str:
    """A moment of Unix time in milliseconds, in UTC."""
    from datetime import UTC, datetime

    if not number(value):
        return "-"
    when = datetime.fromtimestamp(number(value) / 1000, tz=UTC)
    return when.strftime("%Y-%m-%d %H:%M:%S UTC")


def percent(value: Json) -> str:
    """A share of one in percent."""
    return f"{value:.1%}" if isinstance(value, int | float) else "-"


def short(value: Json) -> str:
    """A long name by its ends; whole in JSON."""
    text = str(value or "-")
    return text if len(text) <= 20 else f"{text[:8]}…{text[-6:]}"


def yes(value: Json) -> str:
    """A truth."""
    return "yes" if value else "no"


def listed(value: Json) -> str:
    """A list on one line."""
    return ", ".join(str(item) for item in value) if isinstance(value, list) else "-"
