"""Blobs between real nodes: consensus, gossip, SQLite and libp2p streams on 127.0.0.1."""

from pathlib import Path

import pytest
import trio

from p2p.model.parameters import Parameters, with_overrides
from p2p.node.blobs.results import AddResult
from p2p.node.node import run_node
from p2p.node.port import NodePort
from p2p.node.testnet import NetworkPlan, make_testnet
from p2p.primitives.units import MIB
from tests.node.blobs.world import pattern

DEADLINE_S = 60.0
SIZE = 3 * MIB + 5


@pytest.mark.live
async def test_a_blob_travels_between_nodes_and_its_receipts_settle(tmp_path: Path) -> None:
    plan = NetworkPlan(
        nodes=3,
        validators=1,
        parameters=with_overrides(Parameters(), {"epoch_ms": 300}),
        secret=b"blobs between real nodes",
    )
    homes = [home.path for home in make_testnet(tmp_path / "net", plan).homes]
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(pattern(SIZE))
    nodes: list[NodePort] = []
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            for home in homes:
                nursery.start_soon(_run, home, nodes)
            # All of them: the first that is ready need not be the consumer.
            while len(nodes) < len(homes) or not all(map(_sees_offers, nodes)):  # noqa: ASYNC110
                await trio.sleep(0.05)
            consumer = next(node for node in nodes if node.home == homes[0])
            added = await consumer.blobs.add(source, replicas=2)
            assert added.is_complete, added.failures
            fetched = await consumer.blobs.get(added.blob, copy)
            assert fetched.failures == ()
            assert copy.read_bytes() == source.read_bytes()
            while not _all_settled(consumer, added):  # noqa: ASYNC110
                await trio.sleep(0.05)
            nursery.cancel_scope.cancel()


async def _run(home: Path, nodes: list[NodePort]) -> None:
    await run_node(home, ready=nodes.append)


def _sees_offers(node: NodePort) -> bool:
    ads = [ad.value for ad in node.replica.registry.ads()]
    return sum(ad.accepting and ad.provider != node.account for ad in ads) == 2


def _all_settled(consumer: NodePort, added: AddResult) -> bool:
    ledger, channels = consumer.replica.state.channels, consumer.replica.channels
    return all(
        ledger[one.channel].settled == channels.promised(one.channel) > 0
        for one in added.placements
    )
