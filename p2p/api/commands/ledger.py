"""`receipt`, `reward`, `tx` and `block`: what the ledger says, and orders to it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2p.api import options
from p2p.api.commands import evidence, stake
from p2p.api.commands.channel import submit
from p2p.api.commands.light import proof_pairs
from p2p.api.commands.trusting import LightOptions, trusting
from p2p.api.options import (
    DEFAULT_HOME,
    AmountArgument,
    FeeOption,
    HomeOption,
    JsonOption,
    WaitOption,
    client,
)

if TYPE_CHECKING:
    from p2p.api.light import LightPlan
    from p2p.api.values import Json, Row

receipt = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
reward = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
tx = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
block = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


def add_commands(app: typer.Typer) -> None:
    """Put the commands of this file into the command line."""
    app.add_typer(receipt, name="receipt", help="Work that was signed for.")
    app.add_typer(reward, name="reward", help="What blocks paid out.")
    app.add_typer(tx, name="tx", help="Transactions.")
    app.add_typer(stake.app, name="stake", help="Stake, which is voting power.")
    app.add_typer(evidence.app, name="evidence", help="Who lied, and what it cost.")
    app.add_typer(block, name="block", help="Blocks.")


@receipt.command(name="list")
def list_receipts(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """List the newest receipt of each channel."""
    from p2p.api.render import Column, count, money, rows_of, short, show_json, show_table, size

    rows = rows_of(client(home).get("/receipts"))
    if as_json:
        show_json(list(rows))
        return
    columns = (
        Column("CHANNEL", "channel", lambda value: str(value)[:16]),
        Column("CONSUMER", "consumer", short),
        Column("PROVIDER", "provider", short),
        Column("EPOCH", "epoch", count, right=True),
        Column("SEQ", "seq", count, right=True),
        Column("PUT", "bytes_put", size, right=True),
        Column("GOT", "bytes_get", size, right=True),
        Column("MIB-EPOCHS", "mib_epochs", count, right=True),
        Column("AMOUNT", "amount", money, right=True),
        Column("SETTLED", "settled", money, right=True),
    )
    show_table(rows, columns, empty="no receipts yet")


@receipt.command(name="verify")
def verify_receipt(
    source: Annotated[
        str, typer.Argument(help="A channel id (or how it begins), or a JSON file of a receipt.")
    ],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Check both signatures of a receipt with nothing but the genesis."""
    from p2p.api.proof import load_receipt, receipt_faults
    from p2p.api.render import find, money, rows_of, short, show_json
    from p2p.node.home import Home

    path = Path(source)
    if path.is_file():
        row = load_receipt(path)
    else:
        rows = {str(item.get("channel")): item for item in rows_of(client(home).get("/receipts"))}
        name = options.resolve(source, list(rows), "channel with a receipt")
        row = rows.get(name) or {}
    faults = receipt_faults(row, Home(home).read_genesis().chain_id)
    if as_json:
        show_json({"valid": not faults, "faults": list(faults)})
    elif faults:
        print(f"not valid: {'; '.join(faults)}")
    else:
        parties = f"{short(find(row, 'consumer'))} to {short(find(row, 'provider'))}"
        print(f"valid: {parties}, {money(find(row, 'amount'))} until epoch {row.get('epoch')}")
    if faults:
        raise typer.Exit(1)


