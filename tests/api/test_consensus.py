"""What is told of consensus: to people, to programs, to Prometheus, and to the log."""

import logging
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from prometheus_client import CollectorRegistry

from p2p.api.consensus import ConsensusMetrics, consensus
from p2p.api.values import Row
from p2p.model.topic import Topic
from p2p.node.port import NodePort
from p2p.node.step_log import StepLog
from p2p.primitives.keys import account_text
from tests.api.fake_node import FakeNode
from tests.api.test_server import ME, client
from tests.protocol.replica.bench import VALIDATORS, Bench, propose, vote
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


def sample(bench: Bench, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ConsensusMetrics(port(bench)))
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
    assert consensus(port(bench))["locked"] == {"round": 0, "value": value.hex()}


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
