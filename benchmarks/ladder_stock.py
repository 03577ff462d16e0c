"""A node process of the ladder on stock py-libp2p: its own host, its own GossipSub, the same ads.

It is started by the same parent, reports over the same socket, and publishes an ad of the same size
when it is told to; what it hears is told as ours tell it.
"""

import os
import struct
import time
from pathlib import Path
from typing import Final

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import X25519PrivateKey
from libp2p.custom_types import TProtocol
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.security.noise.transport import Transport as Noise
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from sim_harness.live.messages import AdNoted, Ready, Reprice, Status
from sim_harness.live.process_memory import resident_bytes
from sim_harness.live.task import NodeTask

TOPIC: Final = "/gigmesh/ladder/ads/1"
AD_BYTES: Final = 500
"""What one of our signed capacity ads takes."""
REPORT_S: Final = 1.0
RETRY_S: Final = 0.5
DIAL_TRIES_MAX: Final = 60
HEAD: Final = struct.Struct(">IQ")


def key_of(number: int):  # type: ignore[no-untyped-def]
    """The key pair of a node."""
    return create_new_key_pair((number + 1).to_bytes(32))


def run(task: NodeTask) -> None:
    """Run one stock host until the harness is gone."""
    trio.run(_serve, task)


async def _serve(task: NodeTask) -> None:
    pair, options = key_of(task.node), task.options
    host = new_host(
        key_pair=pair, sec_opt={TProtocol("/noise"): Noise(pair, X25519PrivateKey.new())}
    )
    router = GossipSub(
        protocols=[TProtocol("/meshsub/1.1.0")],
        degree=8,
        degree_low=6,
        degree_high=12,
        heartbeat_interval=1,
        # Without these it lets ten messages a second of a topic pass, and slows its heartbeat.
        spam_protection_enabled=False,
        adaptive_gossip_enabled=False,
        eclipse_protection_enabled=False,
    )
    pubsub = Pubsub(host, router, strict_signing=True)
    base = int(options["base_port"])
    listen = [Multiaddr(f"/ip4/127.0.0.1/tcp/{base + task.node}")]
    async with (
        host.run(listen_addrs=listen),
        background_trio_service(pubsub),
        background_trio_service(router),
        trio.open_nursery() as nursery,
    ):
        await pubsub.wait_until_ready()
        subscription = await pubsub.subscribe(TOPIC)
        me = _account(task.node)
        task.reporter.tell(Ready(me, str(host.get_id()), tuple(map(str, listen))))
        seqs = [0]
        heard: dict[int, int] = {task.node: 0}

        async def listen_for_ads() -> None:
            while True:
                data = (await subscription.get()).data
                node, seq = HEAD.unpack_from(data)
                heard[node] = max(seq, heard.get(node, 0))
                if node != task.node:
                    task.reporter.tell(AdNoted(_account(node), seq, _now_ms()))

        async def dial() -> None:
            peers = [int(one) for one in options["dials"].split(":")[task.node].split(",") if one]
            for peer in peers:
                address = f"/ip4/127.0.0.1/tcp/{base + peer}/p2p/{_peer(peer)}"
                for _ in range(DIAL_TRIES_MAX):
                    try:
                        await host.connect(info_from_p2p_addr(Multiaddr(address)))
                        break
                    except Exception:  # noqa: BLE001 - it raises what it likes
                        await trio.sleep(RETRY_S)

        async def report() -> None:
            while True:
                peers = len(host.get_network().connections)
                mesh = len(router.mesh.get(TOPIC, ()))
                task.reporter.tell_newest(_status(peers, mesh, len(heard)))
                task.reporter.flush()
                await trio.sleep(REPORT_S)

        nursery.start_soon(listen_for_ads)
        nursery.start_soon(dial)
        nursery.start_soon(report)
        while True:
            await trio.lowlevel.wait_readable(task.reporter.fileno())
            order = task.reporter.order()
            if order is None:
                os._exit(0)  # It closes one connection each 0.2 s.
            if isinstance(order, Reprice):
                seqs[0] += 1
                ad = HEAD.pack(task.node, seqs[0]) + bytes(AD_BYTES - HEAD.size)
                task.reporter.tell(AdNoted(me, seqs[0], _now_ms()))
                await pubsub.publish(TOPIC, ad)


def _peer(number: int) -> str:
    from libp2p.peer.id import ID

    return str(ID.from_pubkey(key_of(number).public_key))


def _account(number: int) -> bytes:
    return number.to_bytes(4)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _status(peers: int, mesh: int, ads: int) -> Status:
    return Status(
        height=0,
        header_digest=b"",
        state_root=b"",
        round=0,
        peers=peers,
        ads=ads,
        receipts=0,
        settled=0,
        transactions=0,
        earned=0,
        cpu_ms=time.process_time_ns() // 1_000_000,
        rss_bytes=resident_bytes(),
        mesh=mesh,
    )


def warm() -> None:
    """Everything is imported above."""
    assert Path("/proc").exists(), "Linux"
