"""Throughput of one stream between two processes on 127.0.0.1, ours beside bare py-libp2p's.

Both run TCP, Noise and Yamux. The bare stream is a py-libp2p host's, written 32 KiB at a time; ours
is the transport's message stream with 256 KiB messages. A receiver process starts, says where it
listens, counts what arrives and answers at the end; the time is the sender's, from the first
write to that answer.

    python -m benchmarks.streams --mib 200 --json
"""

import argparse
import contextlib
import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from p2p.network import open_transport
from p2p.network.port import Direction, MessageStream, StreamClosed
from p2p.primitives.keys import Key, parse_peer
from p2p.primitives.units import KIB, MIB, PeerId

if TYPE_CHECKING:
    from libp2p.abc import IHost, INetStream

PROTOCOL = "/gigmesh/blob/1"
BARE_WRITE_BYTES = 32 * KIB
BARE_READ_BYTES = 64 * KIB
MESSAGE_BYTES = 256 * KIB
DEADLINE_S = 120.0
RECEIVER_KEY = Key(hashlib.sha256(b"receiver").digest())
SENDER_KEY = Key(hashlib.sha256(b"sender").digest())


class Receiver:
    """A handler that counts one stream's bytes and answers when all have come."""

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.done = trio.Event()

    def peer_connected(self, peer: PeerId, direction: Direction, address: str) -> None: ...

    def peer_disconnected(self, peer: PeerId, reason: str) -> None:
        self.done.set()

    def rpc_received(self, peer: PeerId, data: bytes) -> None: ...

    def rpc_sent(self, peer: PeerId) -> None: ...

    async def request_received(self, peer: PeerId, protocol: str, data: bytes) -> bytes | None:
        return None

    async def stream_opened(self, protocol: str, stream: MessageStream) -> None:
        got_bytes = 0
        with contextlib.suppress(StreamClosed):
            while got_bytes < self.total_bytes:
                got_bytes += len(
                    await stream.receive(bytes_max=MESSAGE_BYTES, deadline_s=DEADLINE_S)
                )
            await stream.send(b"done")
            await self.done.wait()


async def receive_ours(total_bytes: int) -> None:
    receiver = Receiver(total_bytes)
    transport = open_transport(RECEIVER_KEY, ["/ip4/127.0.0.1/tcp/0"])
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run, receiver)
        print(transport.listen_addresses()[0], flush=True)
        await receiver.done.wait()
        nursery.cancel_scope.cancel()


async def send_ours(address: str, total_bytes: int) -> float:
    peer = parse_peer(address.rpartition("/p2p/")[2])
    transport = open_transport(SENDER_KEY, [])
    message = memoryview(bytes(MESSAGE_BYTES))
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run, Receiver(0))
        await transport.dial(peer, [address])
        stream = await transport.open_stream(peer, PROTOCOL, deadline_s=DEADLINE_S)
        start_s = trio.current_time()
        for _ in range(total_bytes // MESSAGE_BYTES):
            await stream.send(message)
        await stream.receive(bytes_max=16, deadline_s=DEADLINE_S)
        took_s = trio.current_time() - start_s
        nursery.cancel_scope.cancel()
    return took_s


def bare_host(key: Key) -> "IHost":
    """A py-libp2p host with Noise and Yamux, otherwise as it comes."""
    from libp2p import new_host
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.crypto.x25519 import X25519PrivateKey
    from libp2p.custom_types import TProtocol
    from libp2p.security.noise.transport import Transport

    pair = create_new_key_pair(key.seed)
    noise = Transport(pair, X25519PrivateKey.new())
    return new_host(key_pair=pair, sec_opt={TProtocol("/noise"): noise})


async def receive_bare(total_bytes: int) -> None:
    from libp2p.custom_types import TProtocol
    from multiaddr import Multiaddr

    host = bare_host(RECEIVER_KEY)
    done = trio.Event()

    async def handle(stream: "INetStream") -> None:
        got_bytes = 0
        while got_bytes < total_bytes:
            got_bytes += len(await stream.read(BARE_READ_BYTES))
        await stream.write(b"done")
        with contextlib.suppress(Exception):
            await stream.read(1)
        done.set()

    async with host.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        host.set_stream_handler(TProtocol(PROTOCOL), handle)
        print(host.get_addrs()[0], flush=True)
        await done.wait()
        # The host takes seconds to close, and the figure is out.
        os._exit(0)


async def send_bare(address: str, total_bytes: int) -> float:
    from libp2p.custom_types import TProtocol
    from libp2p.peer.peerinfo import info_from_p2p_addr
    from multiaddr import Multiaddr

    host = bare_host(SENDER_KEY)
    info = info_from_p2p_addr(Multiaddr(address))
    chunk = bytes(BARE_WRITE_BYTES)
    took_s = 0.0
    with trio.CancelScope() as scope:
        async with host.run(listen_addrs=[]):
            await host.connect(info)
            stream = await host.new_stream(info.peer_id, [TProtocol(PROTOCOL)])
            start_s = trio.current_time()
            for _ in range(total_bytes // BARE_WRITE_BYTES):
                await stream.write(chunk)
            await stream.read(4)
            took_s = trio.current_time() - start_s
            scope.cancel()
            await trio.lowlevel.checkpoint()
    return took_s


RECEIVERS: dict[str, Callable[[int], Awaitable[None]]] = {
    "bare": receive_bare,
    "ours": receive_ours,
}
SENDERS: dict[str, Callable[[str, int], Awaitable[float]]] = {"bare": send_bare, "ours": send_ours}


def measure(kind: str, mib: int) -> float:
    """MiB/s of one stream of `kind`, between this process and a new one."""
    command = [sys.executable, "-m", "benchmarks.streams", "--serve", kind, "--mib", str(mib)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as receiver:
        try:
            assert receiver.stdout is not None
            address = receiver.stdout.readline().strip()
            took_s = trio.run(SENDERS[kind], address, mib * MIB)
        finally:
            receiver.kill()
    return mib / took_s


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mib", type=int, default=200, help="MiB to send (200)")
    parser.add_argument("--runs", type=int, default=1, help="measurements of each, best kept (1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--serve", choices=sorted(RECEIVERS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if arguments.serve:
        trio.run(RECEIVERS[arguments.serve], arguments.mib * MIB)
        return
    best = {
        kind: max(measure(kind, arguments.mib) for _ in range(arguments.runs))
        for kind in ("bare", "ours")
    }
    ratio = best["ours"] / best["bare"]
    if arguments.json:
        figures = {
            "mib": arguments.mib,
            "runs": arguments.runs,
            "bare_mib_per_s": round(best["bare"], 1),
            "ours_mib_per_s": round(best["ours"], 1),
            "ratio": round(ratio, 2),
        }
        print(json.dumps(figures))
    else:
        print(f"bare py-libp2p stream  {best['bare']:7.1f} MiB/s")
        print(f"our message stream     {best['ours']:7.1f} MiB/s")
        print(f"ratio                  {ratio:7.2f}")


if __name__ == "__main__":
    main()
