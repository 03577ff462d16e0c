"""`p2p light` against nodes on real sockets, true and lying."""

import json
from pathlib import Path

import msgspec
import pytest

from p2p.model.light import (
    AccountAnswer,
    LightRequest,
    LightResponse,
)
from p2p.node.home import Home, new_key
from p2p.primitives.keys import account_text
from p2p.primitives.units import Amount
from tests.api.light_nodes import (
    Network,
    asking,
    forked,
    junk,
    names,
    nodes,
    poorer,
    true,
)
from tests.api.running import Run

pytestmark = pytest.mark.live


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(tmp_path / "home")


# ---- headers -----------------------------------------------------------------------------------


def test_the_newest_header_is_proven_and_what_was_proven_is_where_the_next_begins(
    run: Run, network: Network
) -> None:
    home = ("--home", network.home)
    with nodes(network, true, true) as at:
        first = json.loads(run("light", "verify", *home, *asking(at), "--json").out)
        again = run("light", "verify", *home, *asking(at))
        third = run("light", "verify", "3", *home, *asking(at), "--sequential", "--json")
    assert (first["height"], first["header_digest"]) == (5, network.digest(5))
    assert first["signed_by"] == 4
    proof = first["proof"]
    assert (proof["trusted_height"], proof["headers_verified"]) == (0, 1)
    assert [proof["primary"], *proof["agreed"]] == names(at)
    assert 1_000 < proof["bytes_received"] < 10_000
    assert again.code == 0, "nothing is newer, and the newest is still proven"
    assert "proven        height 5\n" in again.out
    assert "from          trusted height 5\n" in again.out
    assert f"confirmed by  {names(at)[1]}\n" in again.out
    assert "stake unbonds in 0.139 h here: trust a younger header" in again.out
    assert json.loads(third.out)["proof"]["headers_verified"] == 3
    assert (network.home / "data" / "light.trust").stat().st_mode & 0o777 == 0o600


def test_a_header_is_proven_from_a_hash_with_nothing_but_the_genesis(
    run: Run, network: Network, tmp_path: Path
) -> None:
    genesis = ("--genesis", Home(network.home).genesis_path, "--home", tmp_path / "nowhere")
    trusted = ("--trust-height", "2", "--trust-hash", network.digest(2))
    store = tmp_path / "trust"
    with nodes(network, true) as at:
        ran = run("light", "verify", "4", *genesis, *trusted, *asking(at), "--store", store)
        wrong = ("--trust-height", "3", "--trust-hash", network.digest(2))
        refused = run("light", "verify", "4", *genesis, *wrong, *asking(at))
        below = run("light", "verify", "1", *genesis, *trusted, *asking(at))
    assert ran.code == 0
    assert f"digest        {network.digest(4)}\n" in ran.out
    assert "from          trusted height 2\n" in ran.out
    assert "confirmed by  nobody else: name more nodes with --peer\n" in ran.out
    assert store.exists()
    assert refused.code == 1
    assert refused.err == "p2p: no node has a header of height 3 with the trusted hash\n"
    assert below.code == 1
    assert below.err == (
        "p2p: height 1 is not above the trusted height 2: trust an earlier one, or the genesis\n"
    )


def test_liars_are_named_and_left_out(run: Run, network: Network) -> None:
    home = ("--home", network.home)
    with nodes(network, junk, poorer, true, poorer) as at:
        ran = run("light", "verify", *home, *asking(at), "--json")
        alone = run("light", "verify", *home, *asking(at[1:2]))
        gone = run("light", "verify", *home, *asking(at[:1]))
    said = json.loads(ran.out)
    assert (ran.code, said["proof"]["primary"]) == (0, names(at)[2])
    assert said["proof"]["lied"] == [
        f"{names(at)[3]}: height 5: its certificate is of another header"
    ]
    assert said["proof"]["silent"] == [names(at)[0]]
    assert alone.code == 1
    assert gone.code == 1


def test_a_forged_header_alone_is_refused_in_one_sentence(run: Run, network: Network) -> None:
    with nodes(network, poorer) as at:
        ran = run("light", "verify", "--home", network.home, *asking(at))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"p2p: {names(at)[0]}: height 5: its certificate is of another header\n"


def test_a_fork_is_refused_names_both_and_is_written_down(
    run: Run, network: Network, tmp_path: Path
) -> None:
    proof = tmp_path / "proof.json"
    with nodes(network, true, forked(network)) as at:
        ran = run("light", "verify", "--home", network.home, *asking(at), "--evidence", proof)
    assert (ran.code, ran.out) == (1, "")
    west, east = names(at)
    assert ran.err == (
        f"p2p: the chain was forked: {west} and {east} prove two different headers of height 5;"
        f" trust neither. Both headers with their certificates are in {proof}\n"
    )
    written = json.loads(proof.read_text())
    assert written["height"] == 5
    assert written["first"]["header"]["state_root"] != written["second"]["header"]["state_root"]
    assert not (network.home / "data" / "light.trust").exists(), "nothing was proven"


