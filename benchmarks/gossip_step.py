"""What one step of the gossip machine costs, in microseconds.

    python -m benchmarks.gossip_step [--json]

`duplicate` is a message that another peer sent before; `first_seen` is a new one, its verdict, the
RPCs to 6 mesh peers and the news that they left. The codec is counted apart: the live node pays
`decode` and `encode`, the virtual world neither. Heartbeats: idle ones, and one after 20 messages
in each of 5 topics, offers to 25 of 100 peers a topic included. Processor time.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

from p2p.model.inputs import PeerConnected, TimerFired
from p2p.model.rpc import Message, Rpc, Subscription, decode_rpc, encode_rpc
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.gossip import (
    HEARTBEAT,
    Gossip,
    GossipParameters,
    MessageValidated,
    Priority,
    RpcReceived,
    RpcSent,
    SendRpc,
    Subscribed,
    Validate,
    Verdict,
)

TOPIC = "/gigmesh/0badcafe/votes/1"
TOPICS = (TOPIC, *(f"/gigmesh/0badcafe/{name}/1" for name in ("ads", "blocks", "receipts")))
MESSAGES = 5_000
DATA_BYTES = 300
NOW = Millis(1_000_000)


def machine(peers: int, topics: tuple[str, ...] = TOPICS) -> tuple[Gossip, list[PeerId]]:
    """A machine whose mesh of every topic holds 6 of its peers; nothing is in flight."""
    gossip = Gossip(PeerId(b"me"), GossipParameters({TOPIC: Priority.VOTES}), b"seed")
    names = [PeerId(b"peer %d" % number) for number in range(peers)]
    for name in names:
        gossip.step(PeerConnected(name, outbound=True, address=""), NOW)
        announced = Rpc(tuple(Subscription(subscribe=True, topic=topic) for topic in topics))
        gossip.step(RpcReceived(name, announced), NOW)
    for topic in topics:
        gossip.step(Subscribed(topic), NOW)
    for name in names:
        while any(isinstance(e, SendRpc) for e in gossip.step(RpcSent(name), NOW)):
            pass
    return gossip, names


def messages() -> list[Message]:
    """Distinct messages, as a decoder makes them."""
    return [
        Message(TOPIC, number.to_bytes(8) + bytes(DATA_BYTES - 8)) for number in range(MESSAGES)
    ]


def per_item(work: Callable[[], object]) -> float:
    """Microseconds a message."""
    return per_unit(work, MESSAGES)


def per_unit(work: Callable[[], object], count: int) -> float:
    """Microseconds of a part of the work."""
    started = time.process_time()
    work()
    return round((time.process_time() - started) / count * 1e6, 2)


def forward(gossip: Gossip, source: PeerId, message: Message) -> list[Rpc]:
    """One new message all the way: received, checked, forwarded, sent."""
    sent = []
    for validate in gossip.step(RpcReceived(source, Rpc(publish=(message,))), NOW):
        if isinstance(validate, Validate):
            verdict = MessageValidated(validate.message_id, Verdict.ACCEPT)
            for effect in gossip.step(verdict, NOW):
                if isinstance(effect, SendRpc):
                    sent.append(effect.rpc)
                    gossip.step(RpcSent(effect.peer), NOW)
    return sent


def heartbeats(peers: int, count: int) -> dict[str, float]:
    """A heartbeat of a machine with many peers in five topics, idle and busy."""
    topics = (*TOPICS, "/gigmesh/0badcafe/evidence/1")
    gossip, names = machine(peers, topics)
    beat, now_ms, busy_us = TimerFired(HEARTBEAT), int(NOW), 0.0
    name = f"{peers}_peers_{len(topics)}_topics_us"
    idle_us = per_unit(lambda: [gossip.step(beat, NOW) for _ in range(count)], count)
    for number in range(count):
        now_ms += 1_000
        for topic in topics:
            for one in range(20):
                message = Message(topic, b"%d of %d" % (one, number))
                forward(gossip, names[one], message)
        sent: list[PeerId] = []

        def one_beat(at_ms: Millis, sent: list[PeerId]) -> None:
            effects = gossip.step(beat, at_ms)
            sent += [effect.peer for effect in effects if isinstance(effect, SendRpc)]

        busy_us += per_unit(partial(one_beat, Millis(now_ms), sent), 1)
        for peer in sent:
            gossip.step(RpcSent(peer), Millis(now_ms))
    return {
        f"heartbeat_idle_{name}": idle_us,
        f"heartbeat_busy_{name}": round(busy_us / count, 2),
    }


def measure() -> dict[str, float]:
    """All figures by name, in microseconds."""
    gossip, names = machine(peers=7)
    first, copies = messages(), messages()
    source = next(name for name in names if name not in gossip.mesh(TOPIC))
    rpcs: list[list[Rpc]] = []
    figures = {
        "first_seen_to_6_us": per_item(
            lambda: rpcs.extend([forward(gossip, source, message) for message in first])
        )
    }
    again = [RpcReceived(names[0], Rpc(publish=(message,))) for message in copies]
    figures["duplicate_us"] = per_item(lambda: [gossip.step(one, NOW) for one in again])
    figures["encode_6_us"] = per_item(lambda: [encode_rpc(rpc) for sent in rpcs for rpc in sent])
    wire = [encode_rpc(Rpc(publish=(message,))) for message in copies]
    figures["decode_us"] = per_item(lambda: [decode_rpc(data) for data in wire])
    beating, _ = machine(peers=30)
    beat = TimerFired(HEARTBEAT)
    figures["heartbeat_idle_30_peers_us"] = per_item(
        lambda: [beating.step(beat, NOW) for _ in range(MESSAGES)]
    )
    return figures | heartbeats(100, 200)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    figures = measure()
    if parser.parse_args().json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:40} {value:8.2f}")


if __name__ == "__main__":
    main()
