"""Yamux on the wire: the header, its types and flags, and the sizes that both ends go by.

Source: hashicorp/yamux spec.md.
"""

import struct
from typing import Final

from p2p.primitives.units import KIB

DATA: Final = 0
WINDOW_UPDATE: Final = 1
PING: Final = 2
GO_AWAY: Final = 3
SYN: Final = 1
ACK: Final = 2
FIN: Final = 4
RST: Final = 8

HEADER: Final = struct.Struct("!BBHII")
WINDOW_BYTES: Final = 256 * KIB
"""The window both ends start with; fixed by the specification."""
NOISE_PLAINTEXT_BYTES_MAX: Final = 65535 - 16
"""One Noise message: a larger write would be cut in a full and a tiny one."""
FRAME_BYTES_MAX: Final = NOISE_PLAINTEXT_BYTES_MAX - HEADER.size
OUTBOX_BYTES_HIGH: Final = 128 * KIB
"""Writers of data wait above it: two full frames keep the socket busy, and gossip waits behind
no more than that when a blob is on its way."""
SEND_WINDOW_MAX: Final = 2**31


class MuxerError(Exception):
    """The stream or its connection has ended; the text says why."""
