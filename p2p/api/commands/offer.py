"""`offer`: what this node lends."""

from pathlib import Path
from typing import Annotated

import typer

from p2p.api import options
from p2p.api.options import DEFAULT_HOME, HomeOption, JsonOption, client
from p2p.api.values import Json, Row
from p2p.node.errors import UserError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def show(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show what this node lends."""
    _show(client(home).get("/offer"), as_json)


@app.command(name="set")
def set_(  # noqa: PLR0913, PLR0917 - an option for each thing that can be changed
    storage: Annotated[str | None, typer.Option(metavar="SIZE", help="Such as '10 GiB'.")] = None,
    region: Annotated[str | None, typer.Option(help="Such as eu-central.")] = None,
    price_put: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="For a MiB taken in.")
    ] = None,
    price_get: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="For a MiB given out.")
    ] = None,
    price_epoch: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="For a MiB kept an epoch.")
    ] = None,
    blob_max: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Largest blob taken.")
    ] = None,
    bandwidth_up: Annotated[
        str | None, typer.Option(metavar="RATE", help="Such as '20 Mbit/s'.")
    ] = None,
    bandwidth_down: Annotated[
        str | None, typer.Option(metavar="RATE", help="Such as '100 Mbit/s'.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Change what this node lends; what is not named stays."""
    change: Row = {} if region is None else {"region": region}
    quantities = (
        ("storage_bytes", storage, options.size),
        ("per_mib_put", price_put, options.amount),
        ("per_mib_get", price_get, options.amount),
        ("per_mib_epoch", price_epoch, options.amount),
        ("blob_bytes_max", blob_max, options.size),
        ("bandwidth_up_bps", bandwidth_up, options.rate),
        ("bandwidth_down_bps", bandwidth_down, options.rate),
    )
    for name, text, parse in quantities:
        if text is not None:
            change[name] = parse(text)
    if not change:
        raise typer.BadParameter("name what to change: see `p2p offer set --help`")
    _change(home, change, as_json)


@app.command()
def pause(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Take nothing new; what is stored stays stored and paid."""
    _change(home, {"accepting": False}, as_json)


@app.command()
def resume(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Take blobs (again), and forget a drain."""
    _change(home, {"accepting": True, "drain_epoch": 0}, as_json)


@app.command()
def drain(
    epochs: Annotated[int, typer.Option(min=1, help="Epochs from now.")] = 100,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Announce the epoch from which this node wants to be free of data."""
    from p2p.api.render import number, row_of

    height = number(row_of(client(home).get("/status")).get("height"))
    _change(home, {"drain_epoch": height + epochs}, as_json)


def _change(home: Path, change: Row, as_json: bool) -> None:
    _show(client(home).post("/offer", change), as_json)


def _show(answer: Json, as_json: bool) -> None:
    from p2p.api.render import find, money, number, row_of, show_json, show_pairs, size
    from p2p.node.quantities import rate_text

    offer = row_of(answer)
    if not offer:
        raise UserError("the node did not say what it offers")
    if as_json:
        show_json(offer)
        return
    total = size(find(offer, "resources.storage_bytes_total"))
    free = size(find(offer, "resources.storage_bytes_free"))
    up, down = (number(find(offer, f"resources.bandwidth_{way}_bps")) for way in ("up", "down"))
    drain_epoch = number(offer.get("drain_epoch"))
    show_pairs(
        [
            ("accepting", "yes" if offer.get("accepting") else "no (paused)"),
            ("storage", f"{total}, {free} free"),
            ("largest blob", size(offer.get("blob_bytes_max"))),
            ("region", str(offer.get("region") or "-")),
            ("bandwidth", f"{rate_text(up)} up, {rate_text(down)} down" if up or down else "-"),
            ("a MiB taken in", money(find(offer, "price.per_mib_put"))),
            ("a MiB given out", money(find(offer, "price.per_mib_get"))),
            ("a MiB an epoch", money(find(offer, "price.per_mib_epoch"))),
            ("drains at", f"height {drain_epoch:,}" if drain_epoch else "-"),
        ]
    )
