"""`genesis.toml`: what a chain agrees on, as people read it.

The chain id is the digest of the canonical `Genesis` value, not of the file: comments, spaces and
the order of keys do not matter, the order of accounts and every number do.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from p2p.model.fields import AmountField, NameText
from p2p.model.ledger import SUPPLY_MAX
from p2p.model.parameters import (
    GENESIS_BYTES_MAX,
    VALIDATORS_MAX,
    Genesis,
    GenesisAccount,
    Parameters,
    with_overrides,
)
from p2p.node.errors import UserError
from p2p.node.quantities import amount_text
from p2p.node.toml_files import parse_toml, read_text
from p2p.primitives.keys import account_text, parse_account
from p2p.primitives.units import Amount, Millis

FILE_BYTES_MAX: Final = 4 * GENESIS_BYTES_MAX
"""Text is larger than the value that it says."""

_known: Final[dict[str, Genesis]] = {}
"""The one that was read last: hundreds of accounts take longer to parse than a node to start, and
processes that are forked from one parent find it there."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _AccountRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    balance: AmountField = Amount(0)
    bonded: AmountField = Amount(0)


class _GenesisFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: NameText
    time: datetime
    account: Annotated[tuple[_AccountRow, ...], Meta(min_length=1, max_length=10_000)]
    parameters: dict[str, int] = {}


def read_genesis(path: Path) -> Genesis:
    """The genesis in a file. Raises UserError naming the file and what is wrong."""
    text = read_text(path, bytes_max=FILE_BYTES_MAX)
    if text not in _known:
        genesis = _parse(text, path)
        _known.clear()
        _known[text] = genesis
    return _known[text]


def _parse(text: str, path: Path) -> Genesis:
    file = parse_toml(text, path, _GenesisFile)
    if file.time.tzinfo is None:
        raise UserError(f"{path}: time needs a time zone, such as 2026-01-31T12:00:00Z")
    try:
        genesis = Genesis(
            name=file.name,
            time_ms=Millis((file.time - _EPOCH) // timedelta(milliseconds=1)),
            parameters=with_overrides(Parameters(), file.parameters),
            accounts=tuple(
                GenesisAccount(
                    account=parse_account(row.id), balance=row.balance, bonded=row.bonded
                )
                for row in file.account
            ),
        )
        check_genesis(genesis)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    return genesis


def check_genesis(genesis: Genesis) -> None:
    """Whether a chain can begin so. Raises ValueError."""
    seen = set()
    for entry in genesis.accounts:
        if entry.account in seen:
            raise ValueError(f"account {account_text(entry.account)} is there twice")
        seen.add(entry.account)
    if not genesis.validators:
        raise ValueError("no account is bonded, so nobody can decide a block")
    if len(genesis.validators) > VALIDATORS_MAX:
        raise ValueError(f"more than {VALIDATORS_MAX} accounts are bonded")
    supply = sum(entry.balance + entry.bonded for entry in genesis.accounts)
    if supply > SUPPLY_MAX:
        raise ValueError(f"the supply is more than {amount_text(SUPPLY_MAX)}")
    if genesis.time_ms < 0:
        raise ValueError("time is before 1970")


def genesis_text(genesis: Genesis) -> str:
    """The file for a genesis, with every parameter in it."""
    moment = _EPOCH + timedelta(milliseconds=genesis.time_ms)
    lines = [
        "# What every node of this chain agrees on. Any change makes another chain.",
        f"# Chain id: {genesis.chain_id.hex()}",
        f'name = "{_escaped(genesis.name)}"',
        f"time = {moment.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}",
        "",
        "# Times in milliseconds, rates in 1/10000, money in micro-tokens (1/1000000).",
        "[parameters]",
    ]
    lines += [
        f"{field.name} = {getattr(genesis.parameters, field.name)}"
        for field in msgspec.structs.fields(Parameters)
    ]
    for entry in genesis.accounts:
        lines += [
            "",
            "[[account]]",
            f'id = "{account_text(entry.account)}"',
            f"balance = {entry.balance}",
        ]
        if entry.bonded:
            lines.append(f"bonded = {entry.bonded}  # a validator")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Text for a basic string of TOML: JSON's escapes are a part of TOML's."""
    escaped = msgspec.json.encode(text).decode()[1:-1]
    return escaped.replace("\x7f", "\\u007f")
