"""Progress of a transfer, one bar for each provider."""

from collections.abc import Iterator

from p2p.api.render import console, number, short
from p2p.api.values import Row
from p2p.node.errors import UserError


def follow(lines: Iterator[Row], what: str, *, quiet: bool) -> Row:
    """Show the lines of progress until the result; the result. Raises UserError.

    Bars stand on standard error, and only when that is a terminal.
    """
    screen = console(error=True)
    if quiet or not screen.is_terminal:
        for line in lines:
            if line.get("type") == "done":
                return line
        raise UserError("the node ended its answer without a result")
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen) as bars:
        tasks = {"": bars.add_task(what, total=None)}
        for line in lines:
            if line.get("type") == "done":
                return line
            name = str(line.get("provider") or "")
            if name and "" in tasks:  # the first provider is known: its bar replaces the waiting
                bars.remove_task(tasks.pop(""))
            if name not in tasks:
                tasks[name] = bars.add_task(f"{what} {short(name)}", total=None)
            bars.update(
                tasks[name],
                completed=number(line.get("done_bytes")),
                total=number(line.get("total_bytes")) or None,
            )
    raise UserError("the node ended its answer without a result")
