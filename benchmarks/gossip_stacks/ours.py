"""The network of a plan on our own stack: a gossip node each, over real sockets."""

import gc
import hashlib
from typing import Final

import trio

from benchmarks.gossip_stacks.plan import (
    Ledger,
    Plan,
    Result,
    answer,
    asked,
    payload,
    publisher,
)
from p2p import __version__
from p2p.node.gossip_node import GossipNode, Received
from p2p.primitives.keys import Key, verify_bytes
from p2p.primitives.units import AccountId
from p2p.protocol.gossip import GossipParameters, Validate, Verdict

SIGNATURE_BYTES: Final = 64
AUTHOR_BYTES: Final = 32 + SIGNATURE_BYTES
"""The author's key and signature, after the message."""
DOMAIN: Final = b"gigmesh benchmark\x00"
LISTEN: Final = ("/ip4/127.0.0.1/tcp/0",)


def receiver(plan: Plan, ledger: Ledger, node: int) -> Received:
    """Our policy is StrictNoSign: payloads carry their own signatures, verified once a node."""

    def received(message: Validate) -> Verdict:
        if plan.signed and not verify(message.data):
            return Verdict.REJECT
        ledger.received(node, message.data)
        return Verdict.ACCEPT

    return received


def key_of(number: int) -> Key:
    return Key(hashlib.sha256(b"benchmark %d" % number).digest())


def make_nodes(plan: Plan, ledger: Ledger) -> list[GossipNode]:
    parameters = GossipParameters(
        degree=plan.degree,
        degree_low=plan.degree_low,
        degree_high=plan.degree_high,
        heartbeat_ms=plan.heartbeat_ms,
        flush_ms=plan.flush_ms,
    )
    return [
        GossipNode(
            key_of(number),
            LISTEN,
            receiver(plan, ledger, number),
            parameters=parameters,
            seed=b"benchmark %d" % number,
        )
        for number in range(plan.nodes)
    ]


async def run_network(plan: Plan) -> Result:
    ledger = Ledger(plan)
    nodes = make_nodes(plan, ledger)
    async with trio.open_nursery() as nursery:
        for node in nodes:
            await nursery.start(node.run)
            node.subscribe(plan.topic)
        for dialer, dialed in plan.edges:
            target = nodes[dialed].transport
            await nodes[dialer].transport.dial(target.peer_id, target.listen_addresses())
        await trio.sleep(plan.warm_up_s / 2)
        for number in range(plan.warm_up_messages):
            nodes[number % plan.nodes].publish(
                plan.topic, sign(plan, number % plan.nodes, b"warm up %4d" % number)
            )
            await trio.sleep(plan.warm_up_s / 2 / plan.warm_up_messages)
        gc.collect()
        await publish(plan, nodes, ledger)
        with trio.move_on_after(plan.tail_s):
            while not ledger.is_complete:  # noqa: ASYNC110
                await trio.sleep(0.01)
        degree = sum(len(node.gossip.mesh(plan.topic)) for node in nodes) / plan.nodes
        result = ledger.result(degree, f"gigmesh {__version__}")
        nursery.cancel_scope.cancel()
    return result


def sign(plan: Plan, author: int, data: bytes) -> bytes:
    """The message, its author's key and signature."""
    if not plan.signed:
        return data
    key = key_of(author)
    return data + key.account + key.sign_bytes(DOMAIN + data)


def verify(data: bytes) -> bool:
    """Whether the key at the end of a message signed it."""
    account = AccountId(data[-AUTHOR_BYTES:-SIGNATURE_BYTES])
    return verify_bytes(account, DOMAIN + data[:-AUTHOR_BYTES], data[-SIGNATURE_BYTES:])


async def publish(plan: Plan, nodes: list[GossipNode], ledger: Ledger) -> None:
    ledger.start()
    started_s = trio.current_time()
    for number in range(plan.messages):
        await trio.sleep_until(started_s + number / plan.rate)
        ledger.sent(number)
        author = publisher(number, plan.nodes)
        nodes[author].publish(plan.topic, sign(plan, author, payload(number, plan.bytes)))


if __name__ == "__main__":
    answer(trio.run(run_network, asked()))
