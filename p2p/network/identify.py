"""Identify: answered, because stock peers wait for it; never asked, because we know what we need.

Source: libp2p specs, identify/README.md.
"""

from collections.abc import Sequence
from typing import Final

from libp2p.identity.identify.pb.identify_pb2 import Identify
from multiaddr import Multiaddr

from p2p.network.framing import FramedStream
from p2p.network.links import Link
from p2p.primitives.units import PeerId

PROTOCOL: Final = "/ipfs/id/1.0.0"
PROTOCOL_VERSION: Final = "ipfs/0.1.0"
AGENT_VERSION: Final = "gigmesh/1"
IDENTITY_MULTIHASH_BYTES: Final = 2


async def answer_identify(
    link: Link,
    framed: FramedStream,
    *,
    own: PeerId,
    addresses: Sequence[str],
    protocols: Sequence[str],
) -> None:
    """Tell the peer who we are and where we see it. Raises MuxerError."""
    message = Identify(
        protocol_version=PROTOCOL_VERSION,
        agent_version=AGENT_VERSION,
        # The peer id of an Ed25519 key is its serialised public key behind two bytes.
        public_key=own[IDENTITY_MULTIHASH_BYTES:],
        listen_addrs=[Multiaddr(text.partition("/p2p/")[0]).to_bytes() for text in addresses],
        observed_addr=Multiaddr(link.address.partition("/p2p/")[0]).to_bytes(),
        protocols=protocols,
    )
    await framed.write_frame(message.SerializeToString())
