"""Every bound and deadline of the transport, in one frozen value."""

import msgspec

from p2p.primitives.units import KIB, MIB


class TransportLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the transport spends at most and how long it waits: sizes in bytes, times in seconds."""

    connections_max: int = 256
    """Authenticated connections, both directions together."""
    connections_inbound_max: int = 192
    """Of which inbound: strangers cannot take the places that our own dials need."""
    connections_per_ip_max: int = 16
    """Inbound connections of one IPv4 address or IPv6 /64, unfinished ones included; 0: any number.
    A household or a rack has a few nodes; a cloud account that wants all places needs as many
    addresses."""
    connections_loopback_max: int = 0
    """The same for 127.0.0.0/8 and ::1 together; 0: any number, as test networks need."""
    pending_inbound_max: int = 256
    """Inbound sockets that have not finished the handshake; the oldest is evicted beyond it."""
    dial_addresses_max: int = 8
    """Addresses of one peer tried in one dial."""

    streams_per_connection_max: int = 64
    """Live streams that a peer may have open towards us, and we towards it."""
    stream_window_bytes_max: int = 4 * MIB
    """Largest receive window; it starts at Yamux's 256 KiB, grows while the reader keeps up."""
    windows_extra_bytes_max: int = 8 * MIB
    """How far all windows of one connection together may grow beyond 256 KiB each."""
    unread_bytes_max: int = 256 * MIB
    """Unread bytes of all streams of all connections; beyond it the greediest are dropped."""

    rpc_bytes_max: int = 1 * MIB
    """One gossip RPC, inbound or outbound. GossipSub's customary bound."""
    rpc_queue_max: int = 4
    """Gossip RPCs queued to one peer; the core keeps one in flight, so more is our bug; it ends the
    connection."""
    request_bytes_max: int = 256 * KIB
    """One inbound request."""
    requests_inbound_per_peer_max: int = 16
    requests_inbound_max: int = 128
    requests_per_peer_per_s: float = 50.0
    """One peer's requests beyond the burst are answered no faster. The dearest, blocks, takes
    0.2 ms: 1 % of a core a peer."""
    requests_per_peer_burst: int = 100
    requests_per_s: float = 1_000.0
    """All peers' requests beyond the burst: 20 % of a core at 0.2 ms each."""
    requests_burst: int = 1_000

    handshake_timeout_s: float = 5.0
    """TCP accept to Noise and Yamux agreed. Also how long an idle socket may hold its slot."""
    dial_timeout_s: float = 8.0
    """One address: TCP connect, Noise and Yamux."""
    negotiation_timeout_s: float = 5.0
    """Agreeing on the protocol of one stream."""
    request_timeout_s: float = 15.0
    """Reading one inbound request, and writing its answer; not our handler's own time."""
    stream_stall_s: float = 30.0
    """A send that the peer's window holds up for longer resets the stream."""
    close_timeout_s: float = 0.2
    """What a polite goodbye may take before the socket is closed anyway."""
    duplicate_grace_s: float = 1.0
    """How long the loser of two connections to one peer keeps serving its open streams."""

    ping_interval_s: float = 10.0
    """Silence after which a peer is pinged."""
    ping_timeout_s: float = 5.0
    """Further silence after which it is dropped."""
