"""`p2p` as its users meet it without a node: help, usage, homes, and a process of its own."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from p2p.node.home import Home
from p2p.primitives.keys import account_text
from tests.api.fake_node import KEY, OTHER, FakeNode
from tests.api.running import Ran, Run

ME, THEM = account_text(KEY.account), account_text(OTHER.account)

live = pytest.mark.live


# ---- help and usage ----------------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    program = """
import sys
from p2p.api import cli
sys.argv = ["p2p", "--help"]
try:
    cli.main()
except SystemExit:
    heavy = "trio anyio libp2p starlette hypercorn msgspec nacl rich sqlite3".split()
    print("heavy:", sorted(set(heavy) & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("heavy: []\n")


def test_every_command_has_help(run: Run) -> None:
    words = [
        *("init", "testnet", "start", "status", "id", "peers", "doctor", "add", "get", "ls"),
        *("offer show", "offer set", "offer pause", "offer resume", "offer drain"),
        *("channel list", "channel open", "channel topup", "channel close"),
        *("receipt list", "receipt verify", "reward show", "reward verify", "tx send"),
        *("stake bond", "stake unbond", "block show"),
    ]
    for command in words:
        ran = run(*command.split(), "--help")
        assert ran.code == 0, command
        assert "--home" in ran.out or command == "testnet"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["bake"], "No such command 'bake'"),
        (["add"], "Missing argument"),
        (["tx", "send", "me", "1"], "not the peer id of an Ed25519 key: 'me'"),
        (["tx", "send", ME, "lots"], "expected an amount such as '2.5 tokens'"),
        (["offer", "set", "--storage", "1 GGB"], "expected a size such as '10 GiB', not '1 GGB'"),
        (["offer", "set"], "name what to change: see `p2p offer set --help`"),
        (["block", "show", "first"], "expected a height or 'latest', not 'first'"),
        (["testnet", "--output", "x", "--nodes", "none"], "nodes"),
    ],
)
def test_bad_usage_exits_with_2_and_says_why(run: Run, arguments: list[str], sentence: str) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert sentence in ran.err
    assert "Traceback" not in ran.err


# ---- homes -------------------------------------------------------------------------------------


def test_init_makes_a_home_and_a_chain_of_its_own(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "home"
    made = run("init", "--home", path, "--region", "eu", "--storage", "1 GiB")
    assert made.code == 0
    home = Home(path)
    key, genesis = home.read_key(), home.read_genesis()
    assert f"next: p2p start --home {path}" in made.out
    assert [entry.account for entry in genesis.validators] == [key.account]
    config = home.read_config()
    assert (config.offer.region, config.storage.capacity) == ("eu", 2**30)
    assert run("id", "--home", path).out == f"{account_text(key.account)}\n"
    assert json.loads(run("id", "--home", path, "--json").out)["account"] == key.account.hex()


def test_init_joins_the_chain_of_a_genesis_file(run: Run, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    run("init", "--home", first)
    seed = f"/ip4/10.0.0.1/tcp/7707/p2p/{ME}"
    listen = "/ip4/127.0.0.1/tcp/0"
    joined = run(
        *("init", "--home", second, "--genesis", first / "genesis.toml"),
        *("--seed", seed, "--listen", listen),
    )
    assert joined.code == 0
    assert Home(second).read_genesis() == Home(first).read_genesis()
    network = Home(second).read_config().network
    assert (network.seeds, network.listen) == ((seed,), (listen,))


def test_init_explains_what_it_cannot_do(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "home"
    assert run("init", "--home", path, "--listen", "here").err == (
        "p2p: expected an address such as /ip4/127.0.0.1/tcp/7707, not 'here'\n"
    )
    assert run("init", "--home", path, "--balance", "0").err == (
        "p2p: cannot begin a chain so: no account is bonded, so nobody can decide a block\n"
    )
    run("init", "--home", path)
    again = run("init", "--home", path)
    assert again.code == 1
    assert again.err == f"p2p: {path}/config.toml exists already: choose another home\n"


def test_testnet_makes_homes_and_says_what_to_do_next(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "net"
    made = run(*("testnet", "--output", path, "--nodes", 3, "--validators", 2, "--json"))
    nodes = json.loads(made.out)["nodes"]
    assert [entry["validator"] for entry in nodes] == [True, True, False]
    assert Home(path / "node-002").read_genesis().parameters.epoch_ms == 5_000
    other = run(*("testnet", "--output", tmp_path / "a b", "--nodes", 1, "--validators", 1))
    assert f"next: for home in '{tmp_path}/a b'/node-*; do p2p start" in other.out
    failed = run("testnet", "--output", path)
    assert (failed.code, failed.err) == (
        1,
        f"p2p: {path} exists already: choose another directory\n",
    )


def test_the_home_may_come_from_the_environment(
    run: Run, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("P2P_HOME", str(node.home))
    assert run("id").out == f"{ME}\n"


def test_a_stopped_node_is_one_sentence_and_1(run: Run, node: FakeNode) -> None:
    for command in ("status", "peers", "ls", "offer show", "channel list", "reward show"):
        ran = run(*command.split(), "--home", node.home)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err == (
            f"p2p: node is not running: start it with `p2p start --home {node.home}`\n"
        )


def test_start_refuses_a_bad_home_in_one_sentence(run: Run, tmp_path: Path) -> None:
    ran = run("start", "--home", tmp_path)
    assert (ran.code, ran.err) == (
        1,
        f"p2p: {tmp_path} is not a node's home: make one with `p2p init`\n",
    )


def test_an_interrupt_is_one_line_and_130(
    run: Run, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Home) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Home, "read_key", interrupted)
    assert run("id", "--home", node.home) == Ran(130, "", "p2p: interrupted\n")


def test_doctor_says_what_to_mend(run: Run, node: FakeNode, tmp_path: Path) -> None:
    Home(node.home).key_path.chmod(0o644)
    ran = run("doctor", "--home", node.home, "--json")
    findings = {finding["check"]: finding for finding in json.loads(ran.out)}
    assert ran.code == 1
    assert findings["python"]["ok"]
    assert findings["fsync"]["seen"].endswith("at worst")
    assert findings["node"]["seen"].startswith("not running")
    assert findings["node.key"] == {
        "check": "node.key",
        "ok": False,
        "seen": "mode 0644",
        "fix": f"chmod 600 {node.home}/node.key",
    }
    lines = run("doctor", "--home", tmp_path / "none").out.splitlines()
    assert lines[-1].startswith("fix  home")
    assert lines[-1].endswith(f"-> make one: p2p init --home {tmp_path}/none")


# ---- a real process ----------------------------------------------------------------------------


@live
def test_start_serves_until_it_is_told_to_stop(run: Run, tmp_path: Path) -> None:
    """Given a new home; when its node is started and told to stop; then it ends cleanly."""
    path = tmp_path / "home"
    run("init", "--home", path, "--listen", "/ip4/127.0.0.1/tcp/0")
    command = [sys.executable, "-m", "p2p.api.cli", "start", "--home", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline().split()[0] for _ in range(4)]
        assert told == ["node", "chain", "listens", "api"]
        status = json.loads(run("status", "--home", path, "--json").out)
        assert (status["pid"], status["validator_power"]) == (process.pid, 500_000_000)
        second = run("start", "--home", path)
        assert second.err == (
            f"p2p: {path}/data/gigmesh.db is in use by process {process.pid}:"
            " one home runs one node\n"
        )
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "stopping (SIGTERM)\n"
        assert process.wait(10) == 0
    assert not Home(path).api_path.exists()
