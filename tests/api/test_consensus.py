"""What is told of consensus: to people, to programs, to Prometheus, and to the log."""

import logging
from types import SimpleNamespace
from typing import cast

import httpx
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from p2p.api.chain_metrics import ConsensusMetrics, EvidenceMetrics
from p2p.api.consensus import consensus
from p2p.api.values import Row
from p2p.model.evidence import DoubleVote
from p2p.model.topic import Topic
from p2p.model.vote import VoteKind
from p2p.node.port import NodePort
from p2p.node.step_log import StepLog
from p2p.primitives.codec import encode
from p2p.primitives.keys import account_text
from tests.api.fake_node import FakeNode
from tests.api.test_server import ME, client
from tests.protocol.replica.bench import VALIDATORS, Bench, certify, propose, vote
from tests.protocol.replica.test_accountability import BLUE, RED, proof, with_evidence
from tests.protocol.replica.test_chain import following, others

__all__ = ["client"]


def port(bench: Bench) -> NodePort:
    parts = {"replica": bench.replica, "account": bench.key.account}
    return cast(NodePort, SimpleNamespace(**parts, now_ms=lambda: bench.now_ms))


def voters(told: Row) -> dict[str, tuple[object, object]]:
    validators = told["validators"]
    assert isinstance(validators, list)
    rows = [row for row in validators if isinstance(row, dict)]
    return {str(row["validator"]): (row["prevote"], row["precommit"]) for row in rows}


def missing(told: Row) -> set[str]:
    names = told["missing"]
    assert isinstance(names, list)
    return {str(name) for name in names}


def sample(bench: Bench, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ConsensusMetrics(port(bench)))
    registry.register(EvidenceMetrics(port(bench)))
    return registry.get_sample_value(name, labels)


async def test_between_heights_nobody_has_voted(client: httpx.AsyncClient, node: FakeNode) -> None:
    told = (await client.get("/consensus")).json()
    assert (told["height"], told["step"], told["round"]) == (1, "waiting", 0)
    assert voters(told) == {ME: (None, None)}
    assert (told["missing"], told["locked"], told["last_signed"]) == ([], None, None)
    assert "cometbft_consensus_height 1.0" in (await client.get("/metrics")).text


def test_an_open_height_tells_who_voted_for_what_and_who_is_missing() -> None:
    bench = following()
    bench.now_ms = type(bench.now_ms)(bench.now_ms + 1_500)
    block = bench.build(bench.proposer()).block
    value = block.header.digest()
    bench.hear(bench.proposer().peer, Topic.VOTES, propose(bench.proposer(), block))
    one, two, three = others(bench)
    bench.hear(one.peer, Topic.VOTES, vote(one, value))
    bench.hear(two.peer, Topic.VOTES, vote(two, None))
    told = consensus(port(bench))
    assert (told["height"], told["round"], told["step"]) == (1, 0, "prevote")
    assert told["proposer"] == account_text(bench.proposer().account)
    assert told["missing"] == [account_text(three.account)]
    assert voters(told) == {
        account_text(bench.key.account): (value.hex(), None),
        account_text(one.account): (value.hex(), None),
        account_text(two.account): ("nil", None),
        account_text(three.account): (None, None),
    }
    assert told["last_signed"] == {"height": 1, "round": 0, "step": "prevote"}
    assert told["open_ms"] == 1_500
    assert sample(bench, "cometbft_consensus_validators") == len(VALIDATORS)
    name = "cometbft_consensus_round_voting_power_percent"
    assert sample(bench, name, vote_type="prevote") == 0.75
    assert sample(bench, name, vote_type="precommit") == 0.0
    bench.hear(three.peer, Topic.VOTES, vote(three, value))
    told = consensus(port(bench))
    assert told["locked"] == told["valid"] == {"round": 0, "value": value.hex()}
    assert told["step"] == "precommit"
    assert missing(told) == {account_text(key.account) for key in (one, two, three)}
    bench.hear(two.peer, Topic.VOTES, vote(two, None, kind=VoteKind.PRECOMMIT))
    told = consensus(port(bench))
    assert missing(told) == {account_text(key.account) for key in (one, three)}


