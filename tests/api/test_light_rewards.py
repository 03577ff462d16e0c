"""`p2p reward verify --epoch` and its example against nodes that are true, hide and forge."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from p2p.model.persistence import Put, Table
from p2p.node.home import Home
from p2p.primitives.keys import account_text
from p2p.storage.sqlite import SqliteStore
from tests.api.light_nodes import (
    Network,
    asking,
    greedy,
    hiding,
    names,
    nodes,
    true,
)
from tests.api.running import Run

pytestmark = pytest.mark.live


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(tmp_path / "home")


def test_a_reward_is_worked_out_again_although_nodes_hide_and_forge(
    run: Run, network: Network
) -> None:
    of = ("--account", network.provider, "--home", network.home)
    with nodes(network, hiding, greedy, true) as at:
        ran = run("reward", "verify", "--epoch", "2", *of, *asking(at), "--json")
        shown = run("reward", "verify", "--epoch", "2", *of, *asking(at))
        empty = run("reward", "verify", "--epoch", "4", *of, *asking(at))
        early = run("reward", "verify", "--epoch", "9", *of, *asking(at))
    told = json.loads(ran.out)
    received = network.chain.genesis.parameters
    fee = 40_000 * received.fee_rate // 10_000
    assert (ran.code, told["verified"], told["is_over"]) == (0, True, True)
    assert told["provided"] == told["settlements"][0]["received"] >= 40_000 - fee
    assert len(told["settlements"]) == 1
    assert told["notes"] == [
        f"{names(at)[1]}, block 2: its paths do not lead to the header's roots"
    ]
    assert "received      0.03" in shown.out
    assert empty.code == 0
    assert "nothing was settled" in empty.out
    assert (early.code, early.err) == (
        1,
        "p2p: epoch 9 is still to come: the chain is at height 5\n",
    )


def test_a_consumer_sees_what_it_paid_and_a_validator_its_share(run: Run, network: Network) -> None:
    home = ("--home", network.home)
    of = {name: account_text(network.chain.account(name)) for name in ("a1", "v0")}
    with nodes(network, true) as at:
        found = {
            name: json.loads(
                run(
                    *("reward", "verify", "--epoch", "2", "--account", account),
                    *(*home, *asking(at), "--json"),
                ).out
            )
            for name, account in of.items()
        }
    assert (found["a1"]["spent"], found["a1"]["provided"]) == (40_000, 0)
    (row,) = found["a1"]["settlements"]
    assert found["v0"]["validated"] == row["validators"] // 4 > 0


def test_a_receipt_of_ones_own_that_nobody_settled_fails_when_its_time_is_over(
    run: Run, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = network.receipt.channel
    own = network.chain.receipt(channel, 60_000, epoch=2)
    monkeypatch.setattr("p2p.api.light.own_receipts", lambda _: (own,))
    with nodes(network, true) as at:
        ran = run("reward", "verify", "--epoch", "2", "--home", network.home, *asking(at))
    assert ran.code == 1
    assert "unsettled     1 receipts of this epoch\n" in ran.out


def test_a_reward_without_a_running_node_or_account_says_what_is_missing(
    run: Run, network: Network
) -> None:
    ran = run("reward", "verify", "--epoch", "2", "--home", network.home)
    assert ran.code == 1
    assert ran.err.startswith("p2p: node is not running: start it with")


# ---- the library -------------------------------------------------------------------------------

EXAMPLE = Path(__file__).parents[2] / "examples" / "verify_reward.py"


def example(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_example_verifies_a_reward_from_the_database_of_a_home(network: Network) -> None:
    store = SqliteStore(Home(network.home).database_path)
    for table in Table:
        store.commit([Put(table, *pair) for pair in network.store.scan(table, b"", b"\xff" * 40)])
    store.close()
    received = network.chain.state.accounts[network.chain.account("a0")].balance - 10_000_000
    ran = example("--home", network.home)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[0] == f"proven: {received} micro-tokens received in epoch 2"
    assert ran.stdout.splitlines()[1].startswith("one bit changed: ")


def test_the_example_says_what_is_wrong(network: Network, tmp_path: Path) -> None:
    assert example().returncode == 0
    nowhere = example("--home", tmp_path / "nowhere")
    assert nowhere.returncode == 1
    assert nowhere.stderr.endswith("is not a node's home: make one with `p2p init`\n")
