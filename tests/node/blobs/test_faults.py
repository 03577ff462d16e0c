"""Blobs among providers that fail or lie, and after crashes: nobody loses more than a window."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from p2p.model.ad import Price, sign_ad
from p2p.model.blob import (
    BlobMessage,
    Manifest,
    Opened,
    Owed,
    Paid,
)
from p2p.model.persistence import Table
from p2p.node.blobs.results import GetFailed
from p2p.primitives.digests import ZERO_DIGEST
from p2p.primitives.keys import account_text
from p2p.primitives.units import Amount, BlobId
from tests.node.blobs.tools import (
    SIZE,
    after_chunks,
    agree,
    altered,
    fall_silent,
    flip,
    is_chunk,
    wait_idle,
)
from tests.node.blobs.world import WINDOW, World, pattern

# ---- providers that fail or lie on get -----------------------------------------------------------


@pytest.mark.parametrize("how", [flip, fall_silent])
@pytest.mark.parametrize("chunks", [0, 1, 2])
async def test_a_provider_that_lies_or_stalls_is_left_in_mid_stream(
    world: World, path: Path, tmp_path: Path, how: Callable[[bytes], bytes | None], chunks: int
) -> None:
    added = await world.me.service.consumer.add(path, replicas=2)
    first = next(held.provider for held in world.me.service.consumer.ls())
    bad = next(node for node in world.nodes if node.account == first)
    bad.filter = after_chunks(chunks, how)  # type: ignore[assignment]
    fetched = await world.me.service.consumer.get(added.blob, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == pattern(SIZE)
    assert [one.provider for one in fetched.failures] == [first]
    assert sum(size for _, size in fetched.sources) == SIZE
    good = next(one.provider for one in added.placements if one.provider != first)
    assert fetched.sources[-1][0] == good
    if chunks == 2:
        # A paid window stays: the other provider goes on from there.
        assert fetched.sources[0] == (first, WINDOW)


async def test_a_provider_that_dies_in_mid_stream_is_left(
    world: World, path: Path, tmp_path: Path
) -> None:
    added = await world.me.service.consumer.add(path, replicas=2)
    first = next(held.provider for held in world.me.service.consumer.ls())
    bad = next(node for node in world.nodes if node.account == first)

    def die(_: bytes) -> None:
        world.nursery.start_soon(bad.kill)

    bad.filter = after_chunks(1, die)  # type: ignore[assignment]
    fetched = await world.me.service.consumer.get(added.blob, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == pattern(SIZE)
    assert [one.provider for one in fetched.failures] == [first]


async def test_a_get_that_nobody_can_serve_says_so_and_leaves_no_file(
    world: World, path: Path, tmp_path: Path
) -> None:
    consumer = world.me.service.consumer
    with pytest.raises(GetFailed, match="no known provider holds the blob"):
        await consumer.get(BlobId(bytes(32)), tmp_path / "copy")
    added = await consumer.add(path)
    await world.node("anna").kill()
    with pytest.raises(GetFailed) as caught:
        await consumer.get(added.blob, tmp_path / "copy")
    assert str(caught.value) == (
        f"the blob {added.blob.hex()} could not be fetched: 1 providers were tried, the last, "
        f"{account_text(world.node('anna').account)}, said: nobody answers"
    )
    with pytest.raises(GetFailed, match="cannot be written: No such file"):
        await consumer.get(added.blob, tmp_path / "nowhere" / "copy")
    assert "copy" not in os.listdir(tmp_path)
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


@pytest.mark.parametrize(
    ("kind", "changes", "why"),
    [
        (Opened, {"manifest": Manifest(ZERO_DIGEST, 5, 1024)}, "manifest is not the blob's"),
        (Opened, {"epoch": 99}, "it works on epoch 99"),
        (Opened, {"window_bytes": 2 * WINDOW}, "its window is larger"),
        (Opened, {"owed": Owed(bytes_get=WINDOW + 1)}, "pay that we do not owe"),
        (Opened, {"obligations_root": bytes(32)}, "do not agree"),
        (Opened, {"receipt": None, "ad": None}, "an unreadable message"),
        (Paid, {"receipt": None}, "an unreadable message"),
    ],
)
async def test_a_provider_that_lies_in_its_terms_is_left(
    world: World,
    path: Path,
    tmp_path: Path,
    kind: type[BlobMessage],
    changes: dict[str, object],
    why: str,
) -> None:
    added = await world.me.service.consumer.add(path, replicas=2)
    first = next(held.provider for held in world.me.service.consumer.ls())
    bad = next(node for node in world.nodes if node.account == first)
    bad.filter = altered(kind, **changes)
    fetched = await world.me.service.consumer.get(added.blob, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == pattern(SIZE)
    assert why in fetched.failures[0].why


async def test_a_price_above_the_ad_is_not_paid(world: World, path: Path) -> None:
    anna = world.node("anna")
    dear = sign_ad(
        msgspec.structs.replace(
            world.ads[anna.account].value, price=Price(Amount(999)), signature=b""
        ),
        anna.signer,
    )
    anna.filter = altered(Opened, ad=dear)
    added = await world.me.service.consumer.add(path)
    assert added.placements[0].provider != anna.account
    assert "it became dearer" in added.failures[0].why


# ---- crashes, debts and lost memory --------------------------------------------------------------


async def test_a_consumer_that_crashed_learns_the_newest_receipt_and_goes_on(
    world: World, path: Path, tmp_path: Path
) -> None:
    consumer = world.me.service.consumer
    added = await consumer.add(path)
    world.me.restart()
    consumer = world.me.service.consumer
    await consumer.get(added.blob, tmp_path / "copy")
    agree(world.me, world.node("anna"))


async def test_a_consumer_that_lost_its_books_takes_another_channel(
    world: World, path: Path, tmp_path: Path
) -> None:
    await world.me.service.consumer.add(path)
    world.me.rows = {Table.RECEIPTS: {}, Table.OBLIGATIONS: {}}
    world.me.restart()
    other = tmp_path / "other"
    other.write_bytes(pattern(SIZE, 3))
    added = await world.me.service.consumer.add(other)
    assert added.placements[0].provider == world.node("anna").account
    assert added.failures == ()
    assert len(world.node("anna").newest) == 2


async def test_an_unpaid_window_is_paid_when_the_channel_is_next_used(
    world: World, path: Path, tmp_path: Path
) -> None:
    anna, consumer = world.node("anna"), world.me.service.consumer
    added = await consumer.add(path)
    anna.filter = after_chunks(1, fall_silent)  # type: ignore[assignment]
    with pytest.raises(GetFailed):
        await consumer.get(added.blob, tmp_path / "copy")
    anna.filter = None
    await wait_idle(anna)
    await consumer.get(added.blob, tmp_path / "copy")
    got = anna.newest[0].bytes_get
    assert SIZE <= got <= SIZE + WINDOW
    agree(world.me, anna)


async def test_a_debt_is_believed_once_and_not_again(
    world: World, path: Path, tmp_path: Path
) -> None:
    anna, consumer = world.node("anna"), world.me.service.consumer
    added = await consumer.add(path)
    anna.filter = altered(Opened, owed=Owed(bytes_get=1000))
    await consumer.get(added.blob, tmp_path / "copy")
    assert anna.newest[0].bytes_get == SIZE + 1000
    with pytest.raises(GetFailed, match="pay that we do not owe"):
        await consumer.get(added.blob, tmp_path / "copy")


@pytest.mark.parametrize("stop", range(9))
async def test_nobody_loses_more_than_a_window_whenever_the_wire_breaks(
    world: World, path: Path, tmp_path: Path, stop: int
) -> None:
    """I9 with bytes on the wire: chunks sent against what was signed for, by both books."""
    consumer, anna = world.me.service.consumer, world.node("anna")
    added = await consumer.add(path)
    messages = sent = 0

    def count(message: bytes) -> bytes | None:
        nonlocal messages, sent
        messages += 1
        if messages > stop:
            return None
        if is_chunk(message) or len(message) == 7:
            sent += len(message)
        return message

    anna.filter = count
    with suppress(GetFailed):
        await consumer.get(added.blob, tmp_path / "copy")
    await wait_idle(anna)
    earned = anna.newest[0].bytes_get
    record = world.me.replica.channels.record(anna.newest[0].channel)
    promised = max(one.bytes_get for one in (record.receipt, record.promise) if one)
    assert sent - WINDOW <= earned <= promised <= sent
    anna.filter = None
    await consumer.get(added.blob, tmp_path / "copy")
    agree(world.me, anna)
