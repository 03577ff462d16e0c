"""`add`, `get` and `ls`: files stored in the network."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from p2p.api import options
from p2p.api.options import DEFAULT_HOME, HomeOption, JsonOption, client
from p2p.api.values import Row


def add_commands(app: typer.Typer) -> None:
    """Put the commands of this file into the command line."""
    app.command()(add)
    app.command()(get)
    app.command()(ls)


def add(
    path: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The file.")],
    replicas: Annotated[int, typer.Option(min=1, max=32, help="Providers that keep it.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="For how long it is paid.")] = 100,
    price_max: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Most for one replica.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Store a file at several providers, paying as it moves."""
    from p2p.api.progress import follow
    from p2p.api.render import money, number, rows_of, short, show_json, size

    body: Row = {
        "path": options.absolute(path),
        "replicas": replicas,
        "epochs": epochs,
        "price_max": price_max and options.amount(price_max),
    }
    done = follow(client(home).lines("POST", "/blobs", body), "storing", quiet=as_json)
    if as_json:
        show_json(done, lines=True)
        return
    placed, failed = rows_of(done.get("placements")), rows_of(done.get("failures"))
    print(str(done.get("blob")))
    paid = money(sum(number(row.get("paid")) for row in placed))
    print(f"{size(done.get('size_bytes'))} at {len(placed)} of {replicas} providers for {paid}")
    for row in failed:
        print(f"not at {short(row.get('provider'))}: {row.get('why')}", file=sys.stderr)
    if not done.get("complete"):
        raise typer.Exit(1)


def get(
    blob: Annotated[str, typer.Argument(help="Blob id, or how it begins for one of your own.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it.", dir_okay=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Fetch a file, checking every chunk."""
    from p2p.api.progress import follow
    from p2p.api.render import money, rows_of, show_json, size
    from p2p.node.errors import UserError

    node = client(home)
    name, known = blob, ""
    if len(blob) != 64:
        rows = {str(row.get("blob")): row for row in rows_of(node.get("/blobs"))}
        name = options.resolve(blob, list(rows), "blob")
        known = Path(str(rows[name].get("name") or "")).name
    target = output or Path(known or name)
    if target.exists() and not force:
        raise UserError(f"{target} exists already: name another --output, or --force")
    body: Row = {"destination": options.absolute(target)}
    done = follow(node.lines("POST", f"/blobs/{name}/get", body), "fetching", quiet=as_json)
    if as_json:
        show_json(done, lines=True)
        return
    print(f"{target}: {size(done.get('size_bytes'))}, {money(done.get('paid'))}")


def ls(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """List the files that this node has stored in the network."""
    from p2p.api.render import Column, count, rows_of, show_json, show_table, size

    rows = rows_of(client(home).get("/blobs"))
    if as_json:
        show_json(list(rows))
        return
    columns = (
        Column("BLOB", "blob", lambda value: str(value)[:16]),
        Column("NAME", "name"),
        Column("SIZE", "size_bytes", size, right=True),
        Column("REPLICAS", "replicas", lambda value: str(len(rows_of(value))), right=True),
        Column("UNTIL EPOCH", "until_epoch", count, right=True),
    )
    show_table(rows, columns, empty="no files: store one with `p2p add PATH`")
