"""The blob service end to end: real receipts, files and ledger, streams in memory."""

import os
from pathlib import Path

import pytest
import trio

from p2p.model.ad import Price
from p2p.model.blob import (
    CHUNK_BYTES,
)
from p2p.model.transaction import ChannelOpen, ChannelTopUp
from p2p.node.blobs.results import AddFailed, Progress, Stage
from p2p.primitives.keys import account_text
from p2p.primitives.units import Amount
from p2p.protocol.interface import SubmitTransaction
from tests.node.blobs.tools import SIZE, agree
from tests.node.blobs.world import WINDOW, World, pattern

# ---- the plain course ----------------------------------------------------------------------------


async def test_a_file_goes_to_two_regions_and_comes_back(
    world: World, path: Path, tmp_path: Path
) -> None:
    seen: list[Progress] = []
    me, consumer = world.me, world.me.service.consumer
    added = await consumer.add(path, replicas=2, epochs=10, progress=seen.append)
    assert added.is_complete
    assert added.failures == ()
    anna, ben = world.node("anna"), world.node("ben")
    assert {one.provider for one in added.placements} == {anna.account, ben.account}
    assert {one.region for one in added.placements} == {"eu", "us"}
    assert [one.paid for one in added.placements] == [51 + 26 + 10] * 2
    for node in (anna, ben):
        assert node.blobs == [added.blob]
        agree(me, node)
    assert {(held.blob, held.name) for held in consumer.ls()} == {(added.blob, "holiday.jpg")}
    assert seen[0] == Progress(Stage.HASHING, SIZE, SIZE)
    assert seen[-1].done_bytes == seen[-1].total_bytes == SIZE

    fetched = await consumer.get(added.blob, tmp_path / "copy", progress=seen.append)
    assert (tmp_path / "copy").read_bytes() == pattern(SIZE)
    assert fetched.size_bytes == SIZE
    assert fetched.paid == 77
    assert len(fetched.sources) == 1
    assert fetched.failures == ()
    assert seen[-1] == Progress(Stage.FETCHING, SIZE, SIZE)
    for node in (anna, ben):
        agree(me, node)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, WINDOW])
