"""`p2p light` and `p2p reward verify --epoch` against nodes on real sockets, true and lying."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from p2p.model.light import (
    LIGHT_PROTOCOL,
    AccountAnswer,
    LightBlock,
    LightRequest,
    LightResponse,
    Settlements,
)
from p2p.model.persistence import Put, Table
from p2p.model.receipt import ServiceReceipt
from p2p.model.transaction import ChannelOpen, channel_id
from p2p.network import open_transport
from p2p.network.port import Direction, MessageStream
from p2p.node.config import Config
from p2p.node.home import Home, create_home, new_key
from p2p.primitives.codec import decode, encode
from p2p.primitives.keys import account_text
from p2p.primitives.units import Amount, Millis
from p2p.storage.light import light_answer
from p2p.storage.memory import MemoryStore
from p2p.storage.sqlite import SqliteStore
from sim_harness.made_chain import MadeChain
from tests.api.test_cli import Run, run

__all__ = ["run"]

pytestmark = pytest.mark.live

Twist = Callable[[LightRequest, LightResponse | None], LightResponse | bytes | None]


class Network:
    """A chain whose provider `a0` was paid in block 2, and how it looks from a stopped home."""

    def __init__(self, path: Path, *, age_ms: int = 60_000) -> None:
        began = Millis(time.time_ns() // 1_000_000 - age_ms)
        self.chain = MadeChain(validators=4, accounts=2, began_ms=began)
        self.store = MemoryStore()
        self.chain.keep_in(self.store)
        channel = channel_id(self.chain.chain_id, self.chain.account("a1"), 0)
        provider = self.chain.account("a0")
        self.chain.commit([self.chain.order("a1", ChannelOpen(provider, Amount(90_000)))])
        self.receipt: ServiceReceipt = self.chain.receipt(channel, 40_000)
        self.chain.commit(receipts=[self.receipt])
        self.chain.grow(3)
        self.home = create_home(path, self.chain.keys["a0"], self.chain.genesis, Config()).path

    @property
    def provider(self) -> str:
        return account_text(self.chain.account("a0"))

    def digest(self, height: int) -> str:
        return self.chain.blocks[height - 1].block.header.digest().hex()

    def answer(self, request: LightRequest) -> LightResponse | None:
        return light_answer(self.store, self.chain.state, request)


class Serving:
    """A node's side of `/gigmesh/light/1`."""

    def __init__(self, network: Network, twist: Twist) -> None:
        self._network = network
        self._twist = twist

    def peer_connected(self, peer: bytes, direction: Direction, address: str) -> None: ...

    def peer_disconnected(self, peer: bytes, reason: str) -> None: ...

    def rpc_received(self, peer: bytes, data: bytes) -> trio.Event | None: ...

    def rpc_sent(self, peer: bytes) -> None: ...

    async def request_received(self, peer: bytes, protocol: str, data: bytes) -> bytes | None:
        await trio.lowlevel.checkpoint()
        kind: object = LightRequest
        request: LightRequest = decode(data, kind, bytes_max=1024)  # type: ignore[arg-type]
        answer = self._twist(request, self._network.answer(request))
        return answer if answer is None or isinstance(answer, bytes) else encode(answer)

    async def stream_opened(self, protocol: str, stream: MessageStream) -> None: ...


@contextmanager
def nodes(network: Network, *twists: Twist) -> Iterator[list[str]]:
    """A node for each twist, on loopback, in a thread of their own; their addresses."""
    started = threading.Event()
    stops: list[Callable[[], None]] = []
    addresses: list[str] = []

    async def serve() -> None:
        token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            stops.append(lambda: token.run_sync_soon(nursery.cancel_scope.cancel))
            for twist in twists:
                listen = ["/ip4/127.0.0.1/tcp/0"]
                transport = open_transport(new_key(), listen, requests=[LIGHT_PROTOCOL], streams=())
                await nursery.start(transport.run, Serving(network, twist))
                (address,) = transport.listen_addresses()
                addresses.append(address)
            started.set()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    try:
        assert started.wait(30)
        yield addresses
    finally:
        stops[0]()
        thread.join()


def names(addresses: list[str]) -> list[str]:
    return [address.rpartition("/")[2] for address in addresses]


def asking(addresses: list[str]) -> list[str]:
    return [part for address in addresses for part in ("--peer", address)]


def true(_: LightRequest, answer: LightResponse | None) -> LightResponse | None:
    """What an honest node answers."""
    return answer


def poorer(_: LightRequest, answer: LightResponse | None) -> LightResponse | None:
    """Another supply in every header."""
    if not isinstance(answer, LightBlock):
        return answer
    header = msgspec.structs.replace(answer.header, supply=Amount(1))
    return msgspec.structs.replace(answer, header=header)


def junk(_: LightRequest, __: LightResponse | None) -> bytes:
    return b"junk"


def hiding(_: LightRequest, answer: LightResponse | None) -> LightResponse | None:
    """Says that nothing was settled."""
    return Settlements(answer.height, ()) if isinstance(answer, Settlements) else answer


def greedy(_: LightRequest, answer: LightResponse | None) -> LightResponse | None:
    """Pays the provider more in every row."""
    if not isinstance(answer, Settlements):
        return answer
    more = [
        msgspec.structs.replace(
            one, row=msgspec.structs.replace(one.row, received=Amount(one.row.received + 1))
        )
        for one in answer.settlements
    ]
    return Settlements(answer.height, tuple(more))


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


def forked(network: Network) -> Twist:
    """A node of another chain that the same keys made from the same genesis."""
    chain = MadeChain(validators=4, accounts=2, began_ms=network.chain.genesis.time_ms)
    store = MemoryStore()
    chain.keep_in(store)
    chain.grow(5)
    assert chain.chain_id == network.chain.chain_id
    return lambda request, _: light_answer(store, chain.state, request)


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


# ---- rewards -----------------------------------------------------------------------------------


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
