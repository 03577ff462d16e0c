"""The network of a plan on py-libp2p's own hosts and GossipSub."""

import gc
import os
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import NoReturn

import trio
from libp2p import new_host
from libp2p.abc import IHost
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import X25519PrivateKey
from libp2p.custom_types import TProtocol
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.security.noise.transport import Transport as Noise
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from benchmarks.gossip_stacks.plan import (
    Ledger,
    Plan,
    answer,
    asked,
    payload,
    publisher,
)


class StockNode:
    """A stock host with its GossipSub, set up as its documentation says."""

    def __init__(self, plan: Plan, number: int) -> None:
        pair = create_new_key_pair(number.to_bytes(32))
        self.host: IHost = new_host(
            key_pair=pair,
            sec_opt={TProtocol("/noise"): Noise(pair, X25519PrivateKey.new())},
        )
        self.router = GossipSub(
            protocols=[TProtocol("/meshsub/1.1.0")],
            degree=plan.degree,
            degree_low=plan.degree_low,
            degree_high=plan.degree_high,
            heartbeat_interval=plan.heartbeat_ms // 1000,
            # It lets ten messages a second of a topic pass, its own included.
            spam_protection_enabled=False,
            # It lengthens the heartbeat when it finds the mesh unhealthy.
            adaptive_gossip_enabled=False,
            eclipse_protection_enabled=False,
        )
        self.pubsub = Pubsub(self.host, self.router, strict_signing=plan.signed)

    async def run(
        self,
        topic: str,
        received: Callable[[bytes], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve, and hand on a topic's messages, until cancelled."""
        listen = [Multiaddr("/ip4/127.0.0.1/tcp/0")]
        async with (
            self.host.run(listen_addrs=listen),
            background_trio_service(self.pubsub),
            background_trio_service(self.router),
        ):
            await self.pubsub.wait_until_ready()
            subscription = await self.pubsub.subscribe(topic)
            task_status.started()
            while True:
                received((await subscription.get()).data)


async def run_network(plan: Plan) -> NoReturn:
    """Print the result, and end the process: its hosts close one connection each 0.2 s."""
    ledger = Ledger(plan)
    nodes = [StockNode(plan, number + 1) for number in range(plan.nodes)]
    async with trio.open_nursery() as nursery:
        for number, node in enumerate(nodes):
            await nursery.start(node.run, plan.topic, partial(ledger.received, number))
        for dialer, dialed in plan.edges:
            target = nodes[dialed].host.get_addrs()[0]
            await nodes[dialer].host.connect(info_from_p2p_addr(target))
        await trio.sleep(plan.warm_up_s / 2)
        for number in range(plan.warm_up_messages):
            await nodes[number % plan.nodes].pubsub.publish(plan.topic, b"warm up %4d" % number)
            await trio.sleep(plan.warm_up_s / 2 / plan.warm_up_messages)
        gc.collect()
        await publish(plan, nodes, ledger)
        with trio.move_on_after(plan.tail_s):
            while not ledger.is_complete:  # noqa: ASYNC110
                await trio.sleep(0.01)
        degree = sum(len(node.router.mesh[plan.topic]) for node in nodes) / plan.nodes
        answer(ledger.result(degree, f"py-libp2p {version('libp2p')}"))
        os._exit(0)


async def publish(plan: Plan, nodes: list[StockNode], ledger: Ledger) -> None:
    ledger.start()
    started_s = trio.current_time()
    for number in range(plan.messages):
        await trio.sleep_until(started_s + number / plan.rate)
        ledger.sent(number)
        await nodes[publisher(number, plan.nodes)].pubsub.publish(
            plan.topic, payload(number, plan.bytes)
        )


if __name__ == "__main__":
    trio.run(run_network, asked())