async def test_any_size_goes_and_comes(world: World, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(pattern(size))
    added = await world.me.service.consumer.add(source)
    await world.me.service.consumer.get(added.blob, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == pattern(size)
    agree(world.me, world.node("anna"))


async def test_receipts_settle_and_money_moves(world: World, path: Path) -> None:
    anna = world.node("anna")
    before = world.state.accounts[anna.account].balance
    await world.me.service.consumer.add(path, epochs=100)
    world.commit()
    world.commit()
    (receipt,) = world.settled
    assert receipt == anna.newest[0]
    assert receipt.amount == 51 + 26 + 100
    assert world.state.accounts[anna.account].balance > before
    assert world.state.channels[receipt.channel].settled == receipt.amount


async def test_a_stranger_finds_a_blob_and_pays_for_it(
    world: World, path: Path, tmp_path: Path
) -> None:
    added = await world.me.service.consumer.add(path, replicas=3)
    dan = world.node("dan")
    fetched = await dan.service.consumer.get(added.blob, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == pattern(SIZE)
    assert fetched.sources == ((world.node("anna").account, SIZE),), "the cheapest"
    agree(dan, world.node("anna"))


async def test_a_file_that_is_held_is_not_paid_for_twice(world: World, path: Path) -> None:
    consumer = world.me.service.consumer
    first = await consumer.add(path, replicas=1, epochs=10)
    again = await consumer.add(path, replicas=2, epochs=10)
    assert [one.paid > 0 for one in again.placements] == [False, True]
    assert again.placements[0].provider == first.placements[0].provider
    longer = await consumer.add(path, replicas=1, epochs=50)
    assert longer.placements[0].paid > 0
    agree(world.me, world.node("anna"))


async def test_one_channel_serves_many_transfers_and_is_topped_up(
    world: World, path: Path, tmp_path: Path
) -> None:
    consumer = world.me.service.consumer
    await consumer.add(path, epochs=10)
    large = tmp_path / "large"
    large.write_bytes(pattern(SIZE, 1))
    await consumer.add(large, epochs=100_000)
    actions = [
        type(order.action) for order in world.me.asked if isinstance(order, SubmitTransaction)
    ]
    assert actions == [ChannelOpen, ChannelTopUp]
    agree(world.me, world.node("anna"))


async def test_blocks_between_windows_cost_a_signature_and_nothing_else(
    world: World, path: Path
) -> None:
    anna = world.node("anna")

    def with_blocks(message: bytes) -> bytes:
        world.commit()
        return message

    anna.filter = with_blocks
    await world.me.service.consumer.add(path, epochs=10)
    agree(world.me, anna)
    assert anna.newest[0].bytes_put == SIZE


async def test_transfers_with_one_provider_wait_for_one_another(
    world: World, tmp_path: Path
) -> None:
    consumer = world.me.service.consumer
    for name in ("ben", "cleo", "dan"):
        world.offer(world.node(name), accepting=False)
    paths = [tmp_path / str(number) for number in range(4)]
    for number, source in enumerate(paths):
        source.write_bytes(pattern(SIZE, number))
    async with trio.open_nursery() as nursery:
        for source in paths:
            nursery.start_soon(consumer.add, source)
    agree(world.me, world.node("anna"))
    assert len(world.node("anna").blobs) == 4
    assert len(world.node("anna").newest) == 1


# ---- providers that fail on put ------------------------------------------------------------------


async def test_a_full_provider_refuses_and_the_next_takes_the_blob(
    world: World, path: Path
) -> None:
    anna = world.node("anna")
    anna.files.capacity_bytes = SIZE // 2
    added = await world.me.service.consumer.add(path)
    assert added.is_complete
    assert added.failures[0].provider == anna.account
    assert "no room" in added.failures[0].why
    assert world.node("anna").newest == []


async def test_a_disk_that_fills_in_mid_put_is_a_refusal_that_is_heard(
    world: World, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = world.node("anna")
    writes = 0
    real = os.writev

    def writev(fd: int, views: list[memoryview]) -> int:
        nonlocal writes
        writes += 1
        if writes == 2:
            raise OSError(28, "No space left on device")
        return real(fd, views)

    monkeypatch.setattr(os, "writev", writev)
    added = await world.me.service.consumer.add(path)
    assert added.is_complete
    assert added.failures[0].provider == anna.account
    assert "no room" in added.failures[0].why
    assert anna.blobs == []
    assert list((anna.folder / "incoming").iterdir()) == []


async def test_a_provider_that_dies_in_mid_put_is_replaced(world: World, path: Path) -> None:
    anna = world.node("anna")

    def die(message: bytes) -> bytes:
        if b"paid" in message[:8]:
            world.nursery.start_soon(anna.kill)
        return message

    anna.filter = die
    added = await world.me.service.consumer.add(path)
    assert added.is_complete
    assert [one.provider for one in added.failures] == [anna.account]


async def test_too_few_providers_place_what_they_can(world: World, path: Path) -> None:
    for name in ("ben", "cleo", "dan"):
        world.offer(world.node(name), accepting=False)
    added = await world.me.service.consumer.add(path, replicas=2)
    assert not added.is_complete
    assert len(added.placements) == 1


async def test_an_add_that_nobody_takes_is_one_sentence(world: World, path: Path) -> None:
    for name in ("ben", "cleo", "dan"):
        world.offer(world.node(name), accepting=False)
    await world.node("anna").kill()
    with pytest.raises(AddFailed) as caught:
        await world.me.service.consumer.add(path)
    assert str(caught.value) == (
        f"{path} could not be placed: 1 providers were tried, the last, "
        f"{account_text(world.node('anna').account)}, said: nobody answers"
    )
    world.offer(world.node("anna"), accepting=False)
    with pytest.raises(AddFailed, match=f"no known provider accepts {SIZE} bytes for 100 epochs"):
        await world.me.service.consumer.add(path)


async def test_a_file_that_cannot_be_read_is_one_sentence(world: World, tmp_path: Path) -> None:
    consumer = world.me.service.consumer
    with pytest.raises(AddFailed, match="missing cannot be added: No such file or directory"):
        await consumer.add(tmp_path / "missing")
    with pytest.raises(AddFailed, match="cannot be added: not a regular file"):
        await consumer.add(tmp_path)


async def test_a_file_that_changes_while_it_is_added_is_told(world: World, path: Path) -> None:
    for name in ("ben", "cleo", "dan"):
        world.offer(world.node(name), accepting=False)

    def change(message: bytes) -> bytes:
        path.write_bytes(pattern(SIZE, 9))
        return message

    world.node("anna").filter = change
    with pytest.raises(AddFailed, match="changed while it was being added; add it again"):
        await world.me.service.consumer.add(path)


async def test_an_account_without_money_is_told(world: World, path: Path) -> None:
    for name in ("anna", "ben", "cleo", "dan"):
        world.offer(world.node(name), price=Price(Amount(1), Amount(1), Amount(10_000_000)))
    with pytest.raises(AddFailed, match="cannot pay for it"):
        await world.me.service.consumer.add(path)


async def test_a_chain_that_stands_still_is_told(world: World, path: Path) -> None:
    world.makes_blocks = False
    for name in ("ben", "cleo", "dan"):
        world.offer(world.node(name), accepting=False)
    with pytest.raises(AddFailed, match="no block brought a channel within 1 s"):
        await world.me.service.consumer.add(path)


# ---- upkeep --------------------------------------------------------------------------------------


async def test_a_receipt_that_came_too_late_is_dated_anew_and_settles(
    world: World, path: Path
) -> None:
    anna = world.node("anna")
    await world.me.service.consumer.add(path)
    for _ in range(4):
        world._published = []  # a partition: no block hears of it
        world.commit()
    (late,) = anna.replica.channels.stale()
    world.connections.clear()  # the partition ended them, and nobody knows where the consumer is
    await anna.service._upkeep.renew()
    assert anna.newest == [late]
    world.addresses[world.me.account] = ("/ip4/127.0.0.1/tcp/4001",)
    await anna.service._upkeep.renew()
    renewed = anna.newest[0]
    assert (renewed.amount, renewed.seq) == (late.amount, late.seq + 1)
    with trio.fail_after(3):
        while world.me.newest != [renewed]:  # noqa: ASYNC110 - its side ends by itself
            await trio.sleep(0.01)
    agree(world.me, anna)
    world.commit()
    world.commit()
    assert world.settled == [renewed]


async def test_blobs_that_nobody_pays_for_are_let_go_after_a_commit(
    world: World, path: Path
) -> None:
    anna = world.node("anna")
    world.nursery.start_soon(anna.service.run)
    await world.me.service.consumer.add(path, epochs=2)
    assert len(anna.blobs) == 1
    for _ in range(6):
        world.commit()
    with trio.fail_after(3):
        while anna.blobs:  # noqa: ASYNC110 - upkeep does not announce itself
            await trio.sleep(0.01)
    assert world.me.service.consumer.ls() == ()
