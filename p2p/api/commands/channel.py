"""`channel`: deposits that pay providers."""

from pathlib import Path
from typing import Annotated

import typer

from p2p.api import options
from p2p.api.options import (
    DEFAULT_HOME,
    AmountArgument,
    FeeOption,
    HomeOption,
    JsonOption,
    WaitOption,
    client,
)
from p2p.api.values import Row

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

_Channel = Annotated[str, typer.Argument(help="Channel id, or how it begins.")]


@app.command(name="list")
def list_(
    everybody: Annotated[bool, typer.Option("--all", help="Of all accounts.")] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """List this node's channels."""
    from p2p.api.render import Column, count, money, rows_of, short, show_json, show_table

    query = {"all": 1} if everybody else {}
    rows = rows_of(client(home).get("/channels", **query))
    if as_json:
        show_json(list(rows))
        return
    columns = (
        Column("CHANNEL", "channel", lambda value: str(value)[:16]),
        Column("CONSUMER", "consumer", short),
        Column("PROVIDER", "provider", short),
        Column("DEPOSIT", "deposit", money, right=True),
        Column("PROMISED", "promised", money, right=True),
        Column("SETTLED", "settled", money, right=True),
        Column("BLOBS", "blobs", count, right=True),
        Column("", "closing_height", lambda value: "closing" if value else ""),
    )
    show_table(rows, columns, empty="no channels: `p2p add` opens them, or `p2p channel open`")


@app.command(name="open")
def open_(
    provider: Annotated[str, typer.Argument(help="Peer id of the provider.")],
    deposit: AmountArgument,
    fee: FeeOption = None,
    wait: WaitOption = 60.0,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Put a deposit into a new channel to a provider."""
    action: Row = {
        "type": "channel_open",
        "provider": options.account(provider),
        "deposit": options.amount(deposit),
    }
    submit(home, action, fee, wait, as_json)


@app.command()
def topup(
    channel: _Channel,
    amount: AmountArgument,
    fee: FeeOption = None,
    wait: WaitOption = 60.0,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Add to the deposit of a channel."""
    name = _resolved(home, channel)
    submit(
        home,
        {"type": "channel_topup", "channel": name, "amount": options.amount(amount)},
        fee,
        wait,
        as_json,
    )


@app.command()
def close(
    channel: _Channel,
    fee: FeeOption = None,
    wait: WaitOption = 60.0,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Close a channel; what is unsettled comes back when late receipts had their time."""
    submit(home, {"type": "channel_close", "channel": _resolved(home, channel)}, fee, wait, as_json)


def submit(home: Path, action: Row, fee: str | None, wait_s: float, as_json: bool) -> None:
    """Order a transaction and say what became of it; exit 1 when no block has it in time."""
    from p2p.api.client import TIMEOUT_S
    from p2p.api.render import row_of, show_json

    body: Row = {"action": action, "fee": fee and options.amount(fee), "wait_s": wait_s}
    answer = row_of(client(home).post("/tx", body, timeout_s=wait_s + TIMEOUT_S))
    height = answer.get("height")
    if as_json:
        show_json(answer)
    else:
        where = f"in block {height}" if height else "waiting for a block"
        print(f"transaction {answer.get('digest')} {where}")
    if wait_s and not height:
        raise typer.Exit(1)


def _resolved(home: Path, prefix: str) -> str:
    from p2p.api.render import rows_of

    rows = rows_of(client(home).get("/channels"))
    return options.resolve(prefix, [str(row.get("channel")) for row in rows], "channel")
