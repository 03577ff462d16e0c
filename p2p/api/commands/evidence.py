"""`evidence` and `block certificate`: who lied, what it cost, and who forked a chain."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2p.api.options import DEFAULT_HOME, HomeOption, JsonOption, client
from p2p.node.errors import UserError

if TYPE_CHECKING:
    from p2p.api.values import Row
    from p2p.model.accusation import CommitProof
    from p2p.protocol.accountability.analysis import Finding

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command(name="list")
def list_evidence(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many of each.")] = 100,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """List evidence that waits for a block, and what liars have lost."""
    from p2p.api.render import Column, count, money, row_of, rows_of, short, show_json, show_table

    answer = row_of(client(home).get("/evidence", limit=limit))
    if as_json:
        show_json(answer)
        return
    waiting = (
        Column("WAITS FOR A BLOCK", "kind"),
        Column("OFFENDER", "offender", short),
        Column(
            "HEIGHT", "height", lambda value: "-" if value is None else count(value), right=True
        ),
        Column("FOUND BY", "reporter", short),
    )
    show_table(rows_of(answer.get("waiting")), waiting, empty="no evidence waits for a block")
    print()
    punished = (
        Column("PUNISHED", "kind"),
        Column("OFFENDER", "offender", short),
        Column("BLOCK", "height", count, right=True),
        Column("SLASHED", "slashed", money, right=True),
        Column("BURNED", "burned", money, right=True),
        Column("TO FINDER", "rewarded", money, right=True),
        Column("FOUND BY", "reporter", short),
        Column("JAILED UNTIL", "jailed_until", lambda value: count(value) if value else "-"),
    )
    show_table(rows_of(answer.get("punished")), punished, empty="nobody was punished")


@app.command()
def analyze(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Two or more commits of one height, from `p2p block certificate HEIGHT -o FILE` of"
            " nodes on either side of a fork.",
        ),
    ],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Name the validators who forked a chain, from commits of one height.

    Needs no node. Where this home has a genesis, the commits must be of its chain. Exits with 1
    where there is no fork, or too few are named.
    """
    from p2p.node.home import Home
    from p2p.protocol.accountability.analysis import analyze as name_guilty

    proofs = [_read(path) for path in files]
    genesis = Home(home)
    if genesis.genesis_path.is_file():
        chain_id = genesis.read_genesis().chain_id
        if any(proof.header.chain_id != chain_id for proof in proofs):
            raise UserError(f"the commits are of another chain than {genesis.genesis_path}")
    try:
        finding = name_guilty(proofs)
    except ValueError as error:
        raise UserError(str(error)) from None
    _show(finding, as_json=as_json)
    if not (finding.is_fork and finding.names_enough):
        raise typer.Exit(1)


def _read(path: Path) -> "CommitProof":
    """A commit from a file, every signature checked. Raises UserError."""
    from p2p.model.accusation import COMMIT_PROOF_BYTES_MAX
    from p2p.model.rejection import Rejected
    from p2p.node.verifier import read_commit_proof
    from p2p.primitives.signing import Ed25519Scheme

    try:
        with path.open("rb") as file:
            data = file.read(COMMIT_PROOF_BYTES_MAX + 1)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    proof = read_commit_proof(data, Ed25519Scheme())
    if isinstance(proof, Rejected):
        detail = f" ({proof.detail})" if proof.detail else ""
        raise UserError(f"{path} is no commit that can be trusted: {proof.reason.value}{detail}")
    return proof


def _show(finding: "Finding", *, as_json: bool) -> None:
    from p2p.api.render import Column, money, show_json, show_table
    from p2p.primitives.keys import account_text

    rows: list[Row] = [
        {
            "validator": account_text(entry.account),
            "power": entry.power,
            "lie": entry.kind,
            "first": entry.first,
            "second": entry.second,
        }
        for entry in finding.guilt
    ]
    share = finding.guilty_power / finding.total_power
    if as_json:
        show_json(
            {
                "height": int(finding.height),
                "fork": finding.is_fork,
                "values": [value.hex() for value in finding.values],
                "guilty": list(rows),
                "guilty_power": finding.guilty_power,
                "total_power": finding.total_power,
                "names_enough": finding.names_enough,
                "missing": list(finding.missing),
            }
        )
        return
    if finding.is_fork:
        print(f"height {finding.height} was decided {len(finding.values)} times:")
        for value in finding.values:
            print(f"  {value.hex()}")
    else:
        print(f"height {finding.height}: one block, no fork")
    columns = (
        Column("VALIDATOR", "validator"),
        Column("POWER", "power", money, right=True),
        Column("LIE", "lie"),
        Column("SIGNED", "first"),
        Column("AND", "second"),
    )
    show_table(rows, columns, empty="nobody contradicts itself in these commits")
    print(f"guilty: {share:.1%} of the power")
    if finding.missing:
        print(
            "too few are named; other nodes may have kept these polkas, bring their commits, too:"
        )
        for text in finding.missing:
            print(f"  polka of {text}")


def certificate(
    height: Annotated[str, typer.Argument(help="A height, or latest.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write; it must not exist.")
    ],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Write a block's commit and its polkas to a file, for `p2p evidence analyze`."""
    from p2p.api.render import row_of, show_json

    if height != "latest" and not (height.isascii() and height.isdigit()):
        raise typer.BadParameter(f"expected a height or 'latest', not {height!r}")
    answer = row_of(client(home).get(f"/blocks/{height}/certificate"))
    try:
        with output.open("xb") as file:
            file.write(bytes.fromhex(str(answer.pop("proof"))))
    except FileExistsError:
        raise UserError(f"{output} exists: name another file") from None
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}") from None
    if as_json:
        show_json({**answer, "file": str(output)})
    else:
        digest, rounds = str(answer.get("header_digest"))[:16], answer.get("round")
        height_text, polkas = answer.get("height"), answer.get("polkas")
        print(f"{output}: block {height_text} {digest}, round {rounds}, with {polkas} polkas")
