"""What the local API does on POST: offers, transactions and blobs."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from p2p.api import queries
from p2p.api.bodies import AddBody, GetBody, OfferBody, TransactionBody
from p2p.api.lines import Emit
from p2p.api.plain import row
from p2p.api.values import Json, Row
from p2p.model.ledger import Account
from p2p.model.offer import Offer
from p2p.model.rejection import Rejected
from p2p.model.transaction import Transaction
from p2p.node.blobs.results import Progress, Report
from p2p.node.errors import UserError
from p2p.node.port import NodePort
from p2p.node.quantities import bytes_text
from p2p.primitives.keys import account_text
from p2p.primitives.units import BlobId
from p2p.protocol.interface import ChangeOffer, Committed, Event, SubmitTransaction
from p2p.storage.blocks import stored_block

PROGRESS_MAX: Final = 64
"""Steps of progress that wait for a slow reader; the newest are dropped, since more will come."""


HEARTBEAT_S: Final = 15.0
"""An empty line this often keeps a silent stream's reader sure of it."""


class Refused(Exception):
    """The node will not do it; the text is a sentence."""


async def change_offer(node: NodePort, body: OfferBody) -> Row:
    """Change what this node lends; an ad follows. Raises Refused."""
    capacity_bytes = node.config.storage.capacity
    wanted = body.merged(node.replica.registry.offer)
    if wanted.resources.storage_bytes_total > capacity_bytes:
        raise Refused(
            f"{bytes_text(wanted.resources.storage_bytes_total)} is more than storage.capacity in"
            f" config.toml ({bytes_text(capacity_bytes)})"
        )
    result = await node.ask(lambda ticket: ChangeOffer(ticket, wanted))
    match result:
        case Offer():
            return queries.offer(node)
        case Rejected():
            raise Refused(_sentence("the offer", result))
        case _:
            raise AssertionError(f"an answer to ChangeOffer: {result!r}")


async def submit(node: NodePort, body: TransactionBody) -> Row:
    """Sign and publish a transaction, and wait for its block. Raises Refused, ValueError."""
    action = body.action.action()
    async with node.events() as events:
        result = await node.ask(lambda ticket: SubmitTransaction(ticket, action, body.fee))
        match result:
            case Transaction():
                height = await _wait_committed(node, result, events, body.wait_s)
                return row(result, digest=result.digest().hex(), height=height)
            case Rejected():
                raise Refused(_sentence("the transaction", result))
            case _:
                raise AssertionError(f"an answer to SubmitTransaction: {result!r}")


async def _wait_committed(
    node: NodePort, transaction: Transaction, events: AsyncIterator[object], wait_s: float
) -> int | None:
    """Height of the block that has it, or None when time is up. Raises Refused."""
    with trio.move_on_after(wait_s):
        async for event in events:
            if not isinstance(event, Committed):
                continue
            committed = stored_block(node.store, event.height)
            if committed is not None and transaction in committed.block.transactions:
                return int(event.height)
            sender = node.replica.state.accounts.get(transaction.sender, Account())
            if sender.nonce > transaction.nonce:
                raise Refused("another transaction of this account took its place")
    return None


async def watch(node: NodePort, emit: Emit) -> None:
    """Tell every event of the node as it happens."""
    async with node.events() as events:
        await emit(None)
        while True:
            event: Event | None = None
            with trio.move_on_after(HEARTBEAT_S):
                event = await anext(events)
            await emit(None if event is None else row(event, type=_snake(type(event).__name__)))


async def add_blob(node: NodePort, body: AddBody, emit: Emit) -> None:
    """Store a file; progress, then the result or an error as the last line."""
    path = Path(body.path)

    async def work(report: Report) -> Row:
        added = await node.blobs.add(
            path,
            replicas=body.replicas,
            epochs=body.epochs,
            price_max=body.price_max,
            progress=report,
        )
        return row(added, type="done", complete=added.is_complete)

    await _transfer(work, emit)


async def get_blob(node: NodePort, blob: BlobId, body: GetBody, emit: Emit) -> None:
    """Fetch a blob into a file; progress, then the result or an error as the last line."""
    destination = Path(body.destination)

    async def work(report: Report) -> Row:
        fetched = await node.blobs.get(blob, destination, progress=report)
        sources: Json = [
            {"provider": account_text(provider), "bytes": count}
            for provider, count in fetched.sources
        ]
        return row(fetched, type="done", sources=sources)

    await _transfer(work, emit)


async def _transfer(work: Callable[[Report], Awaitable[Row]], emit: Emit) -> None:
    """Tell the progress of some work, at the pace of the reader, and how it ended."""
    send, receive = trio.open_memory_channel[Progress](PROGRESS_MAX)

    def report(progress: Progress) -> None:
        with suppress(trio.WouldBlock, trio.BrokenResourceError):
            send.send_nowait(progress)

    async def tell() -> None:
        async for progress in receive:
            await emit(row(progress, type="progress"))

    last: Row = {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        with send:
            try:
                last = await work(report)
            except (UserError, OSError, ValueError) as error:
                last = {"type": "error", "error": str(error)}
    await emit(last)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _sentence(what: str, rejected: Rejected) -> str:
    detail = f" ({rejected.detail})" if rejected.detail else ""
    return f"{what} was refused: {rejected.reason.value}{detail}"
