"""The `Transport` port over py-libp2p: TCP, Noise, Yamux.

    listener.py ─┐                       ┌─ gossip.py    one RPC stream each way
    dial ────────┼─► handshake.py ─► links.py ─ services.py  what peers open to us
    wire.py ─────┘   (py-libp2p's Noise)  │  └─ liveness.py  ping, or drop
                                          └─ yamux.py ◄─ framing.py ◄─ streams.py, requests

py-libp2p gives identity, keys, Noise and identify. Its host and swarm are left out: one exception
in a handler ends them, they leak inbound slots, hang on close and cost 20 ms of identify a
connection (design, section 8). What remains of their work is a table of peers.

Every task of a connection lives in a nursery of that connection, inside the nursery of `run`: to
stop is to cancel, and it takes milliseconds whatever the peers do.
"""

import logging
from collections.abc import Sequence
from typing import Final

import trio

from p2p.network import liveness
from p2p.network.gossip import Gossip
from p2p.network.handshake import HandshakeFailed, Upgrader
from p2p.network.limits import TransportLimits
from p2p.network.links import Link, Peer, PeerTable, guarded
from p2p.network.listener import Acceptor
from p2p.network.noise import NoiseChannel
from p2p.network.pace import AddressPlaces
from p2p.network.port import (
    DialFailed,
    Direction,
    MessageStream,
    RequestFailed,
    StreamClosed,
    TransportError,
    TransportHandler,
)
from p2p.network.pump import Pump
from p2p.network.services import Services
from p2p.network.streams import PeerStream
from p2p.network.wire import (
    Address,
    WireConnection,
    listen_endpoint,
    multiaddr_text,
)
from p2p.network.wires import TcpWires, Wires
from p2p.network.yamux import Memory, Muxer
from p2p.network.yamux_frames import MuxerError
from p2p.network.yamux_stream import MuxedStream
from p2p.primitives.keys import Key, peer_text
from p2p.primitives.units import PeerId

logger = logging.getLogger(__name__)

UNKNOWN_ENDPOINT: Final = ("0.0.0.0", 0)


class _Running:
    """What exists while `run` runs."""

    def __init__(
        self,
        *,
        nursery: trio.Nursery,
        peers: PeerTable,
        gossip: Gossip,
        services: Services,
        memory: Memory,
        pump: Pump,
    ) -> None:
        self.pump = pump
        self.nursery = nursery
        self.peers = peers
        self.gossip = gossip
        self.services = services
        self.memory = memory


