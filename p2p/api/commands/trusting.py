"""The options of every command that trusts no node, written once.

`@trusting` gives a command the fields of `LightOptions` as options, in place of the parameter that
is annotated with it; what was said comes as one value.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from p2p.api.options import DEFAULT_HOME, HomeOption

if TYPE_CHECKING:
    from p2p.api.light import LightPlan

DIGEST_BYTES: Final = 32


class LightOptions(NamedTuple):
    """Whom to ask, and what to trust to begin with, as the command line says it."""

    peer: Annotated[
        list[str] | None,
        typer.Option(
            "--peer",
            metavar="ADDRESS",
            help="A node to ask, /ip4/.../tcp/.../p2p/ID; again for more. Else the home's own node"
            " and its neighbours. Several nodes can be held against one another.",
        ),
    ] = None
    genesis: Annotated[
        Path | None, typer.Option("--genesis", help="The chain's genesis.toml; else the home's.")
    ] = None
    trust_height: Annotated[
        int | None,
        typer.Option(min=1, help="Height of a header that you trust; with --trust-hash."),
    ] = None
    trust_hash: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="Its digest, from a person or site you trust."),
    ] = None
    trust_period: Annotated[
        str,
        typer.Option(
            metavar="SPAN",
            help="How old a trusted header may be; less than the chain's unbonding time is safe.",
        ),
    ] = "14d"
    sequential: Annotated[
        bool, typer.Option("--sequential", help="Verify every height on the way.")
    ] = False
    witnesses: Annotated[
        int, typer.Option(min=0, max=15, help="Other nodes that are asked for the same header.")
    ] = 3
    store: Annotated[
        Path | None,
        typer.Option(help="File of what is trusted; else data/light.trust of the home."),
    ] = None
    evidence: Annotated[
        Path | None,
        typer.Option(help="File for the proof of a fork; else light-attack-HEIGHT.json."),
    ] = None
    home: HomeOption = DEFAULT_HOME

    def plan(self) -> "LightPlan":
        """What is to be done. Raises typer.BadParameter."""
        from p2p.api.light import LightPlan
        from p2p.node.quantities import parse_span_ms

        if (self.trust_height is None) != (self.trust_hash is None):
            raise typer.BadParameter("--trust-height and --trust-hash go together")
        try:
            name = None if self.trust_hash is None else bytes.fromhex(self.trust_hash)
        except ValueError:
            name = b""
        if name is not None and len(name) != DIGEST_BYTES:
            raise typer.BadParameter("--trust-hash wants 64 hex digits")
        try:
            period_ms = parse_span_ms(self.trust_period)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        return LightPlan(
            home=self.home,
            genesis=self.genesis,
            peers=tuple(self.peer or ()),
            trust_height=self.trust_height,
            trust_hash=name,
            trust_period_ms=period_ms,
            sequential=self.sequential,
            witnesses=self.witnesses,
            store=self.store,
            evidence=self.evidence,
        )


def trusting(command: Callable[..., None]) -> Callable[..., None]:
    """The command with one option for each field of `LightOptions`."""
    own = inspect.signature(command, eval_str=True)
    shared = inspect.signature(LightOptions, eval_str=True)
    (place,) = [one.name for one in own.parameters.values() if one.annotation is LightOptions]

    @wraps(command)
    def expanded(**said: object) -> None:
        options = {name: said.pop(name) for name in shared.parameters}
        command(**said, **{place: LightOptions(**options)})  # type: ignore[arg-type]

    spread = []
    for parameter in own.parameters.values():
        chosen = shared.parameters.values() if parameter.name == place else (parameter,)
        spread += [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in chosen]
    expanded.__dict__["__signature__"] = own.replace(parameters=spread)
    return expanded
