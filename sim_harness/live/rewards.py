"""Rewards of a chain as a table: who paid whom how much, and where every micro-token went."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import msgspec
from rich.table import Table

from p2p.api.values import Row
from p2p.primitives.units import MIB
from sim_harness.live.product import api_get, api_rows


class PaidChannel(msgspec.Struct):
    """What one consumer paid one provider. Amounts in micro-tokens.

    received = amount - fee + bonus, and received + validators + burned = amount.
    """

    channel: str
    provider: str
    consumer: str
    bytes_put: int = 0
    bytes_get: int = 0
    settlements: int = 0
    amount: int = 0
    fee: int = 0
    bonus: int = 0
    validators: int = 0
    burned: int = 0
    received: int = 0


async def read_rewards(home: Path, height: int) -> tuple[list[PaidChannel], list[str]]:
    """All settlements up to a height by channel, and what a node found wrong with them.

    Raises:
        UserError: the node does not answer.
    """
    rows: list[Row] = []
    problems: list[str] = []
    for at in range(1, height + 1):
        found = cast(Row, await api_get(home, "/rewards", height=at))
        rows += cast("list[Row]", found["rows"])
        problems += [f"height {at}: {problem}" for problem in cast("list[str]", found["problems"])]
    channels = {str(one["channel"]): one for one in await api_rows(home, "/channels", all=1)}
    return paid_channels(rows, channels), problems


def paid_channels(rows: Sequence[Row], channels: dict[str, Row]) -> list[PaidChannel]:
    """Sums by channel, in the order of their first settlement; bytes are the ledger's."""
    sums: dict[str, PaidChannel] = {}
    for row in rows:
        key = str(row["channel"])
        paid = sums.get(key)
        if paid is None:
            ledger = channels.get(key, {})
            paid = sums[key] = PaidChannel(
                channel=key,
                provider=str(row["provider"]),
                consumer=str(row["consumer"]),
                bytes_put=cast(int, ledger.get("bytes_put", 0)),
                bytes_get=cast(int, ledger.get("bytes_get", 0)),
            )
        paid.settlements += 1
        for part in ("amount", "fee", "bonus", "validators", "burned", "received"):
            setattr(paid, part, getattr(paid, part) + cast(int, row[part]))
    return list(sums.values())


def unbalanced(paid: Sequence[PaidChannel]) -> list[str]:
    """Channels whose parts do not add up."""
    return [
        f"channel {one.channel[:12]}: the parts of {one.amount} do not add up"
        for one in paid
        if one.received + one.validators + one.burned != one.amount
        or one.received != one.amount - one.fee + one.bonus
    ]


def rewards_table(paid: Sequence[PaidChannel], names: dict[str, str]) -> Table:
    """For people; `names` are short names of accounts."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("provider", "consumer"):
        table.add_column(name)
    for name in ("MiB put", "MiB get", "amount", "fee", "bonus", "burned", "received"):
        table.add_column(name, justify="right")
    for one in paid:
        table.add_row(
            names.get(one.provider, one.provider[-8:]),
            names.get(one.consumer, one.consumer[-8:]),
            f"{one.bytes_put / MIB:.3f}",
            f"{one.bytes_get / MIB:.3f}",
            *(str(part) for part in (one.amount, one.fee, one.bonus, one.burned, one.received)),
        )
    if paid:
        table.add_section()
        parts = ("amount", "fee", "bonus", "burned", "received")
        sums = [str(sum(getattr(one, part) for one in paid)) for part in parts]
        table.add_row("all", "", "", "", *sums, style="bold")
    return table
