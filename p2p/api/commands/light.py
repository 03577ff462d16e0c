"""`light`: headers and accounts, proven without trusting any node."""

from typing import TYPE_CHECKING, Annotated

import typer

from p2p.api import options
from p2p.api.commands.trusting import LightOptions, trusting
from p2p.api.options import JsonOption

if TYPE_CHECKING:
    from p2p.api.values import Row

light = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@light.command()
@trusting
def verify(
    trust: LightOptions,
    height: Annotated[int, typer.Argument(min=0, help="0 is the newest.")] = 0,
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

    plan = trust.plan()
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
@trusting
def account(
    of: Annotated[str, typer.Argument(metavar="PEER_ID", help="Whose account.")],
    trust: LightOptions,
    as_json: JsonOption = False,
) -> None:
    """Prove what an account owns, by a Merkle path under a proven header."""
    from p2p.api.light import prove_account
    from p2p.api.render import count, money, show_json, show_pairs
    from p2p.primitives.keys import parse_account

    options.account(of)
    plan = trust.plan()
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