class Libp2pTransport:
    """See `p2p.network.port.Transport`."""

    def __init__(
        self,
        key: Key,
        listen: Sequence[str],
        limits: TransportLimits,
        *,
        requests: Sequence[str],
        streams: Sequence[str],
        wires: Wires | None = None,
    ) -> None:
        self._peer = key.peer
        self._limits = limits
        self._request_protocols = tuple(requests)
        self._stream_protocols = tuple(streams)
        self._wires: Wires = TcpWires() if wires is None else wires
        self._upgrader = Upgrader(key)
        self._listen = tuple(listen)
        self._addresses: tuple[str, ...] = ()
        self._dials: dict[PeerId, trio.Event] = {}
        self._places = AddressPlaces(limits)
        self._running: _Running | None = None

    @property
    def peer_id(self) -> PeerId:
        return self._peer

    @property
    def rpc_overflows(self) -> int:
        """Peers given up because too many RPCs were queued to them: our own bug, if not 0."""
        return self._running.gossip.overflows if self._running is not None else 0

    def listen_addresses(self) -> Sequence[str]:
        """Addresses with real ports and `/p2p/<peer id>`, once `run` has started."""
        return self._addresses

    async def run(
        self,
        handler: TransportHandler,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen and serve until cancelled. Raises TransportError when it cannot listen."""
        if self._running is not None:
            raise RuntimeError("the transport is already running")
        listeners = await self._open_listeners()
        peers = PeerTable(self._peer, self._limits, handler)
        gossip = Gossip(self._limits, handler)
        services = Services(
            own=self._peer,
            limits=self._limits,
            handler=handler,
            gossip_machine=gossip,
            addresses=self.listen_addresses,
            requests=self._request_protocols,
            streams=self._stream_protocols,
        )
        acceptor = Acceptor(self._limits, self._handshake_inbound)
        try:
            async with trio.open_nursery() as nursery:
                self._running = _Running(
                    nursery=nursery,
                    peers=peers,
                    gossip=gossip,
                    services=services,
                    memory=Memory(self._limits),
                    pump=Pump(),
                )
                nursery.start_soon(self._running.pump.run)
                for listener in listeners:
                    nursery.start_soon(acceptor.serve, listener, nursery)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._running = None

    async def dial(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """Connect, unless connected; `peer_connected` precedes the return. Raises DialFailed."""
        if peer == self._peer:
            raise DialFailed("a node does not dial itself")
        if self._find(peer) is not None:
            return
        if peer in self._dials:
            await self._dials[peer].wait()
            if self._find(peer) is None:
                raise DialFailed(f"another dial to {peer_text(peer)} failed")
            return
        done = self._dials[peer] = trio.Event()
        try:
            await self._dial_addresses(peer, addresses)
        finally:
            del self._dials[peer]
            done.set()

    async def hang_up(self, peer: PeerId) -> None:
        """Close the connection to a peer. Never raises."""
        found = self._find(peer)
        if found is None or self._running is None:
            return
        running = self._running
        for link in list(found.links):
            try:
                with trio.move_on_after(self._limits.close_timeout_s):
                    await link.muxer.go_away()
            finally:
                running.peers.remove(link, "we hung up")

    def send_rpc(self, peer: PeerId, data: bytes) -> None:
        """Queue one gossip RPC; `rpc_sent` follows unless the peer disconnects first."""
        running = self._running
        found = running.peers.get(peer) if running is not None else None
        if running is not None and found is not None:
            running.gossip.queue(found, data)

    async def request(
        self, peer: PeerId, protocol: str, data: bytes, *, bytes_max: int, deadline_s: float
    ) -> bytes:
        """Ask a connected peer; its answer. Raises RequestFailed."""
        found = self._find(peer)
        if found is None:
            raise RequestFailed("not connected")
        answer: bytes | None = None
        try:
            with trio.move_on_after(deadline_s) as scope:
                framed = await found.best.open(protocol)
                try:
                    await framed.write_frame(data)
                    framed.stream.finish()
                    answer = await framed.read_frame(bytes_max)
                except BaseException:
                    framed.stream.reset()
                    raise
                framed.stream.close()
        except MuxerError as error:
            raise RequestFailed(str(error)) from error
        if scope.cancelled_caught:
            raise RequestFailed("no answer in time")
        if answer is None:
            raise RequestFailed("the peer gave no answer")
        return answer

    async def open_stream(self, peer: PeerId, protocol: str, *, deadline_s: float) -> MessageStream:
        """Open a message stream to a connected peer. Raises StreamClosed."""
        found = self._find(peer)
        if found is None:
            raise StreamClosed("not connected")
        try:
            with trio.fail_after(deadline_s):
                return PeerStream(peer, await found.best.open(protocol))
        except trio.TooSlowError as error:
            raise StreamClosed("the peer did not answer in time") from error
        except MuxerError as error:
            raise StreamClosed(str(error)) from error

    def _find(self, peer: PeerId) -> Peer | None:
        return self._running.peers.get(peer) if self._running is not None else None

    async def _open_listeners(self) -> list[trio.abc.Listener[trio.abc.Stream]]:
        listeners: list[trio.abc.Listener[trio.abc.Stream]] = []
        addresses: list[str] = []
        for text in self._listen:
            address = listen_endpoint(text)
            try:
                opened = await self._wires.listen(address.host, address.port)
            except OSError as error:
                for listener in listeners:
                    await trio.aclose_forcefully(listener)
                raise TransportError(f"cannot listen on {text}: {error.strerror}") from error
            for listener in opened:
                endpoint = (address.host, _port_of(listener, address.port))
                addresses.append(f"{multiaddr_text(endpoint)}/p2p/{peer_text(self._peer)}")
                listeners.append(listener)
        self._addresses = tuple(addresses)
        return listeners

    async def _dial_addresses(self, peer: PeerId, addresses: Sequence[str]) -> None:
        reason = "no address to dial"
        for text in list(addresses)[: self._limits.dial_addresses_max]:
            try:
                address = Address(text)
            except ValueError as error:
                reason = str(error)
                continue
            if address.peer is not None and address.peer != peer:
                reason = f"{text} is another peer's address"
                continue
            with trio.move_on_after(self._limits.dial_timeout_s) as scope:
                try:
                    await self._dial_address(peer, address)
                except (OSError, HandshakeFailed, TransportError) as error:
                    reason = f"{text}: {error}"
            if scope.cancelled_caught:
                reason = f"{text}: no answer in {self._limits.dial_timeout_s} s"
            if self._find(peer) is not None:
                return
        raise DialFailed(f"cannot connect to {peer_text(peer)}: {reason}")

    async def _dial_address(self, peer: PeerId, address: Address) -> None:
        if self._running is None or not self._running.peers.has_room(Direction.OUTBOUND):
            raise TransportError("no room for another connection")
        stream = await self._wires.dial(peer, address.host, address.port)
        dialed = (address.host, address.port) if address.kind in ("ip4", "ip6") else None
        wire = WireConnection(stream, initiator=True, dialed=dialed)
        try:
            session = await self._upgrader.outbound(wire, peer)
            self._adopt(wire, session, peer, Direction.OUTBOUND)
        except BaseException:
            await wire.close()
            raise

    async def _handshake_inbound(self, stream: trio.abc.Stream) -> None:
        wire = WireConnection(stream, initiator=False)
        place = self._places.take((wire.remote or UNKNOWN_ENDPOINT)[0])
        if place is None:
            logger.debug("too many connections from the address of %s", wire.remote)
            await wire.close()
            return
        try:
            session, peer = await self._upgrader.inbound(wire)
            self._adopt(wire, session, peer, Direction.INBOUND, place)
        except BaseException as error:
            self._places.give_back(place)
            await wire.close()
            if not isinstance(error, HandshakeFailed | TransportError):
                raise
            logger.debug("an inbound connection failed: %s", error)

    def _adopt(
        self,
        wire: WireConnection,
        session: NoiseChannel,
        peer: PeerId,
        direction: Direction,
        place: str | None = None,
    ) -> None:
        """Enter an authenticated connection. Raises TransportError when there is no room."""
        running = self._running
        if running is None or not running.peers.has_room(direction) or peer == self._peer:
            raise TransportError("no room for this connection")
        endpoint = multiaddr_text(wire.remote or UNKNOWN_ENDPOINT)
        link = Link(
            peer=peer,
            direction=direction,
            address=f"{endpoint}/p2p/{peer_text(peer)}",
            wire=wire,
            limits=self._limits,
        )
        link.place = place
        link.muxer = Muxer(
            session,
            initiator=direction is Direction.OUTBOUND,
            limits=self._limits,
            memory=running.memory,
            pump=running.pump,
        )
        known = running.peers.get(peer) is not None
        entry, superfluous = running.peers.add(link)
        spawn = running.nursery.start_soon
        spawn(guarded, self._serve_link, running, entry, link)
        if not known:
            spawn(guarded, self._send_gossip, running, entry)
        for other in superfluous:
            spawn(guarded, self._retire, running, entry, other)

    async def _serve_link(self, running: _Running, peer: Peer, link: Link) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(liveness.watch, link, self._limits)

                def accept(stream: MuxedStream) -> None:
                    nursery.start_soon(running.services.serve, peer, link, stream)

                await link.muxer.run(accept)
                nursery.cancel_scope.cancel()
        finally:
            running.peers.remove(link, "the transport stopped")
            if link.place is not None:
                self._places.give_back(link.place)
            await link.wire.close()

    async def _send_gossip(self, running: _Running, peer: Peer) -> None:
        with peer.scope:
            await running.gossip.send_all(peer)

    async def _retire(self, running: _Running, peer: Peer, link: Link) -> None:
        """Close a superfluous connection once its streams had their moment."""
        await trio.sleep(self._limits.duplicate_grace_s)
        if len(peer.links) > 1 and link is not peer.best:
            running.peers.remove(link, "another connection replaced it")


def _port_of(listener: trio.abc.Listener[trio.abc.Stream], wanted: int) -> int:
    socket = getattr(listener, "socket", None)
    return wanted if socket is None else int(socket.getsockname()[1])
