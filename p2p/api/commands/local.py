"""`init`, `testnet`, `start`, `id` and `doctor`: what needs no running node."""

from pathlib import Path
from typing import Annotated

import typer

from p2p.api import options
from p2p.api.options import DEFAULT_HOME, HomeOption, JsonOption


def add_commands(app: typer.Typer) -> None:
    """Put the commands of this file into the command line."""
    app.command()(init)
    app.command(name="testnet")(make_testnet)
    app.command()(start)
    app.command(name="id")(show_id)
    app.command()(doctor)


def init(
    home: HomeOption = DEFAULT_HOME,
    genesis: Annotated[
        Path | None,
        typer.Option(help="Join the chain of this genesis.toml; else begin one of your own."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of a new chain.")] = "local",
    listen: Annotated[
        str | None, typer.Option(help="Address to listen on, /ip4/0.0.0.0/tcp/7707 if left out.")
    ] = None,
    seed: Annotated[
        list[str] | None,
        typer.Option(help="Address of a node to meet first, with /p2p/<peer id>; repeatable."),
    ] = None,
    balance: Annotated[
        str, typer.Option(metavar="AMOUNT", help="Of the first account of a new chain.")
    ] = "1000 tokens",
    storage: Annotated[
        str, typer.Option(metavar="SIZE", help="Most that blobs may take.")
    ] = "10 GiB",
    region: Annotated[str, typer.Option(help='Where the machine is, such as "eu-central".')] = "",
) -> None:
    """Make the home of a node: a key, a configuration, and a chain or the way into one."""
    from p2p.api import homes

    wish = homes.Wish(
        name=name,
        listen=listen,
        seeds=tuple(seed or ()),
        balance=options.amount(balance),
        storage_bytes=options.size(storage),
        region=region,
    )
    made = homes.make_home(home, genesis, wish)
    print(f"made {made.home} for {made.peer_id} on chain {made.chain} ({made.chain_id[:16]})")
    print(f"next: p2p start --home {made.home}")


def make_testnet(
    output: Annotated[Path, typer.Option(help="Directory to make.", metavar="DIR")],
    validators: Annotated[int, typer.Option(min=1, help="Nodes that decide blocks.")] = 4,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes in all.")] = 4,
    base_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Node i listens here + i; 0 picks free ports.")
    ] = 0,
    epoch_ms: Annotated[int, typer.Option(min=0, help="Between two blocks.")] = 5_000,
    storage: Annotated[str, typer.Option(metavar="SIZE", help="Offered by each node.")] = "256 MiB",
    as_json: JsonOption = False,
) -> None:
    """Make the homes of a network on this machine, with one genesis."""
    from p2p.api import homes
    from p2p.api.render import show_json

    made = homes.make_network(
        output,
        nodes=nodes,
        validators=validators,
        base_port=base_port,
        epoch_ms=epoch_ms,
        storage_bytes=options.size(storage),
    )
    if as_json:
        show_json(made)
        return
    homes.show_network(made)


def start(home: HomeOption = DEFAULT_HOME) -> None:
    """Run the node until it is interrupted or told to stop (SIGINT, SIGTERM)."""
    from p2p.api.run import leave, run_home

    run_home(home)
    leave()


def show_id(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Print the peer id of the node, which is its account too."""
    from p2p.api.render import show_json
    from p2p.node.home import Home
    from p2p.primitives.keys import peer_text

    key = Home(home).read_key()
    text = peer_text(key.peer)
    if as_json:
        show_json({"peer_id": text, "account": key.account.hex()})
    else:
        print(text)


def doctor(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Check what a node needs of this machine, and say what to mend."""
    from p2p.api import doctor as checks
    from p2p.api.render import show_json

    findings = checks.examine(home)
    if as_json:
        show_json([finding.as_row() for finding in findings])
    else:
        checks.show(findings)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