def test_an_expired_genesis_is_said_with_what_to_do(run: Run, tmp_path: Path) -> None:
    old = Network(tmp_path / "old", age_ms=20 * 24 * 3_600_000)
    home = ("--home", old.home)
    with nodes(old, true) as at:
        expired = run("light", "verify", *home, *asking(at))
        longer = run("light", "verify", *home, *asking(at), "--trust-period", "30d")
    assert (expired.code, expired.out) == (1, "")
    assert expired.err.startswith(
        f"p2p: {names(at)[0]}: height 5: the trusted header is older than the trust period"
    )
    assert longer.code == 0


# ---- accounts ----------------------------------------------------------------------------------


def test_an_account_is_proven_by_its_path(run: Run, network: Network) -> None:
    home = ("--home", network.home)
    with nodes(network, true, true) as at:
        ran = run("light", "account", network.provider, *home, *asking(at), "--json")
        again = run("light", "account", network.provider, *home, *asking(at))
        nobody = run("light", "account", account_text(new_key().account), *home, *asking(at[:1]))
    account = network.chain.state.accounts[network.chain.account("a0")]
    told = json.loads(ran.out)
    assert (told["height"], told["balance"], told["bonded"]) == (5, account.balance, 0)
    assert again.code == 0
    assert "at height     5\n" in again.out
    assert (nobody.code, nobody.err) == (1, f"p2p: {names(at)[0]} shows no such account\n")


def test_an_account_of_a_forged_state_is_refused(run: Run, network: Network) -> None:
    def richer(_: LightRequest, answer: LightResponse | None) -> LightResponse | None:
        if not isinstance(answer, AccountAnswer):
            return answer
        entry = answer.proof.entry
        account = msgspec.structs.replace(entry.account, balance=Amount(1))
        entry = msgspec.structs.replace(entry, account=account)
        proof = msgspec.structs.replace(answer.proof, entry=entry)
        return msgspec.structs.replace(answer, proof=proof)

    with nodes(network, richer, true) as at:
        home = ("--home", network.home)
        ran = run("light", "account", network.provider, *home, *asking(at), "--json")
        alone = run("light", "account", network.provider, *home, *asking(at[:1]))
    account = network.chain.state.accounts[network.chain.account("a0")]
    assert json.loads(ran.out)["balance"] == account.balance, "the second node's proof holds"
    assert (alone.code, alone.err) == (
        1,
        f"p2p: the proof of {names(at)[0]} does not lead to the state root\n",
    )


# ---- usage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("light", "verify"), ("reward", "verify", "--epoch", "2")])
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--trust-height", "5"), "--trust-height and --trust-hash go together"),
        (("--trust-hash", "00" * 32), "--trust-height and --trust-hash go together"),
        (("--trust-height", "5", "--trust-hash", "00"), "--trust-hash wants 64 hex digits"),
        (("--trust-height", "5", "--trust-hash", "zz"), "--trust-hash wants 64 hex digits"),
        (("--trust-period", "soon"), "expected a span such as '14d', not 'soon'"),
        (("--witnesses", "99"), "Input should be less than or equal to 15"),
    ],
)
def test_bad_trust_is_bad_usage(
    run: Run, words: tuple[str, ...], options: tuple[str, ...], sentence: str
) -> None:
    ran = run(*words, *options)
    assert ran.code == 2
    assert sentence in ran.err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "nobody to ask: start the node, or name nodes with --peer"),
        (("--peer", "10.0.0.1"), "--peer wants addresses that end in /p2p/<peer id>"),
        (("--genesis", "/nowhere"), "cannot read /nowhere: No such file or directory"),
    ],
)
def test_nobody_to_ask_is_one_sentence(
    run: Run, network: Network, options: tuple[str, ...], sentence: str
) -> None:
    ran = run("light", "verify", "--home", network.home, *options)
    assert ran.code == 1
    assert ran.err.startswith(f"p2p: {sentence}")


def test_nodes_that_cannot_be_reached_and_other_chains_are_said(
    run: Run, network: Network, tmp_path: Path
) -> None:
    home = ("--home", network.home)
    with nodes(network, true) as at:
        address = at[0]
        stranger = Network(tmp_path / "stranger", age_ms=99_000)
        other = run("light", "verify", "--home", stranger.home, "--peer", address)
    gone = run("light", "verify", *home, "--peer", address)
    assert (gone.code, gone.err) == (
        1,
        "p2p: none of the 1 nodes to ask can be reached: name others with --peer\n",
    )
    assert other.err == f"p2p: {names([address])[0]}: height 5: it belongs to another chain\n"
