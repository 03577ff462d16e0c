"""One stream of `/gigmesh/blob/1`: control messages, checked receipts, and what can go wrong."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from p2p.model.ad import CapacityAd
from p2p.model.blob import BLOB_PROTOCOL, MESSAGE_BYTES_MAX, BlobMessage, Refused
from p2p.model.commands import StoreReceipt
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.network.port import MessageStream, StreamClosed, Transport, TransportError
from p2p.node.blobs.port import BlobNode
from p2p.primitives.codec import Malformed, decode, encode
from p2p.primitives.signing import Verified
from p2p.primitives.units import Height, PeerId
from p2p.protocol.interface import Command
from p2p.storage.blobs import BlobFault

DETAIL_MAX: Final = 512


class PeerFault(Exception):
    """The peer broke the protocol or lied; the text says how."""


class PeerRefused(Exception):
    """The peer said no."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.detail or refused.reason.value)
        self.refused = refused


class Refusal(Exception):
    """We say no; carried to where the stream is answered."""

    def __init__(self, reason: Reason, detail: str = "", epoch: Height | None = None) -> None:
        super().__init__(detail or reason.value)
        self.refused = Refused(reason, detail[:DETAIL_MAX], epoch)


SESSION_FAULTS: Final = (TransportError, PeerFault, PeerRefused, Refusal, BlobFault)
"""What ends a session without being our bug."""


def describe(error: Exception) -> str:
    """Why a session ended, for a line to a person."""
    if isinstance(error, PeerRefused | Refusal):
        refused = error.refused
        return (
            f"{refused.reason.value} ({refused.detail})" if refused.detail else refused.reason.value
        )
    return str(error)


@asynccontextmanager
async def open_session(
    transport: Transport, peer: PeerId, addresses: Sequence[str], *, deadline_s: float
) -> AsyncIterator[MessageStream]:
    """A stream to a peer, connecting first unless connected. Raises TransportError."""
    try:
        with trio.fail_after(deadline_s):
            await transport.dial(peer, addresses)
    except trio.TooSlowError:
        raise TransportError("no connection in time") from None
    stream = await transport.open_stream(peer, BLOB_PROTOCOL, deadline_s=deadline_s)
    try:
        yield stream
    finally:
        await stream.close()


async def send_message(stream: MessageStream, message: BlobMessage, *, deadline_s: float) -> None:
    """Send one control message. Raises StreamClosed."""
    await send_raw(stream, encode(message), deadline_s=deadline_s)


async def send_raw(stream: MessageStream, data: bytes | memoryview, *, deadline_s: float) -> None:
    """Send one raw message. Raises StreamClosed, also when the peer does not take it in time."""
    try:
        with trio.fail_after(deadline_s):
            await stream.send(data)
    except trio.TooSlowError:
        await stream.reset()
        raise StreamClosed("the peer took nothing in time") from None


async def receive_message(stream: MessageStream, *, deadline_s: float) -> BlobMessage:
    """The next control message. Raises StreamClosed, PeerFault."""
    data = await stream.receive(bytes_max=MESSAGE_BYTES_MAX, deadline_s=deadline_s)
    try:
        message: BlobMessage = decode(data, BlobMessage, bytes_max=MESSAGE_BYTES_MAX)  # type: ignore[arg-type]
    except Malformed as error:
        raise PeerFault(f"an unreadable message: {error}") from None
    return message


async def exchange(
    stream: MessageStream, message: BlobMessage, *, deadline_s: float
) -> BlobMessage:
    """Send a request; its answer. Raises StreamClosed, PeerFault, PeerRefused."""
    await send_message(stream, message, deadline_s=deadline_s)
    answer = await receive_message(stream, deadline_s=deadline_s)
    if isinstance(answer, Refused):
        raise PeerRefused(answer)
    return answer


async def ask_receipt(
    node: BlobNode, command: Callable[[int], Command]
) -> ServiceReceipt | Rejected:
    """Ask our receipts machine for a receipt, durable on return."""
    result = await node.ask(command)
    assert isinstance(result, ServiceReceipt | Rejected), "the command's reply"
    return result


def checked_ad(node: BlobNode, ad: CapacityAd) -> Verified[CapacityAd]:
    """An ad that a peer showed. Raises PeerFault."""
    verified = node.verifier.ad(encode(ad))
    if isinstance(verified, Rejected):
        raise PeerFault(f"its ad {verified.reason.value}")
    return verified


def checked_receipt(node: BlobNode, receipt: ServiceReceipt) -> Verified[ServiceReceipt]:
    """A receipt with both signatures. Raises PeerFault."""
    verified = node.verifier.receipt(receipt)
    if isinstance(verified, Rejected):
        raise PeerFault(f"a receipt: {verified.reason.value}")
    return verified


async def store_shown(node: BlobNode, receipt: ServiceReceipt | None) -> None:
    """Keep a receipt that the other party showed, where it is newer than ours. Raises PeerFault."""
    if receipt is None:
        return
    newest = node.replica.channels.newest(receipt.channel)
    if newest is not None and newest.seq >= receipt.seq:
        return
    verified = checked_receipt(node, receipt)
    result = await ask_receipt(node, lambda ticket: StoreReceipt(ticket, verified))
    if isinstance(result, Rejected):
        raise PeerFault(f"a receipt that we cannot keep: {result.reason.value}")


async def run_both(
    first: Callable[[], Awaitable[None]], second: Callable[[], Awaitable[None]]
) -> None:
    """Run two halves of a pipeline; a session fault of either stops both and is raised alone."""
    faults: list[Exception] = []
    async with trio.open_nursery() as nursery:

        async def guard(half: Callable[[], Awaitable[None]]) -> None:
            try:
                await half()
            except (*SESSION_FAULTS, OSError) as error:
                faults.append(error)
                nursery.cancel_scope.cancel()

        nursery.start_soon(guard, first)
        nursery.start_soon(guard, second)
    if faults:
        raise faults[0]
