"""RPCs that were decoded a moment ago: most of what arrives in a mesh of D peers is a copy.

The encoding of one message is the same from every peer that speaks as we do. So the bytes of a
whole RPC are looked up before anything inside is parsed: a copy costs one look-up, and its message
comes with the id that was hashed for the first one.
"""

from typing import Final

from p2p.model.rpc import Rpc, decode_rpc
from p2p.primitives.units import KIB

RECENT_MAX: Final = 256
"""RPCs remembered: a few heartbeats' messages of a busy network."""
RECENT_BYTES_MAX: Final = 4 * KIB
"""Of one RPC: larger ones, which are rare, are decoded again. So it takes 1 MiB at most."""


class RecentRpcs:
    """The last small RPCs, oldest forgotten first."""

    __slots__ = ("_rpcs", "get")

    def __init__(self) -> None:
        self._rpcs: dict[bytes, Rpc] = {}
        self.get = self._rpcs.get
        """The RPC that some bytes were decoded to before, or None."""

    def decode(self, data: bytes) -> Rpc:
        """Decode, and remember what may come again. Raises Malformed."""
        rpc = decode_rpc(data)
        if rpc.publish and len(data) <= RECENT_BYTES_MAX:
            if len(self._rpcs) >= RECENT_MAX:
                del self._rpcs[next(iter(self._rpcs))]
            self._rpcs[data] = rpc
        return rpc
