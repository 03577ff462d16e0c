"""Hostile bytes on every layer of a real node in its own process: it goes on serving."""

import os
import random
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import trio
from libp2p.io.exceptions import ConnectionClosedError

from p2p.model.requests import PEERS_PROTOCOL, SYNC_PROTOCOL
from p2p.node.home import Home
from sim_harness.live.cluster import LiveCluster
from sim_harness.live.figures import is_brought_up
from sim_harness.live.network import LocalPlan, open_network
from tests.network.attackers import Attacker, attacking

pytestmark = pytest.mark.live

IDLE_CONNECTIONS = 500
MEMORY_BYTES_MAX = 64 * 2**20
"""What the whole attack may add to the node's memory."""


class Victim:
    """Where a node of a cluster listens."""

    def __init__(self, home: Path) -> None:
        config = Home(home).read_config()
        self.peer = Home(home).read_key().peer
        self.port = int(config.network.listen[0].rpartition("/")[2])


async def send_raw(port: int, data: bytes) -> None:
    """Write to the bare TCP port, and wait until the node hangs up or a second has passed."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        with trio.move_on_after(1):
            try:
                await stream.send_all(data)
                while await stream.receive_some(4096):
                    pass
            except trio.BrokenResourceError:
                pass


async def attack_socket(victim: Victim, draws: random.Random) -> None:
    """Random bytes, truncated handshakes, tokens of other protocols."""
    async with trio.open_nursery() as nursery:
        for size in (1, 7, 100, 4096, 100_000):
            nursery.start_soon(send_raw, victim.port, draws.randbytes(size))
        nursery.start_soon(send_raw, victim.port, b"\x13/multistream/1.0.0\n\x03\xff\xfe\n")
        nursery.start_soon(send_raw, victim.port, b"GET / HTTP/1.1\r\n\r\n")


async def attack_streams(attacker: Attacker, draws: random.Random) -> None:
    """Garbage in place of protocol names, RPCs, requests and blob messages."""
    await attacker.frame(1, 1, 1, 0)
    await attacker.data(1, b"\x05\xff\xfe\xfd\xfc\n")
    for stream_id, protocol in (
        (3, "/meshsub/1.1.0"),
        (5, SYNC_PROTOCOL),
        (7, PEERS_PROTOCOL),
        (9, "/gigmesh/blob/1"),
    ):
        await attacker.open(stream_id, protocol)
        await attacker.send_message(stream_id, draws.randbytes(200))


async def attack_with_oversized_frame(attacker: Attacker) -> None:
    """Announce an RPC of 100 MiB; the node ends the connection."""
    await attacker.open(1, "/meshsub/1.1.0")
    await attacker.data(1, b"\x80\x80\x80\x32" + bytes(1000))
    await attacker.wait_dropped()


async def serves(cluster: LiveCluster, index: int, tmp_path: Path) -> bool:
    """Whether a node still commits blocks and takes and gives a file."""
    height = cluster.nodes[index].height
    await cluster.wait(
        lambda all_: all_.nodes[index].height >= height + 2, deadline_s=20, what="further blocks"
    )
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(os.urandom(300_000))
    client = cluster.client(index)
    lines = await trio.to_thread.run_sync(
        lambda: list(
            client.lines("POST", "/blobs", {"path": str(source), "replicas": 1, "epochs": 1})
        )
    )
    blob = lines[-1]["blob"]
    await trio.to_thread.run_sync(
        lambda: list(client.lines("POST", f"/blobs/{blob}/get", {"destination": str(copy)}))
    )
    return copy.read_bytes() == source.read_bytes()


async def test_a_node_under_attack_on_every_layer_goes_on_serving(tmp_path: Path) -> None:
    """Given 4 nodes; when one is fed garbage on every layer; then it commits and stores on."""
    draws = random.Random(7)
    plan = LocalPlan(nodes=4, epoch_ms=1000, directory=tmp_path / "net")
    with trio.fail_after(120):
        async with open_network(plan) as cluster:
            await cluster.start_all()
            await cluster.wait(is_brought_up, deadline_s=40, what="the network to come up")
            victim = Victim(cluster.nodes[3].home)
            pid = cluster.nodes[3].pid
            assert pid is not None
            memory_before = psutil.Process(pid).memory_info().rss
            await attack_socket(victim, draws)
            for name in ("eve", "mallory"):
                # The node may hang up on an attacker who is still talking.
                with suppress(ConnectionClosedError):
                    async with attacking(victim, name) as attacker:
                        await attack_streams(attacker, draws)
            with suppress(ConnectionClosedError):
                async with attacking(victim, "oscar") as attacker:
                    await attack_with_oversized_frame(attacker)
            idle = [
                await trio.open_tcp_stream("127.0.0.1", victim.port)
                for _ in range(IDLE_CONNECTIONS)
            ]
            try:
                assert await serves(cluster, 3, tmp_path)
            finally:
                for stream in idle:
                    await stream.aclose()
            assert cluster.nodes[3].pid == pid
            memory_added = psutil.Process(pid).memory_info().rss - memory_before
            assert memory_added < MEMORY_BYTES_MAX
    assert cluster.failures == []
    assert cluster.disagreements == []
