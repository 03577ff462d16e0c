"""Peers of other implementations, each in a process of its own, behind one face.

A process takes orders as JSON lines on its standard input and answers with events on its standard
output; it ends when its input does, so it never outlives the tests, however these end.
"""

import json
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from p2p.network.wire import Address
from p2p.primitives.units import PeerId
from tests.network.nodes import wait_until

HERE = Path(__file__).parent
DEADLINE_S = 60.0
EVENTS_MAX = 10_000

Event = dict[str, object]


class Foreign:
    """One running peer of another implementation."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self.events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self.address = ""

    @property
    def peer(self) -> PeerId:
        peer = Address(self.address).peer
        assert peer is not None
        return peer

    @property
    def received(self) -> list[bytes]:
        """The messages that were delivered to it, in order."""
        return [
            bytes.fromhex(str(event["data"]))
            for event in self.events
            if event["event"] == "message"
        ]

    async def order(self, do: str, **details: str) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps({"do": do, **details}).encode() + b"\n")

    async def ask(self, do: str, answer: str, **details: str) -> Event:
        """Give an order and wait for its answer."""
        before = self._answers(answer)
        await self.order(do, **details)
        await wait_until(lambda: len(self._answers(answer)) > len(before), DEADLINE_S)
        return self._answers(answer)[-1]

    async def dial(self, address: str) -> None:
        await self.ask("dial", "dialed", address=address)

    async def publish(self, data: bytes) -> None:
        await self.order("publish", data=data.hex())

    async def mesh(self) -> list[PeerId]:
        """Its mesh peers."""
        event = await self.ask("mesh", "mesh")
        peers = event["peers"]
        assert isinstance(peers, list)
        found = [Address(f"/ip4/127.0.0.1/tcp/1/p2p/{name}").peer for name in peers]
        return [peer for peer in found if peer is not None]

    def _answers(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["event"] == kind]

    async def read(self) -> None:
        """Take its events until it ends."""
        assert self._process.stdout is not None
        rest = b""
        async for chunk in self._process.stdout:
            *lines, rest = (rest + chunk).split(b"\n")
            self.events += [json.loads(line) for line in lines]


def command_of(stack: str, *arguments: str) -> Sequence[str]:
    """How to start a peer of a stack."""
    match stack:
        case "py-libp2p":
            return (sys.executable, "-m", "tests.interop.stock_peer", *arguments)
        case "py-libp2p signing":
            return (sys.executable, "-m", "tests.interop.stock_peer", "--sign", *arguments)
        case "js-libp2p":
            return ("node", str(HERE / "js" / "peer.mjs"), *arguments)
        case "go-libp2p":
            return (str(go_binary()), *arguments)
    raise ValueError(stack)


def go_binary() -> Path:
    return HERE / "go" / "build" / "peer"


def missing(stack: str) -> str:
    """Why a stack cannot be run here; empty when it can. `make interop` installs what it can."""
    if stack == "js-libp2p":
        if shutil.which("node") is None:
            return "no node here"
        if not (HERE / "js" / "node_modules" / "libp2p").is_dir():
            return "its packages are not installed: make interop"
    if stack == "go-libp2p" and not go_binary().is_file():
        return "it is not built: make interop, with a Go toolchain"
    return ""


@asynccontextmanager
async def foreign(stack: str, topic: str, *options: str) -> AsyncIterator[Foreign]:
    """A running peer, until the block ends."""
    async with trio.open_nursery() as nursery:
        start = partial(
            trio.run_process,
            command_of(stack, topic, *options),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            check=False,
            cwd=HERE.parent.parent,
        )
        process: trio.Process = await nursery.start(start)
        peer = Foreign(process)
        nursery.start_soon(peer.read)
        await wait_until(lambda: peer.events, DEADLINE_S)
        peer.address = str(peer.events[0]["address"])
        yield peer
        assert process.returncode is None, f"{stack} ended with {process.returncode}"
        nursery.cancel_scope.cancel()
