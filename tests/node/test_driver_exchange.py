"""The driver between the replica and others: dials, questions both ways, commands, watchers."""

import trio
import trio.testing

from p2p.model.commands import DropObligation, Reply
from p2p.model.effects import Dial, HangUp, Persist
from p2p.model.inputs import RequestFailed
from p2p.model.persistence import Put, Table
from p2p.model.rejection import Reason
from p2p.model.requests import (
    PEERS_PROTOCOL,
    SYNC_PROTOCOL,
    Ads,
    Blocks,
    BlocksRequest,
    PeersRequest,
    Status,
    StatusRequest,
)
from p2p.model.rpc import Rpc, SendRpc, Subscription
from p2p.network.port import MessageStream
from p2p.node import driver as driver_module
from p2p.primitives.codec import encode
from p2p.primitives.units import BlobId, ChannelId, Height, PeerId
from p2p.protocol.interface import (
    DialFailed,
    Event,
    Notify,
    PeerMisbehaved,
    RequestArrived,
    Respond,
    RespondBlocks,
    ResponseArrived,
    RoundStarted,
    SendRequest,
    SpaceMeasured,
    Started,
)
from tests.node.scripted import Shell, settled, virtual
from tests.node.test_driver import ask_drop
from tests.protocol.replica.bench import (
    CHAIN,
    VALIDATORS,
    Bench,
    certify,
)

PEER, OTHER = PeerId(b"peer"), PeerId(b"other")
START = Started(())
WRITE = Persist((Put(Table.PEERS, b"key", b"value"),))
HELLO = SendRpc(PEER, Rpc(subscriptions=(Subscription(True, "topic"),)))
EVENT = RoundStarted(Height(1), 1)


# ---- dials, hang-ups, our questions


@virtual
async def test_a_dial_that_fails_is_news_and_one_that_succeeds_is_not(
    clock: trio.testing.MockClock,
) -> None:
    shell = Shell()
    shell.orders(Started=[Dial(PEER, ("address",)), HangUp(OTHER, "enough")])
    shell.transport.can_dial = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.driver.run, START)
        await settled()
        assert sorted(shell.log[1:3]) == ["dial peer", "hang up other"]
        assert shell.replica.inputs[1:] == [DialFailed(PEER)]
        shell.transport.can_dial = True
        shell.orders(SpaceMeasured=[Dial(PEER, ("address",))])
        shell.driver.put(SpaceMeasured(1))
        await settled()
        assert shell.replica.inputs[2:] == [SpaceMeasured(1)]
        nursery.cancel_scope.cancel()


@virtual
async def test_our_questions_go_out_under_their_protocol_and_good_answers_come_back(
    clock: trio.testing.MockClock,
) -> None:
    shell = Shell()
    status = Status(CHAIN, Height(3), CHAIN, Height(1))
    shell.orders(
        Started=[
            SendRequest(1, PEER, StatusRequest(CHAIN, Height(0)), 5_000),
            SendRequest(2, PEER, PeersRequest(), 5_000),
        ]
    )
    asked = {encode(StatusRequest(CHAIN, Height(0))): status, encode(PeersRequest()): Ads(())}
    shell.transport.answer = lambda data: encode(asked[data])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.driver.run, START)
        await settled()
        protocols = sorted(protocol for _, protocol, _ in shell.transport.requests)
        assert protocols == [PEERS_PROTOCOL, SYNC_PROTOCOL]
        answers = [one for one in shell.replica.inputs if isinstance(one, ResponseArrived)]
        assert {one.request_id: one.response.value for one in answers} == {1: status, 2: Ads(())}
        nursery.cancel_scope.cancel()


def false_blocks() -> Blocks:
    bench = Bench().start()
    committed = certify(bench.build(VALIDATORS[0]).block, VALIDATORS[:3])
    certificate = committed.certificate
    first = certificate.signatures[0]
    forged = (type(first)(first.validator, bytes(64)), *certificate.signatures[1:])
    fields = (certificate.chain_id, certificate.height, certificate.round)
    other = type(certificate)(*fields, certificate.header_digest, forged)
    return Blocks((type(committed)(committed.block, other),))


@virtual
async def test_an_answer_that_is_malformed_or_false_is_a_fault_and_a_failure(
    clock: trio.testing.MockClock,
) -> None:
    for answer, reason in (
        (b"junk", Reason.MALFORMED),
        (encode(false_blocks()), Reason.BAD_SIGNATURE),
    ):
        shell = Shell()
        shell.orders(Started=[SendRequest(1, PEER, BlocksRequest(Height(1), 1), 5_000)])
        shell.transport.answer = lambda data, answer=answer: answer
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shell.driver.run, START)
            await settled()
            fault, failed = shell.replica.inputs[1:]
            assert isinstance(fault, PeerMisbehaved)
            assert fault.reason is reason
            assert failed == RequestFailed(1, PEER)
            nursery.cancel_scope.cancel()


