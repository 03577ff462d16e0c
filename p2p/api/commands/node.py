"""`status` and `peers`: what the running node sees."""

from typing import TYPE_CHECKING, Annotated

import typer

from p2p.api.options import DEFAULT_HOME, HomeOption, JsonOption, client

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p.api.values import Row

ScoresOption = Annotated[
    bool, typer.Option("--scores", help="Show what each peer's gossip is worth, and why.")
]

_PARTS = {
    "time_in_mesh": "IN MESH",
    "first_deliveries": "FIRST",
    "mesh_deliveries": "DELIVERIES",
    "mesh_failures": "FAILURES",
    "invalid": "FALSE",
}
"""Parts of a score in a topic, and their heads."""


def add_commands(app: typer.Typer) -> None:
    """Put the commands of this file into the command line."""
    app.command()(status)
    app.command()(peers)


def status(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Say how the node is."""
    from p2p.api.render import (
        count,
        find,
        listed,
        moment,
        money,
        number,
        row_of,
        show_json,
        show_pairs,
        size,
    )

    found = row_of(client(home).get("/status"))
    if as_json:
        show_json(found)
        return
    power = number(found.get("validator_power"))
    lends = size(found.get("storage_bytes_total")) if found.get("accepting") else "nothing (paused)"
    pairs = [
        ("peer id", str(found.get("peer_id"))),
        ("chain", f"{found.get('chain')} ({str(found.get('chain_id'))[:16]})"),
        ("height", f"{count(found.get('height'))} at {moment(found.get('block_time_ms'))}"),
        ("peers", count(found.get("peers"))),
        ("providers known", count(found.get("ads"))),
        ("validator", f"with power {power:,}" if power else "no"),
        ("balance", f"{money(found.get('balance'))}, {money(found.get('bonded'))} bonded"),
        ("lends", lends),
        ("listens on", listed(find(found, "addresses"))),
        ("version", f"{found.get('version')}, process {found.get('pid')}"),
    ]
    if found.get("halted"):
        pairs.insert(0, ("HALTED", str(found["halted"])))
    show_pairs(pairs)


def peers(
    home: HomeOption = DEFAULT_HOME,
    scores: ScoresOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the peers that this node is connected to."""
    from p2p.api.render import Column, listed, rows_of, show_json, show_table, yes

    rows = rows_of(client(home).get("/peers"))
    if as_json:
        show_json(list(rows))
        return
    if scores:
        _show_scores(rows)
        return
    columns = (
        Column("PEER ID", "peer"),
        Column("REGION", "region"),
        Column("VALIDATOR", "validator", yes),
        Column("ADDRESSES", "addresses", listed),
    )
    show_table(rows, columns, empty="no peers: check network.seeds in config.toml")


def _show_scores(rows: "Sequence[Row]") -> None:
    from p2p.api.render import Column, show_table
    from p2p.api.values import Json

    def points(value: Json) -> str:
        return f"{value:+.1f}" if isinstance(value, int | float) and value else "0"

    table: list[Row] = []
    for row in rows:
        score = row.get("score")
        if not isinstance(score, dict):
            continue
        topics, meshes = score.get("topics"), row.get("meshes")
        parts = list(topics.values()) if isinstance(topics, dict) else []
        sums: Row = {
            name: sum(
                value
                for part in parts
                if isinstance(part, dict) and isinstance(value := part.get(name), int | float)
            )
            for name in _PARTS
        }
        mesh: Json = len(meshes) if isinstance(meshes, list) else 0
        table.append({**score, **sums, "peer": row.get("peer"), "meshes": mesh})
    columns = (
        Column("PEER ID", "peer"),
        Column("SCORE", "total", points, right=True),
        Column("MESHES", "meshes", right=True),
        *(Column(head, name, points, right=True) for name, head in _PARTS.items()),
        Column("APPLICATION", "application", points, right=True),
        Column("COLOCATION", "colocation", points, right=True),
        Column("BEHAVIOUR", "behaviour", points, right=True),
    )
    show_table(table, columns, empty="no peers: check network.seeds in config.toml")
