"""`p2p` as its users meet it: what it prints, how it fails, what it exits with."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
import trio

from p2p.api import cli
from p2p.api.plain import row
from p2p.api.server import serve_api
from p2p.model.ballot import Vote, VoteKind
from p2p.model.evidence import DoubleVote, Evidence
from p2p.model.receipt import ServiceReceipt, sign_as_consumer, sign_as_provider
from p2p.model.topic import Topic
from p2p.node.home import Home
from p2p.primitives.codec import encode
from p2p.primitives.digests import ZERO_DIGEST
from p2p.primitives.keys import account_text
from p2p.primitives.signing import Ed25519Signer, Verified
from p2p.primitives.units import Amount, ChannelId, Height, Round
from p2p.protocol.interface import MessageVerified
from tests.api.fake_node import GENESIS, KEY, OTHER, FakeNode
from tests.protocol.accountability.test_analysis import (
    BLUE,
    RED,
    A,
    B,
    C,
    D,
    commit,
    polka,
)

ME, THEM = account_text(KEY.account), account_text(OTHER.account)


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.delenv("P2P_HOME", raising=False)

    def running(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["p2p", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = capsys.readouterr()
        return Ran(int(left.value.code or 0), out, err)

    return running


@pytest.fixture
def served(node: FakeNode) -> Iterator[FakeNode]:
    """The fake node with its API on a real socket, in a thread of its own."""
    node.advance(2)
    node.blocks_on_ask = True
    started = threading.Event()
    stops: list[Callable[[], None]] = []

    async def serve() -> None:
        token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            stops.append(lambda: token.run_sync_soon(nursery.cancel_scope.cancel))
            await nursery.start(serve_api, node)
            started.set()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    assert started.wait(30)
    yield node
    stops[0]()
    thread.join()


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


# ---- a running node ----------------------------------------------------------------------------

live = pytest.mark.live


@live
def test_status_peers_and_blocks_are_shown(run: Run, served: FakeNode) -> None:
    status = run("status", "--home", served.home)
    assert status.code == 0
    assert f"peer id          {ME}\n" in status.out
    assert "balance          5 tokens, 1 token bonded\n" in status.out
    assert "lends            nothing (paused)\n" in status.out
    assert json.loads(run("status", "--home", served.home, "--json").out)["height"] == 2
    assert "no peers" in run("peers", "--home", served.home).out
    block = run("block", "show", "--home", served.home)
    assert f"proposer          {ME}\n" in block.out
    assert run("block", "show", "9", "--home", served.home) == Ran(
        1, "", "p2p: no block of height 9 is stored here\n"
    )
    assert run("reward", "verify", "2", "--home", served.home).out == (
        "block 2: 0 rewards, all sums are right\n"
    )
    assert json.loads(run("reward", "show", "--home", served.home, "--json").out)["rows"] == []


@live
def test_an_offer_is_set_paused_drained_and_resumed(run: Run, served: FakeNode) -> None:
    home = ("--home", served.home)
    shown = run("offer", "set", "--storage", "8 MiB", "--price-put", "0.5 tokens", *home).out
    assert "accepting        no (paused)\n" in shown
    assert "storage          8.0 MiB, 8.0 MiB free\n" in shown
    assert "a MiB taken in   0.5 tokens\n" in shown
    assert json.loads(run("offer", "resume", *home, "--json").out)["accepting"] is True
    drained = json.loads(run("offer", "drain", "--epochs", 5, *home, "--json").out)
    assert drained["drain_epoch"] == json.loads(run("status", *home, "--json").out)["height"] + 3
    assert json.loads(run("offer", "pause", *home, "--json").out)["accepting"] is False
    refused = run("offer", "set", "--storage", "1 GiB", *home)
    assert refused == Ran(
        1, "", "p2p: 1 GiB is more than storage.capacity in config.toml (64 MiB)\n"
    )


@live
def test_money_moves_and_channels_open(run: Run, served: FakeNode) -> None:
    home = ("--home", served.home)
    sent = run("tx", "send", THEM, "0.25 tokens", *home)
    assert sent.code == 0
    assert sent.out.endswith("in block 3\n")
    assert run("stake", "bond", "1000", "--fee", "50", *home).code == 0
    assert run("stake", "unbond", "500", *home).code == 0
    assert json.loads(run("channel", "open", THEM, "1 token", *home, "--json").out)["height"]
    (channel,) = json.loads(run("channel", "list", *home, "--json").out)
    name = channel["channel"]
    assert name[:16] in run("channel", "list", "--all", *home).out
    assert run("channel", "topup", name[:6], "1t", *home).code == 0
    assert run("channel", "close", name[:6].upper(), *home).code == 0
    unknown = run("channel", "close", "zz", *home)
    assert unknown == Ran(1, "", "p2p: no channel begins with 'zz'\n")
    broke = run("tx", "send", THEM, "100 tokens", *home)
    assert broke.code == 1
    assert broke.err.startswith("p2p: the transaction was refused: ")


def lie() -> Evidence:
    """Two votes of this node for height 1, found by the other account."""
    first = Vote(GENESIS.chain_id, VoteKind.PREVOTE, Height(1), Round(3), None, KEY.account)
    second = msgspec.structs.replace(first, header_digest=ZERO_DIGEST)
    return Evidence(DoubleVote(first, second), OTHER.account)


@live
def test_a_lie_waits_is_punished_and_leads_to_jail(run: Run, served: FakeNode) -> None:
    home = ("--home", served.home)
    shown = run("evidence", "list", *home).out
    assert "no evidence waits for a block\n" in shown
    assert "nobody was punished\n" in shown
    found = MessageVerified(b"id", Topic.EVIDENCE, OTHER.peer, Verified(lie()))
    served.feed(found)
    waiting = json.loads(run("evidence", "list", *home, "--json").out)
    assert [(row["kind"], row["offender"], row["reporter"]) for row in waiting["waiting"]] == [
        ("double_vote", ME, THEM)
    ]
    assert "double_vote" in run("evidence", "list", *home).out
    assert run("stake", "bond", "1000", *home).code == 0
    punished = json.loads(run("evidence", "list", *home, "--json").out)
    assert punished["waiting"] == []
    (row_,) = punished["punished"]
    assert (row_["offender"], row_["reporter"]) == (ME, THEM)
    assert (row_["slashed"], row_["rewarded"], row_["burned"]) == (50_000, 2_500, 47_500)
    assert "0.05 tokens" in run("evidence", "list", *home).out
    stake = run("stake", "show", *home).out
    assert "bonded      0.951 tokens\n" in stake
    assert f"jailed      may ask to be let out from block {row_['jailed_until']}\n" in stake
    early = run("stake", "unjail", *home, "--wait", "0")
    assert early.code == 0, "it waits in the mempool until its time has come"
    assert run("stake", "unbond", "500", *home, "--wait", "0").code == 0
    other = json.loads(run("stake", "show", THEM, *home, "--json").out)
    assert (other["power"], other["bonded"], other["balance"]) == (0, 0, 3_002_500)
    assert "votes with  nothing\n" in run("stake", "show", THEM, *home).out
    named = run("block", "show", str(row_["height"]), *home).out
    assert "liars named       1\n" in named


@live
def test_commits_are_written_to_files_and_analyzed(
    run: Run, served: FakeNode, tmp_path: Path
) -> None:
    home, file = ("--home", served.home), tmp_path / "a.commit"
    written = run("block", "certificate", "1", "-o", file, *home)
    assert written.code == 0
    assert f"{file}: block 1 " in written.out
    assert "with 1 polkas" in written.out
    again = run("block", "certificate", "latest", "-o", file, *home)
    assert again == Ran(1, "", f"p2p: {file} exists: name another file\n")
    assert run("block", "certificate", "99", "-o", tmp_path / "b", *home).code == 1
    assert run("block", "certificate", "newest", "-o", tmp_path / "b", *home).code == 2
    alone = run("evidence", "analyze", file, file, *home)
    assert alone.code == 1
    assert "height 1: one block, no fork\n" in alone.out
    assert "nobody contradicts itself" in alone.out


def test_a_fork_is_analyzed_from_two_files_without_a_node(run: Run, tmp_path: Path) -> None:
    early = commit(RED, 0, A, B, C, polkas=(polka(RED, 0, A, B, C),))
    late = commit(BLUE, 2, B, C, D, polkas=(polka(BLUE, 2, B, C, D),))
    bare = commit(BLUE, 2, B, C, D)
    paths = [tmp_path / name for name in ("early", "late", "bare")]
    for path, proof in zip(paths, (early, late, bare), strict=True):
        path.write_bytes(encode(proof))
    nowhere = ("--home", tmp_path / "nowhere")
    found = run("evidence", "analyze", *paths[:2], *nowhere)
    assert found.code == 0
    assert "height 7 was decided 2 times:" in found.out
    assert "guilty: 50.0% of the power" in found.out
    said = json.loads(run("evidence", "analyze", *paths[:2], *nowhere, "--json").out)
    names = {account_text(key.account) for key in (B, C)}
    assert {row_["validator"] for row_ in said["guilty"]} == names
    assert (said["fork"], said["names_enough"], said["missing"]) == (True, True, [])
    few = run("evidence", "analyze", paths[0], paths[2], *nowhere)
    assert few.code == 1
    assert f"polka of round 2 for {BLUE.digest().hex()[:16]}" in few.out
    assert run("evidence", "analyze", *paths, *nowhere).code == 0, "three files are as good"


def test_files_that_prove_nothing_are_explained(run: Run, tmp_path: Path, node: FakeNode) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk")
    refused = run("evidence", "analyze", junk, junk, "--home", tmp_path / "nowhere")
    assert refused.code == 1
    assert refused.err.startswith(
        f"p2p: {junk} is no commit that can be trusted: not a well-formed"
    )
    missing = run("evidence", "analyze", tmp_path / "no", "--home", tmp_path / "nowhere")
    assert missing.err == f"p2p: cannot read {tmp_path / 'no'}: No such file or directory\n"
    true = tmp_path / "true"
    true.write_bytes(encode(commit(RED, 0, A, B, C)))
    other = run("evidence", "analyze", true, true, "--home", node.home)
    assert other.code == 1
    assert "the commits are of another chain than" in other.err
    elsewhere = msgspec.structs.replace(commit(RED, 0, A, B, C), header=RED)
    true.write_bytes(encode(elsewhere))
    assert run("evidence", "analyze", true, "--home", tmp_path / "nowhere").code == 1


@live
def test_files_are_added_listed_and_fetched(run: Run, served: FakeNode, tmp_path: Path) -> None:
    home = ("--home", served.home)
    source, target = tmp_path / "song.txt", tmp_path / "copy.txt"
    source.write_bytes(b"la" * 600)
    added = run("add", source, "--replicas", 2, *home)
    blob = added.out.splitlines()[0]
    assert (added.code, added.out.splitlines()[1]) == (
        0,
        "1.2 KiB at 2 of 2 providers for 0.000014 tokens",
    )
    assert "song.txt" in run("ls", *home).out
    assert run("get", blob[:8], "-o", target, *home).code == 0
    assert target.read_bytes() == source.read_bytes()
    again = run("get", blob, "-o", target, *home)
    assert again.err == f"p2p: {target} exists already: name another --output, or --force\n"
    forced = run("get", blob, "-o", target, "--force", "--json", *home)
    assert json.loads(forced.out)["size_bytes"] == 1200
    assert len(forced.out.splitlines()) == 1


@live
def test_too_few_replicas_is_a_failure_that_names_them(
    run: Run, served: FakeNode, tmp_path: Path
) -> None:
    source = tmp_path / "song.txt"
    source.write_bytes(b"la")
    added = run("add", source, "--replicas", 4, "--home", served.home)
    assert added.code == 1
    assert "2 B at 3 of 4 providers" in added.out
    assert added.err.endswith("the provider has no room for it\n")


# ---- receipts, checked without a node ----------------------------------------------------------


def _receipt() -> ServiceReceipt:
    bare = ServiceReceipt(
        chain_id=GENESIS.chain_id,
        provider=OTHER.account,
        consumer=KEY.account,
        channel=ChannelId(bytes(32)),
        epoch=Height(3),
        seq=1,
        bytes_put=10,
        bytes_get=0,
        mib_epochs=1,
        amount=Amount(500_000),
        obligations_root=ZERO_DIGEST,
        ad_digest=ZERO_DIGEST,
    )
    return sign_as_provider(sign_as_consumer(bare, Ed25519Signer(KEY)), Ed25519Signer(OTHER))


def test_a_receipt_is_verified_from_its_file_alone(
    run: Run, node: FakeNode, tmp_path: Path
) -> None:
    path, home = tmp_path / "receipt.json", ("--home", node.home)
    receipt = _receipt()
    path.write_text(json.dumps([row(receipt, settled=None)]))
    valid = run("receipt", "verify", path, *home)
    assert valid.code == 0
    assert valid.out.endswith("0.5 tokens until epoch 3\n")

    greedy = msgspec.structs.replace(receipt, amount=Amount(600_000), chain_id=ZERO_DIGEST)
    path.write_text(json.dumps(row(greedy)))
    assert json.loads(run("receipt", "verify", path, *home, "--json").out) == {
        "valid": False,
        "faults": [
            "it belongs to another chain",
            "the consumer's signature does not verify",
            "the provider's signature does not verify",
        ],
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no receipt: save one from `p2p receipt list --json`"),
        ("{}", "the receipt's provider is wrong: not the peer id"),
        (json.dumps({**row(_receipt()), "chain_id": "zz"}), "the receipt's chain_id is wrong"),
        (json.dumps({**row(_receipt()), "seq": -1}), "this is no receipt: Expected `int` >= 0"),
    ],
)
def test_what_is_no_receipt_is_explained(
    run: Run, node: FakeNode, tmp_path: Path, text: str, sentence: str
) -> None:
    path = tmp_path / "receipt.json"
    path.write_text(text)
    ran = run("receipt", "verify", path, "--home", node.home)
    assert ran.code == 1
    assert sentence in ran.err


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
