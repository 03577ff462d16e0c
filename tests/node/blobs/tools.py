"""What tests of blobs do to messages, and how they compare two parties."""

from collections.abc import Callable

import msgspec
import trio

from p2p.model.blob import BlobMessage
from p2p.model.receipt import ServiceReceipt
from p2p.primitives.codec import decode, encode
from p2p.primitives.units import KIB, BlobId
from tests.node.blobs.world import WINDOW, BlobTestNode

SIZE = 3 * WINDOW // 2 + 7
"""Two windows, four chunks; the last chunk is short."""


def is_chunk(message: bytes) -> bool:
    return len(message) > 64 * KIB


def after_chunks(count: int, then: Callable[[bytes], bytes | None]) -> Callable[[bytes], object]:
    """Let so many chunks pass, then do something to the next."""
    seen = 0

    def filtered(message: bytes) -> bytes | None:
        nonlocal seen
        if is_chunk(message):
            seen += 1
            if seen > count:
                return then(message)
        return message

    return filtered


def altered(kind: type[BlobMessage], **changes: object) -> Callable[[bytes], bytes]:
    """Change fields of one kind of control message."""

    def filtered(message: bytes) -> bytes:
        if is_chunk(message):
            return message
        try:
            value: BlobMessage = decode(message, BlobMessage, bytes_max=2**20)  # type: ignore[arg-type]
        except ValueError:
            return message
        if isinstance(value, kind):
            return encode(msgspec.structs.replace(value, **changes))
        return message

    return filtered


def agree(first: BlobTestNode, second: BlobTestNode) -> None:
    """Both parties hold the same newest receipts and the same obligations."""
    between = {first.account, second.account}

    def books(node: BlobTestNode) -> tuple[list[ServiceReceipt], dict[BlobId, int]]:
        receipts = [one for one in node.newest if {one.consumer, one.provider} == between]
        owed = {
            held.blob: held.until_epoch
            for held in node.replica.channels.obligations
            if {held.consumer, held.provider} == between
        }
        return receipts, owed

    assert books(first) == books(second)


async def wait_idle(provider: BlobTestNode) -> None:
    """Until the provider has noticed that a stream ended, which nothing announces."""
    with trio.fail_after(5):
        while provider.service.provider.is_busy:  # noqa: ASYNC110
            await trio.sleep(0.01)


def flip(message: bytes) -> bytes:
    return bytes([message[0] ^ 1]) + message[1:]


def fall_silent(_: bytes) -> None:
    return None