@virtual
async def test_a_question_without_an_answer_fails_at_its_deadline(
    clock: trio.testing.MockClock,
) -> None:
    shell = Shell()
    shell.orders(Started=[SendRequest(1, PEER, PeersRequest(), 5_000)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.driver.run, START)
        await settled()
        clock.jump(4.9)
        await settled()
        assert shell.replica.inputs[1:] == []
        clock.jump(0.2)
        await settled()
        assert shell.replica.inputs[1:] == [RequestFailed(1, PEER)]
        nursery.cancel_scope.cancel()


# ---- their questions


@virtual
async def test_a_neighbour_gets_its_answer_or_a_refusal(clock: trio.testing.MockClock) -> None:
    shell = Shell()
    status = Status(CHAIN, Height(3), CHAIN, Height(1))
    answers: dict[str, bytes | None] = {}

    async def ask(name: str, protocol: str, data: bytes) -> None:
        answers[name] = await shell.driver.request_received(PEER, protocol, data)

    def reply(item: object) -> list[object]:
        if not isinstance(item, RequestArrived):
            return []
        match item.request:
            case StatusRequest(height=0):
                return [Respond(item.request_id, status), Respond(item.request_id, status)]
            case BlocksRequest(from_height=height, count=count):
                return [RespondBlocks(item.request_id, height, count)]
            case _:
                return [Respond(item.request_id, None)]

    shell.replica.answers = reply  # type: ignore[assignment]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.driver.run, START)
        nursery.start_soon(ask, "status", SYNC_PROTOCOL, encode(StatusRequest(CHAIN, Height(0))))
        nursery.start_soon(ask, "refused", SYNC_PROTOCOL, encode(StatusRequest(CHAIN, Height(9))))
        nursery.start_soon(ask, "blocks", SYNC_PROTOCOL, encode(BlocksRequest(Height(1), 5)))
        nursery.start_soon(ask, "wrong place", PEERS_PROTOCOL, encode(BlocksRequest(Height(1), 5)))
        await settled()
        assert answers == {
            "status": encode(status),
            "refused": None,
            "blocks": encode(Blocks(())),
            "wrong place": None,
        }
        faults = [one for one in shell.replica.inputs if isinstance(one, PeerMisbehaved)]
        assert [one.reason for one in faults] == [Reason.MALFORMED]
        assert shell.driver._asked == {}
        nursery.cancel_scope.cancel()


@virtual
async def test_a_neighbour_that_goes_before_its_answer_leaves_nothing_behind(
    clock: trio.testing.MockClock,
) -> None:
    shell = Shell()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.driver.run, START)
        with trio.move_on_after(1):
            async with trio.open_nursery() as asker:
                data = encode(PeersRequest())
                asker.start_soon(shell.driver.request_received, PEER, PEERS_PROTOCOL, data)
                await settled()
                assert len(shell.driver._asked) == 1
                asker.cancel_scope.cancel()
        assert shell.driver._asked == {}
        shell.orders(SpaceMeasured=[Respond(1, Ads(()))])
        shell.driver.put(SpaceMeasured(1))
        await settled()
        nursery.cancel_scope.cancel()


# ---- commands and watchers


@virtual
async def test_an_owner_that_gives_up_leaves_nothing_behind_and_a_late_reply_harms_nobody(
    clock: trio.testing.MockClock,
) -> None:
    shell = Shell()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.driver.run, START)
        async with trio.open_nursery() as owner:
            owner.start_soon(ask_drop, shell.driver, [])
            await settled()
            assert len(shell.driver._tickets) == 1
            owner.cancel_scope.cancel()
        assert shell.driver._tickets == {}
        shell.orders(SpaceMeasured=[Reply(1, "too late"), Reply(99, "to nobody")])
        shell.driver.put(SpaceMeasured(1))
        await settled()
        nursery.cancel_scope.cancel()


@virtual
async def test_replies_find_their_askers_in_any_order(clock: trio.testing.MockClock) -> None:
    shell = Shell()
    replies: dict[int, object] = {}

    async def ask(number: int) -> None:
        replies[number] = await shell.driver.ask(
            lambda ticket: DropObligation(ticket, BlobId(b"%032d" % number), ChannelId(bytes(32)))
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.driver.run, START)
        for number in range(3):
            nursery.start_soon(ask, number)
        await settled()
        tickets = {
            one.ticket: int(one.blob)
            for one in shell.replica.inputs
            if isinstance(one, DropObligation)
        }
        shell.orders(
            SpaceMeasured=[
                Reply(ticket, f"for {number}") for ticket, number in reversed(tickets.items())
            ]
        )
        shell.driver.put(SpaceMeasured(1))
        await settled()
        assert replies == {0: "for 0", 1: "for 1", 2: "for 2"}
        nursery.cancel_scope.cancel()


@virtual
async def test_every_watcher_hears_events_and_a_slow_one_holds_up_nobody(
    clock: trio.testing.MockClock,
) -> None:
    shell = Shell()
    shell.orders(SpaceMeasured=[Notify(EVENT)])
    heard: list[Event] = []

    async def watch() -> None:
        async with shell.driver.events() as events:
            async for event in events:
                heard.append(event)  # noqa: PERF401 - as they come

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.driver.run, START)
        nursery.start_soon(watch)
        async with shell.driver.events():  # This one never reads.
            await settled()
            for number in range(driver_module.EVENTS_MAX + 5):
                shell.driver.put(SpaceMeasured(number))
            await settled()
            assert heard == [EVENT] * (driver_module.EVENTS_MAX + 5)
        assert len(shell.driver._watchers) == 1
        nursery.cancel_scope.cancel()
    assert shell.driver._watchers == []


@virtual
async def test_streams_are_served_by_whoever_registered_their_protocol(
    clock: trio.testing.MockClock,
) -> None:
    shell = Shell()
    served: list[object] = []

    async def serve(stream: MessageStream) -> None:
        served.append(stream)

    shell.driver.streams["/known/1"] = serve
    stream = object()
    await shell.driver.stream_opened("/known/1", stream)  # type: ignore[arg-type]
    await shell.driver.stream_opened("/unknown/1", stream)  # type: ignore[arg-type]
    assert served == [stream]
