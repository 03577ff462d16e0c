"""`stake`: what is bonded, what it votes with, and the ways in and out."""

from typing import Annotated

import typer

from p2p.api import options
from p2p.api.commands.channel import submit
from p2p.api.options import (
    DEFAULT_HOME,
    AmountArgument,
    FeeOption,
    HomeOption,
    JsonOption,
    WaitOption,
    client,
)

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def show(
    peer: Annotated[
        str | None, typer.Argument(help="Peer id of the owner; else this node.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show what an account has at stake, its vote, and what is on its way back."""
    from p2p.api.render import money, number, percent, row_of, rows_of, show_json, show_pairs

    node = client(home)
    answer = row_of(node.get("/account", **({} if peer is None else {"id": options.account(peer)})))
    validators = rows_of(node.get("/validators"))
    power = sum(number(v.get("power")) for v in validators if v.get("account") == answer["account"])
    total = sum(number(v.get("power")) for v in validators)
    if as_json:
        show_json({**answer, "power": power, "total_power": total, "validators": len(validators)})
        return
    jailed = number(answer.get("jailed_until"))
    queue = rows_of(answer.get("unbonding"))
    share = f" of {money(total)}, {percent(power / total)}" if power else ""
    show_pairs(
        [
            ("account", str(answer.get("account"))),
            ("bonded", money(answer.get("bonded"))),
            ("votes with", f"{money(power)}{share}" if power else "nothing"),
            ("jailed", f"may ask to be let out from block {jailed:,}" if jailed else "no"),
            *(
                (
                    "unbonding",
                    f"{money(entry.get('amount'))} in block {entry.get('release_height')}",
                )
                for entry in queue
            ),
            ("balance", money(answer.get("balance"))),
        ]
    )


@app.command()
def bond(
    amount: AmountArgument,
    fee: FeeOption = None,
    wait: WaitOption = 60.0,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Move balance into stake, which votes two blocks later."""
    submit(home, {"type": "bond", "amount": options.amount(amount)}, fee, wait, as_json)


@app.command()
def unbond(
    amount: AmountArgument,
    fee: FeeOption = None,
    wait: WaitOption = 60.0,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Start to move stake back; it is paid out after the unbonding epochs."""
    submit(home, {"type": "unbond", "amount": options.amount(amount)}, fee, wait, as_json)


@app.command()
def unjail(
    fee: FeeOption = None,
    wait: WaitOption = 60.0,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Ask for the vote back after the time in jail; find out first why two nodes had one key."""
    submit(home, {"type": "unjail"}, fee, wait, as_json)
