"""A provider and peers that break the protocol."""

from pathlib import Path

import msgspec
import pytest

from p2p.model.blob import (
    CHUNK_BYTES,
    BlobMessage,
    Find,
    Found,
    GetOpen,
    Manifest,
    Opened,
    Pay,
    PutOpen,
    Refused,
    chunk_leaves,
    manifest_of,
)
from p2p.model.commands import SignReceipt, Work
from p2p.model.receipt import ServiceReceipt, sign_as_consumer
from p2p.model.rejection import Reason
from p2p.primitives.codec import decode, encode
from p2p.primitives.digests import ZERO_DIGEST
from p2p.primitives.signing import Verified
from p2p.primitives.units import MIB, BlobId, ChannelId
from tests.node.blobs.streams import MemoryStream, stream_pair
from tests.node.blobs.tools import SIZE
from tests.node.blobs.world import WINDOW, BlobTestNode, World, pattern

# ---- peers that break the protocol ---------------------------------------------------------------


class Caller:
    """A hand-driven consumer at one provider."""

    def __init__(self, world: World, provider: BlobTestNode, caller: BlobTestNode) -> None:
        self.stream: MemoryStream
        self.stream, theirs = stream_pair(caller.key.peer, provider.key.peer)
        world.nursery.start_soon(provider.service.serve, theirs)

    async def ask(self, message: BlobMessage | bytes) -> BlobMessage:
        data = message if isinstance(message, bytes) else encode(message)
        await self.stream.send(data)
        return await self.answer()

    async def answer(self) -> BlobMessage:
        data = await self.stream.receive(bytes_max=2**20, deadline_s=3)
        answer: BlobMessage = decode(data, BlobMessage, bytes_max=2**20)  # type: ignore[arg-type]
        return answer


async def opened_channel(world: World, provider: BlobTestNode) -> ChannelId:
    return await world.me.service.consumer.dealer.wallet.funded(provider.account, 10_000)


def put_request(channel: ChannelId, **changes: object) -> PutOpen:
    data = pattern(5000)
    manifest = manifest_of(chunk_leaves(data, 1024), size_bytes=5000, chunk_bytes=1024)
    request = PutOpen(channel, manifest, 10, WINDOW, None)
    return msgspec.structs.replace(request, **changes)


async def test_a_provider_says_why_not(world: World, path: Path) -> None:
    anna = world.node("anna")
    channel = await opened_channel(world, anna)
    added = await world.me.service.consumer.add(path)
    caller = Caller(world, anna, world.me)
    stranger = Caller(world, anna, world.node("dan"))
    large = Manifest(ZERO_DIGEST, 2**40, MIB)

    async def reason(who: Caller, request: BlobMessage) -> Reason:
        answer = await who.ask(request)
        assert isinstance(answer, Refused), answer
        return answer.reason

    found = await caller.ask(Find(added.blob))
    assert isinstance(found, Found)
    assert found.manifest.blob == added.blob
    assert await reason(caller, Find(BlobId(bytes(32)))) is Reason.UNKNOWN_BLOB
    assert await reason(caller, put_request(ChannelId(bytes(32)))) is Reason.UNKNOWN_CHANNEL
    assert await reason(stranger, put_request(channel)) is Reason.WRONG_PARTY
    assert await reason(caller, put_request(channel, manifest=large)) is Reason.TOO_LARGE
    assert await reason(caller, put_request(channel, epochs=10**6)) is Reason.OVERSPENT
    get = GetOpen(channel, added.blob, 10**9, WINDOW, False, None)
    assert await reason(caller, get) is Reason.MALFORMED
    assert await reason(caller, Refused(Reason.BUSY)) is Reason.MALFORMED
    world.offer(anna, accepting=False)
    assert await reason(caller, put_request(channel)) is Reason.NOT_ACCEPTING
    del world.ads[anna.account]
    assert await reason(caller, put_request(channel)) is Reason.NOT_ACCEPTING


