"""`NodePort`: what the services of a node (blobs, HTTP API) may ask of it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import trio

from p2p.model.parameters import Genesis
from p2p.network.port import Transport
from p2p.node.blobs.consumer import BlobConsumer
from p2p.node.config import Config
from p2p.node.verifier import Verifier
from p2p.primitives.units import AccountId, Digest, Millis
from p2p.protocol.interface import Command, Event
from p2p.protocol.replica import Replica
from p2p.storage.port import Store


class NodePort(Protocol):
    """A running node, seen from inside its process."""

    @property
    def account(self) -> AccountId: ...

    @property
    def chain_id(self) -> Digest: ...

    @property
    def genesis(self) -> Genesis: ...

    @property
    def home(self) -> Path: ...

    @property
    def config(self) -> Config: ...

    @property
    def store(self) -> Store:
        """To read: what is durable. Only the driver commits."""

    @property
    def transport(self) -> Transport: ...

    @property
    def verifier(self) -> Verifier: ...

    @property
    def replica(self) -> Replica:
        """To read: `state`, `registry`, `channels`, `membership`. Only the driver steps it."""

    @property
    def blobs(self) -> BlobConsumer:
        """Adds, gets and lists this node's own blobs."""

    def now_ms(self) -> Millis:
        """Unix time by this node's clock."""

    async def ask(self, command: Callable[[int], Command]) -> object:
        """Give a command (made from its ticket) and wait for its durable result, or `Rejected`."""

    def events(self) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Event]]:
        """Subscribe to events; a slow reader misses the oldest, and never delays the node."""
