"""`light`: headers and accounts, proven without trusting any node."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2p.api import options
from p2p.api.options import DEFAULT_HOME, HomeOption, JsonOption

if TYPE_CHECKING:
    from p2p.api.light import LightPlan
    from p2p.api.values import Row

light = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

PeerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--peer",
        metavar="ADDRESS",
        help="A node to ask, /ip4/.../tcp/.../p2p/ID; again for more. Else the home's own node"
        " and its neighbours. Several nodes can be held against one another.",
    ),
]
GenesisOption = Annotated[
    Path | None, typer.Option("--genesis", help="The chain's genesis.toml; else the home's.")
]
TrustHeightOption = Annotated[
    int | None, typer.Option(min=1, help="Height of a header that you trust; with --trust-hash.")
]
TrustHashOption = Annotated[
    str | None, typer.Option(metavar="HEX", help="Its digest, from a person or site you trust.")
]
TrustPeriodOption = Annotated[
    str,
    typer.Option(
        metavar="SPAN",
        help="How old a trusted header may be; less than the chain's unbonding time is safe.",
    ),
]
SequentialOption = Annotated[bool, typer.Option(help="Verify every height on the way.")]
WitnessesOption = Annotated[
    int, typer.Option(min=0, max=15, help="Other nodes that are asked for the same header.")
]
StoreOption = Annotated[
    Path | None, typer.Option(help="File of what is trusted; else data/light.trust of the home.")
]
EvidenceOption = Annotated[
    Path | None, typer.Option(help="File for the proof of a fork; else light-attack-HEIGHT.json.")
]
PERIOD_DEFAULT = "14d"


def plan_of(  # noqa: PLR0913 - one for each option
    home: Path,
    *,
    peers: list[str] | None,
    genesis: Path | None,
    trust: tuple[int | None, str | None],
    trust_period: str,
    sequential: bool = False,
    witnesses: int = 3,
    store: Path | None = None,
    evidence: Path | None = None,
) -> "LightPlan":
    """The plan that the options say. Raises typer.BadParameter."""
    from p2p.api.light import LightPlan
    from p2p.node.quantities import parse_span_ms

    height, text = trust
    if (height is None) != (text is None):
        raise typer.BadParameter("--trust-height and --trust-hash go together")
    try:
        name = None if text is None else bytes.fromhex(text)
        period_ms = parse_span_ms(trust_period)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if name is not None and len(name) != 32:
        raise typer.BadParameter("--trust-hash wants 64 hex digits")
    return LightPlan(
        home=home,
        genesis=genesis,
        peers=tuple(peers or ()),
        trust_height=height,
        trust_hash=name,
        trust_period_ms=period_ms,
        sequential=sequential,
        witnesses=witnesses,
        store=store,
        evidence=evidence,
    )


@light.command()
def verify(  # noqa: PLR0913, PLR0917 - an option for each thing that can be said
    height: Annotated[int, typer.Argument(min=0, help="0 is the newest.")] = 0,
    peer: PeerOption = None,
    genesis: GenesisOption = None,
    trust_height: TrustHeightOption = None,
    trust_hash: TrustHashOption = None,
    trust_period: TrustPeriodOption = PERIOD_DEFAULT,
    sequential: SequentialOption = False,
    witnesses: WitnessesOption = 3,
    store: StoreOption = None,
    evidence: EvidenceOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Prove a header from the genesis or a trusted hash, asking nodes and trusting none.

    Examples:
      p2p light verify

      p2p light verify 5000 --trust-height 4000 --trust-hash 5f0c...

      p2p light verify --genesis genesis.toml --peer /ip4/10.0.0.7/tcp/7707/p2p/12D3...
    """
    from p2p.api.light import prove_header
    from p2p.api.render import moment, number, show_json, show_pairs

    plan = plan_of(
        home,
        peers=peer,
        genesis=genesis,
        trust=(trust_height, trust_hash),
        trust_period=trust_period,
        sequential=sequential,
        witnesses=witnesses,
        store=store,
        evidence=evidence,
    )
    found = prove_header(plan, height)
    if as_json:
        show_json(found)
        return
    show_pairs(
        [
            ("proven", f"height {number(found.get('height')):,}"),
            ("digest", str(found.get("header_digest"))),
            ("time", moment(found.get("time_ms"))),
            ("state root", str(found.get("state_root"))),
            ("signed by", f"{found.get('signed_by')} validators"),
            *proof_pairs(found, plan.trust_period_ms),
        ]
    )


@light.command()
def account(  # noqa: PLR0913, PLR0917 - an option for each thing that can be said
    of: Annotated[str, typer.Argument(metavar="PEER_ID", help="Whose account.")],
    peer: PeerOption = None,
    genesis: GenesisOption = None,
    trust_height: TrustHeightOption = None,
    trust_hash: TrustHashOption = None,
    trust_period: TrustPeriodOption = PERIOD_DEFAULT,
    store: StoreOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Prove what an account owns, by a Merkle path under a proven header."""
    from p2p.api.light import prove_account
    from p2p.api.render import count, money, show_json, show_pairs
    from p2p.primitives.keys import parse_account

    options.account(of)
    plan = plan_of(
        home,
        peers=peer,
        genesis=genesis,
        trust=(trust_height, trust_hash),
        trust_period=trust_period,
        store=store,
    )
    found = prove_account(plan, parse_account(of))
    if as_json:
        show_json(found)
        return
    show_pairs(
        [
            ("account", of),
            ("at height", count(found.get("height"))),
            ("balance", money(found.get("balance"))),
            ("bonded", money(found.get("bonded"))),
            ("transactions", count(found.get("nonce"))),
            *proof_pairs(found, plan.trust_period_ms),
        ]
    )


def proof_pairs(found: "Row", trust_period_ms: int) -> list[tuple[str, str]]:
    """What a proof rests on, for people."""
    from p2p.api.render import find, listed, number, size

    agreed, lied = find(found, "proof.agreed"), find(found, "proof.lied")
    proof = find(found, "proof")
    assert isinstance(proof, dict), "every answer has one"
    cost = f"{number(proof.get('headers_verified'))} headers, {size(proof.get('bytes_received'))}"
    pairs = [
        ("from", f"trusted height {number(proof.get('trusted_height')):,}"),
        ("proof", f"{cost} in {number(proof.get('requests'))} requests"),
        ("asked", str(proof.get("primary"))),
        ("confirmed by", listed(agreed) if agreed else "nobody else: name more nodes with --peer"),
    ]
    if lied:
        pairs.append(("liars", listed(lied)))
    unbonding_ms = number(find(found, "unbonding_ms"))
    if unbonding_ms and trust_period_ms > unbonding_ms:
        span = f"stake unbonds in {unbonding_ms / 3_600_000:.3g} h here"
        advice = "trust a younger header (--trust-height), and a --trust-period below that"
        pairs.append(("note", f"{span}: {advice}"))
    return pairs
