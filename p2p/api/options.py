"""Options that many commands share, and the reading of quantities on the command line."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from p2p.node.errors import UserError

if TYPE_CHECKING:
    from p2p.api.client import ApiClient

T = TypeVar("T")


def client(home: Path) -> "ApiClient":
    """A client of the running node. Raises UserError."""
    from p2p.api.client import ApiClient

    return ApiClient(home)


def amount(text: str) -> int:
    """Micro-tokens of what was written. Raises typer.BadParameter."""
    from p2p.node import quantities

    return _parsed(quantities.parse_amount, text)


def size(text: str) -> int:
    """Bytes of what was written. Raises typer.BadParameter."""
    from p2p.node import quantities

    return _parsed(quantities.parse_bytes, text)


def rate(text: str) -> int:
    """Bits a second of what was written. Raises typer.BadParameter."""
    from p2p.node import quantities

    return _parsed(quantities.parse_rate, text)


def account(text: str) -> str:
    """A peer id of an Ed25519 key, as written. Raises typer.BadParameter."""
    from p2p.primitives import keys

    _parsed(keys.parse_account, text)
    return text


def resolve(prefix: str, known: list[str], what: str) -> str:
    """The one name that begins with `prefix`. Raises UserError."""
    found = sorted({name for name in known if name.startswith(prefix.lower())})
    if len(found) == 1:
        return found[0]
    if len(prefix) == 64:
        return prefix.lower()  # a whole name: the node knows whether it exists
    if not found:
        raise UserError(f"no {what} begins with {prefix!r}")
    raise UserError(f"{len(found)} {what}s begin with {prefix!r}: write more of it")


def absolute(path: Path) -> str:
    """A path as the node, which may run elsewhere on this machine, finds it."""
    return os.path.abspath(path.expanduser())


def _parsed(parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


HomeOption = Annotated[
    Path,
    typer.Option("--home", envvar="P2P_HOME", help="Directory of the node.", metavar="DIR"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
FeeOption = Annotated[
    str | None, typer.Option(metavar="AMOUNT", help="Fee; the chain's least if left out.")
]
AmountArgument = Annotated[
    str, typer.Argument(metavar="AMOUNT", help="Such as '2.5 tokens', or micro-tokens.")
]
WaitOption = Annotated[
    float, typer.Option(min=0, max=600, help="Seconds to wait for the block that has it.")
]
DEFAULT_HOME = Path("~/.gigmesh")
