"""`consensus`: where the open height stands, and who is missing."""

import typer

from p2p.api.options import DEFAULT_HOME, HomeOption, JsonOption, client


def add_commands(app: typer.Typer) -> None:
    """Put the command of this file into the command line."""
    app.command()(consensus)


def consensus(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Say where consensus stands: height, round, step, locks, who has voted, and who is missing."""
    from p2p.api.render import (
        Column,
        count,
        number,
        row_of,
        rows_of,
        short,
        show_json,
        show_pairs,
        show_table,
        yes,
    )
    from p2p.api.values import Json

    found = row_of(client(home).get("/consensus"))
    if as_json:
        show_json(found)
        return

    def place(value: Json) -> str:
        if not isinstance(value, dict):
            return "nothing"
        return f"{short(value.get('value'))} of round {count(value.get('round'))}"

    def share(name: str) -> str:
        total = number(found.get("power_total"))
        return f"{100 * number(found.get(name)) / total:.0f} %" if total else "-"

    signed = found.get("last_signed")
    pairs = [
        ("height", f"{count(found.get('height'))}, round {count(found.get('round'))}"),
        ("step", f"{found.get('step')}, open for {number(found.get('open_ms')) / 1000:.1f} s"),
        ("proposer", str(found.get("proposer"))),
        ("locked on", place(found.get("locked"))),
        ("valid", place(found.get("valid"))),
        ("prevoted", share("power_prevoted")),
        ("precommitted", share("power_precommitted")),
        ("missing", ", ".join(short(name) for name in _names(found.get("missing"))) or "nobody"),
        (
            "signed last",
            f"height {count(signed.get('height'))}, round {count(signed.get('round'))},"
            f" {signed.get('step')}"
            if isinstance(signed, dict)
            else "nothing",
        ),
    ]
    if found.get("halted"):
        pairs.insert(0, ("HALTED", str(found["halted"])))
    show_pairs(pairs)
    print()
    columns = (
        Column("VALIDATOR", "validator", short),
        Column("POWER", "power", count, right=True),
        Column("PROPOSES", "proposer", yes),
        Column("PREVOTE", "prevote", short),
        Column("PRECOMMIT", "precommit", short),
        Column("US", "me", yes),
    )
    show_table(rows_of(found.get("validators")), columns, empty="no validators")


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []
