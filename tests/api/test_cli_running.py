"""`p2p` against a running node: what it shows, offers, pays and stores."""

import json
from pathlib import Path

import pytest

from p2p.primitives.keys import account_text
from tests.api.fake_node import KEY, OTHER, FakeNode
from tests.api.running import Ran, Run

ME, THEM = account_text(KEY.account), account_text(OTHER.account)

pytestmark = pytest.mark.live


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


def test_too_few_replicas_is_a_failure_that_names_them(
    run: Run, served: FakeNode, tmp_path: Path
) -> None:
    source = tmp_path / "song.txt"
    source.write_bytes(b"la")
    added = run("add", source, "--replicas", 4, "--home", served.home)
    assert added.code == 1
    assert "2 B at 3 of 4 providers" in added.out
    assert added.err.endswith("the provider has no room for it\n")