@reward.command(name="show")
def show_rewards(
    height: Annotated[
        int | None, typer.Option(min=1, help="Of this block; else the newest of this node.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show what was settled, and where every micro-token went."""
    from p2p.api.render import Column, count, money, row_of, rows_of, short, show_json, show_table

    query = {} if height is None else {"height": height}
    answer = row_of(client(home).get("/rewards", **query))
    if as_json:
        show_json(answer)
        return
    columns = (
        Column("HEIGHT", "height", count, right=True),
        Column("PROVIDER", "provider", short),
        Column("CONSUMER", "consumer", short),
        Column("EPOCH", "epoch", count, right=True),
        Column("AMOUNT", "amount", money, right=True),
        Column("FEE", "fee", money, right=True),
        Column("BONUS", "bonus", money, right=True),
        Column("VALIDATORS", "validators", money, right=True),
        Column("BURNED", "burned", money, right=True),
        Column("RECEIVED", "received", money, right=True),
    )
    show_table(rows_of(answer.get("rows")), columns, empty="nothing was settled")


@reward.command(name="verify")
@trusting
def verify_rewards(
    trust: LightOptions,
    height: Annotated[
        int | None, typer.Argument(min=1, help="Check a block's rows as this node stored them.")
    ] = None,
    epoch: Annotated[
        int | None, typer.Option(min=1, help="Prove one's own reward of an epoch instead.")
    ] = None,
    account: Annotated[
        str | None, typer.Option(metavar="PEER_ID", help="Whose reward; else the home's own.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Work a reward out again: with --epoch one's own, trusting no node; else a block's sums.

    With --epoch, nodes are asked for settlements (receipt, row, Merkle paths) and headers; both are
    proven from the genesis or a trusted hash, receipts by their signatures, sums by the formula.

    Examples:
      p2p reward verify --epoch 120

      p2p reward verify --epoch 120 --account 12D3... --peer /ip4/10.0.0.7/tcp/7707/p2p/12D3...

      p2p reward verify 120
    """
    if (height is None) == (epoch is None):
        raise typer.BadParameter("name a block's HEIGHT, or --epoch for your own reward")
    if height is not None:
        _verify_block(height, trust.home, as_json)
        return
    assert epoch is not None, "one of both is named"
    _verify_own(trust.plan(), epoch, account, as_json)


def _verify_block(height: int, home: Path, as_json: bool) -> None:
    from p2p.api.render import listed, row_of, rows_of, show_json

    answer = row_of(client(home).get("/rewards", height=height))
    problems = answer.get("problems")
    if as_json:
        show_json({"height": height, "valid": not problems, "problems": problems})
    elif problems:
        print(f"block {height}: {listed(problems)}")
    else:
        print(f"block {height}: {len(rows_of(answer.get('rows')))} rewards, all sums are right")
    if problems:
        raise typer.Exit(1)


def _verify_own(plan: "LightPlan", epoch: int, account: str | None, as_json: bool) -> None:
    from p2p.api.light import own_receipts, verify_reward
    from p2p.api.render import Column, count, money, rows_of, short, show_json, show_pairs
    from p2p.api.render import show_table as table
    from p2p.node.home import Home
    from p2p.primitives.keys import account_text, parse_account

    if account is not None:
        options.account(account)
        found = verify_reward(plan, epoch, parse_account(account), ())
    else:
        me = Home(plan.home).read_key().account
        found = verify_reward(plan, epoch, me, own_receipts(plan.home))
        account = account_text(me)
    if as_json:
        show_json(found)
    else:
        columns = (
            Column("HEIGHT", "height", count, right=True),
            Column("PROVIDER", "provider", short),
            Column("CONSUMER", "consumer", short),
            Column("AMOUNT", "amount", money, right=True),
            Column("FEE", "fee", money, right=True),
            Column("BONUS", "bonus", money, right=True),
            Column("RECEIVED", "received", money, right=True),
        )
        table(rows_of(found.get("settlements")), columns, empty="nothing was settled")
        late = rows_of(found.get("unsettled"))
        pairs = [
            ("account", account),
            ("received", money(found.get("provided"))),
            ("paid", money(found.get("spent"))),
            ("as validator", money(found.get("validated"))),
            *proof_pairs(found, plan.trust_period_ms),
        ]
        if late:
            word = "unsettled" if found.get("is_over") else "not settled yet"
            pairs.append((word, f"{len(late)} receipts of this epoch"))
        show_pairs([*pairs, *(("note", str(one)) for one in _notes(found))])
    if not found.get("verified"):
        raise typer.Exit(1)


def _notes(found: "Row") -> list["Json"]:
    notes = found.get("notes")
    return notes if isinstance(notes, list) else []


@tx.command()
def send(
    to: Annotated[str, typer.Argument(help="Peer id of the receiver.")],
    amount: AmountArgument,
    fee: FeeOption = None,
    wait: WaitOption = 60.0,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Send tokens to another account."""
    submit(
        home,
        {"type": "transfer", "to": options.account(to), "amount": options.amount(amount)},
        fee,
        wait,
        as_json,
    )


block.command(name="certificate")(evidence.certificate)


@block.command(name="show")
def show_block(
    height: Annotated[str, typer.Argument(help="A height, or latest.")] = "latest",
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show a block and who signed it."""
    from p2p.api.render import find, moment, money, number, row_of, rows_of, show_json, show_pairs

    if height != "latest" and not (height.isascii() and height.isdigit()):
        raise typer.BadParameter(f"expected a height or 'latest', not {height!r}")
    answer = row_of(client(home).get(f"/blocks/{height}"))
    if as_json:
        show_json(answer)
        return
    header = row_of(find(answer, "block.header"))
    signatures = rows_of(find(answer, "certificate.signatures"))
    rounds = number(find(answer, "certificate.round"))
    show_pairs(
        [
            ("height", f"{number(header.get('height')):,}"),
            ("digest", str(answer.get("header_digest"))),
            ("time", moment(header.get("time_ms"))),
            ("proposer", str(header.get("proposer"))),
            ("decided in round", str(rounds)),
            ("signed by", f"{len(signatures)} validators"),
            ("transactions", str(len(rows_of(find(answer, "block.transactions"))))),
            ("receipts", str(len(rows_of(find(answer, "block.receipts"))))),
            ("liars named", str(len(rows_of(find(answer, "block.evidence"))))),
            ("state root", str(header.get("state_root"))),
            ("burned", money(header.get("burned"))),
            ("supply", money(header.get("supply"))),
        ]
    )