def test_each_step_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "p2p.node.step_log")
    bench, steps = following(), StepLog()
    steps.look(bench.replica.chain.driver)
    steps.look(bench.replica.chain.driver)
    bench.fire("consensus/propose")
    steps.look(bench.replica.chain.driver)
    assert [record.message for record in caplog.records] == [
        "height 1 round 0 propose: locked on nothing",
        "height 1 round 0 prevote: locked on nothing",
    ]


def test_metrics_follow_blocks_and_who_did_not_sign_them() -> None:
    bench = following()
    me = account_text(bench.key.account)
    name = "cometbft_consensus_validator_missed_blocks"
    assert sample(bench, name, validator_address=me) == 0
    built = bench.build(bench.proposer())
    bench.hear(others(bench)[0].peer, Topic.BLOCKS, certify(built.block, signers=others(bench)))
    assert sample(bench, name, validator_address=me) == 1
    assert sample(bench, "cometbft_consensus_missing_validators") == 1
    assert sample(bench, "cometbft_consensus_missing_validators_power") == 1_000_000
    size = len(encode(built.block))
    assert sample(bench, "cometbft_consensus_block_size_bytes") == size
    span_s = (built.block.header.time_ms - bench.genesis.time_ms) / 1_000
    assert sample(bench, "cometbft_consensus_block_interval_seconds") == span_s
    assert sample(bench, "cometbft_p2p_peers") == len(bench.replica.membership.connected)
    assert sample(bench, "cometbft_blocksync_syncing") == 0
    assert sample(bench, "cometbft_statesync_syncing") == 0


def test_metrics_tell_what_became_of_evidence() -> None:
    """Given a lie found here, one told truly, one falsely; when a block punishes; then counted."""
    bench = following()
    one, two, three = others(bench)
    bench.hear(one.peer, Topic.VOTES, vote(two, RED, kind=VoteKind.PRECOMMIT, round_=1))
    bench.hear(one.peer, Topic.VOTES, vote(two, BLUE, round_=3))
    assert sample(bench, "gigmesh_evidence_found_total", kind="amnesia") == 1
    assert sample(bench, "gigmesh_evidence_published_total") == 1
    true = proof(three)
    bench.hear(one.peer, Topic.EVIDENCE, true)
    same = proof(three, reporter=one)
    bench.hear(one.peer, Topic.EVIDENCE, same)
    assert isinstance(true.offence, DoubleVote)
    pair = DoubleVote(true.offence.first, true.offence.first)
    false = msgspec.structs.replace(true, offence=pair)
    bench.hear(one.peer, Topic.EVIDENCE, false)
    assert sample(bench, "gigmesh_evidence_accepted_total") == 1
    assert sample(bench, "gigmesh_evidence_ignored_total") == 1
    assert sample(bench, "gigmesh_evidence_refused_total") == 1
    assert sample(bench, "gigmesh_evidence_waiting") == 2
    assert sample(bench, "cometbft_consensus_byzantine_validators") == 0
    bench.hear(one.peer, Topic.BLOCKS, certify(with_evidence(bench, true)))
    assert sample(bench, "gigmesh_evidence_punished_total", kind="double_vote") == 1
    assert sample(bench, "cometbft_consensus_byzantine_validators") == 1
    assert sample(bench, "cometbft_consensus_byzantine_validators_power") == 1_000_000
    lost, gone, found = (
        sample(bench, f"gigmesh_stake_{name}_total") for name in ("slashed", "burned", "rewarded")
    )
    assert (lost, gone, found) == (50_000, 47_500, 2_500)
    assert sample(bench, "gigmesh_evidence_waiting") == 1
    bench.hear(one.peer, Topic.BLOCKS, certify(bench.build(bench.proposer()).block))
    assert sample(bench, "cometbft_consensus_byzantine_validators") == 0, "of the last block"
    assert sample(bench, "gigmesh_stake_slashed_total") == 50_000
