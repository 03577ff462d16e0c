"""Floor 4b: the `Transport` port and the only door to libp2p.

`open_transport` is the door. It imports libp2p when called, not before: that costs 1.5 s and 85 MB
which the command line's help and the virtual world need not pay.
"""

from collections.abc import Sequence
from typing import Final

from p2p.network.limits import TransportLimits
from p2p.network.port import Transport
from p2p.network.wires import Wires
from p2p.primitives.keys import Key

__all__ = [
    "REQUEST_PROTOCOLS",
    "STREAM_PROTOCOLS",
    "Transport",
    "TransportLimits",
    "Wires",
    "open_transport",
]

REQUEST_PROTOCOLS: Final = ("/gigmesh/sync/1", "/gigmesh/light/1", "/gigmesh/peers/1")
"""One message there, one back: served by `TransportHandler.request_received`."""
STREAM_PROTOCOLS: Final = ("/gigmesh/blob/1",)
"""Message streams: served by `TransportHandler.stream_opened`."""


def preload() -> None:
    """Import libp2p now: seconds on a small board, during which nothing else can be heard."""
    import p2p.network.libp2p_transport  # noqa: F401


def open_transport(
    key: Key,
    listen: Sequence[str],
    limits: TransportLimits | None = None,
    *,
    requests: Sequence[str] = REQUEST_PROTOCOLS,
    streams: Sequence[str] = STREAM_PROTOCOLS,
    wires: Wires | None = None,
) -> Transport:
    """A transport over py-libp2p that is not running yet.

    Args:
        key: the node's key, which is its peer id.
        listen: TCP multiaddrs to listen on, such as `/ip4/0.0.0.0/tcp/4001`; port 0 picks one.
        limits: bounds and deadlines; None takes the defaults.
        requests: protocols answered by `request_received`.
        streams: protocols served by `stream_opened`.
        wires: where connections come from; None takes TCP sockets.
    """
    from p2p.network.libp2p_transport import Libp2pTransport

    return Libp2pTransport(
        key,
        listen,
        limits or TransportLimits(),
        requests=requests,
        streams=streams,
        wires=wires,
    )