async def test_one_transfer_at_a_time_on_a_channel(world: World) -> None:
    anna = world.node("anna")
    channel = await opened_channel(world, anna)
    first, second = Caller(world, anna, world.me), Caller(world, anna, world.me)
    assert isinstance(await first.ask(put_request(channel)), Opened)
    answer = await second.ask(put_request(channel))
    assert answer == Refused(Reason.BUSY)


async def test_leaves_and_chunks_that_are_not_the_blobs_are_not_kept(world: World) -> None:
    anna = world.node("anna")
    channel = await opened_channel(world, anna)
    caller = Caller(world, anna, world.me)
    request = put_request(channel)
    assert isinstance(await caller.ask(request), Opened)
    await caller.stream.send(bytes(5 * 32))
    await caller.stream.send(encode(Pay(_promise(world, channel, anna, Work(bytes_put=5000)))))
    assert await caller.answer() == Refused(Reason.WRONG_CONTENT, "the leaves")
    assert isinstance(await caller.ask(request), Opened)
    await caller.stream.send(b"".join(chunk_leaves(pattern(5000), 1024)))
    await caller.stream.send(bytes(1024))
    with pytest.raises(Exception, match="closed"):
        await caller.answer()
    assert anna.blobs == []
    assert anna.newest == []


def _promise(
    world: World, channel: ChannelId, provider: BlobTestNode, work: Work
) -> ServiceReceipt:
    ad: Verified = world.ads[provider.account]  # type: ignore[type-arg]
    effects = world.me.replica.channels.step(SignReceipt(1, channel, ad, work), 1_000_000)
    receipt = effects[-1].result  # type: ignore[union-attr]
    assert isinstance(receipt, ServiceReceipt)
    return receipt


async def test_a_pay_that_is_short_or_forged_is_refused_and_ends_the_transfer(
    world: World, path: Path
) -> None:
    anna = world.node("anna")
    added = await world.me.service.consumer.add(path)
    channel = anna.newest[0].channel
    before = anna.newest[0]
    short = _promise(world, channel, anna, Work(bytes_get=1))
    forged = msgspec.structs.replace(short, bytes_get=SIZE)
    stolen = sign_as_consumer(forged, world.node("dan").signer)
    for receipt, reason in (
        (short, Reason.UNPAID),
        (forged, Reason.BAD_SIGNATURE),
        (stolen, Reason.BAD_SIGNATURE),
    ):
        caller = Caller(world, anna, world.me)
        opened = await caller.ask(GetOpen(channel, added.blob, 0, WINDOW, False, None))
        assert isinstance(opened, Opened)
        for _ in range(WINDOW // CHUNK_BYTES):
            await caller.stream.receive(bytes_max=CHUNK_BYTES, deadline_s=3)
        answer = await caller.ask(Pay(receipt))
        assert isinstance(answer, Refused)
        assert answer.reason is reason
        assert anna.newest[0] == before
    # What was not paid is asked for at the next opening: three windows were tried for, each lost.
    caller = Caller(world, anna, world.me)
    opened = await caller.ask(GetOpen(channel, added.blob, 0, WINDOW, False, None))
    assert isinstance(opened, Opened)
    assert opened.owed.bytes_get >= WINDOW


@pytest.mark.parametrize(
    "noise", [b"", b"\x00", b"\xc1" * 100, bytes(20_000), encode(["find", b"short"])]
)
async def test_noise_ends_the_session_and_nothing_else(world: World, noise: bytes) -> None:
    anna = world.node("anna")
    caller = Caller(world, anna, world.me)
    with pytest.raises(Exception, match="closed"):
        await caller.ask(noise)
    assert isinstance(await Caller(world, anna, world.me).ask(Find(BlobId(bytes(32)))), Refused)


async def test_sessions_are_bounded_for_each_peer(world: World) -> None:
    anna = world.node("anna")
    callers = [Caller(world, anna, world.me) for _ in range(8)]
    for caller in callers:
        await caller.ask(Find(BlobId(bytes(32))))
    with pytest.raises(Exception, match="closed"):
        await Caller(world, anna, world.me).ask(Find(BlobId(bytes(32))))
    other = Caller(world, anna, world.node("dan"))
    assert isinstance(await other.ask(Find(BlobId(bytes(32)))), Refused)
