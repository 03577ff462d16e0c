"""One py-libp2p 0.8.1 peer with its own GossipSub, told what to do by JSON lines: see `foreign`.

Its GossipSub is used as it is but for the ids of messages. Its cache knows messages by author and
sequence number alone (pubsub/mcache.py:89), and so does its search for equivocation
(pubsub/gossipsub.py:2915), which StrictNoSign forbids: all would be one message. And its `publish`
names the author whatever the policy (pubsub/pubsub.py:1580), so unsigned messages are handed to
`push_msg`, as `publish` does.
"""

import argparse
import json
import sys
from hashlib import sha256

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import X25519PrivateKey
from libp2p.custom_types import TProtocol
from libp2p.host.ping import PingService
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.identify import parse_identify_response
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.mcache import CacheEntry, MessageCache
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub, get_peer_and_seqno_msg_id
from libp2p.security.noise.transport import Transport as Noise
from libp2p.tools.anyio_service import background_trio_service
from libp2p.utils.varint import encode_varint_prefixed, read_varint_prefixed_bytes
from multiaddr import Multiaddr


def id_of(message: rpc_pb2.Message) -> bytes:
    """Our message id."""
    topic = message.topicIDs[0].encode()
    return sha256(len(topic).to_bytes(4) + topic + message.data).digest()[:20]


class ContentCache(MessageCache):
    """Knows messages by their content."""

    def put(self, msg: rpc_pb2.Message) -> None:
        name = id_of(msg)
        if name not in self.msgs:
            self.msgs[name] = msg
            self.history[0].append(CacheEntry(name, msg.topicIDs))


class UnsignedGossipSub(GossipSub):
    """Finds no two messages of one author: unsigned ones have none."""

    def _check_equivocation(self, msg: rpc_pb2.Message) -> bool:
        return True


class StockPeer:
    """A stock host and its GossipSub."""

    def __init__(self, topic: str, *, sign: bool, lonely: bool) -> None:
        pair = create_new_key_pair()
        security = {TProtocol("/noise"): Noise(pair, X25519PrivateKey.new())}
        self.topic = topic
        self.host = new_host(key_pair=pair, sec_opt=security)
        self.router = (GossipSub if sign else UnsignedGossipSub)(
            protocols=[TProtocol("/meshsub/1.1.0")],
            # Without a mesh, lazy gossip is all that it does.
            degree=0 if lonely else 6,
            degree_low=0 if lonely else 4,
            degree_high=0 if lonely else 12,
            heartbeat_interval=1,
            spam_protection_enabled=False,
            adaptive_gossip_enabled=False,
            eclipse_protection_enabled=False,
        )
        if not sign:
            self.router.mcache = ContentCache(3, 5)
        id_function = get_peer_and_seqno_msg_id if sign else id_of
        self.pubsub = Pubsub(
            self.host, self.router, strict_signing=sign, msg_id_constructor=id_function
        )
        self.sign = sign
        self.listening = trio.CancelScope()

    async def run(self) -> None:
        listen = [Multiaddr("/ip4/127.0.0.1/tcp/0")]
        async with (
            self.host.run(listen_addrs=listen),
            background_trio_service(self.pubsub),
            background_trio_service(self.router),
            trio.open_nursery() as nursery,
        ):
            await self.pubsub.wait_until_ready()
            await nursery.start(self.listen)
            say("ready", address=str(self.host.get_addrs()[0]))
            rest = b""
            async for chunk in trio.lowlevel.FdStream(sys.stdin.fileno()):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    order = json.loads(line)
                    await getattr(self, order.pop("do"))(nursery, **order)
            # Its hosts close one connection each 0.2 s.
            raise SystemExit(0)

    async def listen(self, *, task_status: trio.TaskStatus[None]) -> None:
        subscription = await self.pubsub.subscribe(self.topic)
        task_status.started()
        own = self.host.get_id()
        with trio.CancelScope() as self.listening:
            while True:
                message = await subscription.get()
                if message.from_id != own.to_bytes() and message.data not in self.own:
                    say("message", data=message.data.hex())

    own: frozenset[bytes] = frozenset()

    async def dial(self, _: trio.Nursery, *, address: str) -> None:
        await self.host.connect(info_from_p2p_addr(Multiaddr(address)))
        say("dialed")

    async def publish(self, _: trio.Nursery, *, data: str) -> None:
        raw = bytes.fromhex(data)
        self.own |= {raw}
        if self.sign:
            await self.pubsub.publish(self.topic, raw)
        else:
            message = rpc_pb2.Message(data=raw, topicIDs=[self.topic])
            await self.pubsub.push_msg(self.host.get_id(), message)

    async def leave(self, _: trio.Nursery) -> None:
        self.listening.cancel()
        await self.pubsub.unsubscribe(self.topic)

    async def join(self, nursery: trio.Nursery) -> None:
        await nursery.start(self.listen)

    async def mesh(self, _: trio.Nursery) -> None:
        say("mesh", peers=[str(peer) for peer in self.router.mesh.get(self.topic, ())])

    async def ping(self, _: trio.Nursery, *, address: str) -> None:
        peer = info_from_p2p_addr(Multiaddr(address)).peer_id
        times = await PingService(self.host).ping(peer, ping_amt=1)
        say("pong", ms=times[0] / 1000)

    async def identify(self, _: trio.Nursery, *, address: str) -> None:
        peer = info_from_p2p_addr(Multiaddr(address)).peer_id
        stream = await self.host.new_stream(peer, [IDENTIFY])
        raw = await read_varint_prefixed_bytes(stream)
        answer = parse_identify_response(encode_varint_prefixed(raw))
        say("identified", agent=answer.agent_version, protocols=list(answer.protocols))


def say(event: str, **details: object) -> None:
    print(json.dumps({"event": event, **details}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("topic")
    parser.add_argument(
        "--sign", action="store_true", help="StrictSign: sign, and take only signed"
    )
    parser.add_argument("--lonely", action="store_true", help="have no mesh")
    arguments = parser.parse_args()
    trio.run(StockPeer(arguments.topic, sign=arguments.sign, lonely=arguments.lonely).run)
