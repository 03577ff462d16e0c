"""`p2p evidence` and `p2p stake`: who lied, what it cost, and who forked a chain."""

import json
from pathlib import Path

import msgspec
import pytest

from p2p.model.ballot import Vote, VoteKind
from p2p.model.evidence import DoubleVote, Evidence
from p2p.model.topic import Topic
from p2p.primitives.codec import encode
from p2p.primitives.digests import ZERO_DIGEST
from p2p.primitives.keys import account_text
from p2p.primitives.signing import Verified
from p2p.primitives.units import Height, Round
from p2p.protocol.interface import MessageVerified
from tests.api.fake_node import GENESIS, KEY, OTHER, FakeNode
from tests.api.running import Ran, Run
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

live = pytest.mark.live


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
